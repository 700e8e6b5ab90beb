/* Slices: when they are told of, and what becomes of those that nobody waits for any more. Threads, the store and the
 * publisher are played (--wrap, CMakeLists.txt); a slice is read when a test says so. */
#include "proxy/answer/slices.h"

#include "proxy/answer/fetch.h"
#include "proxy/base/clock.h"
#include "proxy/base/counters.h"
#include "proxy/base/turn.h"
#include "proxy/l2/l2.h"
#include "proxy/store/store.h"
#include "proxy/table/publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#define USERS  4096u
#define SLICES 64u
#define SHARE  256u /* users published between two looks at the clock */
#define OF_L2  50u  /* users of a slice of L2 */
#define LISTED 4u   /* slices that are read by lists after one that was no range */

static const struct scope_key server = {1, 1}, other = {2, 1};

static struct {
    struct read_guest *guests[SLICES]; /* as they came */
    unsigned guest_count;
    bool away;                      /* a thread has each of them */
    int fails;                      /* the read */
    unsigned snapshots, snapshot_ends, reads;
    bool listed[SLICES]; /* what each read was told */
    bool is_list;        /* what it finds out */
    struct log_position at;
    uint64_t revision, generation, confirmed_ns;
    enum publisher_outcome outcome;
    unsigned fills;
    size_t fill_count[USERS]; /* users of each */
    uint64_t slow_ns;         /* that each takes */
    enum slice_result result;
    unsigned woken;
    int known[USERS + 1]; /* by user */
    uint64_t roles_from;  /* users from this one on have a role; 0: all have */
    size_t l2_max;        /* users of a read */
    uint64_t epoch;
    struct {
        struct facts_slice *slice;
        l2_place_fn done; /* NULL: nothing is under way */
        void *context;
    } place;
} fake;

void __wrap_fetches_guest_begin(struct fetches *fetches, struct read_guest *guest);
bool __wrap_read_guest_withdraw(struct read_guest *guest);
int __wrap_fetch_is_known(const struct fetches *fetches, const struct facts *facts);
int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure);
void __wrap_store_snapshot_end(struct store *store);
int __wrap_store_read_slice(struct store *store, struct facts_slice *slice, bool *listed, struct failure *failure);
uint64_t __wrap_publisher_generation(const struct publisher *publisher);
struct log_position __wrap_publisher_position(const struct publisher *publisher);
uint64_t __wrap_publisher_confirmed(const struct publisher *publisher);
enum publisher_outcome __wrap_publisher_fill_many(struct publisher *publisher, struct facts_slice *slice, size_t from,
                                                  size_t count, uint64_t now_ns, uint8_t *results);
void __wrap_feed_wake(struct feed *feed);
size_t __wrap_l2_place_max(const struct l2 *l2, struct scope_key scope);
int __wrap_l2_place_read(struct l2_place **out, struct l2 *l2, struct facts_slice *slice, l2_place_fn done,
                         void *context);
void __wrap_l2_place_leave(struct l2_place *place);
bool __wrap_l2_place_counts(const struct l2 *l2, uint64_t epoch);

void __wrap_fetches_guest_begin(struct fetches *fetches, struct read_guest *guest)
{
    (void)fetches;
    assert_in_range(fake.guest_count, 0, SLICES - 1);
    fake.guests[fake.guest_count++] = guest;
}

static void forget_guest(unsigned index)
{
    memmove(&fake.guests[index], &fake.guests[index + 1], (--fake.guest_count - index) * sizeof fake.guests[0]);
}

/* One that is not in the list has been read. */
bool __wrap_read_guest_withdraw(struct read_guest *guest)
{
    for (unsigned i = 0; i < fake.guest_count && !fake.away; i++) {
        if (fake.guests[i] != guest)
            continue;
        forget_guest(i);
        return true;
    }
    return false;
}

int __wrap_fetch_is_known(const struct fetches *fetches, const struct facts *facts)
{
    (void)fetches;
    assert_in_range(facts->user, 1, USERS);
    return fake.known[facts->user];
}

