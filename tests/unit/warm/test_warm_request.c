/* Jobs that somebody asked for: whose keys come first, what the store is asked for, and what outlives a worker. Asks
 * are answered and pages read when a test says so (--wrap, CMakeLists.txt). */
#include "proxy/base/log.h"
#include "proxy/names/target.h"
#include "tests/unit/warm/warm_world.h"

#include <limits.h>
#include <stdio.h>

#define HOLDERS 10000u /* of role 7: users 1 … at scope 1 of type 1, each second at scope 2, too */

static struct {
    uint64_t last_asked;
    unsigned filled[HOLDERS + 1][3]; /* by user and scope */
    unsigned failures;
    char log[65536]; /* all lines */
    size_t logged;
    bool unreadable; /* keys */
} fake;

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask);
int __wrap_store_read_holders(struct store *store, const struct store_holders *of, uint64_t from,
                              struct facts_key *keys, size_t limit, size_t *count, struct failure *failure);
void __wrap_log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

void __wrap_log_line(enum log_level level, const char *format, ...)
{
    va_list arguments;
    (void)level;
    va_start(arguments, format);
    int length = vsnprintf(fake.log + fake.logged, sizeof fake.log - fake.logged, format, arguments);
    va_end(arguments);
    assert_in_range(length, 0, sizeof fake.log - fake.logged - 2);
    fake.logged += (size_t)length;
    fake.log[fake.logged++] = '\n';
}

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask)
{
    (void)answering;
    assert_true(flow->warms);
    fake.last_asked = ask->question.user;
    add_ask(ask);
}

int __wrap_store_read_holders(struct store *store, const struct store_holders *of, uint64_t from,
                              struct facts_key *keys, size_t limit, size_t *count, struct failure *failure)
{
    (void)store;
    if (fake.failures > 0) {
        fake.failures--;
        return failure_set(failure, PERMTAB_E_STORE, "away\nfor lunch");
    }
    *count = 0;
    for (uint64_t user = from > 0 ? from : 1; user <= HOLDERS; user++)
        for (uint64_t scope = 1; scope <= (user % 2 == 0 ? 2 : 1) && *count < limit; scope++)
            if (of->which != STORE_HOLDERS_USER || user == of->id)
                keys[(*count)++] = facts_key_of(user, (struct scope_key){scope, 1});
    return 0;
}

/* Another worker with the same keys. */
static void begin_worker(struct fixture *fixture, bool at_start)
{
    struct warm_options options = {.base = fixture->base,
                                   .keys = fixture->keys,
                                   .counters = &fixture->counters,
                                   .entries = fixture->entries,
                                   .settings = {.at_start = at_start, .budget = 100}};
    warm_free(fixture->warm);
    assert_int_equal(warm_new(&fixture->warm, &options), 0);
}

static int setup(void **state)
{
    struct fixture *fixture = world_begin(true);
    memset(&fake, 0, sizeof fake);
    begin_worker(fixture, false);
    *state = fixture;
    return 0;
}

static void answer_one(void)
{
    struct answer answer = {0};
    struct ask *ask = take_ask(0);
    bool good = !fake.unreadable;
    if (good && ask->question.user <= HOLDERS && ask->question.scope.id < 3)
        fake.filled[ask->question.user][ask->question.scope.id]++;
    ask->was_read = true;
    ask->done(ask, good ? 0 : PERMTAB_E_STORE, good ? "" : "its disk is\nfull", good ? &answer : NULL);
}

static void turn(struct fixture *fixture)
{
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    (void)usleep(100);
}

/* Until nothing has happened for a while. */
static void run(struct fixture *fixture)
{
    for (unsigned quiet = 0; quiet < 50; quiet++) {
        turn(fixture);
        if (world.page != NULL || world.running > 0)
            quiet = 0;
        if (world.page != NULL)
            page_ends();
        while (world.running > 0)
            answer_one();
    }
}

static void assert_all_filled(void)
{
    for (uint64_t user = 1; user <= HOLDERS; user++)
        assert_true(fake.filled[user][1] > 0 && (fake.filled[user][2] > 0) == (user % 2 == 0));
}

static const struct target role = {.kind = TARGET_ROLE, .id = 7};
static const struct target user = {.kind = TARGET_USER, .id = 4};
static const struct target scope = {.kind = TARGET_SCOPE, .scope = {1, 1}};

