/* Sources of facts: the replica first, the primary when that fails, is another store, or is asked a second
 * time. The "replica" is another SQLite file, which the code cannot tell from one. What a replica that lags or
 * hangs does is in tests/e2e/test_replica.py. */
#include "proxy/answer/fetch.h"
#include "proxy/table/fill.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char folder[64], primary_url[128], replica_url[128];
    struct event_base *base;
    struct publisher *publisher;
    struct counters counters;
    struct store_threads *primary, *replica;
    struct fetches *fetches;
    /* The last fetch. */
    unsigned told;
    int code;
    struct fetch_origin origin;
    struct facts facts;
};

int __wrap_timer_in_ns(struct event *timer, uint64_t ns);

/* Patience with a replica does not run out here, however long a busy machine takes. */
int __wrap_timer_in_ns(struct event *timer, uint64_t ns)
{
    (void)timer, (void)ns;
    return 0;
}

static void ok(int code, const struct failure *failure)
{
    if (code < 0)
        fail_msg("%d: %s", code, failure->text);
}

static void make_store(const char *url)
{
    struct sql_options options = {.url = url};
    struct failure failure = {0};
    unsigned applied;
    ok(store_migrate(&options, &applied, &failure), &failure);
}

static void read_beginning(struct fixture *fixture, struct log_position *at, int64_t *now,
                           struct catalogue *catalogue)
{
    struct sql_options options = {.url = fixture->primary_url};
    struct failure failure = {0};
    struct store store;
    ok(store_open(&store, &options, &failure), &failure);
    ok(store_snapshot(&store, at, now, &failure), &failure);
    ok(store_read_catalogue(&store, 64, catalogue, &failure), &failure);
    store_snapshot_end(&store);
    store_close(&store);
}

static void make_publish(struct fixture *fixture)
{
    struct publisher_options table = {
        .permissions_max = 64, .entries = 100, .sets = 10, .folds = 10, .max_staleness_ns = 2000000000ull};
    struct failure failure = {0};
    struct log_position at;
    struct catalogue catalogue;
    int64_t now;
    read_beginning(fixture, &at, &now, &catalogue);
    ok(publisher_new(&fixture->publisher, &table, &at, now, &catalogue, &fixture->counters, &failure),
       &failure);
}

/* `replica`: its file's name in the folder. */
static void start(struct fixture *fixture, const char *replica)
{
    struct sql_options primary = {.url = fixture->primary_url},
                       second = {.url = fixture->replica_url, .read_only = true};
    (void)snprintf(fixture->replica_url, sizeof fixture->replica_url, "sqlite:%s/%s", fixture->folder,
                   replica);
    struct store_threads_options reads = {fixture->base, "reads", &primary, 1, 10},
                                 copied = {fixture->base, "replica", &second, 1, 10};
    assert_return_code(store_threads_new(&fixture->primary, &reads), 0);
    assert_return_code(store_threads_new(&fixture->replica, &copied), 0);
    struct fetch_options options = {.base = fixture->base,
                                    .primary = fixture->primary,
                                    .replica = fixture->replica,
                                    .threads = 1,
                                    .publisher = fixture->publisher,
                                    .counters = &fixture->counters};
    assert_return_code(fetches_new(&fixture->fetches, &options), 0);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/permtab-fetch-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->primary_url, sizeof fixture->primary_url, "sqlite:%s/store.db", fixture->folder);
    make_store(fixture->primary_url);
    assert_return_code(evthread_use_pthreads(), 0);
    fixture->base = event_base_new();
    make_publish(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    char command[128];
    store_threads_free(fixture->primary);
    store_threads_free(fixture->replica);
    fetches_free(fixture->fetches);
    publisher_free(fixture->publisher);
    event_base_free(fixture->base);
    (void)snprintf(command, sizeof command, "rm -r %s", fixture->folder);
    assert_int_equal(system(command), 0);
    free(fixture);
    return 0;
}

static void on_done(void *context, int code, const char *text, struct facts *facts,
                    const struct fetch_origin *origin)
{
    struct fixture *fixture = context;
    (void)text;
    fixture->told++;
    fixture->code = code;
    fixture->origin = *origin;
    if (code == 0)
        fixture->facts = *facts;
}

static struct fetch *begin(struct fixture *fixture, bool again)
{
    struct scope_key global = {0, 0};
    struct fetch_how how = {.again = again};
    struct fetch *fetch = NULL;
    assert_return_code(fetch_begin(&fetch, fixture->fetches, 7, global, how, on_done, fixture), 0);
    return fetch;
}

