/* What is used stays, whoever else comes, and no client keeps more than its part: one that says that it uses everything
 * it can think of, again and again, and one that comes anew each time to say so. */
#include "tests/unit/table/grow_fixture.h"
#include "tests/support/random.h"

#define ROOM    1000u /* entries */
#define TICKETS (ROOM / 2)
#define CLIENTS 8u   /* in most tests */
#define MANY    200u /* in others */

static struct use_share shares[MANY];

static void begin_clients(void)
{
    memset(shares, 0, sizeof shares);
}

static bool use(struct fixture *fixture, unsigned client, uint64_t user, struct scope_key scope)
{
    return publisher_use(fixture->publisher, &shares[client], user, scope);
}

/* A turn and a round, as the server has them with few clients. */
static void next_round(struct fixture *fixture)
{
    publisher_use_turn(fixture->publisher);
    publisher_use_grant(fixture->publisher);
    for (unsigned client = 0; client < MANY; client++)
        publisher_use_settle(fixture->publisher, &shares[client]);
}

/* All clients have said something, and may take their parts. */
static void join_all(struct fixture *fixture)
{
    begin_clients();
    fill_well(fixture, 1, server);
    for (unsigned client = 0; client < CLIENTS; client++)
        assert_false(use(fixture, client, 1, server)); /* it comes without a ticket */
    next_round(fixture);
}

static uint64_t used(const struct fixture *fixture)
{
    return fixture->publisher->table->entries.sieve.used;
}

static uint64_t used_between(const struct fixture *fixture, uint64_t first, uint64_t end)
{
    const struct table *table = fixture->publisher->table;
    uint64_t count = 0;
    for (uint32_t slot = 0; slot < map_slot_count(&table->map); slot++) {
        uint64_t user = map_key_at(&table->map, slot).key0;
        count += map_word(&table->map, slot) != 0 && table->entries.sieve.laps[slot] > 0 && user >= first &&
                 user < end;
    }
    return count;
}

/* Tickets are neither made nor lost: what clients have is promised, and there are no more than there are. */
static void assert_kept(const struct fixture *fixture)
{
    const struct use_shares *all = &fixture->publisher->uses;
    uint64_t promised = 0, clients = 0, hungry = 0;
    for (unsigned client = 0; client < MANY; client++) {
        clients += shares[client].joined;
        promised += shares[client].tickets;
        hungry += shares[client].joined && shares[client].hungry == all->round + 1;
    }
    assert_int_equal(all->hungry, hungry);
    assert_int_equal(all->clients, clients);
    assert_int_equal(all->promised, promised);
    assert_true(used(fixture) + promised <= fixture->publisher->table->entries.sieve.used_max);
}

static void fill_from(struct fixture *fixture, uint64_t first, uint64_t count)
{
    for (uint64_t user = first; user < first + count; user++)
        fill_well(fixture, user, server);
}

/* ---- what is used ------------------------------------------------------------------------------------------------ */

static void what_is_used_stays(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    fill_from(fixture, 1, ROOM);
    assert_true(use(fixture, 0, 5, server));
    assert_false(use(fixture, 0, 5, server)); /* that is known */
    fill_from(fixture, 10000, 2 * ROOM);
    assert_int_equal(resident(fixture, 5, server, SEND), 1);
    assert_int_equal(resident(fixture, 6, server, SEND), -1);
    fill_from(fixture, 20000, (SIEVE_LAPS + 1) * ROOM);
    assert_int_equal(resident(fixture, 5, server, SEND), -1);
    assert_int_equal(used(fixture), 0);
    assert_kept(fixture);
}

static void what_is_not_there_is_not_used(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    for (uint64_t user = 100; user < 2000; user++)
        assert_false(use(fixture, 1, user, server));
    assert_int_equal(used(fixture), 0);
    assert_kept(fixture);
    assert_true(use(fixture, 1, 1, server)); /* and it has cost nothing */
}

