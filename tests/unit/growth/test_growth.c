/* The drive: a table that is too small is replaced by a larger one with the same entries, and let go when its clients
 * have left. A first table below entries_min is the quickest reason to grow.
 *
 * Its looks, pauses and leases are seconds, and nothing happens in most of them: so CLOCK_MONOTONIC and the loop's
 * timers run ten times as fast here. Between two looks at the clock no more than LOOK_NS pass, so no lease ends because
 * a busy machine had no time for this process. */
#include "proxy/growth/growth.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/growth/cgroup.h"
#include "proxy/growth/look.h"
#include "proxy/keys/keys.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "proxy/table/workshop.h"
#include "tests/support/memory_publisher.h"

#include <event2/event.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND   1000000000ull
#define PATIENCE (60 * SECOND)
#define ENTRIES  100u
#define HASTE    10u
#define LOOK_NS  (SECOND + SECOND / 10) /* more than growth's longest wait, less than a lease */

/* ---- what this test plays ---------------------------------------------------------------------------------------- */

/* Threads look at it, too. */
static struct {
    atomic_ullong offset_ns; /* of the clock */
    unsigned refused;        /* so many looks, because another one is under way */
    atomic_bool cgroup_full, machine_full;
    bool no_orders;
    atomic_uint stays, grows; /* lines of the log */
} fake;

int __real_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);
int __real_event_add(struct event *event, const struct timeval *delay);
/* Visible: libevent's own libraries call each other's. */
__attribute__((visibility("default"))) int __wrap_event_add(struct event *event, const struct timeval *delay);

/* Threads of the workshop look, too. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t real_ns, hasty_ns;
    int code = __real_clock_gettime(clock, out);
    if (clock != CLOCK_MONOTONIC || code != 0)
        return code;
    uint64_t now_ns = (uint64_t)out->tv_sec * SECOND + (uint64_t)out->tv_nsec;
    pthread_mutex_lock(&lock);
    if (now_ns > real_ns) {
        uint64_t passed_ns = (now_ns - real_ns) * HASTE;
        hasty_ns = real_ns == 0 ? now_ns : hasty_ns + (passed_ns < LOOK_NS ? passed_ns : LOOK_NS);
        real_ns = now_ns;
    }
    uint64_t shown_ns = hasty_ns + fake.offset_ns;
    pthread_mutex_unlock(&lock);
    *out = (struct timespec){(time_t)(shown_ns / SECOND), (long)(shown_ns % SECOND)};
    return 0;
}

int __wrap_event_add(struct event *event, const struct timeval *delay)
{
    if (delay == NULL)
        return __real_event_add(event, NULL);
    int64_t us = ((int64_t)delay->tv_sec * 1000000 + delay->tv_usec) / HASTE;
    return __real_event_add(event, &(struct timeval){(time_t)(us / 1000000), (suseconds_t)(us % 1000000)});
}

bool __real_look_begin(struct look *look, struct table *const *tables, size_t count);
bool __wrap_look_begin(struct look *look, struct table *const *tables, size_t count);
bool __wrap_look_begin(struct look *look, struct table *const *tables, size_t count)
{
    return fake.refused > 0 ? fake.refused--, false : __real_look_begin(look, tables, count);
}

uint64_t __real_workshop_order(struct workshop *workshop, const struct workshop_order *order);
uint64_t __wrap_workshop_order(struct workshop *workshop, const struct workshop_order *order);
uint64_t __wrap_workshop_order(struct workshop *workshop, const struct workshop_order *order)
{
    return fake.no_orders ? 0 : __real_workshop_order(workshop, order);
}

void __wrap_memory_left(const char *root, struct memory_left *out);
void __wrap_memory_left(const char *root, struct memory_left *out)
{
    (void)root;
    *out = (struct memory_left){.cgroup = fake.cgroup_full ? 0 : UINT64_MAX,
                                .machine = fake.machine_full ? 0 : UINT64_MAX};
}

void __wrap_log_line(enum log_level level, const char *format, ...);
void __wrap_log_line(enum log_level level, const char *format, ...)
{
    (void)level;
    fake.stays += strstr(format, "it stays at") != NULL;
    fake.grows += strstr(format, "it grows from") != NULL;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static const struct scope_key global = {0, 0}, server = {1, 1};

struct fixture {
    struct memory_policy policy;
    struct counters counters;
    struct publisher *publisher;
    struct event_base *base;
    struct workshop *workshop;
    struct growth *growth;
    struct keys *keys;
    bool attached;
    uint64_t asked_about;
};

static bool on_attached(void *context, uint64_t segment_id)
{
    struct fixture *fixture = context;
    fixture->asked_about = segment_id;
    return fixture->attached;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fake.refused = 0; /* the clock goes on */
    fake.stays = 0;
    fake.grows = 0;
    fake.cgroup_full = fake.machine_full = fake.no_orders = false;
    memory_policy_init(&fixture->policy);
    memory_permission(&fixture->policy, "a.b");
    memory_scope(&fixture->policy, server, global, NULL);
    memory_role(&fixture->policy, 1, "member", server, true, true);
    memory_grant(&fixture->policy, 1, GRANT_ALLOW, 0);
    fixture->publisher = memory_publisher(&fixture->policy, ENTRIES, 10, &fixture->counters);
    fixture->base = event_base_new();
    assert_int_equal(workshop_new(&fixture->workshop, fixture->base), 0);
    publisher_renew(fixture->publisher, clock_ns());
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    growth_free(fixture->growth);
    publisher_free(fixture->publisher);
    workshop_free(fixture->workshop);
    event_base_free(fixture->base);
    keys_free(fixture->keys);
    memory_policy_fini(&fixture->policy);
    free(fixture);
    return 0;
}

