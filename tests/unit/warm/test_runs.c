/* Runs: which keys are read together, how many at a time, and what becomes of each of them. Who is asked for keys
 * together or one by one, and the store, are played (--wrap, CMakeLists.txt), and answer when a test says so. */
#include "proxy/answer/answer.h"
#include "proxy/base/counters.h"
#include "proxy/names/target.h"
#include "proxy/rights/catalogue.h"
#include "proxy/rights/facts_slice.h"
#include "proxy/table/publisher.h"
#include "proxy/warm/private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#define USERS    20000u
#define LEAST    32u   /* keys of a run */
#define PACED    512u  /* of one that is to be paid for */
#define SECOND   1000000000ull
#define A_MINUTE (60 * SECOND)

struct slice {
    struct scope_key scope;
    uint64_t users[FACTS_SLICE_USERS_MAX];
    size_t count;
    slice_done_fn done;
    void *context;
    struct slice *next;
};

static struct {
    struct catalogue catalogue;
    struct facts_key list[4000]; /* what the store names, in this order; with none the users up to `users` at a place */
    size_t list_count;
    uint64_t users;
    struct ask *asks[WARM_HANDS];
    unsigned ask_count, asked;
    struct slice *slices; /* under way, the oldest first */
    unsigned slice_count, most_slices, begun;
    size_t slice_keys, largest;
    uint64_t read[USERS + 1][2]; /* how often, in a run and by itself */
    uint64_t filled[USERS + 1];
    bool resident[USERS + 1];
    enum slice_result results[USERS + 1]; /* of a run; SLICE_OPEN: filled, if there is room */
    int fails;                            /* each run; 0: none does */
    bool counted, no_slices, no_memory;
    uint64_t room, spent_ns, cost_ns, clock_offset_ns;
    struct read_guest *page;
    struct fleet_keys_ports ports;
} fake;

static const struct target role = {.kind = TARGET_ROLE, .id = 7};
static const struct target other_role = {.kind = TARGET_ROLE, .id = 8};

/* ---- what is played ---------------------------------------------------------------------------------------------- */

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask);
void __wrap_ask_cancel(struct ask *ask);
int __wrap_answering_slice(struct slice **out, struct answering *answering, struct scope_key scope,
                           const uint64_t *users, size_t count, slice_done_fn done, void *context);
void __wrap_answering_slice_cancel(struct slice *slice);
void __wrap_answering_guest_begin(struct answering *answering, struct read_guest *guest);
uint64_t __wrap_answering_warm_ns(const struct answering *answering);
bool __wrap_answering_knows_users(const struct answering *answering);
const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher);
bool __wrap_publisher_leased(const struct publisher *publisher, uint64_t now_ns);
uint64_t __wrap_publisher_names_version(const struct publisher *publisher);
uint64_t __wrap_publisher_room(const struct publisher *publisher);
uint64_t __wrap_publisher_entries(const struct publisher *publisher);
bool __wrap_publisher_resident(const struct publisher *publisher, uint64_t user, struct scope_key scope,
                               struct scope_key *at);
void __wrap_publisher_fetch(const struct publisher *publisher, uint64_t user, struct scope_key scope);
bool __wrap_read_guest_withdraw(struct read_guest *guest);
uint64_t __wrap_store_users_first(const struct store *store);
int __wrap_store_read_holders(struct store *store, const struct store_holders *of, uint64_t from,
                              struct facts_key *keys, size_t limit, size_t *count, struct failure *failure);
int __wrap_fleet_keys_new(struct fleet_keys **out, const struct fleet_keys_options *options);
int __wrap_fleet_keys_read(struct fleet_keys *fleet);
void __wrap_fleet_keys_leave(struct fleet_keys *fleet);
void __wrap_fleet_keys_free(struct fleet_keys *fleet);
bool __wrap_redis_connected(const struct redis *redis);
void *__real_array_add(void *items, size_t *count, size_t item_size);
void *__wrap_array_add(void *items, size_t *count, size_t item_size);
int __real_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);

/* Whatever is under way has room. */
static void assert_room(void)
{
    assert_true(fake.ask_count + fake.slice_keys <= fake.room);
}

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask)
{
    (void)answering;
    assert_true(flow->warms && fake.ask_count < WARM_HANDS);
    fake.asks[fake.ask_count++] = ask;
    fake.asked++;
    fake.read[ask->question.user][1]++;
    assert_room();
}

