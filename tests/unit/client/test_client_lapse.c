/* The client library against a fake sidecar: looking for a newer table takes time, and what the present one has said
 * counts for nothing when its lease has ended meanwhile. The look is this file's own: it takes until then. */
#include "client/handle.h"
#include "tests/support/client_bench.h"

static struct client_bench *looking; /* NULL: nobody has to wait */
static unsigned looks;

void __wrap_ahead_look(struct handle *handle);
void __wrap_ahead_look(struct handle *handle)
{
    (void)handle;
    if (looking == NULL)
        return;
    struct permtab_shm_moment moment = permtab_shm_beat_read(&permtab_geometry_of_(looking->table)->table);
    if (!permtab_shm_fresh(&moment))
        return;
    looks++;
    while (permtab_shm_fresh(&moment))
        pause_ms(1);
}

/* The last part of a lease that nobody renews, and a sidecar that says nothing. */
static void begin_the_end(struct client_bench *bench)
{
    struct permtab_geometry_ *geometry = &geometry_now(handle_of(bench->table))->visible;
    geometry->early_ns = 60000ull * MS;
    fake_lock(&bench->fake);
    bench->fake.mute = true;
    bench->fake.renew = false;
    permtab_shm_store64(&bench->fake.segments[0].header->beat.lease_deadline, channel_clock_ns() + 200ull * MS);
    fake_unlock(&bench->fake);
}

static int set_up(void **state)
{
    int code = bench_setup(state);
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    bench_check_ms(bench, 50);
    looking = bench;
    looks = 0;
    return code;
}

static int tear_down(void **state)
{
    looking = NULL;
    return bench_teardown(state);
}

/* Each asks until the lease was good when it began: a machine that others keep busy may let it end before. */

static void test_check(void **state)
{
    struct client_bench *bench = *state;
    while (looks == 0) {
        begin_the_end(bench);
        assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    }
}

static void test_check_many(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query query = {.user = 2, .scope = bench_at(bench, 2), .perm = bench->read};
    enum permtab_decision decision;
    while (looks == 0) {
        begin_the_end(bench);
        assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 0);
        assert_int_equal(decision, PERMTAB_UNKNOWN);
    }
}

static void test_view(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_view view;
    while (looks == 0) {
        begin_the_end(bench);
        assert_true(permtab_view_get(bench->table, 2, bench_at(bench, 2), &view) < 0);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(test_check), T(test_check_many), T(test_view)};
#undef T
    return cmocka_run_group_tests_name("lapse", tests, NULL, NULL);
}
