/* Commits that SQLite cannot sync: all of such a one may be in the log, where a recovery finds it. */
#include "proxy/document/transaction.h"
#include "tests/unit/store/store_fixture.h"

#include <errno.h>
#include <sys/syscall.h>

static unsigned syncs, failing_from, failing_to; /* of the store's; 0: none fails */

/* In the place of the C library's, for SQLite. */
__attribute__((visibility("default"))) int fdatasync(int file)
{
    syncs++;
    if (syncs >= failing_from && syncs < failing_to) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, file);
}

static int ready(void **state)
{
    failing_from = failing_to = 0;
    return fixture_ready(state, NULL);
}

#define COUNT "SELECT count(*) FROM permtab_scope WHERE type = 1"

static int insert(void *context, struct failure *out)
{
    struct fixture *f = context;
    return sql_execute(store_sql(&f->store), "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)", out);
}

static int write_with_failures(struct fixture *f, unsigned count)
{
    struct policy_apply_result result;
    OK(run(f->writer, "PRAGMA user_version = -5")); /* the application's */
    syncs = 0;
    failing_from = 1;
    failing_to = 1 + count;
    int code = policy_transaction(&f->store, false, insert, f, &result, &failure);
    failing_from = failing_to = 0;
    assert_true(syncs > 1); /* it is called, and again */
    return code;
}

/* A copy without the log's index is what a recovery begins with. */
static uint64_t count_after_recovery(struct fixture *f)
{
    char text[512];
    struct sql *sql = NULL;
    snprintf(text, sizeof text, "cp '%s/p.db' '%s/r.db' && cp '%s/p.db-wal' '%s/r.db-wal'", f->folder, f->folder,
             f->folder, f->folder);
    assert_int_equal(system(text), 0);
    snprintf(text, sizeof text, "sqlite:%s/r.db", f->folder);
    OK(sql_connect(&sql, &(struct sql_options){.url = text}, &failure));
    uint64_t count = number(sql, COUNT);
    assert_int_equal((int)number(sql, "PRAGMA user_version"), -5);
    sql_close(sql);
    return count;
}

/* What was not done is done by nobody later; and here it is tried again. */
static void test_a_sync_fails_once(void **state)
{
    struct fixture *f = *state;
    OK(write_with_failures(f, 1));
    assert_int_equal(number(f->writer, COUNT), 1);
    assert_int_equal(count_after_recovery(f), 1);
}

/* Nobody knows, and nobody says that nothing was changed. */
static void test_syncs_fail_for_good(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(write_with_failures(f, 1000), PERMTAB_E_STORE_UNSURE);
    assert_int_equal(number(f->writer, COUNT), 0);
    assert_int_equal(count_after_recovery(f), 0); /* it was written over all the same */
}

#define READY(test) cmocka_unit_test_setup_teardown(test, ready, fixture_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        READY(test_a_sync_fails_once),
        READY(test_syncs_fail_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