static void whoever_has_a_role(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(warm_start(fixture->warm, &role, 5), 1);
    assert_int_equal(warm_start(fixture->warm, &role, 5), 1); /* one is enough */
    run(fixture);
    assert_all_filled();
    assert_true(world.pages >= 4);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.kind, WARM_REQUEST);
    assert_int_equal(job.state, WARM_DONE);
    assert_string_equal(job.what, "role:7");
    assert_int_equal(warm_done(&job), job.total);
    assert_in_range(job.total, HOLDERS + HOLDERS / 2, HOLDERS + HOLDERS / 2 + 8); /* a page begins with the last user */
    assert_int_equal(warm_start(fixture->warm, &user, 5), 2);
    run(fixture);
    job = job_at(fixture, 0);
    assert_string_equal(job.what, "user:4");
    assert_int_equal(job.total, 2);
    struct target exact = {.kind = TARGET_USER_AT, .id = 5, .scope = {2, 1}};
    assert_int_equal(warm_start(fixture->warm, &exact, 5), 3);
    run(fixture);
    assert_int_equal(fake.filled[5][2], 1);
    assert_int_equal(job_at(fixture, 0).total, 1);
}

static void what_cannot_be_warmed(void **state)
{
    struct fixture *fixture = *state;
    struct target all = {.kind = TARGET_ALL};
    assert_int_equal(warm_start(fixture->warm, &all, 5), PERMTAB_E_INVALID);
    assert_int_equal(warm_start(fixture->warm, &role, WARM_PRIORITIES), PERMTAB_E_INVALID);
    for (uint64_t id = 1; id <= WARM_REQUESTS_MAX; id++)
        assert_int_equal(warm_start(fixture->warm, &(struct target){.kind = TARGET_USER, .id = id}, 5), id);
    assert_int_equal(warm_start(fixture->warm, &role, 5), PERMTAB_E_FULL);
    assert_int_equal(warm_cancel(fixture->warm, 0), 0);
    assert_int_equal(warm_start(fixture->warm, NULL, 5), WARM_REQUESTS_MAX + 1);
}

/* One that comes later and before it has the next keys; the other goes on where it was. */
static void priorities(void **state)
{
    struct fixture *fixture = *state;
    struct target first = {.kind = TARGET_USER_AT, .id = 1234567, .scope = {9, 1}};
    assert_int_equal(warm_start(fixture->warm, &role, 3), 1);
    while (world.running == 0) {
        turn(fixture);
        if (world.page != NULL)
            page_ends();
    }
    assert_int_equal(warm_start(fixture->warm, &first, 9), 2);
    assert_int_equal(job_at(fixture, 0).id, 2);
    assert_string_equal(job_at(fixture, 1).what, "role:7");
    for (unsigned i = 0; i < 100 && fake.last_asked != first.id; i++) {
        answer_one();
        turn(fixture);
        turn(fixture);
    }
    assert_int_equal(fake.last_asked, first.id);
    assert_true(fake.filled[HOLDERS][1] == 0);
    run(fixture);
    assert_all_filled();
}

/* Who asks again, and says that it is urgent, is heard; who says that it is not takes nothing away. */
static void who_asks_again_may_raise_the_priority(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(warm_start(fixture->warm, &user, 5), 1);
    assert_int_equal(warm_start(fixture->warm, &role, 3), 2);
    assert_int_equal(warm_start(fixture->warm, &role, 9), 2);
    assert_int_equal(job_at(fixture, 0).id, 2);
    assert_int_equal(job_at(fixture, 0).priority, 9);
    assert_int_equal(warm_start(fixture->warm, &role, 4), 2);
    assert_int_equal(job_at(fixture, 0).priority, 9);
    begin_worker(fixture, false); /* it is noted, too */
    assert_string_equal(job_at(fixture, 0).what, "role:7");
    assert_int_equal(job_at(fixture, 0).priority, 9);
    warm_applied(fixture->warm);
    run(fixture);
    assert_all_filled();
}

static void a_store_that_goes_away(void **state)
{
    struct fixture *fixture = *state;
    fake.failures = 2;
    assert_int_equal(warm_start(fixture->warm, &user, 5), 1);
    for (unsigned i = 0; i < 20000 && job_at(fixture, 0).state != WARM_DONE; i++) {
        turn(fixture);
        if (world.page != NULL)
            page_ends();
        while (world.running > 0)
            answer_one();
    }
    assert_int_equal(job_at(fixture, 0).filled, 2);
    assert_int_equal(world.pages, 3);
}