static void begin(struct fixture *fixture, uint64_t entries_min, uint64_t memory_max)
{
    struct growth_options options = {.base = fixture->base,
                                     .publisher = fixture->publisher,
                                     .workshop = fixture->workshop,
                                     .counters = &fixture->counters,
                                     .keys = fixture->keys,
                                     .attached = on_attached,
                                     .context = fixture,
                                     .entries_min = entries_min,
                                     .sets_min = 101,
                                     .folds_min = 12,
                                     .memory_max = memory_max,
                                     .hit_rate_target = 0.5};
    assert_int_equal(growth_new(&fixture->growth, &options), 0);
}

/* The memory is open for nobody else: a successor is played by asking it. */
static void open_keys(struct fixture *fixture)
{
    int descriptor;
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    assert_int_equal(keys_open(&fixture->keys, descriptor, 1), 0);
    assert_int_equal(close(descriptor), 0);
}

static uint64_t segment_id(const struct fixture *fixture)
{
    return publisher_segment(fixture->publisher)->header->identity.segment_id;
}

static void turn(struct fixture *fixture)
{
    publisher_renew(fixture->publisher, clock_ns());
    /* Growth has a timer at all times; without it nothing ends a wait. */
    assert_true(event_base_loop(fixture->base, fixture->growth ? EVLOOP_ONCE : EVLOOP_NONBLOCK) >= 0);
    publisher_tend(fixture->publisher, clock_ns());
}

#define TURN_UNTIL(condition)                                                                                \
    do {                                                                                                     \
        uint64_t until_ns = clock_ns() + PATIENCE;                                                           \
        while (!(condition)) {                                                                               \
            assert_true(clock_ns() < until_ns);                                                              \
            turn(fixture);                                                                                   \
        }                                                                                                    \
    } while (0)

static void turn_for(struct fixture *fixture, uint64_t ns)
{
    uint64_t until_ns = clock_ns() + ns;
    while (clock_ns() < until_ns)
        turn(fixture);
}

static void fill(struct fixture *fixture, uint64_t users)
{
    for (uint64_t user = 1; user <= users; user++)
        memory_fill(fixture->publisher, &fixture->policy, 1, user, server);
}

