/* A client of a fake sidecar: an open handle with what is asked most already resolved. */
#ifndef PERMTAB_TESTS_SUPPORT_CLIENT_BENCH_H
#define PERMTAB_TESTS_SUPPORT_CLIENT_BENCH_H

#include "client/permtab.h"
#include "tests/support/fake_sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS 1000000u

struct client_bench {
    struct fake fake;
    struct permtab *table;
    permtab_perm read, write, c; /* bits 0, 1, 4 */
    permtab_type channel;
};

/* BENCH_TEST opens the handle with these options: so patient that no check times out on a busy machine. */
extern const struct permtab_options bench_options;
/* HASTY_CHECK_MS is for tests of what times out. */
#define HASTY_CHECK_MS   300u
#define PATIENT_CHECK_MS 60000u

/* Each test begins and ends with these. */
int bench_setup(void **state);
int bench_setup_hasty(void **state);
int bench_teardown(void **state);
#define BENCH_TEST(name)       cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
#define HASTY_BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup_hasty, bench_teardown)

void pause_ms(unsigned ms);
/* A field of the fake's, under its lock. */
void bench_set(struct client_bench *bench, bool *field, bool value);
/* Sets how long checks wait from now on; nobody else may use the handle now. */
void bench_check_ms(struct client_bench *bench, uint32_t ms);
/* channel:id */
permtab_scope bench_at(const struct client_bench *bench, uint64_t id);

#endif