int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure)
{
    (void)store, (void)failure;
    *at = (struct log_position){0};
    *now = 1;
    fake.snapshots++;
    return 0;
}

void __wrap_store_snapshot_end(struct store *store)
{
    (void)store;
    fake.snapshot_ends++;
}

int __wrap_store_read_slice(struct store *store, struct facts_slice *slice, bool *listed, struct failure *failure)
{
    (void)store;
    assert_true(fake.snapshots == fake.snapshot_ends + 1 && fake.reads < SLICES);
    fake.listed[fake.reads++] = *listed;
    *listed = *listed || fake.is_list;
    if (fake.fails < 0)
        return failure_set(failure, fake.fails, "its disk is full");
    facts_slice_clear(slice);
    facts_slice_common(slice)->revision = fake.revision;
    for (size_t i = 0; i < slice->count; i++)
        if (slice->users[i] >= fake.roles_from)
            assert_int_equal(facts_slice_assign(slice, slice->users[i], 7, 0), 0);
    if (slice->count > 1 && slice->users[1] == 2 && slice->users[0] == 1 && fake.roles_from > 2)
        facts_slice_set_alone(slice, 2);
    return facts_slice_finish(slice);
}

uint64_t __wrap_publisher_generation(const struct publisher *publisher)
{
    (void)publisher;
    return fake.generation;
}

struct log_position __wrap_publisher_position(const struct publisher *publisher)
{
    (void)publisher;
    return fake.at;
}

uint64_t __wrap_publisher_confirmed(const struct publisher *publisher)
{
    (void)publisher;
    return fake.confirmed_ns;
}

enum publisher_outcome __wrap_publisher_fill_many(struct publisher *publisher, struct facts_slice *slice, size_t from,
                                                  size_t count, uint64_t now_ns, uint8_t *results)
{
    (void)publisher;
    fake.fill_count[fake.fills++] = count;
    assert_true(now_ns > 0 && from + count <= slice->count);
    uint64_t begun_ns = clock_ns();
    while (fake.slow_ns > 0 && clock_ns() - begun_ns < fake.slow_ns)
        ;
    for (size_t i = 0; i < slice->kind_count; i++)
        assert_true(slice->kinds[i].unasked); /* they displace none */
    if (slice->kinds[0].generation != fake.generation) {
        memset(results + from, SLICE_ALONE, count);
        return PUBLISHER_OUTDATED;
    }
    if (fake.outcome != PUBLISHER_FILLED)
        return fake.outcome;
    for (size_t i = from; i < from + count; i++)
        if (results[i] == SLICE_OPEN)
            results[i] = (uint8_t)fake.result;
    return PUBLISHER_FILLED;
}

void __wrap_feed_wake(struct feed *feed)
{
    (void)feed;
    fake.woken++;
}

size_t __wrap_l2_place_max(const struct l2 *l2, struct scope_key scope)
{
    assert_ptr_equal(l2, &fake);
    assert_true(scope_equal(scope, server));
    return fake.l2_max;
}

int __wrap_l2_place_read(struct l2_place **out, struct l2 *l2, struct facts_slice *slice, l2_place_fn done,
                         void *context)
{
    if (__wrap_l2_place_max(l2, slice->scope) == 0)
        return PERMTAB_E_UNREACHABLE;
    assert_null(fake.place.done);
    fake.place.slice = slice;
    fake.place.done = done;
    fake.place.context = context;
    *out = (struct l2_place *)(void *)&fake.place;
    return 0;
}

void __wrap_l2_place_leave(struct l2_place *place)
{
    assert_ptr_equal(place, &fake.place);
    fake.place.done = NULL;
}

bool __wrap_l2_place_counts(const struct l2 *l2, uint64_t epoch)
{
    assert_ptr_equal(l2, &fake);
    assert_int_not_equal(epoch, 0);
    return epoch == fake.epoch;
}

/* ---- the fixture ------------------------------------------------------------------------------------------------- */

