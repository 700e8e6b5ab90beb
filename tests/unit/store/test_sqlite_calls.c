/* System calls that fail under SQLite, once: the next try succeeds. */
#include "tests/unit/store/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <time.h>

static int empty(void **state)
{
    fixture_empty(state, NULL);
    struct fixture *f = *state;
    OK(sql_create(&f->options, &failure));
    OK(sql_connect(&f->writer, &f->options, &failure));
    OK(run(f->writer, "CREATE TABLE t (a INTEGER)"));
    return 0;
}

/* ---- unlocks ----------------------------------------------------------------------------------------------------- */

#define REFUSALS 20u

static unsigned unlocks, refused_from; /* of fcntl; 0: none is refused */

int __real_fcntl(int file, int command, ...);
int __wrap_fcntl(int file, int command, ...);
int __wrap_fcntl(int file, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    bool is_unlock = command == F_SETLK && ((struct flock *)argument)->l_type == F_UNLCK;
    unlocks += is_unlock;
    if (is_unlock && refused_from != 0 && unlocks >= refused_from && unlocks < refused_from + REFUSALS) {
        errno = ENOLCK;
        return -1;
    }
    return __real_fcntl(file, command, argument);
}

static void insert(struct sql *sql)
{
    OK(sql_begin(sql, SQL_WRITE, &failure));
    OK(run(sql, "INSERT INTO t VALUES (1)"));
    OK(sql_commit(sql, &failure));
}

/* Two connections read and write by turns, and the log is written back to the file, and begun anew. */
static void use(struct sql *one, struct sql *other)
{
    static const char count[] = "SELECT COUNT(*) FROM t";
    uint64_t before = number(one, count);
    insert(one);
    assert_int_equal(number(other, count), before + 1);
    insert(other);
    assert_int_equal(number(one, count), before + 2);
    OK(run(one, "PRAGMA wal_checkpoint(PASSIVE)"));
    insert(other);
    insert(one);
    assert_int_equal(number(other, count), before + 4);
}

/* SQLite itself would hold such a lock for ever. */
static void test_unlocks_that_are_refused_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct sql *other = NULL;
    struct sql_options options = {.url = f->url, .timeout_s = 1};
    OK(sql_connect(&other, &options, &failure));
    use(f->writer, other);
    unlocks = 0;
    use(f->writer, other);
    unsigned needed = unlocks;
    assert_true(needed > 10);
    for (unsigned nth = 1; nth <= needed; nth++) {
        unlocks = 0;
        refused_from = nth;
        use(f->writer, other);
        refused_from = 0;
        assert_true(unlocks >= nth + REFUSALS); /* it was tried again until it was done */
        use(other, f->writer);
    }
    sql_close(other);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static const char *unopened; /* the end of a name: such a file is not opened for writing, once */

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

static int open_or_not(const char *path, int flags, int mode)
{
    if (unopened == NULL || (flags & O_ACCMODE) != O_RDWR || !ends_with(path, unopened))
        return open(path, flags, (mode_t)mode);
    unopened = NULL;
    errno = EMFILE;
    return -1;
}

/* Whether it could be opened, for reading alone. The next connection writes. */
static bool only_reads(struct fixture *f, const char *end)
{
    struct sql *sql = NULL;
    bool refuses = false;
    unopened = end;
    if (sql_connect(&sql, &f->options, &failure) == 0) {
        refuses = sql_begin(sql, SQL_WRITE, &failure) < 0 || run(sql, "INSERT INTO t VALUES (1)") < 0;
        assert_int_equal(refuses, sql_broken(sql));
        sql_close(sql);
    }
    assert_null(unopened);
    OK(sql_connect(&sql, &f->options, &failure));
    insert(sql);
    sql_close(sql);
    return refuses;
}

/* SQLite opens it for reading instead. */
static void test_files_that_cannot_be_opened_for_writing_once(void **state)
{
    struct fixture *f = *state;
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    assert_int_equal(vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)open_or_not), SQLITE_OK);
    assert_true(only_reads(f, ".db-wal")); /* there is one, for there is another connection */
    sql_close(f->writer);
    f->writer = NULL;
    assert_true(only_reads(f, ".db"));
    (void)only_reads(f, ".db-shm");
    assert_int_equal(vfs->xSetSystemCall(vfs, "open", NULL), SQLITE_OK);
}

#define READY(test) cmocka_unit_test_setup_teardown(test, empty, fixture_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        READY(test_unlocks_that_are_refused_for_a_while),
        READY(test_files_that_cannot_be_opened_for_writing_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
