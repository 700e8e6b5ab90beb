/* A client of a fake sidecar. */
#include "tests/support/client_bench.h"

#include "client/handle.h"

#include <stdlib.h>
#include <time.h>

const struct permtab_options bench_options = {
    .size = sizeof(struct permtab_options), .open_ms = 20000, .check_ms = PATIENT_CHECK_MS, .server_uid = -1};

void pause_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

static int set_up(void **state, const struct permtab_options *options)
{
    struct client_bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    fake_start(&bench->fake);
    assert_int_equal(permtab_open(&bench->table, bench->fake.path, options), 0);
    assert_int_equal(permtab_permission(bench->table, "a.read", &bench->read), 0);
    assert_int_equal(permtab_permission(bench->table, "a.write", &bench->write), 0);
    assert_int_equal(permtab_permission(bench->table, "c", &bench->c), 0);
    assert_int_equal(permtab_scope_type(bench->table, "channel", &bench->channel), 0);
    *state = bench;
    return 0;
}

int bench_setup(void **state)
{
    return set_up(state, &bench_options);
}

int bench_setup_hasty(void **state)
{
    struct permtab_options options = bench_options;
    options.check_ms = HASTY_CHECK_MS;
    return set_up(state, &options);
}

int bench_teardown(void **state)
{
    struct client_bench *bench = *state;
    permtab_close(bench->table);
    fake_stop(&bench->fake);
    free(bench);
    return 0;
}

void bench_set(struct client_bench *bench, bool *field, bool value)
{
    fake_lock(&bench->fake);
    *field = value;
    fake_unlock(&bench->fake);
}

void bench_check_ms(struct client_bench *bench, uint32_t ms)
{
    handle_of(bench->table)->check_ms = ms;
}

permtab_scope bench_at(const struct client_bench *bench, uint64_t id)
{
    return permtab_at(bench->channel, id);
}