static char *printed(const struct fixture *fixture)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    growth_print(fixture->growth, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_prints(const struct fixture *fixture, const char *expected)
{
    char *text = printed(fixture);
    if (!strstr(text, expected))
        fail_msg("\"%s\" is not in\n%s", expected, text);
    free(text);
}

static void a_small_first_table_is_made_larger(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = segment_id(fixture);
    fill(fixture, 50);
    open_keys(fixture);
    begin(fixture, 1234, 1u << 30);
    assert_int_equal(fixture->counters.table_capacity, ENTRIES);
    keys_note_room(fixture->keys, &(struct keys_room){1234, 20, 30});
    TURN_UNTIL(fixture->counters.growths == 1);
    assert_int_equal(publisher_capacity(fixture->publisher), 1234);
    assert_int_equal(keys_room(fixture->keys).entries, 0); /* nobody knows yet whether it can be lived with */
    TURN_UNTIL(keys_room(fixture->keys).entries != 0);
    assert_int_equal(keys_room(fixture->keys).entries, 1234); /* the next worker need not find out again */
    assert_int_equal(keys_room(fixture->keys).sets, 101);
    assert_int_equal(keys_room(fixture->keys).folds, 12);
    assert_int_not_equal(segment_id(fixture), first);
    for (uint64_t user = 1; user <= 50; user++)
        assert_true(memory_resident(fixture->publisher, user, server));
    assert_prints(fixture, "because table_entries, or what the table before had grown to, is 1234");
    TURN_UNTIL(publisher_retired_segment(fixture->publisher) == 0);
    assert_int_equal(fixture->asked_about, first);
    TURN_UNTIL(fixture->counters.retired_bytes == 0); /* nobody else has it mapped */
    assert_int_equal(fixture->counters.table_capacity, 1234);
    turn_for(fixture, 3 * SECOND);
    assert_int_equal(fixture->counters.growths, 1);
    assert_prints(fixture, "growth none");
}

/* The store is away for a minute: nothing happens but a look each second, and that is over when there is a lease. */
static void it_begins_with_the_first_lease(void **state)
{
    struct fixture *fixture = *state;
    fake.offset_ns += PATIENCE; /* no lease any more */
    begin(fixture, 1234, 1u << 30);
    unsigned turns = 0;
    for (uint64_t until_ns = clock_ns() + 10 * SECOND; clock_ns() < until_ns; turns++) {
        growth_applied(fixture->growth);
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
    }
    assert_in_range(turns, 2, 20);
    assert_prints(fixture, "growth none");
    publisher_renew(fixture->publisher, clock_ns());
    growth_applied(fixture->growth);
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    assert_prints(fixture, "growth looks at what memory is left");
    for (turns = 0; turns < 100; turns++) /* it has begun: polls do not hurry what a timer is for */
        growth_applied(fixture->growth);
    TURN_UNTIL(fixture->counters.growths == 1);
    assert_int_equal(publisher_capacity(fixture->publisher), 1234);
    fake.offset_ns += PATIENCE;
    growth_applied(fixture->growth);
    growth_applied(NULL);
}

static void note_keys(struct fixture *fixture, uint64_t count)
{
    for (uint64_t user = 1; user <= count; user++)
        keys_note(fixture->keys, user, server, KEYS_FILL);
}

/* The memory of keys grows with them, as far as the table has room for what they name. */
static void keys_follow_the_table(void **state)
{
    struct fixture *fixture = *state;
    open_keys(fixture);
    uint64_t first = keys_bytes(fixture->keys);
    begin(fixture, 30000, 1u << 30);
    note_keys(fixture, 60000);
    assert_int_equal(keys_bytes(fixture->keys), first);
    TURN_UNTIL(fixture->counters.growths == 1 && publisher_retired_segment(fixture->publisher) == 0);
    turn_for(fixture, 2 * SECOND);
    note_keys(fixture, 60000);
    assert_in_range(keys_bytes(fixture->keys), 30000 * (KEYS_BYTES_A_KEY - 1), 30000 * KEYS_BYTES_A_KEY + (1u << 18));
}

/* The old one is leased for as long as a client has it. */
static void clients_keep_the_table_before(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = segment_id(fixture);
    fixture->attached = true;
    begin(fixture, 1000, 1u << 30);
    TURN_UNTIL(fixture->counters.growths == 1);
    turn_for(fixture, 4 * SECOND); /* longer than the lease */
    assert_int_equal(publisher_retired_segment(fixture->publisher), first);
    assert_prints(fixture, "growth clients leave the table before");
    fixture->attached = false;
    TURN_UNTIL(publisher_retired_segment(fixture->publisher) == 0);
}

static void table_memory_max_holds_it(void **state)
{
    struct fixture *fixture = *state;
    uint64_t size = publisher_segment_bytes(fixture->publisher);
    begin(fixture, 100000, 2 * size + size / 2);
    turn_for(fixture, 3 * SECOND);
    uint64_t capacity = publisher_capacity(fixture->publisher);
    assert_in_range(capacity, ENTRIES * 5 / 4, 99999); /* a smaller step, and then none */
    assert_true(publisher_segment_bytes(fixture->publisher) <= 2 * size + size / 2);
    TURN_UNTIL(fixture->counters.growth_held_memory_max == 1 &&
               publisher_retired_segment(fixture->publisher) == 0);
    assert_prints(fixture, "held by table_memory_max");
}

/* Nothing fits: nothing happens. */
static void no_room_at_all(void **state)
{
    struct fixture *fixture = *state;
    open_keys(fixture);
    keys_note_room(fixture->keys, &(struct keys_room){1000, 20, 30});
    begin(fixture, 1000, publisher_segment_bytes(fixture->publisher) + 1000);
    TURN_UNTIL(fixture->counters.growth_held_memory_max == 1);
    turn_for(fixture, 8 * SECOND);
    assert_int_equal(keys_room(fixture->keys).entries, 1000); /* the next worker may find room */
    assert_int_equal(fixture->counters.growths + fixture->counters.growths_given_up, 0);
    assert_int_equal(publisher_capacity(fixture->publisher), ENTRIES);
}

static void rebuild(struct fixture *fixture)
{
    struct log_position at = publisher_position(fixture->publisher);
    struct catalogue catalogue;
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 1000, &catalogue, NULL, NULL), 0);
    publisher_renew(fixture->publisher, clock_ns());
}