struct fixture {
    struct event_base *base;
    struct slices *slices;
    struct slice *slice; /* begun last */
    unsigned told;
    int code;
    char text[64];
    size_t count; /* of what was told of last: */
    uint8_t results[USERS];
    bool between; /* an event of somebody else came between two shares */
    struct counters counters;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    memset(&fake, 0, sizeof fake);
    fake.result = SLICE_FILLED;
    fake.at.revision = fake.revision = 10;
    fake.l2_max = L2_PLACE_USERS_MAX;
    fake.epoch = 77;
    fixture->base = event_base_new();
    struct slices_options options = {
        .base = fixture->base, .l2 = (struct l2 *)(void *)&fake, .counters = &fixture->counters};
    assert_int_equal(slices_new(&fixture->slices, &options), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    slices_free(fixture->slices);
    event_base_free(fixture->base);
    assert_int_equal(fake.guest_count, 0);
    assert_int_equal(fake.snapshots, fake.snapshot_ends);
    free(fixture);
    return 0;
}

static void on_done(void *context, int code, const char *text, const struct facts_slice *facts, const uint8_t *results)
{
    struct fixture *fixture = context;
    fixture->told++;
    fixture->code = code;
    (void)snprintf(fixture->text, sizeof fixture->text, "%s", text);
    fixture->count = facts->count;
    for (size_t i = 0; i < facts->count; i++) {
        assert_int_equal(facts->users[i], i + 1);
        fixture->results[i] = code == 0 ? results[i] : SLICE_OPEN;
    }
}

/* Users 1 to `count`. */
static void begin_at(struct fixture *fixture, struct scope_key scope, size_t count)
{
    uint64_t users[USERS];
    for (size_t i = 0; i < count; i++)
        users[i] = i + 1;
    assert_int_equal(
        slice_begin(&fixture->slice, fixture->slices, SLICE_OF_STORE, scope, users, count, on_done, fixture),
        0);
}

static void begin(struct fixture *fixture, size_t count)
{
    begin_at(fixture, server, count);
}

static void turn(struct fixture *fixture)
{
    (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void turn_some(struct fixture *fixture)
{
    for (unsigned i = 0; i < 8; i++)
        turn(fixture);
}

/* The oldest one is read, as a thread does; `times`: the connection has broken before. */
static void read_one(unsigned times)
{
    struct failure failure = {0};
    struct read_guest *guest = fake.guests[0];
    forget_guest(0);
    for (unsigned i = 0; i < times; i++)
        (void)guest->run(guest, (struct store *)(void *)&fake, &failure);
    guest->done(guest);
}

static size_t count_of(const struct fixture *fixture, enum slice_result result)
{
    size_t count = 0;
    for (size_t i = 0; i < fixture->count; i++)
        count += fixture->results[i] == result;
    return count;
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

static void it_is_told_once(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 1000);
    turn(fixture);
    assert_int_equal(fixture->told, 0);
    read_one(1);
    assert_int_equal(fixture->told, 0); /* never from inside */
    turn_some(fixture);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->code, 0);
    assert_int_equal(count_of(fixture, SLICE_FILLED), 1000);
    slices_applied(fixture->slices);
    turn_some(fixture);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fake.fills, 4);
    assert_int_equal(fake.fill_count[3], 1000 - 3 * SHARE);
    assert_int_equal(fake.woken, 0);
}

static void it_is_read_a_second_time(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 100);
    read_one(2);
    turn_some(fixture);
    assert_int_equal(fixture->code, 0);
    assert_int_equal(count_of(fixture, SLICE_FILLED), 100);
}

static void each_result_is_told(void **state)
{
    struct fixture *fixture = *state;
    for (enum slice_result result = SLICE_FILLED; result <= SLICE_NO_ROOM; result++) {
        fake.result = result;
        begin(fixture, 300);
        read_one(1);
        turn_some(fixture);
        assert_int_equal(count_of(fixture, result), 300);
    }
}

