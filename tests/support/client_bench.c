/* A client of a fake sidecar. */
#include "tests/support/client_bench.h"

#include <stdlib.h>
#include <time.h>

const struct permtab_options bench_options = {
    .size = sizeof(struct permtab_options), .open_ms = 1000, .check_ms = 300, .server_uid = -1};

void pause_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

int bench_setup(void **state)
{
    struct client_bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    fake_start(&bench->fake);
    assert_int_equal(permtab_open(&bench->table, bench->fake.path, &bench_options), 0);
    assert_int_equal(permtab_permission(bench->table, "a.read", &bench->read), 0);
    assert_int_equal(permtab_permission(bench->table, "a.write", &bench->write), 0);
    assert_int_equal(permtab_permission(bench->table, "c", &bench->c), 0);
    assert_int_equal(permtab_scope_type(bench->table, "channel", &bench->channel), 0);
    *state = bench;
    return 0;
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

permtab_scope bench_at(const struct client_bench *bench, uint64_t id)
{
    return permtab_at(bench->channel, id);
}
