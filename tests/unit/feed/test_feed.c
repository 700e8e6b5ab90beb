/* The feed between a store of a few variables, which this file puts in the place of store_*.c, and a real publisher: what is
 * done when the store fails, or changes, between two of the feed's questions. */
#include "proxy/feed/feed.h"

#include "proxy/base/clock.h"
#include "proxy/store/store.h"
#include "proxy/table/fill.h"
#include "tests/support/memory_policy.h"
#include "tests/support/stopwatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>
#include <pthread.h>
#include <unistd.h>

#define FIRST        5u
#define DUES_MAX     1000u
#define POLL_MS      5u
#define STALENESS_NS 2000000000ull
#define REST_NS      1000000u /* who is woken sooner after the last poll waits for that long */

/* What the store is, and what it shall do. Read and written by two threads. */
static struct {
    pthread_mutex_t mutex;
    uint64_t revision;
    enum change_kind kind;    /* of the change after FIRST */
    struct scope_key scope;   /* of it */
    unsigned schema_failures; /* how many looks at the schema still fail */
    bool changes_unseen;      /* a change is committed while what expired is read */
    bool too_many_permissions;
    bool read_only;
    bool away;  /* polls fail, and the connection with them */
    bool ended; /* the next poll finds that its connection was ended while it rested */
    bool broken;
    bool hangs;           /* a poll does not come back */
    uint64_t hung_ns;     /* since when one does not; 0: none */
    unsigned open_schema; /* how many connections still find another schema */
    uint64_t mark;        /* of the definitions */
    unsigned rebuilds_read, catalogues_read;
    uint64_t due_ns[DUES_MAX]; /* what the feed waited for, one after the other, but for rests */
    size_t dues;
} fake = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void lock(void)
{
    pthread_mutex_lock(&fake.mutex);
}

static void unlock(void)
{
    pthread_mutex_unlock(&fake.mutex);
}

/* ---- the store ------------------------------------------------------------------------------------------------ */

int store_open(struct store *out, const struct sql_options *options, struct failure *failure)
{
    int code = 0;
    (void)options;
    memset(out, 0, sizeof *out);
    lock();
    out->looked.mark = fake.mark;
    if (fake.open_schema > 0) {
        fake.open_schema--;
        code = failure_set(failure, PERMTAB_E_SCHEMA, "a trigger is missing");
    }
    unlock();
    return code;
}

void store_close(struct store *store)
{
    (void)store;
}

/* A connection that the server has ended: it says so when it is asked, once. */
bool sql_broken(const struct sql *sql)
{
    (void)sql;
    lock();
    bool broken = fake.broken;
    fake.broken = false;
    unlock();
    return broken;
}

int store_check_schema(struct store *store, struct failure *failure)
{
    int code = 0;
    lock();
    fake.rebuilds_read++;
    if (store->looked.mark != fake.mark)
        code = failure_set(failure, PERMTAB_E_SCHEMA, "the tables were made anew");
    store->looked.mark = fake.mark;
    if (fake.schema_failures > 0) {
        fake.schema_failures--;
        code = failure_set(failure, PERMTAB_E_STORE, "the store is away");
    }
    unlock();
    return code;
}

int store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure)
{
    (void)store, (void)failure;
    lock();
    *at = (struct log_position){7, fake.revision, fake.revision};
    unlock();
    *now = 1000;
    return 0;
}

void store_snapshot_end(struct store *store)
{
    (void)store;
}

int store_poll(struct store *store, const struct log_position *at, bool *newer, int64_t *now,
               struct failure *failure)
{
    (void)store;
    lock();
    while (fake.hangs) {
        if (fake.hung_ns == 0)
            fake.hung_ns = clock_ns();
        unlock();
        (void)usleep(1000);
        lock();
    }
    *newer = fake.revision > at->revision;
    bool read_only = fake.read_only, away = fake.away || fake.ended;
    fake.broken |= fake.ended;
    fake.ended = false;
    unlock();
    *now = 1000;
    if (away)
        return failure_set(failure, PERMTAB_E_STORE, "the store is away");
    return read_only ? failure_set(failure, PERMTAB_E_SCHEMA, "the server is read only") : 0;
}