/* A rebuild takes both tables away, wherever growth is. */
static void made_anew_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 200000, 1u << 30);
    TURN_UNTIL(fixture->publisher->other_is == OTHER_NEXT);
    rebuild(fixture);
    TURN_UNTIL(fixture->counters.growths_given_up == 1);
    assert_int_equal(fixture->counters.growths, 0);
    assert_int_equal(publisher_capacity(fixture->publisher), ENTRIES);
    TURN_UNTIL(fixture->counters.growths == 1); /* after a pause */
    assert_int_equal(publisher_capacity(fixture->publisher), 200000);
    fixture->attached = true;
    rebuild(fixture);
    TURN_UNTIL(publisher_retired_segment(fixture->publisher) == 0);
    turn_for(fixture, 2 * SECOND);
    assert_prints(fixture, "growth none");
    assert_int_equal(publisher_capacity(fixture->publisher), 200000); /* the rebuild keeps the size */
}

static void order_rebuild(struct fixture *fixture, struct workshop_order *order)
{
    publisher_rebuild_order(fixture->publisher, publisher_position(fixture->publisher).store_id, order);
}

static bool prints(const struct fixture *fixture, const char *expected)
{
    char *text = printed(fixture);
    bool found = strstr(text, expected) != NULL;
    free(text);
    return found;
}

/* What growth has ordered would come beside what the rebuild orders. */
static void its_order_makes_way_for_a_rebuild(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order;
    begin(fixture, 200000, 1u << 30);
    TURN_UNTIL(prints(fixture, "growth makes the next table"));
    order_rebuild(fixture, &order);
    assert_prints(fixture, "growth none");
    assert_int_equal(fixture->counters.growths_given_up, 1);
    rebuild(fixture);
    turn_for(fixture, 2 * SECOND);
    assert_int_equal(publisher_capacity(fixture->publisher), ENTRIES);
    assert_int_equal(fixture->publisher->other_is, OTHER_NONE);
    fake.offset_ns += 60 * SECOND; /* the pause is over */
    TURN_UNTIL(fixture->counters.growths == 1);
}

/* Nobody can have it mapped, so it does not count as held. */
static void a_next_table_that_is_given_up_is_not_retired(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order;
    begin(fixture, 200000, 1u << 30);
    TURN_UNTIL(fixture->publisher->other_is == OTHER_NEXT);
    order_rebuild(fixture, &order);
    assert_prints(fixture, "retired 0 tables of 0 bytes");
    assert_prints(fixture, "growth none");
}

