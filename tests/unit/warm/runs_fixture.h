/* Runs that a test ends when it likes: who is asked for keys together, one by one, and what the store names. */
#ifndef PERMTAB_TESTS_UNIT_WARM_RUNS_FIXTURE_H
#define PERMTAB_TESTS_UNIT_WARM_RUNS_FIXTURE_H

#include "proxy/names/target.h"
#include "proxy/rights/facts_slice.h"
#include "proxy/warm/private.h"
#include "tests/unit/warm/warm_world.h"

#define USERS 20000u
#define LEAST 32u  /* keys of a run */
#define PACED 512u /* of one that is to be paid for */
#define OF_L2 64u  /* of one of L2 */

struct slice {
    struct scope_key scope;
    uint64_t users[FACTS_SLICE_USERS_MAX];
    size_t count;
    slice_done_fn done;
    void *context;
    struct slice *next;
};

static struct {
    struct facts_key list[4000]; /* what the store names, in this order; with none the users up to `users` at a place */
    size_t list_count;
    uint64_t users;
    unsigned asked;
    struct slice *slices; /* under way, the oldest first */
    unsigned slice_count, most_slices, begun;
    size_t slice_keys, largest;
    uint64_t read[USERS + 1][2]; /* how often, in a run and by itself */
    uint64_t filled[USERS + 1];
    bool resident[USERS + 1];
    enum slice_result results[USERS + 1]; /* of a run; SLICE_OPEN: filled, if there is room */
    int fails;                            /* each run; 0: none does */
    bool no_slices, no_memory;
    size_t l2_max; /* users of a run of L2; 0: it is away */
    unsigned begun_of_l2;
    uint64_t cost_ns; /* of each */
    struct fleet_keys_ports ports;
} fake;

static const struct target role = {.kind = TARGET_ROLE, .id = 7};
static const struct target other_role = {.kind = TARGET_ROLE, .id = 8};

/* ---- what is played ---------------------------------------------------------------------------------------------- */

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask);
int __wrap_answering_slice(struct slice **out, struct answering *answering, enum slice_source source,
                           struct scope_key scope, const uint64_t *users, size_t count, slice_done_fn done,
                           void *context);
size_t __wrap_answering_slice_max(const struct answering *answering, enum slice_source source,
                                  struct scope_key scope);
void __wrap_answering_slice_cancel(struct slice *slice);
bool __wrap_publisher_resident(const struct publisher *publisher, uint64_t user, struct scope_key scope,
                               struct scope_key *at);
void __wrap_publisher_fetch(const struct publisher *publisher, uint64_t user, struct scope_key scope);
int __wrap_store_read_holders(struct store *store, const struct store_holders *of, uint64_t from,
                              struct facts_key *keys, size_t limit, size_t *count, struct failure *failure);
int __wrap_fleet_keys_new(struct fleet_keys **out, const struct fleet_keys_options *options);
int __wrap_fleet_keys_read(struct fleet_keys *fleet);
void __wrap_fleet_keys_leave(struct fleet_keys *fleet);
void __wrap_fleet_keys_free(struct fleet_keys *fleet);
bool __wrap_redis_connected(const struct redis *redis);
void *__real_array_add(void *items, size_t *count, size_t item_size);
void *__wrap_array_add(void *items, size_t *count, size_t item_size);

/* Whatever is under way has room. */
static inline void assert_room(void)
{
    assert_true(world.running + fake.slice_keys <= world.room);
}

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask)
{
    (void)answering;
    assert_true(flow->warms);
    add_ask(ask);
    fake.asked++;
    fake.read[ask->question.user][1]++;
    assert_room();
}

size_t __wrap_answering_slice_max(const struct answering *answering, enum slice_source source,
                                  struct scope_key scope)
{
    (void)answering, (void)scope;
    return source == SLICE_OF_STORE ? FACTS_SLICE_USERS_MAX : fake.l2_max;
}