int store_read_changes(struct store *store, uint64_t after, size_t limit, struct change_list *out,
                       struct failure *failure)
{
    (void)store, (void)failure, (void)limit;
    lock();
    *out = (struct change_list){.items = calloc(1, sizeof(struct change)), .count = 1};
    out->items[0] = (struct change){.revision = after + 1,
                                    .nonce = after + 1,
                                    .kind = fake.kind,
                                    .user = 1,
                                    .scope = fake.scope,
                                    .at = 990};
    unlock();
    return 0;
}

void change_list_fini(struct change_list *list)
{
    free(list->items);
    memset(list, 0, sizeof *list);
}

int store_read_roles(struct store *store, const uint64_t *ids, size_t count, struct role_list *out,
                     struct failure *failure)
{
    (void)store, (void)failure, (void)ids, (void)count;
    memset(out, 0, sizeof *out);
    return 0;
}

static void read_catalogue(struct catalogue *out)
{
    struct memory_policy policy;
    memory_policy_init(&policy);
    (void)memory_permission(&policy, "message.send");
    memory_catalogue(&policy, 1, out);
    memory_policy_fini(&policy);
}

int store_read_catalogue(struct store *store, uint32_t permissions_max, struct catalogue *out,
                         struct failure *failure)
{
    (void)store, (void)permissions_max;
    lock();
    fake.catalogues_read++;
    bool fails = fake.too_many_permissions;
    unlock();
    if (fails)
        return failure_set(failure, PERMTAB_E_LIMIT, "permissions_max is too small");
    read_catalogue(out);
    return 0;
}

int store_read_expired(struct store *store, int64_t from, int64_t to, size_t limit, struct change_list *out,
                       struct failure *failure)
{
    (void)store, (void)failure, (void)from, (void)to, (void)limit;
    memset(out, 0, sizeof *out);
    lock();
    fake.revision += fake.changes_unseen;
    fake.changes_unseen = false;
    unlock();
    return 0;
}

int store_trim_changes(struct store *store, int64_t keep_us, uint64_t keep_rows, size_t slice,
                       struct failure *failure)
{
    (void)store, (void)failure, (void)keep_us, (void)keep_rows, (void)slice;
    return 0;
}

int __real_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *due);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *due);

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *due)
{
    uint64_t due_ns = (uint64_t)due->tv_sec * 1000000000 + (uint64_t)due->tv_nsec;
    lock();
    /* One that was woken for nothing waits again. */
    if (due_ns > clock_ns() + REST_NS && fake.dues < DUES_MAX &&
        (fake.dues == 0 || fake.due_ns[fake.dues - 1] != due_ns))
        fake.due_ns[fake.dues++] = due_ns;
    unlock();
    return __real_pthread_cond_timedwait(condition, mutex, due);
}

/* ---- the house around it -------------------------------------------------------------------------------------- */

struct fixture {
    struct event_base *base;
    struct publisher *publisher;
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
    fake.dues = 0;
    unlock();
    read_catalogue(&catalogue);
    assert_int_equal(
        publisher_new(&fixture->publisher, &options, &at, 1000, &catalogue, &fixture->counters, NULL), 0);
    fixture->base = event_base_new();
    struct feed_options feed = {.base = fixture->base,
                                .publisher = fixture->publisher,
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

/* ---- tests ----------------------------------------------------------------------------------------------------- */

static void a_rebuild_stays_wanted_while_the_store_is_away(void **state)
{
    struct fixture *fixture = *state;
    uint64_t generation = publisher_generation(fixture->publisher);
    serve_polls(fixture, 2);
    lock();
    fake.schema_failures = 3;
    unlock();
    /* As after a batch that could not be applied. */
    publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED);
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 10);
    assert_int_not_equal(publisher_generation(fixture->publisher), generation);
    assert_int_not_equal(publisher_deadline(fixture->publisher), 0);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

static void a_change_while_expiry_is_read_is_applied_first(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    lock();
    fake.changes_unseen = true;
    fixture->expected = fake.revision + 1;
    unlock();
    serve_polls(fixture, 5);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST + 1);
    assert_false(fixture->renewed_without);
}