static void a_fold_is_used_where_its_entry_is(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    fill_well(fixture, 2, channel); /* which is plain: the entry is the server's */
    assert_true(use(fixture, 0, 2, channel));
    assert_false(use(fixture, 0, 2, server));
    assert_int_equal(used(fixture), 1);
}

/* A change takes an entry out, used or not, and gives the ticket back. */
static void a_used_entry_is_retired_as_any_other(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    fill_from(fixture, 2, 1);
    assert_true(use(fixture, 0, 2, server));
    assert_int_equal(publisher_retire_user(fixture->publisher, 2), 1);
    assert_int_equal(resident(fixture, 2, server, SEND), -1);
    assert_int_equal(used(fixture), 0);
    assert_kept(fixture);
    fill_from(fixture, 2, 1);
    assert_int_equal(used(fixture), 0);
}

/* One that is filled again stays where it was, and as used as it was. */
static void a_second_fill_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    fill_from(fixture, 1, ROOM);
    assert_true(use(fixture, 0, 5, server));
    fill_from(fixture, 5, 2);
    assert_int_equal(used(fixture), 1);
    fill_from(fixture, 10000, 10);
    assert_int_equal(resident(fixture, 5, server, SEND), 1);
    assert_int_equal(resident(fixture, 6, server, SEND), -1);
}

/* Strangers have a queue of their own, and use counts there, too. */
static void strangers_are_used_as_well(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    join_all(fixture);
    for (uint64_t user = 1; user <= 3 * ROOM; user++) {
        struct answer answer = {0};
        read_facts(fixture, 50000 + user, server, &facts);
        facts.stranger = true;
        assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
        answer_fini(&answer);
        facts_fini(&facts);
        if (user == 7)
            assert_true(use(fixture, 0, 50007, server));
    }
    assert_int_not_equal(resident(fixture, 50007, server, SEND), -1);
    assert_int_equal(resident(fixture, 50008, server, SEND), -1);
}

/* ---- growth ------------------------------------------------------------------------------------------------------ */

static void growth_keeps_what_is_used(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    fill_from(fixture, 1, ROOM);
    for (uint64_t user = 1; user <= 50; user++)
        assert_true(use(fixture, (unsigned)user % CLIENTS, user, server));
    (void)begin(fixture);
    finish(fixture);
    assert_int_equal(used(fixture), 50);
    assert_kept(fixture);
    for (uint64_t user = 51; user <= 60; user++) /* in both tables */
        assert_true(use(fixture, (unsigned)user % CLIENTS, user, server));
    assert_int_equal(used_between(fixture, 1, 61), 60);
    assert_int_equal(fixture->publisher->other->entries.sieve.used, 60);
    fill_from(fixture, 10000, 3 * ROOM);
    for (uint64_t user = 1; user <= 60; user++) {
        assert_int_not_equal(resident(fixture, user, server, SEND), -1);
        assert_int_not_equal(resident_in(fixture->publisher->other, user, server, SEND), -1);
    }
    assert_kept(fixture);
}

/* Readers have not left the retired table yet. Its room is smaller, so its hand goes on while that of the next one has
 * nothing to do, and knows all that is used already. */
static void a_retired_table_keeps_what_is_used(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    fill_from(fixture, 1, ROOM);
    struct table *next = make(fixture, 20 * ROOM, 100);
    assert_int_equal(publisher_grow_begin(fixture->publisher, next), 0);
    finish(fixture);
    assert_ptr_equal(fixture->publisher->table, next);
    for (unsigned round = 0; round < 100; round++) {
        (void)use(fixture, 1, 5, server);
        fill_from(fixture, 10000 + round * ROOM / 10, ROOM / 10);
        next_round(fixture);
    }
    assert_int_not_equal(resident_in(next, 5, server, SEND), -1);
    assert_int_not_equal(resident_in(fixture->publisher->other, 5, server, SEND), -1);
    assert_int_equal(resident_in(fixture->publisher->other, 6, server, SEND), -1);
    assert_kept(fixture);
}

