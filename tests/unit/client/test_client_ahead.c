/* The client library against a fake sidecar: a newer table is looked for while the present one still answers, and
 * nobody waits for that who comes often. */
#include "client/handle.h"
#include "tests/support/client_bench.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEFT_NS (50000ull * MS) /* of the lease of a dead worker's table: it does not end on a busy machine */

static struct permtab_geometry_ *geometry_of(struct client_bench *bench)
{
    return &geometry_now(handle_of(bench->table))->visible;
}

static uint64_t deadline_of(struct client_bench *bench)
{
    return permtab_shm_beat_read(&geometry_of(bench)->table).lease_deadline;
}

static void lengthen(struct client_bench *bench, uint64_t ns)
{
    uint64_t *deadline = &bench->fake.segments[0].header->beat.lease_deadline;
    permtab_shm_store64(deadline, permtab_shm_load64(deadline) + ns); /* the sidecar that is played renews it, too */
}

/* Makes every lease look as if it were about to end, and this process the first to look. */
static void end_is_near(struct client_bench *bench)
{
    geometry_of(bench)->early_ns = 60000ull * MS;
    handle_of(bench->table)->own->share = 1;
}

/* An entry in the present table, and hits it once. */
static void hit(struct client_bench *bench)
{
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
}

static void hit_until_attached(struct client_bench *bench, const struct permtab_geometry_ *before)
{
    while (geometry_of(bench) == before) {
        hit(bench);
        pause_ms(1);
    }
    assert_int_equal(fake_counts(&bench->fake).checks, 0); /* the table has answered all of them */
}

/* As a worker's death: connections end, nobody retires the old table or renews it, and a new table is there. */
static void new_worker(struct client_bench *bench)
{
    fake_suspend(&bench->fake);
    permtab_shm_store64(&bench->fake.segments[0].header->beat.lease_deadline, channel_clock_ns() + LEFT_NS);
    fake_succeed(&bench->fake);
    fake_put(&bench->fake, 2, 2);
    fake_resume(&bench->fake);
}

static void test_health_needs_no_look(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    assert_int_equal(geometry_of(bench)->early_ns, 500 * MS); /* a quarter of what hello said */
    for (unsigned i = 0; i < 300; i++) {
        if (channel_clock_ns() + 600 * MS <
            deadline_of(bench)) /* else the machine had no time for the fake */
            hit(bench);
        pause_ms(1);
    }
    assert_int_equal(fake_counts(&bench->fake).attaches, 1);
    assert_int_equal(handle_of(bench->table)->own->next_look_ns, 0);
}

/* A worker that only hits gets the table of the next sidecar's process before the old lease has ended, and not before
 * its last quarter. No check fails or waits. */
static void test_new_worker(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    hit(bench);
    const struct permtab_geometry_ *before = geometry_of(bench);
    new_worker(bench);
    uint64_t deadline = deadline_of(bench), early_ns = LEFT_NS - 1500 * MS;
    geometry_of(bench)->early_ns = early_ns; /* as with a lease of 2 s, its last quarter begins after 1.5 s */
    handle_of(bench->table)->own->share = 1;
    while (fake_counts(&bench->fake).attaches == 1 && channel_clock_ns() < deadline)
        hit(bench);
    assert_true(channel_clock_ns() + early_ns >= deadline);
    hit_until_attached(bench, before);
    assert_int_equal(fake_counts(&bench->fake).connects, 2);
    assert_int_equal(geometry_of(bench)->early_ns, 500 * MS);
}

static void test_peek_says_that_there_is_something_to_do(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_why(bench->table), 0);
    end_is_near(bench);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_RETIRED);
    new_worker(bench);
    const struct permtab_geometry_ *before = geometry_of(bench);
    assert_int_equal(permtab_refresh(bench->table), 0);
    assert_true(geometry_of(bench) != before);
    assert_int_equal(permtab_why(bench->table), 0);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_why(bench->table), 0);
}

static void test_batches_look_too(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query query = {.user = 2, .scope = bench_at(bench, 2), .perm = bench->read};
    enum permtab_decision decision;
    fake_put(&bench->fake, 2, 2);
    end_is_near(bench);
    const struct permtab_geometry_ *before = geometry_of(bench);
    new_worker(bench);
    while (geometry_of(bench) == before) {
        assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 1);
        assert_int_equal(decision, PERMTAB_ALLOW);
        pause_ms(1);
    }
    assert_int_equal(fake_counts(&bench->fake).many, 0);
}