static void too_many_permissions_are_read_once_a_poll(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    uint64_t failed = fixture->counters.polls_failed;
    lock();
    fake.kind = CHANGE_PERMISSION;
    fake.too_many_permissions = true;
    fake.revision++;
    unlock();
    serve_polls(fixture, 6);
    assert_string_equal(feed_trouble(fixture->feed), "permissions_max is too small");
    lock();
    unsigned read = fake.catalogues_read;
    unlock();
    /* One more may be under way. */
    assert_true(fixture->counters.polls_failed > failed);
    assert_true(read <= fixture->counters.polls_failed - failed + 1);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST);
}

/* ---- a batch of many turns ---------------------------------------------------------------------------------------- */

#define CROWD 9000u /* some slices, at a scope that is not in the store */

static const struct scope_key crowded = {1, 1};

static void fill_crowd(struct fixture *fixture)
{
    struct memory_policy policy;
    struct facts facts;
    memory_policy_init(&policy);
    memory_facts(&policy, 1, crowded, 1000, &facts);
    facts.revision = facts.nonce = FIRST;
    for (uint64_t user = 1; user <= CROWD; user++) {
        struct answer answer = {0};
        facts.user = user;
        assert_int_equal(publisher_fill(fixture->publisher, &facts, 1, &answer), PUBLISHER_FILLED);
        answer_fini(&answer);
    }
    facts_fini(&facts);
    memory_policy_fini(&policy);
}

/* Serves polls until the first slice of the crowd has gone. */
static void begin_to_disperse(struct fixture *fixture)
{
    serve_polls(fixture, 1);
    fill_crowd(fixture);
    lock();
    fake.kind = CHANGE_SCOPE;
    fake.scope = crowded;
    fake.revision++;
    unlock();
    while (fixture->counters.entries_retired == 0)
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
}

static void others_have_their_turns_while_a_batch_is_applied(void **state)
{
    struct fixture *fixture = *state;
    unsigned turns = 0;
    begin_to_disperse(fixture);
    uint64_t deadline = publisher_deadline(fixture->publisher), polls = fixture->counters.polls;
    while (publisher_position(fixture->publisher).revision == FIRST) {
        assert_in_range(fixture->counters.entries_retired, 1, (turns + 1) * PUBLISHER_SLICE);
        assert_int_equal(publisher_deadline(fixture->publisher),
                         deadline); /* what was found is not obeyed yet */
        assert_int_not_equal(fixture->told, FIRST + 1);
        assert_int_equal(fixture->batches_watched, 0);
        feed_wake(fixture->feed); /* and there is no other poll meanwhile */
        assert_int_equal(fixture->counters.polls, polls);
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
        turns++;
    }
    assert_true(turns >= CROWD / PUBLISHER_SLICE);
    assert_int_equal(fixture->counters.entries_retired, CROWD);
    assert_true(publisher_deadline(fixture->publisher) > deadline);
    assert_int_equal(fixture->told, FIRST + 1);
    assert_int_equal(fixture->batches_watched, 1);
    serve_polls(fixture, 2);
}