/* Reads that were begun go to threads; what these bring comes in a later turn. */
static void turn(struct fixture *fixture)
{
    unsigned told = fixture->told;
    assert_true(event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
    assert_int_equal(fixture->told, told);
}

static void wait_told(struct fixture *fixture, unsigned told)
{
    while (fixture->told < told)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
}

/* Fetches and publishes; the outcome. */
static enum publisher_outcome fetch(struct fixture *fixture, bool again)
{
    struct answer answer = {0};
    begin(fixture, again);
    wait_told(fixture, fixture->told + 1);
    assert_return_code(fixture->code, 0);
    enum publisher_outcome outcome =
        fetch_publish(fixture->fetches, &fixture->facts, &fixture->origin, fixture->origin.begun_ns, &answer);
    answer_fini(&answer);
    facts_fini(&fixture->facts);
    return outcome;
}

static void the_replica_is_asked_first(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, "store.db");
    begin(fixture, false);
    wait_told(fixture, 1);
    assert_int_equal(fixture->origin.from, FETCH_REPLICA);
    assert_int_equal(fixture->facts.user, 7);
    assert_int_equal(fixture->facts.chain_count, 1);
    assert_int_equal(fixture->facts.revision, publisher_position(fixture->publisher).revision);
    assert_true(fixture->facts.now == 0); /* its clock is not the store's */
    facts_fini(&fixture->facts);
    assert_int_equal(fetch(fixture, false), PUBLISHER_FILLED);
    assert_int_equal(fixture->counters.fills_replica, 1);
}

static void begin_warm(struct fixture *fixture, bool again, bool refresh)
{
    struct scope_key global = {0, 0};
    struct fetch_how how = {.again = again, .refresh = refresh, .lane = READ_WARM};
    struct fetch *fetch;
    assert_return_code(fetch_begin(&fetch, fixture->fetches, 7, global, how, on_done, fixture), 0);
    wait_told(fixture, fixture->told + 1);
    facts_fini(&fixture->facts);
}

/* Of either store; what L2 asks for is not its. */
static void what_reads_of_the_warm_up_took(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, "store.db");
    begin_warm(fixture, false, false);
    assert_int_equal(fixture->origin.from, FETCH_REPLICA);
    uint64_t took_ns = fixture->origin.cost_ns;
    assert_true(took_ns > 0);
    assert_int_equal(fetches_warm_ns(fixture->fetches), took_ns);
    begin_warm(fixture, true, false);
    took_ns += fixture->origin.cost_ns;
    assert_int_equal(fetches_warm_ns(fixture->fetches), took_ns);
    begin_warm(fixture, true, true);
    assert_int_equal(fetches_warm_ns(fixture->fetches), took_ns);
}

static void repeats_go_to_the_primary(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, "store.db");
    begin(fixture, true);
    wait_told(fixture, 1);
    assert_int_equal(fixture->origin.from, FETCH_PRIMARY);
    assert_true(fixture->facts.now > 0);
    facts_fini(&fixture->facts);
    assert_int_equal(fetch(fixture, true), PUBLISHER_FILLED);
    assert_int_equal(fixture->counters.fills_replica, 0);
}

static void another_store_is_no_replica(void **state)
{
    struct fixture *fixture = *state;
    char url[128];
    (void)snprintf(url, sizeof url, "sqlite:%s/other.db", fixture->folder);
    make_store(url);
    start(fixture, "other.db");
    assert_int_equal(fetch(fixture, false), PUBLISHER_FILLED);
    assert_int_equal(fixture->origin.from, FETCH_PRIMARY);
    assert_int_equal(fixture->counters.fills_replica_failed, 1);
}

/* The table was made anew because rows were changed behind the log. The replica may not have them yet and stands at
 * the same revision: it is believed again from the next change on. */
static void a_replica_may_lag_behind_what_the_log_does_not_tell(void **state)
{
    struct fixture *fixture = *state;
    struct sql_options options = {.url = fixture->primary_url};
    struct log_position at;
    struct catalogue catalogue;
    struct failure failure = {0};
    struct sql *writer;
    int64_t now;
    start(fixture, "store.db");
    publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED);
    read_beginning(fixture, &at, &now, &catalogue);
    ok(publisher_rebuild(fixture->publisher, &at, now, &catalogue, NULL, &failure), &failure);
    assert_int_equal(fetch(fixture, false), PUBLISHER_FILLED);
    assert_int_equal(fixture->origin.from, FETCH_PRIMARY);
    ok(sql_connect(&writer, &options, &failure), &failure);
    ok(sql_execute(writer, "INSERT INTO permtab_role VALUES (1, 'one', 0, 0, 0, 1)", &failure), &failure);
    sql_close(writer);
    assert_int_equal(fetch(fixture, false), PUBLISHER_EARLY);
    assert_int_equal(fixture->origin.from, FETCH_REPLICA);
}