/* One that was asked for again while the table grew is in the next one already when it would be copied. */
static void what_is_filled_while_growing_is_used_as_before(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    fill_from(fixture, 1, ROOM);
    assert_true(use(fixture, 1, 5, server));
    struct table *next = begin(fixture);
    fill_from(fixture, 5, 2);
    assert_int_not_equal(resident_in(next, 5, server, SEND), -1);
    finish(fixture);
    assert_int_equal(used_between(fixture, 5, 6), 1);
    assert_int_equal(used(fixture), 1);
    assert_kept(fixture);
}

/* ---- clients that nobody should trust ---------------------------------------------------------------------------- */

#define HOSTILE 0u /* this client */
#define OWN     100000u /* its users */
#define HOT     40u     /* users of each of the others, from 1000 * client on */

/* A ticket is good for the longest time where it is spent on an entry that the hand has just passed over for the last
 * time. So the hostile one says that it uses all of its own that do not count as used, these first. */
static void claim(struct fixture *fixture)
{
    const struct entries *entries = &fixture->publisher->table->entries;
    const struct sieve_queue *queue = &entries->queue[ENTRY_POSITIVE];
    uint32_t slot = queue->hand != NO_ENTRY ? entries->links[queue->hand].older : NO_ENTRY;
    for (uint64_t i = 0; i < queue->count; i++) {
        slot = slot != NO_ENTRY ? slot : queue->newest;
        uint64_t user = map_key_at(entries->map, slot).key0;
        if (user >= OWN && user < OWN + 5000 && entries->sieve.laps[slot] == 0)
            (void)use(fixture, HOSTILE, user, server);
        slot = entries->links[slot].older;
    }
}

/* The hostile one asks for users of its own all the time and says that it uses as many as it can. The others use what
 * they use, and say so for a part of it. Others yet come once. */
static void turn(struct fixture *fixture, struct random *random, uint64_t number)
{
    next_round(fixture);
    for (unsigned i = 0; i < 20; i++)
        fill_well(fixture, OWN + (number * 20 + i) % 5000, server);
    claim(fixture);
    for (unsigned client = 1; client < CLIENTS; client++) {
        for (unsigned i = 0; i < 4; i++) {
            uint64_t user = 1000 * client + random_below(random, HOT);
            fill_well(fixture, user, server); /* asked for: a hit, or a fill */
            (void)use(fixture, client, user, server);
        }
    }
    fill_from(fixture, 1000000 + 20 * number, 20);
    assert_kept(fixture);
}

static uint64_t hot_ones(struct fixture *fixture)
{
    uint64_t count = 0;
    for (unsigned client = 1; client < CLIENTS; client++)
        for (uint64_t user = 1000 * client; user < 1000 * client + HOT; user++)
            count += resident(fixture, user, server, SEND) >= 0;
    return count;
}

/* How many of the others' are there after so many turns: nearly all of them, for their part has room for more. */
#define NEARLY_ALL ((CLIENTS - 1) * HOT * 95 / 100)

static void assert_others_keep(const struct fixture *fixture)
{
    for (unsigned client = 1; client < CLIENTS; client++)
        assert_in_range(used_between(fixture, 1000 * client, 1000 * client + HOT), HOT * 3 / 4, HOT);
}

/* Up to twice, because others spend some of theirs on what still counts as used. */
static void a_hostile_client_keeps_its_part(void **state)
{
    struct fixture *fixture = *state;
    struct random random = {3};
    join_all(fixture);
    fill_from(fixture, 1, ROOM);
    for (uint64_t number = 0; number < 300; number++) {
        turn(fixture, &random, number);
        if (number >= 100) {
            assert_in_range(used_between(fixture, OWN, OWN + 5000), 0, 2 * TICKETS / CLIENTS);
            assert_in_range(hot_ones(fixture), NEARLY_ALL, ROOM);
            assert_others_keep(fixture);
        }
    }
}