/* Answers are UNKNOWN for a while then, and say why. */
static void a_batch_that_outlives_the_lease_says_so(void **state)
{
    struct fixture *fixture = *state;
    begin_to_disperse(fixture);
    assert_string_equal(feed_trouble(fixture->feed), "");
    while (publisher_leased(fixture->publisher, clock_ns()))
        (void)usleep(10000);
    assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST);
    assert_non_null(strstr(feed_trouble(fixture->feed), "very many entries"));
    while (publisher_position(fixture->publisher).revision == FIRST)
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
    serve_polls(fixture, 1); /* the batch's own poll is as old as the lease */
    assert_string_equal(feed_trouble(fixture->feed), "");
    assert_true(publisher_leased(fixture->publisher, clock_ns()));
}

/* What is said when the lease ends is what is waited for, and not what comes later. */
static void a_poll_that_hangs_is_named_when_the_lease_ends(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 1);
    fill_crowd(fixture); /* the batch that comes at the end takes many turns */
    lock();
    fake.hangs = true;
    unlock();
    while (publisher_leased(fixture->publisher, clock_ns()))
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0); /* the lease's own end wakes it */
    assert_int_equal(fixture->counters.leases_ended, 1);
    const char *trouble = feed_trouble(fixture->feed);
    assert_non_null(strstr(trouble, "waits for the store to answer a poll, since 20"));
    lock();
    while (clock_ns() < fake.hung_ns + STALENESS_NS) { /* the poll that hangs is too old for a lease, too */
        unlock();
        (void)usleep(1000);
        lock();
    }
    fixture->released_ns = clock_ns();
    fake.hangs = false;
    fake.kind = CHANGE_SCOPE;
    fake.scope = crowded;
    fake.revision++;
    unlock();
    uint64_t revision = publisher_position(fixture->publisher).revision;
    while (publisher_position(fixture->publisher).revision == revision) {
        assert_null(strstr(feed_trouble(fixture->feed), "very many entries"));
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
    }
    assert_int_equal(fixture->counters.leases_ended, 1);
    while (fixture->ended_at_renewal == 0)
        serve_polls(fixture, 1);
    assert_int_equal(fixture->ended_at_renewal, 1);
    serve_polls(fixture, 2);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

static void a_connection_that_was_ended_while_it_rested_is_made_anew_at_once(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    for (int round = 0; round < 3; round++) {
        lock();
        fake.ended = true;
        unlock();
        serve_polls(fixture, 3);
    }
    assert_int_equal(fixture->counters.polls_failed, 0);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

static void it_ends_in_the_middle_of_a_batch(void **state)
{
    struct fixture *fixture = *state;
    begin_to_disperse(fixture);
    feed_free(fixture->feed);
    fixture->feed = NULL;
    for (int turn = 0; turn < 3; turn++)
        (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST);
    assert_true(fixture->counters.entries_retired < CROWD);
    fill_crowd(fixture); /* fills ask nothing of a batch that is gone */
}

/* A change row of kind 9: nothing of before is kept, whatever the other rows of the batch say. */
static void a_row_that_says_read_everything_leads_to_a_rebuild(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    uint64_t rebuilds = fixture->counters.rebuilds, generation = publisher_generation(fixture->publisher);
    lock();
    fake.kind = CHANGE_STORE;
    fake.revision++;
    unlock();
    serve_polls(fixture, 3);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST + 1);
    assert_int_equal(fixture->counters.rebuilds, rebuilds + 1);
    assert_int_not_equal(publisher_generation(fixture->publisher), generation);
}

static void a_watcher_sees_what_was_done_before_others_are_told(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    assert_true(fixture->polls_watched >= 3);
    assert_int_equal(fixture->batches_watched, 0);
    lock();
    fake.revision++;
    unlock();
    serve_polls(fixture, 3);
    assert_int_equal(fixture->batches_watched, 1);
    assert_false(fixture->watched_late);
    unsigned before = fixture->polls_watched;
    lock();
    fake.too_many_permissions = true; /* the poll is answered, and nothing applied */
    fake.kind = CHANGE_PERMISSION;
    fake.revision++;
    unlock();
    serve_polls(fixture, 4);
    assert_true(fixture->polls_watched > before);
    assert_int_equal(fixture->batches_watched, 1);
    assert_int_equal(fixture->rebuilds_watched, 0);
    lock();
    fake.too_many_permissions = false;
    unlock();
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 4);
    assert_int_equal(fixture->rebuilds_watched, 1);
}