/* One that cannot even begin says so, and why. */
static void a_store_that_stays_away(void **state)
{
    struct fixture *fixture = *state;
    struct warm_status job;
    fake.failures = UINT_MAX;
    assert_int_equal(warm_start(fixture->warm, &role, 5), 1);
    for (unsigned i = 0; i < 20 * 60000 && (job = job_at(fixture, 0)).state != WARM_FAILED; i++) {
        turn(fixture);
        if (world.page != NULL) {
            page_ends();
            world.clock_offset_ns += 6000000000ull;
            warm_set(fixture->warm, &(struct warm_settings){.budget = 100}); /* timers know nothing of this clock */
        }
    }
    assert_int_equal(job.state, WARM_FAILED);
    assert_string_equal(job.text, "the store could not be read: away for lunch");
    assert_non_null(strstr(fake.log, "job 1 (role:7) failed: 0 keys filled"));
    assert_non_null(strstr(fake.log, "; the store could not be read: away for lunch"));
}

static void a_key_that_cannot_be_read(void **state)
{
    struct fixture *fixture = *state;
    struct warm_status job;
    struct target exact = {.kind = TARGET_USER_AT, .id = 5, .scope = {2, 1}};
    fake.unreadable = true;
    assert_int_equal(warm_start(fixture->warm, &exact, 5), 1);
    while ((job = job_at(fixture, 0)).state != WARM_DONE) {
        turn(fixture);
        if (world.running > 0) {
            answer_one();
            if (job_at(fixture, 0).state == WARM_FILLING)
                assert_string_equal(job_at(fixture, 0).text, "the store does not answer: its disk is full");
            world.clock_offset_ns += 6000000000ull;
            warm_set(fixture->warm, &(struct warm_settings){.budget = 100});
        }
    }
    assert_int_equal(job.failed, 1);
    assert_string_equal(job.text, "some could not be read: its disk is full");
    assert_non_null(strstr(fake.log, "could not be read, for 0 there was no room; some could not be read: its disk"));
}

/* More than the table has room for is not even read. */
static void no_more_than_there_is_room_for(void **state)
{
    struct fixture *fixture = *state;
    world.room = 5000;
    assert_int_equal(warm_start(fixture->warm, &role, 5), 1);
    while (world.running == 0) {
        turn(fixture);
        if (world.page != NULL)
            page_ends();
    }
    assert_int_equal(world.pages, 2);
    run(fixture);
    assert_string_equal(job_at(fixture, 0).text, "there are more than the table has room for");
}

/* The table is to grow so far that all have room: more pages are read than there is room for yet, and each is told. */
static void room_that_is_to_come(void **state)
{
    struct fixture *fixture = *state;
    fixture->entries = HOLDERS + HOLDERS / 2 + 8;
    begin_worker(fixture, false);
    world.room = 5000;
    assert_int_equal(warm_start(fixture->warm, &role, 5), 1);
    uint64_t total = 0;
    for (unsigned i = 0; i < 10000 && job_at(fixture, 0).state <= WARM_READING; i++) {
        turn(fixture);
        if (world.page == NULL)
            continue;
        page_ends();
        assert_true(job_at(fixture, 0).total > total);
        total = job_at(fixture, 0).total;
    }
    assert_int_equal(world.pages, 4);
    assert_in_range(total, HOLDERS + HOLDERS / 2, fixture->entries);
    run(fixture);
    assert_all_filled();
    assert_string_equal(job_at(fixture, 0).text, "");
}

/* It is cancelled, or the worker ends, while a page is away. */
static void nobody_waits_for_a_page(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(warm_start(fixture->warm, &role, 5), 1);
    while (world.page == NULL)
        turn(fixture);
    assert_int_equal(warm_cancel(fixture->warm, 1), 0);
    page_ends();
    assert_int_equal(warm_start(fixture->warm, &role, 5), 2);
    while (world.page == NULL)
        turn(fixture);
    warm_again(fixture->warm); /* the table is another one */
    warm_applied(fixture->warm);
    page_ends();
    run(fixture);
    assert_all_filled();
    assert_int_equal(warm_start(fixture->warm, &role, 5), 3);
    while (world.page == NULL)
        turn(fixture);
    world.page_waits = true;
    assert_int_equal(warm_cancel(fixture->warm, 3), 0);
    assert_null(world.page); /* it is not even read */
    world.page_waits = false;
    assert_int_equal(warm_start(fixture->warm, &role, 5), 4);
    while (world.page == NULL)
        turn(fixture);
}