void __wrap_ask_cancel(struct ask *ask)
{
    for (unsigned i = 0; i < fake.ask_count; i++)
        if (fake.asks[i] == ask)
            fake.asks[i] = fake.asks[--fake.ask_count];
}

int __wrap_answering_slice(struct slice **out, struct answering *answering, struct scope_key scope,
                           const uint64_t *users, size_t count, slice_done_fn done, void *context)
{
    (void)answering;
    assert_in_range(count, LEAST, FACTS_SLICE_USERS_MAX);
    if (fake.no_slices)
        return PERMTAB_E_MEMORY;
    struct slice *slice = calloc(1, sizeof *slice), **last = &fake.slices;
    *slice = (struct slice){.scope = scope, .count = count, .done = done, .context = context};
    memcpy(slice->users, users, count * sizeof *users);
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || users[i - 1] < users[i]);
        assert_false(fake.resident[users[i]]);
        fake.read[users[i]][0]++;
    }
    while (*last != NULL)
        last = &(*last)->next;
    *out = *last = slice;
    fake.begun++;
    fake.slice_keys += count;
    fake.largest = count > fake.largest ? count : fake.largest;
    if (++fake.slice_count > fake.most_slices)
        fake.most_slices = fake.slice_count;
    assert_room();
    return 0;
}

static void unlink_slice(struct slice *slice)
{
    struct slice **at = &fake.slices;
    while (*at != slice)
        at = &(*at)->next;
    *at = slice->next;
    fake.slice_count--;
    fake.slice_keys -= slice->count;
}

void __wrap_answering_slice_cancel(struct slice *slice)
{
    unlink_slice(slice);
    free(slice);
}

void __wrap_answering_guest_begin(struct answering *answering, struct read_guest *guest)
{
    (void)answering;
    assert_null(fake.page);
    fake.page = guest;
}

bool __wrap_read_guest_withdraw(struct read_guest *guest)
{
    assert_ptr_equal(guest, fake.page);
    fake.page = NULL;
    return true;
}

uint64_t __wrap_answering_warm_ns(const struct answering *answering)
{
    (void)answering;
    return fake.spent_ns;
}

bool __wrap_answering_knows_users(const struct answering *answering)
{
    (void)answering;
    return fake.counted;
}

const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher)
{
    (void)publisher;
    return &fake.catalogue;
}

bool __wrap_publisher_leased(const struct publisher *publisher, uint64_t now_ns)
{
    (void)publisher, (void)now_ns;
    return true;
}

uint64_t __wrap_publisher_names_version(const struct publisher *publisher)
{
    (void)publisher;
    return 9;
}

uint64_t __wrap_publisher_room(const struct publisher *publisher)
{
    (void)publisher;
    return fake.room;
}

uint64_t __wrap_publisher_entries(const struct publisher *publisher)
{
    (void)publisher;
    return USERS; /* pages go on, however little room there is */
}

bool __wrap_publisher_resident(const struct publisher *publisher, uint64_t user, struct scope_key scope,
                               struct scope_key *at)
{
    (void)publisher;
    *at = scope;
    return fake.resident[user];
}

void __wrap_publisher_fetch(const struct publisher *publisher, uint64_t user, struct scope_key scope)
{
    (void)publisher, (void)scope;
    assert_in_range(user, 1, USERS);
}

uint64_t __wrap_store_users_first(const struct store *store)
{
    (void)store;
    return 0;
}

int __wrap_store_read_holders(struct store *store, const struct store_holders *of, uint64_t from,
                              struct facts_key *keys, size_t limit, size_t *count, struct failure *failure)
{
    (void)store, (void)of, (void)failure;
    *count = 0;
    assert_true(fake.list_count < limit); /* so it is the last page */
    for (size_t i = 0; i < fake.list_count; i++)
        keys[(*count)++] = fake.list[i];
    for (uint64_t user = from > 0 ? from : 1; user <= fake.users && *count < limit; user++)
        keys[(*count)++] = facts_key_of(user, (struct scope_key){1, 1});
    return 0;
}

