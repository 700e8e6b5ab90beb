/* The auditor over an SQLite store whose rows are changed behind the triggers' back: it finds what nobody told of,
 * heals it and says so. What may be wrong in the table is test_publisher_audit.c's. */
#include "proxy/feed/audit.h"

#include "proxy/base/clock.h"
#include "proxy/table/fill.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/unit/store/store_fixture.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <pthread.h>
#include <sqlite3.h>
#include <time.h>

#define SECOND  1000000000ull
#define READERS 2

struct house {
    struct fixture *store;
    struct event_base *base;
    struct counters counters;
    struct publisher *publisher;
    struct store_threads *pool;
    struct feed *feed;
    struct audit *audit;
    sqlite3 *untriggered; /* a session without triggers */
    unsigned told_users, told_everything;
    bool leased;
};

static void on_found(void *context, uint64_t user, bool everything)
{
    struct house *house = context;
    (void)user;
    house->told_users += !everything;
    house->told_everything += everything;
}

static void on_news(void *context, const struct feed_news *news)
{
    struct house *house = context;
    if (news->applied)
        audit_applied(house->audit);
}

static struct publisher *first_table(struct house *house)
{
    struct publisher_options options = {
        .permissions_max = 128, .entries = 1000, .sets = 100, .folds = 10, .max_staleness_ns = 2 * SECOND};
    struct publisher *publisher;
    struct catalogue catalogue;
    struct log_position at;
    int64_t now;
    OK(store_snapshot(&house->store->store, &at, &now, &failure));
    OK(store_read_catalogue(&house->store->store, 128, &catalogue, &failure));
    store_snapshot_end(&house->store->store);
    OK(publisher_new(&publisher, &options, &at, now, &catalogue, &house->counters, &failure));
    return publisher;
}

static int house_new(void **state)
{
    struct house *house = calloc(1, sizeof *house);
    struct feed_options feed = {.counters = &house->counters,
                                .news = on_news,
                                .context = house,
                                .permissions_max = 128,
                                .poll_interval_ms = 20,
                                .change_retention_ms = 3600000,
                                .change_retention_rows = 1000};
    fixture_ready((void **)&house->store, NULL);
    some_policy(house->store);
    for (int user = 1001; user <= 1060; user++) {
        char text[128];
        snprintf(text, sizeof text, "INSERT INTO permtab_assignment VALUES (%d, 1, 1, 5, NULL)", user);
        OK(run(house->store->writer, text));
    }
    assert_int_equal(evthread_use_pthreads(), 0);
    house->base = event_base_new();
    house->publisher = first_table(house);
    struct store_threads_options pool = {house->base, "reads", &house->store->options, READERS, 100};
    OK(store_threads_new(&house->pool, &pool));
    feed.base = house->base;
    feed.publisher = house->publisher;
    feed.store = &house->store->options;
    OK(feed_new(&house->feed, &feed, &failure));
    struct audit_options audit = {.base = house->base,
                                  .pool = house->pool,
                                  .publisher = house->publisher,
                                  .feed = house->feed,
                                  .counters = &house->counters,
                                  .found = on_found,
                                  .context = house,
                                  .entries_a_second = 500};
    OK(audit_new(&house->audit, &audit));
    assert_int_equal(sqlite3_open(house->store->url + strlen("sqlite:"), &house->untriggered), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(house->untriggered, 5000), SQLITE_OK);
    assert_int_equal(sqlite3_db_config(house->untriggered, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL),
                     SQLITE_OK);
    *state = house;
    return 0;
}

static int house_free(void **state)
{
    struct house *house = *state;
    audit_free(house->audit);
    store_threads_free(house->pool);
    feed_free(house->feed);
    publisher_free(house->publisher);
    event_base_free(house->base);
    sqlite3_close(house->untriggered);
    fixture_free((void **)&house->store);
    free(house);
    return 0;
}