/* A server that was taken out of service goes on answering, and its past looks whole: what is disbelieved must not be believed
 * again for having been read anew. */
static void a_server_that_is_not_believed_grants_no_lease_by_a_rebuild(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    assert_int_not_equal(publisher_deadline(fixture->publisher), 0);
    lock();
    fake.read_only = true;
    unlock();
    serve_polls(fixture, 4);
    uint64_t renewals = fixture->counters.lease_renewals, rebuilds = fixture->counters.rebuilds;
    serve_polls(fixture, 10);
    assert_int_equal(fixture->counters.lease_renewals, renewals);
    assert_int_equal(fixture->counters.rebuilds, rebuilds);
    assert_string_equal(feed_trouble(fixture->feed), "the server is read only");
    lock();
    fake.read_only = false;
    unlock();
    serve_polls(fixture, 4);
    assert_int_not_equal(publisher_deadline(fixture->publisher), 0);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

/* Between two connections a table may have been restored, with rows that no change row names; the log is the same as before. */
static void expect_rebuild_after_an_absence(struct fixture *fixture, unsigned open_schema, uint64_t mark)
{
    serve_polls(fixture, 3);
    uint64_t rebuilds = fixture->counters.rebuilds, disbelieved = fixture->counters.polls_disbelieved;
    lock();
    fake.away = true;
    unlock();
    serve_polls(fixture, 3);
    assert_int_equal(fixture->counters.polls_disbelieved, disbelieved);
    lock();
    fake.open_schema = open_schema;
    fake.mark = mark;
    fake.away = false;
    unlock();
    serve_polls(fixture, 4 + open_schema);
    assert_true(fixture->counters.polls_disbelieved > disbelieved);
    assert_int_equal(publisher_distrusted(fixture->publisher), 1);
    assert_int_equal(fixture->counters.rebuilds, rebuilds + 1);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

static void a_schema_refused_while_connecting_is_disbelieved(void **state)
{
    expect_rebuild_after_an_absence(*state, 3, 1);
}

static void tables_made_anew_between_two_connections_are_disbelieved(void **state)
{
    expect_rebuild_after_an_absence(*state, 0, 2);
}

/* Somebody asked for a rebuild, and it is the rebuild that finds the store to be another. It may not pass for one like any other:
 * what is kept elsewhere is not to be trusted either. */
static void a_rebuild_that_finds_the_schema_changed_is_distrust(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    lock();
    fake.mark = 2;
    unlock();
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 6);
    assert_int_equal(publisher_distrusted(fixture->publisher), 1);
    assert_int_equal(fixture->counters.rebuilds, 1);
    assert_string_equal(feed_trouble(fixture->feed), "");
    /* And while nothing helps, polls go on at their pace. */
    lock();
    fake.read_only = true;
    unlock();
    serve_polls(fixture, 2);
    uint64_t begun = clock_ns();
    serve_polls(fixture, 10);
    assert_true(clock_ns() - begun > 30000000);
}

/* By messages, by tokens of the future: as fast as it can is too fast for the store. What has news is not kept waiting. */
static void who_is_woken_for_nothing_takes_his_time(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 80; i++) {
        feed_wake(fixture->feed);
        serve_polls(fixture, 1);
    }
    uint64_t begun = clock_ns();
    for (int i = 0; i < 20; i++) {
        feed_wake(fixture->feed);
        serve_polls(fixture, 1);
    }
    assert_true(clock_ns() - begun >= 19 * 4000000ull); /* this feed polls each 5 ms by itself */
    lock();
    fake.revision++;
    unlock();
    serve_polls(fixture, 2);
    struct stopwatch watch;
    stopwatch_begin(&watch, 0);
    begun = clock_ns();
    for (int i = 0; i < 20; i++) {
        feed_wake(fixture->feed);
        serve_polls(fixture, 1);
    }
    assert_true(clock_ns() - begun >= 18 * 1000000ull);
    assert_true(stopwatch_ms(&watch) < 19 * 4);
}