int __wrap_fleet_keys_new(struct fleet_keys **out, const struct fleet_keys_options *options)
{
    fake.ports = options->ports;
    *out = (struct fleet_keys *)(void *)&fake;
    return 0;
}

int __wrap_fleet_keys_read(struct fleet_keys *fleet)
{
    (void)fleet;
    return 0;
}

void __wrap_fleet_keys_leave(struct fleet_keys *fleet)
{
    (void)fleet;
}

void __wrap_fleet_keys_free(struct fleet_keys *fleet)
{
    (void)fleet;
}

bool __wrap_redis_connected(const struct redis *redis)
{
    return redis != NULL;
}

void *__wrap_array_add(void *items, size_t *count, size_t item_size)
{
    return fake.no_memory ? NULL : __real_array_add(items, count, item_size);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    int code = __real_clock_gettime(clock, out);
    uint64_t ns = (uint64_t)out->tv_sec * SECOND + (uint64_t)out->tv_nsec + fake.clock_offset_ns;
    *out = (struct timespec){(time_t)(ns / SECOND), (long)(ns % SECOND)};
    return code;
}

/* ---- the fixture ------------------------------------------------------------------------------------------------- */

struct fixture {
    struct event_base *base;
    struct warm *warm;
    struct counters counters;
};

static void begin_worker(struct fixture *fixture, unsigned budget, bool with_redis)
{
    struct warm_options options = {.base = fixture->base,
                                   .redis = with_redis ? (struct redis *)(void *)&fake : NULL,
                                   .prefix = "test:",
                                   .counters = &fixture->counters,
                                   .settings = {.at_start = with_redis, .budget = budget}};
    warm_free(fixture->warm);
    assert_int_equal(warm_new(&fixture->warm, &options), 0);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    memset(&fake, 0, sizeof fake);
    fake.catalogue.types = (struct scope_types){3, {"global", "server", "channel"}};
    fake.counted = true;
    fake.room = 1000000;
    fixture->base = event_base_new();
    begin_worker(fixture, 100, false);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    warm_free(fixture->warm);
    assert_true(fake.slices == NULL && fake.ask_count == 0 && fake.page == NULL);
    event_base_free(fixture->base);
    free(fixture);
    return 0;
}

static struct warm_status job_at(struct fixture *fixture, size_t index)
{
    struct warm_status jobs[WARM_LIST_MAX];
    assert_true(index < warm_list(fixture->warm, jobs, WARM_LIST_MAX));
    return jobs[index];
}

static void list_add(uint64_t user, uint64_t place)
{
    fake.list[fake.list_count++] = facts_key_of(user, (struct scope_key){place, 1});
}

static void end_page(void)
{
    struct failure failure = {0};
    struct read_guest *page = fake.page;
    fake.page = NULL;
    (void)page->run(page, (struct store *)(void *)&fake, &failure);
    page->done(page);
}

static void fill_one(uint64_t user)
{
    assert_true(fake.room > 0);
    fake.room--;
    fake.filled[user]++;
}

static enum slice_result result_of(uint64_t user)
{
    enum slice_result result = fake.results[user];
    if (result == SLICE_LATER && fake.counted)
        result = SLICE_OPEN;
    if (result == SLICE_OPEN)
        result = fake.room > 0 ? SLICE_FILLED : SLICE_NO_ROOM;
    if (result == SLICE_FILLED)
        fill_one(user);
    return result;
}

/* The oldest run comes to its end. */
static void end_slice(void)
{
    struct slice *slice = fake.slices;
    struct facts_slice facts = {.scope = slice->scope, .count = slice->count, .users = slice->users};
    uint8_t results[FACTS_SLICE_USERS_MAX];
    unlink_slice(slice);
    fake.spent_ns += fake.cost_ns;
    for (size_t i = 0; i < slice->count && fake.fails == 0; i++)
        results[i] = (uint8_t)result_of(slice->users[i]);
    slice->done(slice->context, fake.fails, fake.fails < 0 ? "its disk is full" : "", &facts,
                fake.fails == 0 ? results : NULL);
    free(slice);
}

