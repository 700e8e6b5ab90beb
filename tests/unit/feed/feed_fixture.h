/* A feed between the store of feed_store.h and a real publisher. */
#ifndef PERMTAB_TESTS_UNIT_FEED_FEED_FIXTURE_H
#define PERMTAB_TESTS_UNIT_FEED_FEED_FIXTURE_H

#include "proxy/feed/feed.h"
#include "proxy/table/workshop.h"
#include "tests/unit/feed/feed_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <event2/event.h>

#define POLL_MS      5u
#define STALENESS_NS 2000000000ull

struct fixture {
    struct event_base *base;
    struct publisher *publisher;
    struct workshop *workshop;
    struct feed *feed;
    struct counters counters;
    unsigned polls_watched, batches_watched, rebuilds_watched;
    bool watched_late; /* the table had not been brought forward, or others had been told */
    uint64_t told;     /* revision that on_applied was last called with */
    uint64_t expected; /* revision that a change committed meanwhile leads to; 0: none is expected */
    bool renewed_without;
    uint64_t released_ns;      /* when the poll that hung went on; 0: none did */
    uint64_t ended_at_renewal; /* leases_ended, when there was a lease again for the first time after that */
};

static void on_applied(struct fixture *fixture, uint64_t revision)
{
    fixture->told = revision;
    lock();
    /* The lease has been renewed; everything that was committed when its poll ended must be in the table. */
    if (fixture->expected != 0 && fake.revision == fixture->expected && !fake.changes_unseen &&
        revision < fixture->expected)
        fixture->renewed_without = true;
    unlock();
}

static void watch(struct fixture *fixture, const struct feed_news *news)
{
    uint64_t revision = publisher_position(fixture->publisher).revision;
    if (news->asked_ns != 0) {
        fixture->polls_watched++;
        assert_true(news->answered_ns >= news->asked_ns);
        assert_int_equal(news->store_now, 1000);
    }
    fixture->rebuilds_watched += news->rebuilt;
    if (news->batch == NULL || news->batch->changes.count == 0)
        return;
    fixture->batches_watched++;
    assert_int_equal(news->batch->changes.items[0].at, 990);
    fixture->watched_late |= news->batch->at.revision != revision || fixture->told >= revision;
}

static void on_news(void *context, const struct feed_news *news)
{
    struct fixture *fixture = context;
    assert_false(publisher_rebuild_ordered(fixture->publisher)); /* growth is not kept away any longer */
    watch(fixture, news);
    assert_int_equal(news->revision, publisher_position(fixture->publisher).revision);
    if (news->applied)
        on_applied(fixture, news->revision);
    if (fixture->released_ns != 0 && fixture->ended_at_renewal == 0 &&
        publisher_deadline(fixture->publisher) > fixture->released_ns)
        fixture->ended_at_renewal = fixture->counters.leases_ended;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct publisher_options options = {
        .permissions_max = 64, .entries = 10000, .sets = 10, .folds = 1, .max_staleness_ns = STALENESS_NS};
    struct sql_options sql = {.url = "sqlite:nowhere"};
    struct log_position at = {7, FIRST, FIRST};
    struct catalogue catalogue;
    lock();
    fake.revision = FIRST;
    fake.kind = CHANGE_ASSIGNMENT;
    fake.scope = (struct scope_key){0, 0};
    fake.schema_failures = fake.rebuilds_read = fake.catalogues_read = 0;
    fake.changes_unseen = fake.too_many_permissions = fake.read_only = fake.away = false;
    fake.ended = fake.broken = fake.hangs = false;
    fake.hung_ns = 0;
    fake.open_schema = 0;
    fake.mark = 1;
    unlock();
    read_catalogue(&catalogue);
    assert_int_equal(
        publisher_new(&fixture->publisher, &options, &at, 1000, &catalogue, &fixture->counters, NULL), 0);
    fixture->base = event_base_new();
    assert_int_equal(workshop_new(&fixture->workshop, fixture->base), 0);
    publisher_drop_to(fixture->publisher, workshop_drop, fixture->workshop);
    struct feed_options feed = {.base = fixture->base,
                                .publisher = fixture->publisher,
                                .workshop = fixture->workshop,
                                .counters = &fixture->counters,
                                .news = on_news,
                                .context = fixture,
                                .store = &sql,
                                .permissions_max = 64,
                                .poll_interval_ms = POLL_MS,
                                .max_staleness_ms = STALENESS_NS / 1000000};
    assert_int_equal(feed_new(&fixture->feed, &feed, NULL), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    lock();
    fake.hangs = false;
    unlock();
    feed_free(fixture->feed);
    publisher_free(fixture->publisher);
    workshop_free(fixture->workshop);
    event_base_free(fixture->base);
    free(fixture);
    return 0;
}

static void serve_polls(struct fixture *fixture, uint64_t polls)
{
    uint64_t end = fixture->counters.polls + polls;
    while (fixture->counters.polls < end)
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
}

#define FEED_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