/* Facts bear the stamp of when their read began. That a rebuild came between is no fault of the replica. */
static void what_a_rebuild_overtakes_is_outdated(void **state)
{
    struct fixture *fixture = *state;
    struct log_position at;
    struct catalogue catalogue;
    struct failure failure = {0};
    struct answer answer = {0};
    int64_t now;
    start(fixture, "store.db");
    for (unsigned again = 0; again < 2; again++) {
        begin(fixture, again > 0);
        turn(fixture);
        read_beginning(fixture, &at, &now, &catalogue);
        ok(publisher_rebuild(fixture->publisher, &at, now, &catalogue, NULL, &failure), &failure);
        wait_told(fixture, again + 1);
        assert_int_equal(fixture->origin.from, again > 0 ? FETCH_PRIMARY : FETCH_REPLICA);
        assert_int_equal(fetch_publish(fixture->fetches, &fixture->facts, &fixture->origin, 1, &answer),
                         PUBLISHER_OUTDATED);
        facts_fini(&fixture->facts);
    }
    assert_int_equal(fixture->counters.fills_replica_outdated, 0);
    assert_int_equal(fetch(fixture, false), PUBLISHER_FILLED);
    assert_int_equal(fixture->counters.fills_replica, 1);
}

static void a_replica_that_is_away_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, "nowhere.db");
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(fetch(fixture, false), PUBLISHER_FILLED);
        assert_int_equal(fixture->origin.from, FETCH_PRIMARY);
    }
    assert_int_equal(fixture->counters.fills_replica_failed, 5);
}

/* It fails at the primary: there is nowhere else to go. */
static void a_store_that_is_away_is_a_failure(void **state)
{
    struct fixture *fixture = *state;
    (void)strcat(fixture->primary_url, ".not");
    start(fixture, "nowhere.db");
    begin(fixture, false);
    wait_told(fixture, 1);
    assert_true(fixture->code < 0);
    assert_true(fixture->origin.cost_ns > 0);
}

/* That the table lacks a definition is no fault of the replica's, however often. */
static void a_role_that_is_missing_here(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer = {0};
    start(fixture, "store.db");
    for (unsigned i = 0; i < 10; i++) {
        begin(fixture, false);
        wait_told(fixture, i + 1);
        assert_int_equal(fixture->origin.from, FETCH_REPLICA);
        fixture->facts.without_roles = true;
        fixture->facts.assignments = calloc(1, sizeof *fixture->facts.assignments);
        fixture->facts.assignments[0] = (struct facts_assignment){.role = 99, .expires_at = FACTS_NEVER};
        fixture->facts.assignment_count = 1;
        assert_int_equal(fetch_publish(fixture->fetches, &fixture->facts, &fixture->origin, 1, &answer),
                         PUBLISHER_OUTDATED);
        facts_fini(&fixture->facts);
    }
    assert_int_equal(fixture->counters.fills_roles_missing, 10);
    assert_int_equal(fixture->counters.fills_replica_outdated, 0);
}

/* Ahead of the table, and after the next poll still: of a history that is not ours, perhaps. */
static void a_replica_may_be_early_once(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer = {0};
    start(fixture, "store.db");
    begin(fixture, false);
    wait_told(fixture, 1);
    fixture->facts.revision += 5;
    assert_int_equal(fetch_publish(fixture->fetches, &fixture->facts, &fixture->origin, 1, &answer),
                     PUBLISHER_EARLY);
    assert_int_equal(fixture->counters.fills_replica_outdated, 0);
    assert_int_equal(fetch_publish(fixture->fetches, &fixture->facts, &fixture->origin, 1, &answer),
                     PUBLISHER_OUTDATED);
    assert_int_equal(fixture->counters.fills_replica_outdated, 1);
    /* The primary is believed to be early as long as it takes. */
    fixture->origin = (struct fetch_origin){.from = FETCH_PRIMARY};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fetch_publish(fixture->fetches, &fixture->facts, &fixture->origin, 1, &answer),
                         PUBLISHER_EARLY);
    facts_fini(&fixture->facts);
}

static void nobody_is_told_after_a_cancel(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, "store.db");
    struct fetch *first = begin(fixture, false), *second = begin(fixture, true);
    assert_true(fetch_waits(first) && fetch_waits(second));
    turn(fixture);
    assert_false(fetch_waits(first) || fetch_waits(second));
    fetch_cancel(first);
    fetch_cancel(second);
    fetch_cancel(begin(fixture, false)); /* no thread has these */
    fetch_cancel(begin(fixture, true));
    begin(fixture, true); /* behind the other in the same queue */
    wait_told(fixture, 1);
    assert_int_equal(fixture->origin.from, FETCH_PRIMARY);
    facts_fini(&fixture->facts);
    fetch_cancel(begin(fixture, false)); /* is still away when all ends */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(the_replica_is_asked_first),           T(repeats_go_to_the_primary),
        T(another_store_is_no_replica),          T(a_replica_that_is_away_is_left_alone),
        T(a_store_that_is_away_is_a_failure),    T(a_replica_may_be_early_once),
        T(nobody_is_told_after_a_cancel),        T(a_replica_may_lag_behind_what_the_log_does_not_tell),
        T(a_role_that_is_missing_here),          T(what_a_rebuild_overtakes_is_outdated),
        T(what_reads_of_the_warm_up_took),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