static void end_ask(void)
{
    struct answer answer = {0};
    struct ask *ask = fake.asks[0];
    memmove(&fake.asks[0], &fake.asks[1], --fake.ask_count * sizeof fake.asks[0]);
    ask->was_read = true;
    bool good = fake.room > 0;
    if (good)
        fill_one(ask->question.user);
    ask->done(ask, good ? 0 : PERMTAB_E_FULL, "", good ? &answer : NULL);
}

static void turn(struct fixture *fixture)
{
    (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    if (fake.page != NULL)
        end_page();
}

static void turn_some(struct fixture *fixture)
{
    for (unsigned i = 0; i < 8; i++)
        turn(fixture);
}

/* The keys of the job are read, and the first ones are under way. */
static void begin(struct fixture *fixture)
{
    for (unsigned turns = 0; fake.slice_count == 0 && fake.ask_count == 0; turns++) {
        assert_true(turns < 10000);
        turn(fixture);
    }
    turn_some(fixture);
}

static void begin_role(struct fixture *fixture)
{
    assert_true(warm_start(fixture->warm, &role, 5) > 0);
    begin(fixture);
}

/* Everything comes to its end, until nothing has happened for so many turns of a millisecond. */
static void run(struct fixture *fixture, unsigned turns)
{
    for (unsigned quiet = 0; quiet < turns; quiet++) {
        (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
        if (fake.slice_count + fake.ask_count > 0 || fake.page != NULL)
            quiet = 0;
        else
            (void)usleep(1000);
        while (fake.slice_count > 0)
            end_slice();
        while (fake.ask_count > 0)
            end_ask();
        if (fake.page != NULL)
            end_page();
    }
}

/* Each key is done once, this way or that. */
static struct warm_status end_of_job(struct fixture *fixture)
{
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_DONE);
    assert_int_equal(job.filled + job.resident + job.strangers + job.failed + job.left_out, job.total);
    assert_int_equal(fixture->counters.warm_left, 0);
    uint64_t filled = 0;
    for (uint64_t user = 1; user <= USERS; user++) {
        assert_in_range(fake.filled[user], 0, 1);
        filled += fake.filled[user];
    }
    assert_int_equal(job.filled, filled);
    assert_int_equal(fixture->counters.warm_filled, filled);
    return job;
}

/* ---- which keys -------------------------------------------------------------------------------------------------- */

/* Of those that follow each other at one place, in the order of users, each once. Places with few are for the hands. */
static void keys_of_one_place_go_together(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 100; user > 0; user--)
        list_add(user, 1);
    list_add(50, 1); /* twice */
    for (uint64_t user = 101; user < 101 + LEAST - 1; user++)
        list_add(user, 2);
    for (uint64_t user = 201; user < 201 + LEAST; user++)
        list_add(user, 3);
    for (uint64_t user = 301; user <= 400; user++)
        list_add(user, 4 + user % 2); /* by turns */
    begin_role(fixture);
    assert_int_equal(fake.slices->count, 100);
    assert_int_equal(fake.slices->scope.id, 1);
    assert_int_equal(fake.slices->next->count, LEAST);
    assert_int_equal(fake.slices->next->scope.id, 3);
    assert_int_equal(fake.asked, LEAST - 1 + 100);
    run(fixture, 5);
    assert_int_equal(fake.begun, 2);
    for (uint64_t user = 1; user <= 400; user++) {
        bool together = user <= 100 || (user >= 201 && user < 201 + LEAST);
        bool alone = (user >= 101 && user < 101 + LEAST - 1) || user >= 301;
        assert_int_equal(fake.read[user][0], together);
        assert_int_equal(fake.read[user][1], alone);
    }
    struct warm_status job = end_of_job(fixture);
    assert_int_equal(job.resident, 1);
    assert_int_equal(job.filled, job.total - 1);
    assert_string_equal(job.text, "");
}

static void thousands_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    begin_role(fixture);
    assert_int_equal(fake.slice_count, WARM_RUNS);
    assert_int_equal(fake.slice_keys, WARM_RUNS * FACTS_SLICE_USERS_MAX);
    struct warm_status job = job_at(fixture, 0);
    assert_string_equal(job.text, ""); /* it waits for nobody */
    while (job.state == WARM_FILLING) {
        assert_int_equal(fixture->counters.warm_left, job.total - warm_done(&job));
        assert_int_equal(warm_done(&job), job.filled + job.resident);
        if (fake.slice_count > 0)
            end_slice();
        turn(fixture);
        job = job_at(fixture, 0);
    }
    job = end_of_job(fixture);
    assert_int_equal(job.filled, USERS);
    assert_int_equal(fake.most_slices, WARM_RUNS);
    assert_int_equal(fake.asked, 0);
}