int __wrap_answering_slice(struct slice **out, struct answering *answering, enum slice_source source,
                           struct scope_key scope, const uint64_t *users, size_t count, slice_done_fn done,
                           void *context)
{
    assert_in_range(count, LEAST, __wrap_answering_slice_max(answering, source, scope));
    fake.begun_of_l2 += source == SLICE_OF_L2;
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

static inline void unlink_slice(struct slice *slice)
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

/* ---- the fixture ------------------------------------------------------------------------------------------------- */

static inline void begin_worker(struct fixture *fixture, unsigned budget, bool with_redis)
{
    struct warm_options options = {.base = fixture->base,
                                   .redis = with_redis ? (struct redis *)(void *)&fake : NULL,
                                   .prefix = "test:",
                                   .counters = &fixture->counters,
                                   .settings = {.at_start = with_redis, .budget = budget}};
    warm_free(fixture->warm);
    assert_int_equal(warm_new(&fixture->warm, &options), 0);
}

static inline int setup(void **state)
{
    struct fixture *fixture = world_begin(false);
    memset(&fake, 0, sizeof fake);
    world.entries = USERS; /* pages go on, however little room there is */
    world.page_waits = true;
    begin_worker(fixture, 100, false);
    *state = fixture;
    return 0;
}

static inline int end(void **state)
{
    int code = teardown(state);
    assert_null(fake.slices);
    return code;
}

static inline void list_add(uint64_t user, uint64_t place)
{
    fake.list[fake.list_count++] = facts_key_of(user, (struct scope_key){place, 1});
}

static inline void fill_one(uint64_t user)
{
    assert_true(world.room > 0);
    world.room--;
    fake.filled[user]++;
}

static inline enum slice_result result_of(uint64_t user)
{
    enum slice_result result = fake.results[user];
    if (result == SLICE_LATER && world.counted)
        result = SLICE_OPEN;
    if (result == SLICE_OPEN)
        result = world.room > 0 ? SLICE_FILLED : SLICE_NO_ROOM;
    if (result == SLICE_FILLED)
        fill_one(user);
    return result;
}

/* The oldest run comes to its end. */
static inline void end_slice(void)
{
    struct slice *slice = fake.slices;
    struct facts_slice facts = {.scope = slice->scope, .count = slice->count, .users = slice->users};
    uint8_t results[FACTS_SLICE_USERS_MAX];
    unlink_slice(slice);
    world.spent_ns += fake.cost_ns;
    for (size_t i = 0; i < slice->count && fake.fails == 0; i++)
        results[i] = (uint8_t)result_of(slice->users[i]);
    slice->done(slice->context, fake.fails, fake.fails < 0 ? "its disk is full" : "", &facts,
                fake.fails == 0 ? results : NULL);
    free(slice);
}

static inline void end_ask(void)
{
    struct answer answer = {0};
    struct ask *ask = take_ask(0);
    ask->was_read = true;
    bool good = world.room > 0;
    if (good)
        fill_one(ask->question.user);
    ask->done(ask, good ? 0 : PERMTAB_E_FULL, "", good ? &answer : NULL);
}

static inline void turn(struct fixture *fixture)
{
    (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    if (world.page != NULL)
        page_ends();
}

static inline void turn_some(struct fixture *fixture)
{
    for (unsigned i = 0; i < 8; i++)
        turn(fixture);
}

/* The keys of the job are read, and the first ones are under way. */
static inline void begin(struct fixture *fixture)
{
    for (unsigned turns = 0; fake.slice_count == 0 && world.running == 0; turns++) {
        assert_true(turns < 10000);
        turn(fixture);
    }
    turn_some(fixture);
}

static inline void begin_role(struct fixture *fixture)
{
    assert_true(warm_start(fixture->warm, &role, 5) > 0);
    begin(fixture);
}

/* Everything comes to its end, until nothing has happened for so many turns of a millisecond. */
static inline void run(struct fixture *fixture, unsigned turns)
{
    for (unsigned quiet = 0; quiet < turns; quiet++) {
        (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
        if (fake.slice_count + world.running > 0 || world.page != NULL)
            quiet = 0;
        else
            (void)usleep(1000);
        while (fake.slice_count > 0)
            end_slice();
        while (world.running > 0)
            end_ask();
        if (world.page != NULL)
            page_ends();
    }
}

/* Each key is done once, this way or that. */
static inline struct warm_status end_of_job(struct fixture *fixture)
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

static inline void wait_for_a_look(struct fixture *fixture)
{
    (void)event_base_loop(fixture->base, EVLOOP_ONCE);
}

#endif