/* A worker that dies leaves what it was asked for to the next one, but not to the fourth. */
static void what_outlives_a_worker(void **state)
{
    struct fixture *fixture = *state;
    keys_note(fixture->keys, 77, (struct scope_key){1, 1}, 100);
    assert_int_equal(warm_start(fixture->warm, NULL, 8), 1);
    assert_int_equal(warm_start(fixture->warm, &role, 7), 2);
    assert_int_equal(warm_start(fixture->warm, &user, 5), 3);
    assert_int_equal(warm_cancel(fixture->warm, 3), 0);
    assert_int_equal(warm_start(fixture->warm, &scope, WARM_PRIORITY_DEFAULT), 4);
    begin_worker(fixture, true);
    assert_int_equal(job_at(fixture, 0).priority, 8);
    assert_string_equal(job_at(fixture, 0).what, "what is asked for most");
    assert_string_equal(job_at(fixture, 1).what, "role:7");
    assert_int_equal(job_at(fixture, 2).kind, WARM_START); /* only what was put before it comes before it */
    assert_string_equal(job_at(fixture, 3).what, "scope:server:1");
    assert_int_equal(fixture->counters.warm_jobs, 4);
    warm_applied(fixture->warm);
    run(fixture);
    assert_all_filled();
    assert_int_equal(fake.filled[77][1], 4); /* by each of them */
    begin_worker(fixture, false);            /* nothing is left to do */
    assert_int_equal(warm_start(fixture->warm, &role, 7), 1);
    begin_worker(fixture, false);
    begin_worker(fixture, false);
    assert_string_equal(job_at(fixture, 0).what, "role:7");
    assert_null(strstr(fake.log, "dropped"));
    begin_worker(fixture, false);
    struct warm_status none[1];
    assert_int_equal(warm_list(fixture->warm, none, 1), 0);
    assert_non_null(strstr(fake.log, "role:7 is dropped, because 3 workers have begun it and none has ended it"));
    assert_null(strstr(fake.log, "died")); /* who knows: it may have been a reload */
}

/* As many as there may be take no place from what the sidecar does by itself. */
static void requests_leave_places(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t id = 1; id <= WARM_REQUESTS_MAX; id++)
        assert_int_equal(warm_start(fixture->warm, &(struct target){.kind = TARGET_USER, .id = id}, 5), id);
    begin_worker(fixture, true);
    assert_int_equal(fixture->counters.warm_jobs, WARM_REQUESTS_MAX + 1);
    assert_int_equal(job_at(fixture, 0).kind, WARM_START);
    assert_null(strstr(fake.log, "dropped"));
    assert_int_equal(warm_cancel(fixture->warm, job_at(fixture, 0).id), 0);
    warm_again(fixture->warm);
    assert_int_equal(job_at(fixture, 0).kind, WARM_START);
    assert_int_equal(warm_start(fixture->warm, &role, 5), PERMTAB_E_FULL);
    assert_int_equal(warm_cancel(fixture->warm, job_at(fixture, 0).id), 0);
    struct warm_settings settings = {.budget = 100, .interval_ms = 1};
    warm_set(fixture->warm, &settings);
    for (unsigned i = 0; i < 10000 && fixture->counters.warm_jobs == WARM_REQUESTS_MAX; i++)
        (void)event_base_loop(fixture->base, EVLOOP_ONCE);
    assert_int_equal(job_at(fixture, WARM_REQUESTS_MAX).kind, WARM_INTERVAL);
}

static void orders_that_nobody_gave(void **state)
{
    struct fixture *fixture = *state;
    struct warm_status none[1];
    struct keys_order orders[] = {{.kind = TARGET_ALL}, {.kind = 254}, {.kind = TARGET_ROLE, .priority = 77},
                                  {.kind = TARGET_PATTERN}};
    for (unsigned place = 0; place < 4; place++)
        keys_note_order(fixture->keys, place, &orders[place]);
    begin_worker(fixture, false);
    assert_int_equal(warm_list(fixture->warm, none, 1), 0);
    assert_non_null(strstr(fake.log, "is dropped, because it is not understood (kind 254, priority 0)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(whoever_has_a_role),
        T(what_cannot_be_warmed),
        T(priorities),
        T(who_asks_again_may_raise_the_priority),
        T(a_store_that_goes_away),
        T(a_store_that_stays_away),
        T(a_key_that_cannot_be_read),
        T(no_more_than_there_is_room_for),
        T(room_that_is_to_come),
        T(nobody_waits_for_a_page),
        T(what_outlives_a_worker),
        T(requests_leave_places),
        T(orders_that_nobody_gave),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