/* Nothing is published of what was not read, and the snapshot is over. */
static void a_failure_is_told(void **state)
{
    struct fixture *fixture = *state;
    const int codes[] = {PERMTAB_E_STORE, PERMTAB_E_UNREACHABLE, PERMTAB_E_TIMEOUT, PERMTAB_E_LIMIT,
                         PERMTAB_E_MEMORY, PERMTAB_E_NOT_FOUND};
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
        fake.fails = codes[i];
        begin(fixture, 300);
        read_one(1);
        turn_some(fixture);
        assert_int_equal(fixture->told, i + 1);
        assert_int_equal(fixture->code, codes[i]);
        assert_string_equal(fixture->text, "its disk is full");
        assert_int_equal(fixture->count, 300);
    }
    assert_int_equal(fake.fills, 0);
}

/* There is no connection. */
static void a_thread_without_a_store(void **state)
{
    struct fixture *fixture = *state;
    struct failure failure = {.code = PERMTAB_E_UNREACHABLE, .text = "nobody is there"};
    begin(fixture, 300);
    struct read_guest *guest = fake.guests[0];
    forget_guest(0);
    assert_int_equal(guest->run(guest, NULL, &failure), PERMTAB_E_UNREACHABLE);
    guest->done(guest);
    turn_some(fixture);
    assert_int_equal(fixture->code, PERMTAB_E_UNREACHABLE);
    assert_string_equal(fixture->text, "nobody is there");
    assert_int_equal(fake.snapshots, 0);
    begin(fixture, 300); /* it comes back, and a failure before is forgotten */
    guest = fake.guests[0];
    (void)guest->run(guest, NULL, &failure);
    (void)guest->run(guest, (struct store *)(void *)&fake, &failure);
    forget_guest(0);
    guest->done(guest);
    turn_some(fixture);
    assert_int_equal(fixture->code, 0);
    assert_string_equal(fixture->text, "");
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

static void cancelled_before_a_thread_has_it(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 300);
    slice_cancel(fixture->slice);
    assert_int_equal(fake.guest_count, 0);
    turn_some(fixture);
    assert_int_equal(fixture->told, 0);
}

static void cancelled_while_it_is_away(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 300);
    fake.away = true;
    slice_cancel(fixture->slice);
    assert_int_equal(fake.guest_count, 1);
    read_one(1);
    turn_some(fixture);
    assert_int_equal(fixture->told, 0);
    assert_int_equal(fake.fills, 0);
}

static void cancelled_while_it_is_held(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 300);
    read_one(1);
    slice_cancel(fixture->slice);
    turn_some(fixture);
    assert_int_equal(fixture->told, 0);
    assert_int_equal(fake.fills, 0);
    begin(fixture, 300);
    fake.outcome = PUBLISHER_EARLY; /* and while it waits for a batch */
    fake.revision = 11;
    read_one(1);
    turn_some(fixture);
    assert_int_equal(fake.fills, 1);
    slice_cancel(fixture->slice);
    begin(fixture, 300); /* it does not keep the next one waiting */
    fake.outcome = PUBLISHER_FILLED;
    read_one(1);
    turn_some(fixture);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fake.fills, 3);
}

/* At shutdown: the threads have ended, and nobody waits any more. A leak would be seen. */
static void it_ends_at_any_time(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 300);
    read_one(1);
    slice_cancel(fixture->slice);
    begin(fixture, 300);
    fake.away = true;
    slice_cancel(fixture->slice);
    read_one(1);
    slices_free(NULL);
}

/* ---- ahead of the table ------------------------------------------------------------------------------------------ */

static void it_waits_for_a_batch(void **state)
{
    struct fixture *fixture = *state;
    fake.revision = 11;
    fake.outcome = PUBLISHER_EARLY;
    begin(fixture, 1000);
    read_one(1);
    turn_some(fixture);
    assert_int_equal(fake.fills, 1);
    assert_int_equal(fake.woken, 1); /* the feed need not be waited for */
    begin(fixture, 100);
    read_one(1);
    slices_applied(fixture->slices); /* of something else */
    turn_some(fixture);
    assert_int_equal(fake.fills, 2); /* the one behind it waits, too */
    assert_int_equal(fixture->told, 0);
    fake.outcome = PUBLISHER_FILLED;
    fake.at.revision = 11;
    turn_some(fixture);
    assert_int_equal(fixture->told, 0);
    slices_applied(fixture->slices);
    turn_some(fixture);
    assert_int_equal(fixture->told, 2);
    assert_int_equal(count_of(fixture, SLICE_FILLED), 100);
}

