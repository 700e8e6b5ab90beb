/* Asks: what an answer is worth that comes after a while. The fill is played by this file (--wrap, CMakeLists.txt). */
#include "proxy/answer/ask.h"

#include "proxy/answer/private.h"
#include "proxy/base/clock.h"
#include "proxy/table/fill.h"
#include "proxy/table/use.h"
#include "tests/support/memory_policy.h"
#include "tests/support/memory_publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#define SECOND 1000000000ull

static struct {
    fill_done_fn done; /* of the fill under way */
    void *context;
    bool was_read;
} fake;

struct fill_wait *__wrap_fill_request(struct fills *fills, uint64_t user, struct scope_key scope,
                                      uint64_t revision, enum read_lane lane, fill_done_fn done,
                                      void *context);
bool __wrap_fill_was_read(const struct fill_wait *wait);
const char *__wrap_feed_trouble(const struct feed *feed);

struct fill_wait *__wrap_fill_request(struct fills *fills, uint64_t user, struct scope_key scope,
                                      uint64_t revision, enum read_lane lane, fill_done_fn done,
                                      void *context)
{
    (void)fills, (void)user, (void)scope, (void)revision, (void)lane;
    fake.done = done;
    fake.context = context;
    return (struct fill_wait *)(void *)&fake;
}

bool __wrap_fill_was_read(const struct fill_wait *wait)
{
    assert_ptr_equal(wait, &fake);
    return fake.was_read;
}

const char *__wrap_feed_trouble(const struct feed *feed)
{
    (void)feed;
    return "";
}

struct fixture {
    struct event_base *base;
    struct publisher *publisher;
    struct answering answering; /* asks alone */
    struct counters counters;
    struct ask_flow flow;
    struct ask ask;
    unsigned told;
    int code;
    bool answered;
};

static void read_catalogue(struct catalogue *out)
{
    struct memory_policy policy;
    memory_policy_init(&policy);
    memory_catalogue(&policy, 1, out);
    memory_policy_fini(&policy);
}

static void on_done(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct fixture *fixture = ask->context;
    (void)text;
    fixture->told++;
    fixture->code = code;
    fixture->answered = answer != NULL;
}

/* A question with a token of store 7, revision 5, which has been sent to be filled. */
static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct publisher_options options = {
        .permissions_max = 64, .entries = 100, .sets = 10, .folds = 1, .max_staleness_ns = 2 * SECOND};
    struct log_position at = {7, 5, 5};
    struct catalogue catalogue;
    memset(&fake, 0, sizeof fake);
    read_catalogue(&catalogue);
    assert_int_equal(
        publisher_new(&fixture->publisher, &options, &at, 1000, &catalogue, &fixture->counters, NULL), 0);
    publisher_renew(fixture->publisher, clock_ns());
    fixture->base = event_base_new();
    struct ask_queue_options asks = {.base = fixture->base,
                                     .publisher = fixture->publisher,
                                     .counters = &fixture->counters,
                                     .running_max = 4,
                                     .timeout_ms = 5000};
    assert_int_equal(ask_queue_new(&fixture->answering.asks, &asks), 0);
    fixture->ask.question = (struct question){.user = 1,
                                              .meaning = publisher_names_version(fixture->publisher),
                                              .has_token = true,
                                              .token_store = 7,
                                              .token_revision = 5};
    fixture->ask.done = on_done;
    fixture->ask.context = fixture;
    ask_start(&fixture->answering, &fixture->flow, &fixture->ask);
    assert_non_null(fake.done);
    assert_int_equal(fixture->told, 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    ask_queue_free(fixture->answering.asks);
    publisher_free(fixture->publisher);
    event_base_free(fixture->base);
    free(fixture);
    return 0;
}

/* True where the table stands now, as those of answer/fill.c are. */
static void fill_ends(struct fixture *fixture)
{
    struct answer answer = {.revision = publisher_position(fixture->publisher).revision};
    fake.done(fake.context, 0, "", &answer);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->answered, fixture->code == 0);
}