static void no_growth_begins_while_a_rebuild_is_ordered(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order;
    begin(fixture, 1000, 1u << 30);
    TURN_UNTIL(prints(fixture, "growth looks"));
    order_rebuild(fixture, &order);
    assert_prints(fixture, "growth none");
    turn_for(fixture, 3 * SECOND);
    assert_prints(fixture, "growth none");
    assert_int_equal(fixture->counters.growths_given_up, 0);
    publisher_rebuild_given_up(fixture->publisher);
    TURN_UNTIL(fixture->counters.growths == 1);
}

static void what_clients_hold_is_no_room_for_a_rebuild(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order;
    const struct segment *first = publisher_segment(fixture->publisher);
    size_t size = first->size;
    volatile char *held = mmap(NULL, size, PROT_READ, MAP_SHARED, first->descriptor, 0);
    assert_ptr_not_equal(held, MAP_FAILED);
    (void)*held;
    fixture->publisher->options.memory_max = 1u << 30;
    begin(fixture, 1000, 1u << 30);
    TURN_UNTIL(fixture->counters.growths == 1 && publisher_retired_segment(fixture->publisher) == 0);
    turn_for(fixture, 2 * SECOND); /* it has been looked at */
    assert_int_equal(fixture->counters.retired_bytes, size);
    order_rebuild(fixture, &order);
    assert_int_equal(order.options.memory_max,
                     (1u << 30) - publisher_segment_bytes(fixture->publisher) - size);
    publisher_rebuild_given_up(fixture->publisher);
    (void)munmap((void *)(uintptr_t)held, size);
}

/* Ended in the middle: whatever is under way is given up, and nothing leaks. */
static void ended_at_any_time(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t turns = 0; turns < 12; turns++) {
        begin(fixture, 200000 + turns, 1u << 30);
        for (uint64_t i = 0; i < turns; i++)
            turn(fixture);
        growth_free(fixture->growth);
        fixture->growth = NULL;
        publisher_grow_end(fixture->publisher);
        publisher_retired_release(fixture->publisher);
        TURN_UNTIL(publisher_retired_segment(fixture->publisher) == 0);
        if (publisher_capacity(fixture->publisher) >= 200000)
            break;
    }
}

/* Two seconds that do not count, two that do. What clients claim is all that is made up here. */
static void too_few_hits(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, ENTRIES, 1u << 30);
    fill(fixture, ENTRIES);
    uint64_t begun_ns = clock_ns();
    while (fixture->counters.growths == 0) {
        assert_true(clock_ns() - begun_ns < PATIENCE);
        fill(fixture, 2 * ENTRIES); /* each makes room for the next, round and round */
        fixture->counters.table_hits += ENTRIES;
        turn(fixture);
    }
    assert_true(clock_ns() - begun_ns >= 4 * SECOND - SECOND / 10);
    assert_int_equal(fixture->counters.growths_hit_rate, 1);
    assert_int_equal(publisher_capacity(fixture->publisher), 4 * ENTRIES);
    assert_prints(fixture, "because the hit rate is 0.33, and hit_rate_target 0.50");
}

/* Twice the time in which clients' misses make it grow. Half of them find room each time, and had made room once. */
static void nobody_has_missed_what_is_filled_unasked(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, ENTRIES, 1u << 30);
    fill(fixture, 2 * ENTRIES);
    uint64_t until_ns = clock_ns() + 8 * SECOND;
    while (clock_ns() < until_ns) {
        for (uint64_t user = 1; user <= 2 * ENTRIES; user++)
            (void)publisher_retire_user(fixture->publisher, user);
        for (uint64_t user = 1; user <= 2 * ENTRIES; user++) {
            struct facts facts;
            struct answer answer = {0};
            memory_read(fixture->publisher, &fixture->policy, 1, user, server, &facts);
            facts.unasked = true;
            assert_int_equal(publisher_fill(fixture->publisher, &facts, clock_ns(), &answer), PUBLISHER_FILLED);
            answer_fini(&answer);
            facts_fini(&facts);
        }
        turn(fixture);
    }
    assert_int_equal(fixture->counters.entries_evicted, ENTRIES); /* by the first ones alone */
    assert_int_equal(fixture->counters.fills_known, 2 * ENTRIES);
    assert_true(fixture->counters.fills >= 4 * ENTRIES);
    assert_int_equal(fixture->counters.entries_returned, 0);
    assert_int_equal(fixture->counters.growths, 0);
    assert_false(prints(fixture, "wanted"));
}