/* Who comes anew has no ticket, so coming again and again is no way to more of them. */
static void it_gains_nothing_by_coming_anew(void **state)
{
    struct fixture *fixture = *state;
    struct random random = {5};
    join_all(fixture);
    fill_from(fixture, 1, ROOM);
    for (uint64_t number = 0; number < 300; number++) {
        publisher_use_leave(fixture->publisher, &shares[HOSTILE]);
        assert_kept(fixture);
        assert_false(use(fixture, HOSTILE, 1, server));
        turn(fixture, &random, number);
        if (number >= 100) {
            assert_in_range(used_between(fixture, OWN, OWN + 5000), 0, 2 * TICKETS / CLIENTS);
            assert_in_range(hot_ones(fixture), NEARLY_ALL, ROOM);
            assert_others_keep(fixture);
        }
    }
}

/* It was alone, and has used all there is. Then the others come: they find the half that nobody can keep at once, and
 * their parts as soon as the hand has gone round. */
static void who_comes_later_has_a_part(void **state)
{
    struct fixture *fixture = *state;
    struct random random = {7};
    begin_clients();
    fill_from(fixture, OWN, ROOM);
    assert_false(use(fixture, HOSTILE, OWN, server));
    next_round(fixture);
    for (uint64_t user = OWN; user < OWN + ROOM; user++)
        (void)use(fixture, HOSTILE, user, server);
    assert_int_equal(used(fixture), TICKETS);
    for (uint64_t number = 0; number < 300; number++)
        turn(fixture, &random, number);
    assert_in_range(used_between(fixture, OWN, OWN + 5000), 0, 2 * TICKETS / CLIENTS);
    assert_in_range(hot_ones(fixture), NEARLY_ALL, ROOM);
}

/* Who was alone had all the tickets there are. Those that it has not spent are not its own any more when others
 * come. */
static void nobody_hoards(void **state)
{
    struct fixture *fixture = *state;
    begin_clients();
    fill_from(fixture, 1, ROOM);
    assert_false(use(fixture, HOSTILE, 1, server));
    next_round(fixture);
    assert_true(use(fixture, HOSTILE, 1, server));
    assert_int_equal(shares[HOSTILE].tickets, TICKETS - 1);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned client = 0; client < CLIENTS; client++)
            assert_false(use(fixture, client, 1, server)); /* that is known */
        assert_kept(fixture);
        next_round(fixture);
        assert_kept(fixture);
    }
    for (unsigned client = 0; client < CLIENTS; client++)
        assert_in_range(shares[client].tickets, TICKETS / CLIENTS - 1, TICKETS / CLIENTS);
}

/* ---- many clients, of which few are busy ------------------------------------------------------------------------- */

static uint64_t turn_number;

/* So many busy clients, each with users of its own, from 1000 * (1 + client) on; as many fills as in a turn above. */
static void busy_turn(struct fixture *fixture, unsigned busy, uint64_t number)
{
    next_round(fixture);
    for (unsigned client = 0; client < busy; client++) {
        uint64_t first = 1000 * (1 + client);
        for (uint64_t user = first; user < first + ROOM / 2 / busy; user++) {
            fill_well(fixture, user, server);
            (void)use(fixture, client, user, server);
        }
    }
    fill_from(fixture, 1000000 + 20 * number, 20);
    assert_kept(fixture);
}

static uint64_t used_of_client(const struct fixture *fixture, unsigned client)
{
    return used_between(fixture, 1000 * (1 + client), 1000 * (2 + client));
}

/* How many entries each busy client has in use, in the mean of so many turns: the hand may come past all of them in one
 * turn, and then they are used again in the next. */
static void assert_mean_at_least(struct fixture *fixture, unsigned busy, unsigned turns, uint64_t least)
{
    uint64_t sums[MANY] = {0};
    for (unsigned i = 0; i < turns; i++) {
        busy_turn(fixture, busy, turn_number++);
        for (unsigned client = 0; client < busy; client++)
            sums[client] += used_of_client(fixture, client);
    }
    for (unsigned client = 0; client < busy; client++)
        assert_in_range(sums[client], least * turns, TICKETS * turns);
}