static void the_same_tables_after_an_absence_are_believed(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    lock();
    fake.away = true;
    unlock();
    serve_polls(fixture, 3);
    lock();
    fake.away = false;
    unlock();
    serve_polls(fixture, 4);
    assert_int_equal(fixture->counters.polls_disbelieved, 0);
    assert_int_equal(fixture->counters.rebuilds, 0);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

/* Whoever asks for everything to be thrown away, again and again, has polls go on in between. */
static void rebuilds_have_their_time(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    uint64_t before = fixture->counters.rebuilds, generation = publisher_generation(fixture->publisher);
    for (int i = 0; i < 30; i++) {
        feed_rebuild(fixture->feed);
        serve_polls(fixture, 1);
    }
    assert_in_range(fixture->counters.rebuilds, before + 1, before + 2);
    lock();
    fake.revision++;
    unlock();
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 3);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST + 1);
    assert_string_equal(feed_trouble(fixture->feed), "");
    /* And what was asked for last is not forgotten. */
    before = fixture->counters.rebuilds;
    for (int i = 0; i < 1000 && fixture->counters.rebuilds == before; i++)
        serve_polls(fixture, 1);
    assert_int_equal(fixture->counters.rebuilds, before + 1);
    assert_int_not_equal(publisher_generation(fixture->publisher), generation);
}

/* Whenever somebody wakes it, and however late the thread comes: polls stay due at the times that they would have been due at. */
static void a_wake_does_not_move_the_polls_that_follow(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t interval = POLL_MS * 1000000ull;
    serve_polls(fixture, 1);
    for (int i = 0; i < 30; i++) {
        (void)usleep(POLL_MS * 1000 * (unsigned)(i % 3) / 2);
        feed_wake(fixture->feed);
        serve_polls(fixture, 1 + i % 3);
    }
    lock();
    size_t dues = fake.dues;
    assert_in_range(dues, 10, DUES_MAX - 1);
    for (size_t i = 1; i < dues; i++) {
        uint64_t since = fake.due_ns[i] - fake.due_ns[0], step = fake.due_ns[i] - fake.due_ns[i - 1];
        assert_int_equal(since % interval, 0);
        assert_true(step >= interval);
    }
    unlock();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_rebuild_stays_wanted_while_the_store_is_away),
        T(a_change_while_expiry_is_read_is_applied_first),
        T(too_many_permissions_are_read_once_a_poll),
        T(a_row_that_says_read_everything_leads_to_a_rebuild),
        T(a_watcher_sees_what_was_done_before_others_are_told),
        T(a_server_that_is_not_believed_grants_no_lease_by_a_rebuild),
        T(a_schema_refused_while_connecting_is_disbelieved),
        T(tables_made_anew_between_two_connections_are_disbelieved),
        T(a_rebuild_that_finds_the_schema_changed_is_distrust),
        T(who_is_woken_for_nothing_takes_his_time),
        T(the_same_tables_after_an_absence_are_believed),
        T(rebuilds_have_their_time),
        T(others_have_their_turns_while_a_batch_is_applied),
        T(a_batch_that_outlives_the_lease_says_so),
        T(it_ends_in_the_middle_of_a_batch),
        T(a_poll_that_hangs_is_named_when_the_lease_ends),
        T(a_connection_that_was_ended_while_it_rested_is_made_anew_at_once),
        T(a_wake_does_not_move_the_polls_that_follow),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
