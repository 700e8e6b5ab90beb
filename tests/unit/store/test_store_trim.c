/* Trimming the log beside somebody who writes for long. The thread that trims is the one that polls: were it to
 * wait for the writer as a writer does, the lease would end. */
#include "proxy/store/sql.h"
#include "proxy/store/store.h"
#include "tests/support/stopwatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void a_writer_is_not_waited_for(void **state)
{
    char folder[] = "/tmp/permtab-trim-XXXXXX", path[64], url[80], text[128];
    struct sql_options options = {.url = url};
    struct failure failure = {0};
    struct store store;
    struct sql *writer;
    unsigned applied;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/store.db", folder);
    snprintf(url, sizeof url, "sqlite:%s", path);
    assert_int_equal(store_migrate(&options, &applied, &failure), 0);
    assert_int_equal(store_open(&store, &options, &failure), 0);
    assert_int_equal(sql_connect(&writer, &options, &failure), 0);
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "UPDATE permtab_scope SET owner = %d", i);
        assert_int_equal(sql_execute(writer, text, &failure), 0);
    }
    const int64_t everything = -3600000000ll; /* kept: what is younger than in an hour */
    assert_int_equal(sql_begin(writer, SQL_WRITE, &failure), 0);
    struct stopwatch watch;
    stopwatch_begin(&watch, 0);
    assert_true(store_trim_changes(&store, everything, 1, 1000, &failure) < 0);
    assert_true(stopwatch_ms(&watch) < 1000);
    sql_rollback(writer);
    assert_int_equal(store_trim_changes(&store, everything, 1, 1000, &failure), 20);
    sql_close(writer);
    store_close(&store);
    snprintf(text, sizeof text, "rm -r %s", folder);
    assert_int_equal(system(text), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_writer_is_not_waited_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