/* So many have come, and have used something; then most say nothing any more. Each that is busy keeps its part at once,
 * and nearly that of the others when they are not counted any more. */
static void few_are_busy(struct fixture *fixture, unsigned clients, unsigned busy)
{
    begin_clients();
    fill_from(fixture, 1, ROOM);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned client = 0; client < clients; client++)
            (void)use(fixture, client, 1 + client, server);
        next_round(fixture);
        assert_kept(fixture);
    }
    assert_mean_at_least(fixture, busy, USE_SILENT - 10, TICKETS / clients - 1);
    for (unsigned client = 0; client < clients; client++)
        assert_true(shares[client].joined);
    assert_mean_at_least(fixture, busy, 10, 0);
    assert_mean_at_least(fixture, busy, 400, TICKETS / busy * 9 / 10);
    assert_int_equal(fixture->publisher->uses.clients, busy);
    for (unsigned client = busy; client < clients; client++)
        assert_int_equal(shares[client].tickets, 0);
}

static void one_of_thirty_two_is_busy(void **state)
{
    few_are_busy(*state, 32, 1);
}

static void one_of_two_hundred_is_busy(void **state)
{
    few_are_busy(*state, 200, 1);
}

static void ten_of_a_hundred_are_busy(void **state)
{
    few_are_busy(*state, 100, 10);
}

/* They have come, and have said one thing: they take nothing, and nothing that comes back ends with them. */
static void who_is_idle_takes_nothing(void **state)
{
    struct fixture *fixture = *state;
    begin_clients();
    fill_from(fixture, 1, ROOM);
    for (unsigned client = 0; client < MANY; client++)
        assert_false(use(fixture, client, 1, server));
    next_round(fixture);
    for (unsigned number = 0; number < 300; number++) {
        busy_turn(fixture, 1, number);
        if (number >= 200)
            assert_in_range(used_of_client(fixture, 0), TICKETS / 2, TICKETS);
    }
    for (unsigned client = 1; client < MANY; client++)
        assert_int_equal(shares[client].tickets, 0);
}

/* All of two hundred are busy, so there is less than one ticket for each in most rounds. */
static void all_are_busy(void **state)
{
    struct fixture *fixture = *state;
    begin_clients();
    fill_from(fixture, 1, ROOM);
    for (unsigned number = 0; number < 400; number++) {
        busy_turn(fixture, MANY, number);
        if (number >= 200)
            assert_in_range(used(fixture), TICKETS / 2, TICKETS);
    }
}

/* One that comes, says something and goes, again and again, is not counted with those who are hungry. */
static void who_has_gone_is_not_hungry(void **state)
{
    struct fixture *fixture = *state;
    join_all(fixture);
    for (unsigned i = 0; i < 1000; i++) {
        (void)use(fixture, HOSTILE, 1, server);
        publisher_use_leave(fixture->publisher, &shares[HOSTILE]);
    }
    (void)use(fixture, 1, 1, server);
    assert_kept(fixture);
    next_round(fixture);
    (void)use(fixture, 1, 1, server);
    assert_in_range(shares[1].tickets, TICKETS / CLIENTS - 1, TICKETS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_growing, teardown_growing)
        T(what_is_used_stays),
        T(what_is_not_there_is_not_used),
        T(a_fold_is_used_where_its_entry_is),
        T(a_used_entry_is_retired_as_any_other),
        T(a_second_fill_changes_nothing),
        T(strangers_are_used_as_well),
        T(growth_keeps_what_is_used),
        T(a_retired_table_keeps_what_is_used),
        T(what_is_filled_while_growing_is_used_as_before),
        T(a_hostile_client_keeps_its_part),
        T(it_gains_nothing_by_coming_anew),
        T(who_comes_later_has_a_part),
        T(nobody_hoards),
        T(one_of_thirty_two_is_busy),
        T(one_of_two_hundred_is_busy),
        T(ten_of_a_hundred_are_busy),
        T(who_is_idle_takes_nothing),
        T(all_are_busy),
        T(who_has_gone_is_not_hungry),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