/* A poll that began after it was read has not come so far: the feed reads another server. */
static void it_is_never_reached(void **state)
{
    struct fixture *fixture = *state;
    fake.revision = 11;
    fake.outcome = PUBLISHER_EARLY;
    fake.confirmed_ns = clock_ns();
    begin(fixture, 1000);
    read_one(1);
    turn_some(fixture);
    slices_applied(fixture->slices); /* that poll had begun before */
    turn_some(fixture);
    assert_int_equal(fixture->told, 0);
    fake.confirmed_ns = clock_ns();
    slices_applied(fixture->slices);
    turn_some(fixture);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->code, 0);
    assert_int_equal(count_of(fixture, SLICE_ALONE), 1000);
}

/* The table has come so far, and is applying a long batch: that is waited for. */
static void a_batch_is_being_applied(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_EARLY;
    begin(fixture, 1000);
    read_one(1);
    turn_some(fixture);
    fake.confirmed_ns = clock_ns();
    slices_applied(fixture->slices);
    turn_some(fixture);
    assert_int_equal(fixture->told, 0);
    fake.outcome = PUBLISHER_FILLED;
    slices_applied(fixture->slices);
    turn_some(fixture);
    assert_int_equal(count_of(fixture, SLICE_FILLED), 1000);
}

/* It was read for another table; what was published before is told. */
static void the_table_is_made_anew(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 1000);
    fake.generation++; /* after it began */
    read_one(1);
    turn_some(fixture);
    assert_int_equal(count_of(fixture, SLICE_ALONE), 1000);
    fake.slow_ns = TURN_NS;
    begin(fixture, 1000);
    read_one(1);
    while (fake.fills < 6)
        turn(fixture);
    fake.generation++;
    turn_some(fixture);
    assert_int_equal(fixture->told, 2);
    assert_int_equal(count_of(fixture, SLICE_FILLED), 2 * SHARE);
    assert_int_equal(count_of(fixture, SLICE_ALONE), 1000 - 2 * SHARE);
}

/* ---- who has no rows --------------------------------------------------------------------------------------------- */

/* They are asked about once each; of those with a role it is clear that they have rows. */
static void strangers_and_unsure(void **state)
{
    struct fixture *fixture = *state;
    fake.roles_from = 101; /* and user 2 is to be read alone */
    for (uint64_t user = 1; user <= 300; user++)
        fake.known[user] = user % 3 == 0 ? PERMTAB_E_NOT_FOUND : user % 3 == 1 ? PERMTAB_E_BUSY : 0;
    begin(fixture, 300);
    read_one(1);
    turn_some(fixture);
    for (uint64_t user = 1; user <= 300; user++)
        assert_int_equal(fixture->results[user - 1], user > 100 || user % 3 == 2 ? SLICE_FILLED
                                                     : user % 3 == 0             ? SLICE_STRANGER
                                                                                 : SLICE_LATER);
    fake.known[2] = PERMTAB_E_NOT_FOUND; /* of whom nothing was said is nobody's stranger */
    begin(fixture, 300);
    read_one(1);
    turn_some(fixture);
    assert_int_equal(fixture->results[1], SLICE_FILLED);
}