/* Those in the table are not read. When few are left, they are for the hands. */
static void what_is_there_is_not_read(void **state)
{
    struct fixture *fixture = *state;
    fake.users = 3 * FACTS_SLICE_USERS_MAX;
    for (uint64_t user = 1; user <= fake.users; user++)
        fake.resident[user] = user <= FACTS_SLICE_USERS_MAX ? user % 2 == 0
                              : user <= 2 * FACTS_SLICE_USERS_MAX || user % 1000 != 0;
    begin_role(fixture);
    assert_int_equal(fake.slice_keys, FACTS_SLICE_USERS_MAX / 2);
    run(fixture, 5);
    struct warm_status job = end_of_job(fixture);
    assert_int_equal(fake.begun, 1);
    assert_int_equal(fake.asked, 4); /* 9000 to 12000 */
    assert_int_equal(job.filled, FACTS_SLICE_USERS_MAX / 2 + 4);
}

/* Another job comes first now: while it has keys for runs the hands take none of the one before, which would take its
 * room. */
static void who_comes_later_waits(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 2 * WARM_HANDS; user++)
        list_add(user, user);
    begin_role(fixture);
    assert_int_equal(fake.asked, WARM_HANDS);
    fake.list_count = 0;
    fake.users = USERS;
    assert_int_equal(warm_start(fixture->warm, &other_role, 9), 2);
    while (fake.slice_count < WARM_RUNS)
        turn(fixture);
    while (fake.ask_count > 0)
        end_ask();
    turn_some(fixture);
    assert_int_equal(fake.asked, WARM_HANDS);
    assert_int_equal(job_at(fixture, 0).id, 2);
    assert_string_equal(job_at(fixture, 1).text, "others come first");
    run(fixture, 5);
    assert_int_equal(job_at(fixture, 0).filled, 2 * WARM_HANDS); /* the latest to end */
    assert_int_equal(job_at(fixture, 1).filled, USERS);
}