static void test_views_look_too(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_view view;
    fake_put(&bench->fake, 2, 2);
    end_is_near(bench);
    const struct permtab_geometry_ *before = geometry_of(bench);
    new_worker(bench);
    while (geometry_of(bench) == before) {
        assert_int_equal(permtab_view_get(bench->table, 2, bench_at(bench, 2), &view), 0);
        assert_int_equal(permtab_view_has(&view, bench->read, false), PERMTAB_ALLOW);
        assert_true(permtab_view_current(&view));
        pause_ms(1);
    }
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
}

/* What the new table does not have is asked for. */
static void test_new_table_misses(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    end_is_near(bench);
    fake_suspend(&bench->fake);
    fake_succeed(&bench->fake);
    fake_resume(&bench->fake);
    while (fake_counts(&bench->fake).checks == 0) {
        hit(bench);
        pause_ms(1);
    }
    hit(bench);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
}

/* The store is away, and so the lease is not renewed: there is no newer table, and it is not asked for all the time. */
static void test_same_table_again(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    end_is_near(bench);
    geometry_of(bench)->early_ns = 3000ull * MS;
    const struct permtab_geometry_ *before = geometry_of(bench);
    uint64_t begin = channel_clock_ns();
    while (fake_counts(&bench->fake).attaches < 3)
        hit(bench);
    /* a quarter of early_ns lies between one and the next */
    assert_true(channel_clock_ns() - begin >= 700 * MS);
    assert_true(geometry_of(bench) == before);
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* A worker that has no lease yet. */
static void test_no_table_without_lease_is_taken(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    end_is_near(bench);
    const struct permtab_geometry_ *before = geometry_of(bench);
    fake_suspend(&bench->fake);
    lengthen(bench, 60000ull * MS); /* room for a busy machine */
    bench->fake.renew = false;
    fake_succeed(&bench->fake);
    fake_put(&bench->fake, 2, 2);
    fake_resume(&bench->fake);
    while (fake_counts(&bench->fake).attaches < 4)
        hit(bench);
    assert_true(geometry_of(bench) == before);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    bench_set(bench, &bench->fake.renew, true);
    hit_until_attached(bench, before);
}

/* Another version of the sidecar: its table is of no use here, the old one is until its lease ends. */
static void test_other_layout_leaves_the_old_table(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    end_is_near(bench);
    geometry_of(bench)->early_ns = 3000ull * MS; /* a quarter of it lies between one look and the next */
    fake_suspend(&bench->fake);
    bench->fake.layout++;
    bench->fake.renew = false;
    fake_resume(&bench->fake);
    uint64_t deadline = deadline_of(bench);
    unsigned hellos = fake_counts(&bench->fake).hellos;
    while (fake_counts(&bench->fake).hellos == hellos)
        hit(bench);
    while (channel_clock_ns() < deadline) {
        enum permtab_decision decision = permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read);
        assert_true(decision == PERMTAB_ALLOW || channel_clock_ns() >= deadline);
        hit(bench);
    }
    while (permtab_why(bench->table) != PERMTAB_E_LAYOUT) {
        hit(bench);
        (void)permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read);
    }
    assert_true(fake_counts(&bench->fake).checks > 0);
}

/* Nobody is there for a while. */
static void test_looks_are_repeated(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    end_is_near(bench);
    const struct permtab_geometry_ *before = geometry_of(bench);
    fake_suspend(&bench->fake);
    lengthen(bench, 60000ull * MS);
    for (unsigned i = 0; i < 150; i++) {
        hit(bench);
        pause_ms(1);
    }
    fake_succeed(&bench->fake);
    fake_put(&bench->fake, 2, 2);
    fake_resume(&bench->fake);
    hit_until_attached(bench, before);
}

/* The handle waits for a minute where it waits: so a hit that waited would be seen. */
static void test_nobody_waits(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    end_is_near(bench);
    fake_suspend(&bench->fake);
    lengthen(bench, 60000ull * MS);
    bench->fake.mute = true;
    fake_resume(&bench->fake);
    uint64_t begin = channel_clock_ns();
    while (fake_counts(&bench->fake).connects < 2)
        hit(bench);
    for (unsigned i = 0; i < 200; i++) {
        hit(bench);
        pause_ms(1);
    }
    assert_true(channel_clock_ns() - begin < 20000ull * MS);
    assert_true(handle_of(bench->table)->own->greeting);
    assert_true(circuit_allows(&handle_of(bench->table)->own->circuit, channel_clock_ns()));
}

/* Has the next look wait, however short any wait may be. */
static void look_with_patience(struct client_bench *bench)
{
    bench_check_ms(bench, 1); /* a tenth of the patience: any silence would be long enough to count */
    end_is_near(bench);
    handle_of(bench->table)->own->next_look_ns = 0;
    ahead_look(handle_of(bench->table));
}