/* The batch that a slice waits for says who has rows now. The table may have become unsure, too. */
static void strangers_no_more(void **state)
{
    struct fixture *fixture = *state;
    static const int before[] = {PERMTAB_E_NOT_FOUND, PERMTAB_E_BUSY, 0};
    fake.roles_from = USERS; /* nobody has a role */
    fake.revision = 11;
    fake.outcome = PUBLISHER_EARLY;
    for (uint64_t user = 1; user <= 27; user++)
        fake.known[user] = before[user % 3];
    begin(fixture, 27);
    read_one(1);
    turn_some(fixture);
    assert_int_equal(fake.fills, 1);
    for (uint64_t user = 1; user <= 27; user++)
        fake.known[user] = before[user / 3 % 3];
    fake.outcome = PUBLISHER_FILLED;
    fake.at.revision = 11;
    slices_applied(fixture->slices);
    turn_some(fixture);
    assert_int_equal(fixture->told, 1);
    for (uint64_t user = 3; user <= 27; user++) /* of user 2 nothing was said */
        assert_int_equal(fixture->results[user - 1], user / 3 % 3 == 2   ? SLICE_FILLED
                                                     : user / 3 % 3 == 0 ? SLICE_STRANGER
                                                                         : SLICE_LATER);
}

/* ---- shares ------------------------------------------------------------------------------------------------------ */

static void on_event(evutil_socket_t descriptor, short what, void *context)
{
    struct fixture *fixture = context;
    (void)descriptor, (void)what;
    fixture->between = fixture->told == 0 && fake.fills > 0;
}

/* Each share takes a turn, though not all of it, and others have theirs. */
static void shares_of_a_turn(void **state)
{
    struct fixture *fixture = *state;
    fake.slow_ns = TURN_WARM_NS;
    begin(fixture, 2 * SHARE + 1);
    begin(fixture, 10);
    read_one(1);
    read_one(1);
    for (unsigned i = 0; i < 3; i++) {
        while (fake.fills == i)
            turn(fixture);
        assert_int_equal(fake.fills, i + 1);
        fixture->between = false;
        assert_int_equal(event_base_once(fixture->base, -1, EV_TIMEOUT, on_event, fixture, &(struct timeval){0}), 0);
        turn(fixture);
        assert_true(fixture->between || i == 2);
    }
    while (fixture->told < 2)
        turn(fixture);
    assert_int_equal(fake.fills, 4);
}

/* ---- ranges and lists -------------------------------------------------------------------------------------------- */

/* A place that was no range is read by lists a while, and then tried again. */
static void a_place_is_listed_for_a_while(void **state)
{
    struct fixture *fixture = *state;
    fake.is_list = true;
    for (unsigned i = 0; i < 2 * LISTED + 4; i++) {
        begin(fixture, 300);
        read_one(1);
        turn_some(fixture);
        assert_int_equal(fake.listed[i], i % (LISTED + 1) != 0);
    }
    begin_at(fixture, other, 300); /* nothing is known of it */
    read_one(1);
    turn_some(fixture);
    assert_false(fake.listed[2 * LISTED + 4]);
    begin(fixture, 300); /* the one that was read last is kept in mind */
    read_one(1);
    turn_some(fixture);
    assert_false(fake.listed[2 * LISTED + 5]);
}

/* Neither a small slice, which is a list anyway, nor one that failed says anything of the place. */
static void what_says_nothing_of_a_place(void **state)
{
    struct fixture *fixture = *state;
    fake.is_list = true;
    begin(fixture, STORE_FACTS_MANY);
    read_one(1);
    fake.fails = PERMTAB_E_STORE;
    begin(fixture, 300);
    read_one(1);
    fake.fails = 0;
    begin(fixture, 300);
    read_one(1);
    turn_some(fixture);
    for (unsigned i = 0; i < 3; i++)
        assert_false(fake.listed[i]);
    begin(fixture, 300);
    begin(fixture, 300); /* before the one ahead is read */
    read_one(1);
    read_one(1);
    turn_some(fixture);
    assert_true(fake.listed[3] && fake.listed[4]);
}

/* ---- from L2 ----------------------------------------------------------------------------------------------------- */

static int begin_of_l2(struct fixture *fixture, size_t count)
{
    uint64_t users[L2_PLACE_USERS_MAX];
    for (size_t i = 0; i < count; i++)
        users[i] = i + 1;
    return slice_begin(&fixture->slice, fixture->slices, SLICE_OF_L2, server, users, count, on_done, fixture);
}