static void turn_but_for_pages(struct fixture *fixture)
{
    for (unsigned i = 0; i < 8; i++)
        (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void await_page(struct fixture *fixture)
{
    while (fake.page == NULL)
        (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    turn_but_for_pages(fixture);
}

static void wait_for_a_look(struct fixture *fixture)
{
    (void)event_base_loop(fixture->base, EVLOOP_ONCE);
}

/* Page by page: what the first one names is read while the store tells the next one. Other jobs wait for that, too. */
static void what_a_page_names_is_read_at_once(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 2 * WARM_HANDS; user++)
        list_add(user, user);
    begin_role(fixture);
    fake.list_count = 0;
    fake.users = USERS;
    assert_int_equal(warm_start(fixture->warm, &other_role, 9), 2);
    await_page(fixture);
    end_page();
    await_page(fixture);
    assert_int_equal(fake.slice_count, 1);
    assert_int_equal(job_at(fixture, 0).state, WARM_READING);
    for (unsigned i = 0; i < WARM_RUNS; i++) {
        end_page();
        await_page(fixture);
    }
    assert_int_equal(fake.slice_count, WARM_RUNS);
    while (fake.ask_count > 0)
        end_ask();
    turn_but_for_pages(fixture);
    assert_int_equal(job_at(fixture, 0).state, WARM_READING);
    assert_int_equal(fake.asked, WARM_HANDS);
    run(fixture, 5);
    for (unsigned i = 0; i < 2; i++) {
        struct warm_status job = job_at(fixture, i);
        assert_int_equal(job.total, job.id == 1 ? 2 * WARM_HANDS : USERS);
        assert_int_equal(job.filled, job.total);
    }
}

/* Whoever has waited for room, and has had some since, waits as long again. */
static void room_that_comes_while_pages_are_read(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    fake.room = FACTS_SLICE_USERS_MAX;
    assert_int_equal(warm_start(fixture->warm, &role, 5), 1);
    for (unsigned i = 0; i < 2; i++) {
        await_page(fixture);
        end_page();
    }
    await_page(fixture);
    end_slice();
    wait_for_a_look(fixture);
    assert_int_equal(fake.slice_count, 0);
    fake.room = 1000;
    while (fake.slice_count == 0)
        wait_for_a_look(fixture);
    end_slice();
    fake.clock_offset_ns += 2 * A_MINUTE;
    wait_for_a_look(fixture);
    assert_int_equal(job_at(fixture, 0).state, WARM_READING);
    fake.clock_offset_ns += 2 * A_MINUTE;
    wait_for_a_look(fixture);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_DONE);
    assert_int_equal(job.filled + job.left_out, job.total);
}

/* ---- what becomes of them ---------------------------------------------------------------------------------------- */

static void every_result(void **state)
{
    struct fixture *fixture = *state;
    const enum slice_result results[] = {SLICE_FILLED,  SLICE_RESIDENT, SLICE_ALONE,
                                         SLICE_NO_ROOM, SLICE_STRANGER, SLICE_LATER};
    fake.counted = false;
    fake.users = 600;
    for (uint64_t user = 1; user <= fake.users; user++)
        fake.results[user] = results[user % 6];
    begin_role(fixture);
    end_slice();
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.filled, 100);
    assert_int_equal(job.resident, 100);
    assert_int_equal(job.strangers, 100);
    assert_int_equal(fixture->counters.warm_left, 300);
    run(fixture, 5);
    job = job_at(fixture, 0);
    assert_int_equal(fake.asked, 200);
    assert_int_equal(job.filled, 300);
    assert_int_equal(job.state, WARM_COUNTING);
    assert_null(fixture->warm->jobs->alone); /* their memory is free, though the job goes on */
    assert_int_equal(fixture->counters.warm_left, 100);
    fake.counted = true;
    run(fixture, 100); /* it looks now and then */
    assert_int_equal(fake.begun, 2);
    assert_int_equal(fake.asked, 200);
    job = end_of_job(fixture);
    assert_int_equal(job.filled, 400);
    assert_int_equal(fixture->counters.warm_strangers, 100);
}

/* A pause, and then the hands try each of them. What comes after it is read together again. */
static void the_store_fails(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    begin_role(fixture);
    fake.fails = PERMTAB_E_STORE;
    end_slice();
    turn_some(fixture);
    assert_int_equal(fake.asked, 0);
    assert_int_equal(fake.begun, WARM_RUNS);
    assert_string_equal(job_at(fixture, 0).text, "the store does not answer: its disk is full");
    assert_int_equal(fixture->counters.warm_left, USERS);
    fake.fails = 0;
    run(fixture, 200);
    struct warm_status job = end_of_job(fixture);
    assert_int_equal(job.filled, USERS);
    assert_int_equal(fake.asked, FACTS_SLICE_USERS_MAX);
    assert_int_equal(fake.begun, (USERS + FACTS_SLICE_USERS_MAX - 1) / FACTS_SLICE_USERS_MAX);
}

/* What comes of another run says that the store is there; so does that there is no such place. */
static void an_answer_ends_the_pause(void **state)
{
    struct fixture *fixture = *state;
    const int answers[] = {0, PERMTAB_E_NOT_FOUND};
    fake.users = USERS;
    for (unsigned i = 0; i < 2; i++) {
        begin_role(fixture);
        fake.fails = PERMTAB_E_UNREACHABLE;
        end_slice();
        uint64_t answered = fixture->warm->answered;
        assert_string_equal(job_at(fixture, 0).text, "the store does not answer: its disk is full");
        fake.fails = answers[i];
        end_slice();
        assert_string_equal(job_at(fixture, 0).text, "");
        assert_int_equal(fixture->warm->answered, answered + 1); /* so a key that fails fails alone */
        turn_some(fixture);
        assert_int_equal(fake.ask_count, WARM_HANDS);
        assert_int_equal(warm_cancel(fixture->warm, 0), 0);
    }
}

/* Together they are too much: it is not the store's fault, and nobody waits. */
static void too_much_together(void **state)
{
    struct fixture *fixture = *state;
    fake.users = 1000;
    fake.fails = PERMTAB_E_LIMIT;
    begin_role(fixture);
    end_slice();
    assert_string_equal(job_at(fixture, 0).text, "");
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, 1000);
}