static void rebuild_at(struct fixture *fixture, struct log_position at)
{
    struct catalogue catalogue;
    read_catalogue(&catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 1000, &catalogue, NULL, NULL), 0);
    publisher_renew(fixture->publisher, clock_ns());
}

static void what_is_still_true_is_told(void **state)
{
    struct fixture *fixture = *state;
    rebuild_at(fixture, (struct log_position){7, 6, 6});
    fill_ends(fixture);
    assert_int_equal(fixture->code, 0);
}

/* Its revisions may be higher, and its bits the same: what they have of the write that the token stands for is
 * nothing. */
static void a_token_says_nothing_of_another_store(void **state)
{
    struct fixture *fixture = *state;
    rebuild_at(fixture, (struct log_position){8, 600, 6});
    fill_ends(fixture);
    assert_int_equal(fixture->code, PERMTAB_E_BEHIND);
}

static void the_store_went_back(void **state)
{
    struct fixture *fixture = *state;
    rebuild_at(fixture, (struct log_position){7, 4, 44});
    fill_ends(fixture);
    assert_int_equal(fixture->code, PERMTAB_E_BEHIND);
}

static void the_lease_has_ended(void **state)
{
    struct fixture *fixture = *state;
    publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED);
    fill_ends(fixture);
    assert_int_equal(fixture->code, PERMTAB_E_STALE);
}

/* From the store, or from what was kept; what the table has already was not read either. */
static void what_was_read(void **state)
{
    struct fixture *fixture = *state;
    struct memory_policy policy;
    memory_policy_init(&policy);
    fake.was_read = true;
    fill_ends(fixture);
    assert_true(fixture->ask.was_read);
    rebuild_at(fixture, (struct log_position){7, 5, 1}); /* as memory_fill reads it */
    fixture->ask.question.meaning = publisher_names_version(fixture->publisher);
    ask_start(&fixture->answering, &fixture->flow, &fixture->ask);
    assert_false(fixture->ask.was_read);
    fake.was_read = false;
    fixture->told = 0;
    fill_ends(fixture);
    assert_false(fixture->ask.was_read);
    memory_fill(fixture->publisher, &policy, 5, fixture->ask.question.user, fixture->ask.question.scope);
    fixture->ask.was_read = true;
    ask_start(&fixture->answering, &fixture->flow, &fixture->ask);
    assert_int_equal(fixture->told, 2);
    assert_false(fixture->ask.was_read);
    memory_policy_fini(&policy);
}

static void ask_and_hit(struct fixture *fixture)
{
    struct ask ask = {.question = fixture->ask.question, .done = on_done, .context = fixture};
    unsigned told = fixture->told;
    ask_start(&fixture->answering, &fixture->flow, &ask);
    assert_int_equal(fixture->told, told + 1);
    assert_int_equal(fixture->code, 0);
    publisher_use_grant(fixture->publisher);
}

/* A client without shared memory tells of its uses by its questions. */
static void a_hit_keeps_the_entry(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key scope = fixture->ask.question.scope, at;
    struct use_share share = {.joined = false};
    struct memory_policy policy;
    memory_policy_init(&policy);
    fill_ends(fixture);
    rebuild_at(fixture, (struct log_position){7, 5, 1}); /* as memory_fill reads it */
    fixture->ask.question.meaning = publisher_names_version(fixture->publisher);
    for (uint64_t user = 1; user <= 2; user++)
        memory_fill(fixture->publisher, &policy, 5, user, scope);
    fixture->flow.share = &share;
    ask_and_hit(fixture); /* it comes without a ticket */
    ask_and_hit(fixture);
    for (uint64_t user = 1000; user < 1150; user++) /* there is room for a hundred */
        memory_fill(fixture->publisher, &policy, 5, user, scope);
    assert_true(publisher_resident(fixture->publisher, 1, scope, &at));
    assert_false(publisher_resident(fixture->publisher, 2, scope, &at));
    publisher_use_leave(fixture->publisher, &share);
    memory_policy_fini(&policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(what_is_still_true_is_told),
        T(a_token_says_nothing_of_another_store),
        T(the_store_went_back),
        T(the_lease_has_ended),
        T(what_was_read),
        T(a_hit_keeps_the_entry),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