/* L2 has told; 0: nothing is known of anybody. */
static void end_place(uint64_t epoch)
{
    l2_place_fn done = fake.place.done;
    fake.place.done = NULL;
    done(fake.place.context, epoch);
}

static void of_l2(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(slice_max(fixture->slices, SLICE_OF_STORE, server), FACTS_SLICE_USERS_MAX);
    assert_int_equal(slice_max(fixture->slices, SLICE_OF_L2, server), L2_PLACE_USERS_MAX);
    assert_int_equal(begin_of_l2(fixture, OF_L2), 0);
    assert_int_equal(fake.guest_count, 0);
    end_place(fake.epoch);
    assert_int_equal(fixture->told, 0);
    turn_some(fixture);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(count_of(fixture, SLICE_FILLED), OF_L2);
    assert_int_equal(fixture->counters.l2_hits, OF_L2);
    fake.result = SLICE_ALONE;
    assert_int_equal(begin_of_l2(fixture, OF_L2), 0);
    end_place(fake.epoch);
    turn_some(fixture);
    begin(fixture, OF_L2); /* what the store has is no hit */
    read_one(1);
    turn_some(fixture);
    assert_int_equal(fixture->counters.l2_hits, OF_L2);
    fake.l2_max = 0;
    assert_int_equal(slice_max(fixture->slices, SLICE_OF_L2, server), 0);
    assert_int_equal(begin_of_l2(fixture, OF_L2), PERMTAB_E_UNREACHABLE);
}

static void l2_has_nothing(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(begin_of_l2(fixture, OF_L2), 0);
    end_place(0);
    turn_some(fixture);
    assert_int_equal(fixture->code, 0);
    assert_int_equal(count_of(fixture, SLICE_ALONE), OF_L2);
    assert_int_equal(fake.fills, 0);
}

/* After it has told, before it is published; also while the slice is ahead of the table. */
static void l2_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned early = 0; early < 2; early++) {
        fake.outcome = early ? PUBLISHER_EARLY : PUBLISHER_FILLED;
        fake.fills = 0;
        assert_int_equal(begin_of_l2(fixture, OF_L2), 0);
        end_place(fake.epoch);
        if (early)
            turn_some(fixture);
        assert_int_equal(fake.fills, early);
        fake.outcome = PUBLISHER_FILLED;
        fake.epoch++;
        slices_applied(fixture->slices);
        turn_some(fixture);
        assert_int_equal(fixture->told, early + 1);
        assert_int_equal(count_of(fixture, SLICE_ALONE), OF_L2);
        assert_int_equal(fake.fills, early);
    }
}

static void of_l2_for_another_table(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(begin_of_l2(fixture, OF_L2), 0);
    fake.generation++;
    end_place(fake.epoch);
    turn_some(fixture);
    assert_int_equal(count_of(fixture, SLICE_ALONE), OF_L2);
}

static void of_l2_cancelled(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(begin_of_l2(fixture, OF_L2), 0);
    slice_cancel(fixture->slice);
    assert_null(fake.place.done);
    assert_int_equal(begin_of_l2(fixture, OF_L2), 0);
    end_place(fake.epoch);
    slice_cancel(fixture->slice);
    turn_some(fixture);
    assert_int_equal(fixture->told, 0);
    assert_int_equal(fake.fills, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(it_is_told_once),
        T(it_is_read_a_second_time),
        T(each_result_is_told),
        T(a_failure_is_told),
        T(a_thread_without_a_store),
        T(cancelled_before_a_thread_has_it),
        T(cancelled_while_it_is_away),
        T(cancelled_while_it_is_held),
        T(it_ends_at_any_time),
        T(it_waits_for_a_batch),
        T(it_is_never_reached),
        T(a_batch_is_being_applied),
        T(the_table_is_made_anew),
        T(strangers_and_unsure),
        T(strangers_no_more),
        T(shares_of_a_turn),
        T(a_place_is_listed_for_a_while),
        T(what_says_nothing_of_a_place),
        T(of_l2),
        T(l2_has_nothing),
        T(l2_is_forgotten),
        T(of_l2_for_another_table),
        T(of_l2_cancelled),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