/* Nobody has to ask for each of those who were at a place that is gone. */
static void a_place_that_is_gone(void **state)
{
    struct fixture *fixture = *state;
    fake.users = 1000;
    fake.fails = PERMTAB_E_NOT_FOUND;
    begin_role(fixture);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).strangers, 1000);
    assert_int_equal(fixture->counters.warm_strangers, 1000);
    assert_int_equal(fake.asked, 0);
}

static void memory_is_short(void **state)
{
    struct fixture *fixture = *state;
    fake.no_slices = true;
    fake.users = 100;
    begin_role(fixture);
    assert_int_equal(fake.asked, 100); /* they need less */
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 100);
    fake.no_slices = false;
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = 0;
    for (uint64_t user = 1; user <= 40; user++)
        fake.results[user] = SLICE_ALONE;
    begin_role(fixture);
    fake.no_memory = true;
    end_slice();
    fake.no_memory = false;
    run(fixture, 5);
    struct warm_status job = end_of_job(fixture);
    assert_int_equal(job.filled, 60);
    assert_int_equal(job.failed, 40);
    assert_int_equal(fixture->counters.warm_failed, 40);
    assert_string_equal(job.text, "some could not be read: out of memory");
}

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

/* One after the other, each when the one before has been paid. Both clocks are the warm-up's own. */
static void runs_are_paid_for(void **state)
{
    struct fixture *fixture = *state;
    struct warm_settings settings = {.budget = 10};
    begin_worker(fixture, 10, false);
    fake.users = 4 * PACED;
    fake.cost_ns = SECOND / 10;
    begin_role(fixture);
    for (unsigned i = 1; i <= 4; i++) {
        assert_int_equal(fake.begun, i);
        assert_int_equal(fake.slice_keys, PACED);
        run(fixture, 5);
        assert_int_equal(fake.begun, i);
        if (i == 4)
            break;
        fake.clock_offset_ns += SECOND / 2;
        warm_set(fixture->warm, &settings); /* timers know nothing of this clock */
        run(fixture, 5);
        assert_int_equal(fake.begun, i);
        fake.clock_offset_ns += SECOND / 2;
        warm_set(fixture->warm, &settings);
        begin(fixture);
    }
    assert_int_equal(fake.most_slices, 1);
    assert_int_equal(end_of_job(fixture).filled, 4 * PACED);
}

/* Runs and hands together never have more under way than there is room for (assert_room). */
static void no_more_than_there_is_room_for(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    fake.room = 8000;
    for (uint64_t user = 1; user <= USERS; user += 3)
        fake.results[user] = SLICE_ALONE;
    begin_role(fixture);
    assert_int_equal(fake.slice_keys, 8000);
    wait_for_a_look(fixture);
    fake.clock_offset_ns += 2 * A_MINUTE;
    wait_for_a_look(fixture); /* what is under way may leave some of it */
    assert_int_equal(job_at(fixture, 0).state, WARM_FILLING);
    end_slice();
    turn_some(fixture);
    assert_true(fake.ask_count > 0 && fake.slice_count > 0);
    run(fixture, 60);
    assert_int_equal(fake.room, 0);
    struct warm_status job = job_at(fixture, 0);
    assert_string_equal(job.text, "the table has no room");
    assert_int_equal(job.filled, 8000);
    fake.room = 5000; /* it has grown */
    run(fixture, 60);
    assert_int_equal(job_at(fixture, 0).filled, 13000);
    fake.clock_offset_ns += 2 * A_MINUTE;
    run(fixture, 60);
    job = end_of_job(fixture);
    assert_int_equal(job.left_out, USERS - 13000);
}

/* Somebody else has taken the room meanwhile: the hands wait for it. */
static void room_that_is_gone(void **state)
{
    struct fixture *fixture = *state;
    fake.users = 1000;
    begin_role(fixture);
    fake.room = 300;
    end_slice();
    run(fixture, 30);
    assert_int_equal(job_at(fixture, 0).filled, 300);
    assert_int_equal(fixture->counters.warm_left, 700);
    fake.room = 1000;
    run(fixture, 30);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, 700);
}