/* What a hit waits for says nothing of the sidecar: misses still ask it. */
static void test_silence_of_a_look_is_none(void **state)
{
    struct client_bench *bench = *state;
    const struct own_page *own = handle_of(bench->table)->own;
    lengthen(bench, 30000ull * MS);
    bench_set(bench, &bench->fake.mute, true);
    look_with_patience(bench);
    assert_true(own->attaching);
    assert_int_equal(own->circuit.pause_ns, 0);
}

/* The same while its queue is full. */
static void test_a_look_that_is_not_connected(void **state)
{
    struct client_bench *bench = *state;
    const struct own_page *own = handle_of(bench->table)->own;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int waiting[8], count = 0;
    fake_suspend(&bench->fake);
    lengthen(bench, 30000ull * MS);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", bench->fake.path);
    assert_int_equal(unlink(address.sun_path), 0);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 0), 0);
    do {
        assert_true(count < 8);
        waiting[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(waiting[count] >= 0);
    } while (connect(waiting[count++], (struct sockaddr *)&address, sizeof(address)) == 0);
    look_with_patience(bench);
    while (count > 0)
        close(waiting[--count]);
    close(listener);
    (void)unlink(address.sun_path);
    fake_resume(&bench->fake);
    assert_false(own->channel.open);
    assert_true(own->outage.pause_ns > 0); /* it was tried */
    assert_int_equal(own->circuit.pause_ns, 0);
}

/* A process that asks now and then has no later call that could go on with what this one has begun: one call connects,
 * greets and attaches. When the machine has no time for the fake within a call's patience, the next round may. */
static void test_who_comes_seldom_waits_a_little(void **state)
{
    struct client_bench *bench = *state;
    struct own_page *own = handle_of(bench->table)->own;
    bool attached = false;
    fake_put(&bench->fake, 2, 2);
    for (unsigned round = 0; round < 100 && !attached; round++) {
        fake_suspend(&bench->fake);
        fake_resume(&bench->fake);
        end_is_near(bench);
        own->next_look_ns = 0;
        unsigned before = fake_counts(&bench->fake).attaches;
        hit(bench);
        attached = fake_counts(&bench->fake).attaches > before;
    }
    assert_true(attached);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
}

/* Processes do not come at the same moment: each lets pass its own part of the first half of what is left. */
static void test_shares(void **state)
{
    struct client_bench *bench = *state;
    struct handle *handle = handle_of(bench->table);
    const struct permtab_geometry_ *geometry = geometry_of(bench);
    const uint64_t deadline = 100000ull * MS, quarter = deadline - 500 * MS;
    struct permtab_shm_moment moment = {.lease_deadline = deadline, .state = PERMTAB_SHM_LIVE};
    assert_false(ahead_wanted(geometry, &moment, quarter - 1));
    assert_true(ahead_wanted(geometry, &moment, quarter));
    assert_false(ahead_wanted(geometry, &moment, deadline));
    for (uint64_t share = 1; share <= 256; share++) {
        handle->own->share = share;
        assert_in_range(ahead_from(handle, geometry, &moment, quarter),
                        quarter + share * 250 * MS / 257, quarter + 250 * MS);
    }
    moment.state = PERMTAB_SHM_RETIRED; /* from when it was seen, but not longer than that */
    assert_true(ahead_wanted(geometry, &moment, quarter - 1));
    handle->own->share = 256;
    assert_in_range(ahead_from(handle, geometry, &moment, 1000 * MS), 1249 * MS, 1250 * MS);
    assert_in_range(ahead_from(handle, geometry, &moment, 1300 * MS), 1249 * MS, 1250 * MS);
    handle->own->retired_segment = 0;
    assert_in_range(ahead_from(handle, geometry, &moment, deadline - 1), quarter, quarter + 250 * MS);
    handle->own->share = 256;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool drawn_anew = handle->own->share == 0;
        (void)ahead_from(handle, geometry, &moment, quarter);
        _exit(drawn_anew && handle->own->share != 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_health_needs_no_look),
        BENCH_TEST(test_new_worker),
        BENCH_TEST(test_peek_says_that_there_is_something_to_do),
        BENCH_TEST(test_batches_look_too),
        BENCH_TEST(test_views_look_too),
        BENCH_TEST(test_new_table_misses),
        BENCH_TEST(test_same_table_again),
        BENCH_TEST(test_no_table_without_lease_is_taken),
        BENCH_TEST(test_other_layout_leaves_the_old_table),
        BENCH_TEST(test_looks_are_repeated),
        BENCH_TEST(test_nobody_waits),
        BENCH_TEST(test_silence_of_a_look_is_none),
        BENCH_TEST(test_a_look_that_is_not_connected),
        BENCH_TEST(test_who_comes_seldom_waits_a_little),
        BENCH_TEST(test_shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