static void unseen(struct house *house, const char *text)
{
    if (sqlite3_exec(house->untriggered, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(house->untriggered));
}

static void fill_from_store(struct house *house, uint64_t user)
{
    struct facts facts;
    struct answer answer = {0};
    struct log_position at;
    int64_t now;
    struct scope_key scope = {5, 1};
    OK(store_snapshot(&house->store->store, &at, &now, &failure));
    OK(store_read_facts(&house->store->store, user, scope, &facts, &failure));
    store_snapshot_end(&house->store->store);
    facts.generation = publisher_generation(house->publisher);
    assert_int_equal(publisher_fill(house->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
}

static bool is_resident(struct house *house, uint64_t user)
{
    struct permtab_shm_look look;
    return permtab_shm_look_once(&house->publisher->table->segment.table, user, 5, 1, &look) ==
           PERMTAB_SHM_FOUND;
}

/* Turns the loop until *counter has reached `wanted`. */
static void turn_until(struct house *house, const uint64_t *counter, uint64_t wanted)
{
    time_t end = time(NULL) + 20;
    while (*counter < wanted) {
        assert_true(event_base_loop(house->base, EVLOOP_ONCE) >= 0);
        if (time(NULL) > end)
            fail_msg("%llu of %llu after 20 s", (unsigned long long)*counter, (unsigned long long)wanted);
    }
}

/* Jobs of which each thread has one, and keeps it until the others are there, and whoever else it is for. */
struct meeting {
    struct store_job jobs[READERS];
    pthread_barrier_t all;
    uint64_t done;
};
static struct meeting meetings[2];

static int meet(struct store_job *job, struct store *store, struct failure *why)
{
    struct meeting *meeting = job >= meetings[1].jobs ? &meetings[1] : &meetings[0];
    (void)store, (void)why;
    (void)pthread_barrier_wait(&meeting->all);
    return 0;
}

static void on_met(struct store_job *job)
{
    (job >= meetings[1].jobs ? &meetings[1] : &meetings[0])->done++;
}

static void call_meeting(struct house *house, struct meeting *meeting, unsigned besides)
{
    assert_int_equal(pthread_barrier_init(&meeting->all, NULL, READERS + besides), 0);
    meeting->done = 0;
    for (unsigned i = 0; i < READERS; i++) {
        meeting->jobs[i] = (struct store_job){.run = meet, .done = on_met};
        OK(store_threads_submit(house->pool, &meeting->jobs[i]));
    }
}

static void end_meeting(struct house *house, struct meeting *meeting)
{
    turn_until(house, &meeting->done, READERS);
    assert_int_equal(pthread_barrier_destroy(&meeting->all), 0);
}

/* Turns the loop until every read that has begun is judged. What unseen() changed has no revision of its own: a fill
 * that already has it, and a read from before it, would differ. */
static void await_reads(struct house *house)
{
    call_meeting(house, &meetings[0], 0);
    end_meeting(house, &meetings[0]);
}

static void nothing_is_found_where_nothing_is_wrong(void **state)
{
    struct house *house = *state;
    char text[128];
    for (uint64_t user = 1001; user <= 1060; user++)
        fill_from_store(house, user);
    for (uint64_t round = 0; round < 40; round++) { /* while it is changed, the usual way */
        snprintf(text, sizeof text, "DELETE FROM permtab_assignment WHERE user_id = %d", (int)(1001 + round));
        OK(run(house->store->writer, text));
        OK(run(house->store->writer, round % 2
                                         ? "DELETE FROM permtab_role_permission WHERE role_id = 1"
                                         : "INSERT INTO permtab_role_permission VALUES (1, 'a.b', 'allow')"
                                           " ON CONFLICT DO NOTHING"));
        turn_until(house, &house->counters.audit_checks, house->counters.audit_checks + 5);
    }
    assert_int_equal(house->counters.audit_differences, 0);
    assert_string_equal(audit_alarm(house->audit, time(NULL)), "");
    assert_string_equal(feed_trouble(house->feed), "");
}

static void one_row_changed_behind_the_triggers(void **state)
{
    struct house *house = *state;
    for (uint64_t user = 1001; user <= 1020; user++)
        fill_from_store(house, user);
    turn_until(house, &house->counters.audit_checks, 3);
    uint64_t places = publisher_places_version(house->publisher),
             kept = publisher_kept_version(house->publisher);
    unseen(house, "DELETE FROM permtab_assignment WHERE user_id = 1007");
    turn_until(house, &house->counters.audit_differences, 1);
    assert_true(publisher_places_version(house->publisher) > places);
    assert_true(publisher_kept_version(house->publisher) > kept);
    assert_false(is_resident(house, 1007));
    assert_true(is_resident(house, 1008));
    assert_int_equal(house->counters.audit_overgrants, 1);
    assert_int_equal(house->counters.audit_rebuilds, 0);
    assert_int_equal(house->told_users, 1);
    time_t now = time(NULL);
    const char *alarm = audit_alarm(house->audit, now);
    assert_non_null(strstr(alarm, "the auditor found 1 difference, the last at 20"));
    assert_string_equal(audit_alarm(house->audit, now + AUDIT_ALARM_SECONDS + 5), "");
    await_reads(house);
    fill_from_store(house, 1007);
    turn_until(house, &house->counters.audit_checks, house->counters.audit_checks + 100);
    assert_int_equal(house->counters.audit_differences, 1); /* healed */
}

/* The first goes alone, the second takes the set with it, and with it all that shared it. */
static void one_set_changed_behind_the_triggers(void **state)
{
    struct house *house = *state;
    for (uint64_t user = 1001; user <= 1020; user++)
        fill_from_store(house, user);
    turn_until(house, &house->counters.audit_checks, 3);
    unseen(house, "DELETE FROM permtab_assignment WHERE user_id > 1000");
    turn_until(house, &house->counters.audit_differences, 2);
    assert_int_equal(house->told_users, 1);
    assert_int_equal(house->told_everything, 1);
    for (uint64_t user = 1001; user <= 1020; user++)
        assert_false(is_resident(house, user));
    assert_int_equal(house->counters.audit_rebuilds, 0);
    await_reads(house);
    for (uint64_t user = 1001; user <= 1020; user++)
        fill_from_store(house, user);
    turn_until(house, &house->counters.audit_checks, house->counters.audit_checks + 100);
    assert_int_equal(house->counters.audit_differences, 2);
}

/* Many users of many sets: with the third difference everything goes. */
static void a_table_emptied_behind_the_triggers(void **state)
{
    struct house *house = *state;
    for (int user = 2000; user < 2064; user++) {
        char text[200];
        snprintf(text, sizeof text, "INSERT INTO permtab_overwrite VALUES (1, 5, 'user', %d, '%s', '%s')",
                 user, user % 2 ? "a.b" : "e", user % 4 < 2 ? "allow" : "deny");
        OK(run(house->store->writer, text));
        snprintf(text, sizeof text, "INSERT INTO permtab_assignment VALUES (%d, %d, 1, 5, NULL)", user,
                 1 + user / 4 % 3);
        OK(run(house->store->writer, text));
    }
    turn_until(house, &house->counters.applied_revision,
               number(house->store->writer, "SELECT max(revision) FROM permtab_change"));
    for (uint64_t user = 2000; user < 2064; user++)
        fill_from_store(house, user);
    turn_until(house, &house->counters.audit_checks, 3);
    uint64_t generation = publisher_generation(house->publisher);
    /* Some rows stay: the feed's own look would notice an empty table, within a second. */
    unseen(house, "DELETE FROM permtab_assignment WHERE user_id >= 2000");
    turn_until(house, &house->counters.audit_differences, 3);
    assert_false(publisher_leased(house->publisher, 0));
    assert_int_equal(house->counters.audit_rebuilds, 1);
    turn_until(house, &house->counters.rebuilds, 1);
    assert_int_not_equal(publisher_generation(house->publisher), generation);
    assert_false(is_resident(house, 2001));
    for (uint64_t user = 2000; user < 2064; user++)
        fill_from_store(house, user);
    turn_until(house, &house->counters.audit_checks, house->counters.audit_checks + 100);
    assert_int_equal(house->counters.audit_differences, 3);
    assert_string_equal(feed_trouble(house->feed), "");
}

static void a_role_changed_behind_the_triggers(void **state)
{
    struct house *house = *state;
    for (uint64_t user = 1001; user <= 1020; user++)
        fill_from_store(house, user);
    unseen(house, "DELETE FROM permtab_role_permission WHERE role_id = 1");
    turn_until(house, &house->counters.audit_differences, 1);
    assert_int_equal(house->counters.audit_rebuilds, 1); /* definitions are nobody's alone */
    turn_until(house, &house->counters.rebuilds, 1);
}

static void rebuild(struct house *house)
{
    struct catalogue catalogue;
    struct log_position at;
    int64_t now;
    OK(store_snapshot(&house->store->store, &at, &now, &failure));
    OK(store_read_catalogue(&house->store->store, 128, &catalogue, &failure));
    store_snapshot_end(&house->store->store);
    OK(publisher_rebuild(house->publisher, &at, now, &catalogue, NULL, &failure));
    publisher_renew(house->publisher, clock_ns());
}

/* The reads begin, the table is rebuilt, and what they bring is not what it was rebuilt from. That is no difference,
 * though the revision is the same. */
static void what_a_rebuild_overtakes_is_not_judged(void **state)
{
    struct house *house = *state;
    fill_from_store(house, 1007);
    call_meeting(house, &meetings[0], 1); /* reads wait behind it */
    for (uint64_t end = clock_ns() + 300000000; clock_ns() < end;)
        assert_true(event_base_loop(house->base, EVLOOP_ONCE) >= 0);
    rebuild(house);
    fill_from_store(house, 1007);
    unseen(house, "DELETE FROM permtab_assignment WHERE user_id = 1007");
    uint64_t skipped = house->counters.audit_skipped;
    call_meeting(house, &meetings[1], 1); /* after these reads */
    (void)pthread_barrier_wait(&meetings[0].all);
    (void)pthread_barrier_wait(&meetings[1].all);
    unseen(house, "INSERT INTO permtab_assignment VALUES (1007, 1, 1, 5, NULL)");
    end_meeting(house, &meetings[0]);
    end_meeting(house, &meetings[1]);
    assert_true(house->counters.audit_skipped > skipped);
    turn_until(house, &house->counters.audit_checks, house->counters.audit_checks + 5);
    assert_int_equal(house->counters.audit_differences, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, house_new, house_free)
        T(nothing_is_found_where_nothing_is_wrong), T(one_row_changed_behind_the_triggers),
        T(one_set_changed_behind_the_triggers),     T(a_table_emptied_behind_the_triggers),
        T(a_role_changed_behind_the_triggers),      T(what_a_rebuild_overtakes_is_not_judged),
#undef T
    };
    return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