/* Keys that have found none wait in the hands: when there is room again, they have it before the next run. */
static void who_has_waited_for_room_has_it_first(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 40; user++)
        list_add(user, 100 + user);
    for (uint64_t user = 41; user <= 1040; user++)
        list_add(user, 1);
    fake.room = 100;
    begin_role(fixture);
    assert_int_equal(fake.ask_count, 40);
    assert_int_equal(fake.slice_keys, 60);
    end_slice();
    fake.room = 0;
    while (fake.ask_count > 0)
        end_ask();
    fake.room = 80;
    fake.clock_offset_ns += 10 * SECOND; /* a pause is over */
    warm_set(fixture->warm, &(struct warm_settings){.budget = 100});
    turn_some(fixture);
    assert_int_equal(fake.ask_count, 40);
    assert_int_equal(fake.slice_keys, 40);
    fake.room = USERS;
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1040);
}

/* ---- in the middle ----------------------------------------------------------------------------------------------- */

static void a_job_is_cancelled(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    fake.results[1] = SLICE_ALONE;
    begin_role(fixture);
    end_slice();
    assert_int_equal(fake.slice_count, WARM_RUNS - 1);
    assert_int_equal(warm_cancel(fixture->warm, 1), 0);
    assert_int_equal(fake.slice_count, 0);
    assert_int_equal(fixture->counters.warm_left, 0);
    run(fixture, 5);
    assert_int_equal(job_at(fixture, 0).filled, FACTS_SLICE_USERS_MAX - 1);
    assert_int_equal(fake.begun, WARM_RUNS);
    assert_int_equal(fake.asked, 0);
    memset(fake.filled, 0, sizeof fake.filled); /* the next one finds nothing of it */
    fixture->counters.warm_filled = 0;
    begin_role(fixture);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, USERS);
}

static void the_table_is_made_anew(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    for (uint64_t user = 1; user <= USERS; user += 2)
        fake.results[user] = SLICE_ALONE;
    begin_role(fixture);
    end_slice();
    warm_again(fixture->warm);
    assert_int_equal(fake.slice_count, 0);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_WAITING);
    assert_int_equal(warm_done(&job), 0);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = 0;
    warm_applied(fixture->warm);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, USERS);
    begin_role(fixture); /* and one that ends while a run is away: the fixture lets go of it */
    assert_true(fake.slice_count > 0);
}

/* ---- Redis ------------------------------------------------------------------------------------------------------- */

static void tell_fleet_keys(void)
{
    struct hot_key *keys = malloc(1000 * sizeof *keys);
    for (uint64_t user = 1; user <= 1000; user++)
        keys[user - 1] = (struct hot_key){.user = user, .scope = {1, 1}, .frequency = 1};
    fake.ports.read(fake.ports.context, keys, 1000, true);
}

/* What it has costs the store nothing. */
static void with_redis(void **state)
{
    struct fixture *fixture = *state;
    begin_worker(fixture, 100, true);
    fake.users = 1000;
    begin_role(fixture); /* all of the store's time */
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_true(fake.begun > 0 && fake.asked == 0);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = fake.begun = 0;
    warm_connected(fixture->warm); /* the fleet's keys */
    warm_applied(fixture->warm);
    tell_fleet_keys();
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).kind, WARM_FLEET);
    assert_int_equal(fake.asked, 1000);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = fake.asked = 0;
    begin_worker(fixture, 50, true);
    begin_role(fixture);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, 1000);
    assert_int_equal(fake.begun, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(keys_of_one_place_go_together),
        T(thousands_at_a_time),
        T(what_is_there_is_not_read),
        T(who_comes_later_waits),
        T(what_a_page_names_is_read_at_once),
        T(room_that_comes_while_pages_are_read),
        T(every_result),
        T(the_store_fails),
        T(an_answer_ends_the_pause),
        T(too_much_together),
        T(a_place_that_is_gone),
        T(memory_is_short),
        T(runs_are_paid_for),
        T(no_more_than_there_is_room_for),
        T(room_that_is_gone),
        T(who_has_waited_for_room_has_it_first),
        T(a_job_is_cancelled),
        T(the_table_is_made_anew),
        T(with_redis),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
