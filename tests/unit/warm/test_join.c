/* The job with what other hosts are asked for: when it is tried, and when it is tried again. Redis and the clock are
 * this file's (--wrap, CMakeLists.txt); the timer of the next try goes off when a test says so. */
#include "proxy/answer/answer.h"
#include "proxy/base/counters.h"
#include "proxy/base/timer.h"
#include "proxy/table/publisher.h"
#include "proxy/warm/private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <event2/event.h>

#define SECOND 1000000000ull

static struct {
    struct catalogue catalogue;
    bool connected;
    struct fleet_keys_ports ports;
    unsigned reads;
    struct warm *warm;
    uint64_t now_ns, due_ns; /* due_ns: of the next try; 0: none is */
} fake;

int __wrap_fleet_keys_new(struct fleet_keys **out, const struct fleet_keys_options *options);
int __wrap_fleet_keys_read(struct fleet_keys *fleet);
void __wrap_fleet_keys_leave(struct fleet_keys *fleet);
void __wrap_fleet_keys_free(struct fleet_keys *fleet);
bool __wrap_redis_connected(const struct redis *redis);
uint64_t __wrap_answering_warm_ns(const struct answering *answering);
const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher);
bool __wrap_publisher_leased(const struct publisher *publisher, uint64_t now_ns);
uint64_t __wrap_publisher_room(const struct publisher *publisher);
int __real_timer_in_ns(struct event *timer, uint64_t ns);
int __wrap_timer_in_ns(struct event *timer, uint64_t ns);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);

int __wrap_fleet_keys_new(struct fleet_keys **out, const struct fleet_keys_options *options)
{
    fake.ports = options->ports;
    *out = (struct fleet_keys *)(void *)&fake;
    return 0;
}

int __wrap_fleet_keys_read(struct fleet_keys *fleet)
{
    (void)fleet;
    fake.reads++;
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
    (void)redis;
    return fake.connected;
}

uint64_t __wrap_answering_warm_ns(const struct answering *answering)
{
    (void)answering;
    return 0;
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

uint64_t __wrap_publisher_room(const struct publisher *publisher)
{
    (void)publisher;
    return 1000;
}

int __wrap_timer_in_ns(struct event *timer, uint64_t ns)
{
    if (fake.warm == NULL || timer != fake.warm->rejoin)
        return __real_timer_in_ns(timer, ns);
    fake.due_ns = fake.now_ns + ns;
    return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    (void)clock;
    *out = (struct timespec){(time_t)(fake.now_ns / SECOND), (long)(fake.now_ns % SECOND)};
    return 0;
}

struct fixture {
    struct event_base *base;
    struct counters counters;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    memset(&fake, 0, sizeof fake);
    fake.now_ns = 1000 * SECOND;
    fixture->base = event_base_new();
    struct warm_options options = {.base = fixture->base,
                                   .redis = (struct redis *)(void *)&fake,
                                   .counters = &fixture->counters,
                                   .settings = {.at_start = true, .budget = 100}};
    assert_int_equal(warm_new(&fake.warm, &options), 0);
    fake.connected = true;
    warm_connected(fake.warm);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    warm_free(fake.warm);
    event_base_free(fixture->base);
    free(fixture);
    return 0;
}

static void turn(struct fixture *fixture)
{
    for (unsigned i = 0; i < 5; i++)
        (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
}

static void read_fails(struct fixture *fixture)
{
    turn(fixture);
    fake.ports.read(fake.ports.context, NULL, 0, false);
    turn(fixture);
}

/* The timer of the next try goes off, so long before it is due: the loop's own time is a little behind. */
static void goes_off(struct fixture *fixture, uint64_t early_ns)
{
    assert_true(fake.due_ns > early_ns);
    fake.now_ns = fake.due_ns - early_ns;
    fake.due_ns = 0;
    event_active(fake.warm->rejoin, EV_TIMEOUT, 0);
    turn(fixture);
}

/* The second pause is longer than the timer that a failure sets. */
static void three_tries(void **state)
{
    struct fixture *fixture = *state;
    read_fails(fixture);
    assert_int_equal(fake.reads, 1);
    goes_off(fixture, 0);
    assert_int_equal(fake.reads, 2);
    uint64_t failed_ns = fake.now_ns;
    read_fails(fixture);
    while (fake.reads == 2)
        goes_off(fixture, 0); /* it must be set again, then */
    assert_int_equal(fake.now_ns - failed_ns, 4 * SECOND);
    assert_int_equal(fake.reads, 3);
    read_fails(fixture);
    assert_int_equal(fake.due_ns, 0);
    fake.now_ns += 1000 * SECOND;
    warm_connected(fake.warm);
    turn(fixture);
    assert_int_equal(fake.reads, 3);
}

static void a_timer_that_is_early(void **state)
{
    struct fixture *fixture = *state;
    read_fails(fixture);
    goes_off(fixture, SECOND / 1000);
    assert_int_equal(fake.reads, 1);
    goes_off(fixture, 0);
    assert_int_equal(fake.reads, 2);
}

static void a_connection_shortens_no_pause(void **state)
{
    struct fixture *fixture = *state;
    read_fails(fixture);
    fake.now_ns += SECOND;
    fake.due_ns = 0;
    warm_connected(fake.warm);
    turn(fixture);
    assert_int_equal(fake.reads, 1);
    assert_int_equal(fake.due_ns, fake.now_ns + SECOND); /* what is left of it */
    fake.connected = false;
    goes_off(fixture, 0);
    assert_int_equal(fake.reads, 1);
    fake.connected = true;
    warm_connected(fake.warm);
    turn(fixture);
    assert_int_equal(fake.reads, 2);
}

/* Another table has three tries of its own. */
static void a_table_made_anew(void **state)
{
    struct fixture *fixture = *state;
    read_fails(fixture);
    goes_off(fixture, 0);
    read_fails(fixture);
    while (fake.reads == 2)
        goes_off(fixture, 0);
    read_fails(fixture);
    assert_int_equal(fake.due_ns, 0);
    warm_again(fake.warm);
    warm_applied(fake.warm);
    turn(fixture);
    for (unsigned tries = 4; tries <= 6; tries++) {
        while (fake.reads < tries)
            goes_off(fixture, 0);
        read_fails(fixture);
    }
    assert_int_equal(fake.due_ns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(three_tries),
        T(a_timer_that_is_early),
        T(a_connection_shortens_no_pause),
        T(a_table_made_anew),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