/* However many hits are claimed. */
static void evicted_ones_return(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, ENTRIES, 1u << 30);
    uint64_t begun_ns = clock_ns();
    while (fixture->counters.growths == 0) {
        assert_true(clock_ns() - begun_ns < PATIENCE);
        fill(fixture, 2 * ENTRIES);
        fixture->counters.table_hits += 1000000;
        turn(fixture);
    }
    assert_int_equal(fixture->counters.growths_returned, 1);
    assert_int_equal(publisher_capacity(fixture->publisher), 4 * ENTRIES);
}

/* The window that has shown the need comes once. */
static void a_reason_waits_for_a_look_that_is_under_way(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, ENTRIES, 1u << 30);
    fake.refused = 1;
    uint64_t begun_ns = clock_ns();
    while (fake.refused > 0) {
        assert_true(clock_ns() - begun_ns < PATIENCE);
        fill(fixture, 2 * ENTRIES);
        turn(fixture);
    }
    assert_int_equal(fixture->counters.growths, 0);
    assert_prints(fixture, " s ago because the hit rate is 0.00");
    TURN_UNTIL(fixture->counters.growths == 1); /* nothing is filled any more */
    assert_int_equal(fixture->counters.growths_hit_rate, 1);
    assert_prints(fixture, "because the hit rate is 0.00");
    assert_false(prints(fixture, "wanted"));
}

/* What is left of memory changes all the time. The log says each of the two once, the ops socket the last one. */
static void what_it_is_held_by_is_said_once(void **state)
{
    struct fixture *fixture = *state;
    fake.cgroup_full = true;
    begin(fixture, 100000, 1u << 30);
    for (unsigned round = 0; round < 3; round++) {
        fake.cgroup_full = true;
        TURN_UNTIL(fixture->counters.growth_held_cgroup == 1);
        fake.cgroup_full = false;
        fake.machine_full = true;
        fake.offset_ns += 400 * SECOND;
        TURN_UNTIL(fixture->counters.growth_held_machine == 1);
        fake.offset_ns += 400 * SECOND;
    }
    assert_int_equal(fake.stays, 2);
    assert_int_equal(fake.grows, 0);
    assert_prints(fixture, "held by the memory that is left on this machine");
    assert_prints(fixture, "because table_entries, or what the table before had grown to, is 100000");
    fake.machine_full = false;
    TURN_UNTIL(fixture->counters.growths == 1);
    assert_int_equal(fake.grows, 1);
}

/* There seems to be room, and then there is none: again and again. The trouble has lines of its own. */
static void what_is_given_up_every_time_is_announced_once(void **state)
{
    struct fixture *fixture = *state;
    fake.no_orders = true;
    begin(fixture, 1000, 1u << 30);
    for (uint64_t round = 1; round <= 3; round++) {
        TURN_UNTIL(fixture->counters.growths_given_up == round);
        fake.offset_ns += 400 * SECOND;
    }
    assert_int_equal(fake.grows, 1);
    fake.no_orders = false;
    TURN_UNTIL(fixture->counters.growths == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_small_first_table_is_made_larger),
        T(it_begins_with_the_first_lease),
        T(keys_follow_the_table),
        T(clients_keep_the_table_before),
        T(table_memory_max_holds_it),
        T(no_room_at_all),
        T(made_anew_meanwhile),
        T(ended_at_any_time),
        T(too_few_hits),
        T(nobody_has_missed_what_is_filled_unasked),
        T(evicted_ones_return),
        T(its_order_makes_way_for_a_rebuild),
        T(a_next_table_that_is_given_up_is_not_retired),
        T(no_growth_begins_while_a_rebuild_is_ordered),
        T(what_clients_hold_is_no_room_for_a_rebuild),
        T(a_reason_waits_for_a_look_that_is_under_way),
        T(what_it_is_held_by_is_said_once),
        T(what_is_given_up_every_time_is_announced_once),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
