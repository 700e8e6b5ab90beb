/* Cases about the log: what each kind of change appends, who may be believed, a follower beside concurrent writers. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_LOG_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_LOG_H

#include "tests/unit/store/store_fixture.h"

#include <pthread.h>

struct log_case {
    const char *text;
    const char *rows;   /* kind/user/role/type:id, one after the other */
    const char *sqlite; /* where SQLite says it once more than needed */
};

static const struct log_case log_cases[] = {
    {"INSERT INTO permtab_permission (name, bit) VALUES ('x', 5)", "1/0/0/0:0 ", NULL},
    {"UPDATE permtab_permission SET description = 'd' WHERE name = 'x'", "1/0/0/0:0 ", NULL},
    {"UPDATE permtab_permission SET description = 'd' WHERE name = 'x'", "", NULL},
    {"UPDATE permtab_permission SET deprecated = 1, deleted = 1 WHERE name = 'x'", "1/0/0/0:0 ", NULL},
    {"INSERT INTO permtab_requirement VALUES ('a.b', 'e')", "1/0/0/0:0 ", NULL},
    {"UPDATE permtab_requirement SET requires = 'x' WHERE permission = 'a.b'", "1/0/0/0:0 ", NULL},
    {"DELETE FROM permtab_requirement WHERE permission = 'a.b'", "1/0/0/0:0 ", NULL},
    {"INSERT INTO permtab_scope_type VALUES (3, 'thread')", "2/0/0/0:0 ", NULL},
    {"INSERT INTO permtab_scope VALUES (2, 60, 1, 5, NULL)", "3/0/0/2:60 ", NULL},
    {"UPDATE permtab_scope SET owner = 9 WHERE id = 60", "3/0/0/2:60 ", NULL},
    {"UPDATE permtab_scope SET owner = 9 WHERE id = 60", "", NULL},
    {"UPDATE permtab_scope SET owner = NULL, parent_type = 0, parent_id = 0 WHERE id = 60", "3/0/0/2:60 ",
     NULL},
    {"UPDATE permtab_scope SET id = 61 WHERE id = 60", "3/0/0/2:60 3/0/0/2:61 ", NULL},
    {"DELETE FROM permtab_scope WHERE id = 61", "3/0/0/2:61 ", NULL},
    {"INSERT INTO permtab_role VALUES (9, 'nine', 0, 0, 0, 1)", "4/0/9/0:0 ", NULL},
    {"UPDATE permtab_role SET active = 0 WHERE id = 9", "4/0/9/0:0 ", NULL},
    {"UPDATE permtab_role SET is_default = 1 WHERE id = 9", "4/0/9/0:0 ", NULL},
    {"UPDATE permtab_role SET name = 'Nine' WHERE id = 9", "4/0/9/0:0 ", NULL},
    {"UPDATE permtab_role SET name = 'Nine' WHERE id = 9", "", NULL},
    {"UPDATE permtab_role SET scope_type = 2, scope_id = 50 WHERE id = 9", "4/0/9/0:0 4/0/9/2:50 ", NULL},
    {"REPLACE INTO permtab_role VALUES (9, 'nine', 1, 5, 0, 1)", "4/0/9/2:50 4/0/9/1:5 ",
     "4/0/9/2:50 4/0/9/2:50 4/0/9/1:5 "},
    {"UPDATE permtab_role SET id = 10 WHERE id = 9", "4/0/9/1:5 4/0/10/1:5 ", NULL},
    {"INSERT INTO permtab_role_permission VALUES (10, 'e', 'allow')", "5/0/10/0:0 ", NULL},
    {"UPDATE permtab_role_permission SET effect = 'deny' WHERE role_id = 10", "5/0/10/0:0 ", NULL},
    {"UPDATE permtab_role_permission SET effect = 'deny' WHERE role_id = 10", "", NULL},
    {"UPDATE permtab_role_permission SET role_id = 2 WHERE role_id = 10", "5/0/10/0:0 5/0/2/0:0 ", NULL},
    {"DELETE FROM permtab_role_permission WHERE role_id = 2", "5/0/2/0:0 ", NULL},
    {"INSERT INTO permtab_role_parent VALUES (10, 3)", "6/0/10/0:0 ", NULL},
    {"UPDATE permtab_role_parent SET parent_id = 2 WHERE role_id = 10", "6/0/10/0:0 ", NULL},
    {"UPDATE permtab_role_parent SET role_id = 2, parent_id = 10 WHERE role_id = 10", "6/0/10/0:0 6/0/2/0:0 ",
     NULL},
    {"DELETE FROM permtab_role_parent WHERE role_id = 2", "6/0/2/0:0 ", NULL},
    {"DELETE FROM permtab_role WHERE id = 10", "4/0/10/1:5 ", NULL},
    {"INSERT INTO permtab_assignment VALUES (70, 3, 0, 0, NULL), (71, 3, 2, 50, 5)",
     "7/70/3/0:0 7/71/3/2:50 ", NULL},
    {"UPDATE permtab_assignment SET expires_at = 6 WHERE user_id IN (70, 71)", "7/70/3/0:0 7/71/3/2:50 ",
     NULL},
    {"UPDATE permtab_assignment SET expires_at = 6 WHERE user_id IN (70, 71)", "", NULL},
    {"UPDATE permtab_assignment SET user_id = 72 WHERE user_id = 70", "7/70/3/0:0 7/72/3/0:0 ", NULL},
    {"UPDATE permtab_assignment SET scope_type = 1, scope_id = 5 WHERE user_id = 72",
     "7/72/3/0:0 7/72/3/1:5 ", NULL},
    {"REPLACE INTO permtab_assignment VALUES (72, 3, 1, 5, NULL)", "7/72/3/1:5 7/72/3/1:5 ", NULL},
    {"DELETE FROM permtab_assignment WHERE user_id >= 70", "7/71/3/2:50 7/72/3/1:5 ", NULL},
    {"DELETE FROM permtab_assignment WHERE user_id >= 70", "", NULL},
    {"INSERT INTO permtab_overwrite VALUES (1, 5, 'role', 3, 'e', 'deny')", "8/0/3/1:5 ", NULL},
    {"INSERT INTO permtab_overwrite VALUES (1, 5, 'user', 70, 'e', 'deny')", "8/70/0/1:5 ", NULL},
    {"UPDATE permtab_overwrite SET effect = 'allow' WHERE subject_id = 3", "8/0/3/1:5 ", NULL},
    {"UPDATE permtab_overwrite SET effect = 'allow' WHERE subject_id = 3", "", NULL},
    {"UPDATE permtab_overwrite SET subject = 'user', subject_id = 71 WHERE subject_id = 3",
     "8/0/3/1:5 8/71/0/1:5 ", NULL},
    {"UPDATE permtab_overwrite SET scope_type = 0, scope_id = 0 WHERE subject_id = 71",
     "8/71/0/1:5 8/71/0/0:0 ", NULL},
    {"DELETE FROM permtab_overwrite WHERE subject_id = 71", "8/71/0/0:0 ", NULL},
};

static void changes_text(struct fixture *f, uint64_t after, char *text, size_t size)
{
    struct log_position at;
    struct change_list list;
    int64_t now;
    size_t used = 0;
    text[0] = '\0';
    OK(store_snapshot(&f->store, &at, &now, &failure));
    OK(store_read_changes(&f->store, after, 100, &list, &failure));
    store_snapshot_end(&f->store);
    for (size_t i = 0; i < list.count; i++) {
        const struct change *c = &list.items[i];
        assert_true(c->at <= now + 1000 &&
                    c->at > now - 60000000); /* the same clock; SQLite's has milliseconds */
        used += (size_t)snprintf(text + used, size - used, "%d/%llu/%llu/%u:%llu ", (int)c->kind,
                                 (unsigned long long)c->user, (unsigned long long)c->role, c->scope.type,
                                 (unsigned long long)c->scope.id);
    }
    change_list_fini(&list);
}

static void test_each_change_is_logged(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    for (size_t i = 0; i < sizeof(log_cases) / sizeof(*log_cases); i++) {
        char text[512];
        struct log_position before = position(f);
        OK(run(f->writer, log_cases[i].text));
        changes_text(f, before.revision, text, sizeof(text));
        const char *rows = log_cases[i].sqlite && !on_mysql(f) ? log_cases[i].sqlite : log_cases[i].rows;
        if (strcmp(text, rows) != 0)
            fail_msg("%s\n  logged \"%s\", not \"%s\"", log_cases[i].text, text, rows);
    }
}

/* What was undone in part leaves no gap and no number twice: a statement that fails at its last row, a savepoint, a
 * transaction, each followed by a change over the same connection. Whatever a session keeps of a number outlives all of
 * these. */
static void test_undone_changes_leave_no_gap(void **state)
{
    static const char *const fails = "INSERT INTO permtab_assignment VALUES (70, 1, 1, 5, NULL),"
                                     " (71, 1, 1, 5, NULL), (7, 1, 1, 5, NULL)";
    static const char *const undone[] = {"SAVEPOINT a",
                                         "INSERT INTO permtab_assignment VALUES (73, 1, 1, 5, NULL)",
                                         "INSERT INTO permtab_assignment VALUES (74, 1, 1, 5, NULL)",
                                         "ROLLBACK TO SAVEPOINT a"};
    struct fixture *f = *state;
    char text[256];
    some_policy(f);
    struct log_position before = position(f);
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (60, 1, 1, 5, NULL)"));
    FAILS(run(f->writer, fails), PERMTAB_E_CONFLICT, "");
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (61, 1, 1, 5, NULL)"));
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (62, 1, 1, 5, NULL)"));
    FAILS(run(f->writer, fails), PERMTAB_E_CONFLICT, "");
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (63, 1, 1, 5, NULL)"));
    for (size_t i = 0; i < sizeof(undone) / sizeof(*undone); i++)
        OK(run(f->writer, undone[i]));
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (64, 1, 1, 5, NULL)"));
    OK(sql_commit(f->writer, &failure));
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (75, 1, 1, 5, NULL)"));
    sql_rollback(f->writer);
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (65, 1, 1, 5, NULL)"));
    changes_text(f, before.revision, text, sizeof(text));
    assert_string_equal(text, "7/60/1/1:5 7/61/1/1:5 7/62/1/1:5 7/63/1/1:5 7/64/1/1:5 7/65/1/1:5 ");
    assert_int_equal(position(f).revision, before.revision + 6);
    assert_int_equal(number(f->writer, "SELECT revision FROM permtab_counter"), before.revision + 6);
}

static void test_poll_sees_what_is_newer(void **state)
{
    struct fixture *f = *state;
    struct log_position at = position(f);
    bool newer;
    int64_t now, earlier;
    OK(store_poll(&f->store, &at, &newer, &earlier, &failure));
    assert_false(newer);
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"));
    OK(store_poll(&f->store, &at, &newer, &now, &failure));
    assert_false(newer);
    assert_true(now >= earlier);
    OK(sql_commit(f->writer, &failure));
    OK(store_poll(&f->store, &at, &newer, &now, &failure));
    assert_true(newer);
    assert_int_equal(position(f).revision, at.revision + 1);
}

/* Rows only go from the log's beginning, so a hole can never lie just after a row that is still there: the poll,
 * which looks at no more than the next row, would take it for the end. */
static void test_purged_rows_are_not_believed(void **state)
{
    struct fixture *f = *state;
    struct log_position at = position(f), other;
    struct change_list list;
    int64_t now;
    bool newer;
    char text[128];
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"));
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 2, 0, 0, NULL)"));
    snprintf(text, sizeof(text), "DELETE FROM permtab_change WHERE revision = %llu",
             (unsigned long long)at.revision + 1);
    FAILS(run(f->writer, text), PERMTAB_E_CONFLICT, "from the oldest on");
    FAILS(run(f->writer, "DELETE FROM permtab_change"), PERMTAB_E_CONFLICT, "the newest one stays");
    snprintf(text, sizeof(text), "DELETE FROM permtab_change WHERE revision < %llu",
             (unsigned long long)at.revision + 2);
    OK(run(f->writer, text));
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "no longer");
    OK(store_snapshot(&f->store, &other, &now, &failure));
    FAILS(store_read_changes(&f->store, at.revision, 100, &list, &failure), PERMTAB_E_SCHEMA, "missing");
    FAILS(store_read_changes(&f->store, other.revision + 1, 100, &list, &failure), PERMTAB_E_SCHEMA,
          "behind");
    FAILS(store_read_changes(&f->store, at.revision, 1, &list, &failure), PERMTAB_E_LIMIT, "more than 1");
    store_snapshot_end(&f->store);
    drop_trigger(f, "change_delete");
    OK(run(f->writer, "DELETE FROM permtab_change"));
    FAILS(store_snapshot(&f->store, &other, &now, &failure), PERMTAB_E_SCHEMA, "purged");
}

/* An older backup: the same store, its counter and its log as they were; then it goes another way. */
static void test_another_history_is_not_believed(void **state)
{
    struct fixture *f = *state;
    int64_t now;
    bool newer;
    struct log_position before = position(f);
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"));
    struct log_position at = position(f);
    char text[128];
    struct log_position other;
    drop_trigger(f, "change_delete");
    if (on_mysql(f)) { /* in SQLite the log is the counter */
        drop_trigger(f, "counter_update");
        snprintf(text, sizeof(text), "UPDATE permtab_counter SET revision = %llu",
                 (unsigned long long)before.revision);
        OK(run(f->writer, text));
    }
    FAILS(store_snapshot(&f->store, &other, &now, &failure) ? failure.code
                                                            : store_check_schema(&f->store, &failure),
          PERMTAB_E_SCHEMA, "");
    if (f->store.snapshot.revision)
        store_snapshot_end(&f->store);
    snprintf(text, sizeof(text), "DELETE FROM permtab_change WHERE revision = %llu",
             (unsigned long long)at.revision);
    OK(run(f->writer, text));
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "no longer");
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 2, 0, 0, NULL)"));
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "another one");
    OK(store_snapshot(&f->store, &other, &now, &failure));
    store_snapshot_end(&f->store);
    assert_int_equal(other.revision, at.revision);
    assert_int_not_equal(other.nonce, at.nonce);
}

static void test_another_store_is_not_believed(void **state)
{
    struct fixture *f = *state;
    struct log_position at = position(f), other;
    int64_t now;
    bool newer;
    OK(run(f->writer, "UPDATE permtab_store SET store_id = 12345"));
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "store id");
    FAILS(store_snapshot(&f->store, &other, &now, &failure), PERMTAB_E_SCHEMA, "store id");
}

static void test_counter_keeps_itself(void **state)
{
    struct fixture *f = *state;
    const char *set = on_mysql(f) ? "up by one" : "cannot be set";
    FAILS(run(f->writer, "UPDATE permtab_counter SET revision = revision - 1"), PERMTAB_E_CONFLICT, set);
    FAILS(run(f->writer, "UPDATE permtab_counter SET revision = revision + 2"), PERMTAB_E_CONFLICT, set);
    FAILS(run(f->writer, "UPDATE permtab_counter SET one = 2, revision = revision + 1"), PERMTAB_E_CONFLICT,
          set);
    FAILS(run(f->writer, "DELETE FROM permtab_counter"), PERMTAB_E_CONFLICT, "cannot be deleted");
    FAILS(run(f->writer, "INSERT INTO permtab_counter VALUES (1, 1)"), PERMTAB_E_CONFLICT,
          on_mysql(f) ? "Duplicate" : "one revision counter");
    FAILS(run(f->writer, "REPLACE INTO permtab_counter VALUES (1, 1)"), PERMTAB_E_CONFLICT,
          on_mysql(f) ? "cannot be deleted" : "one revision counter");
    FAILS(run(f->writer, "UPDATE permtab_change SET nonce = 1"), PERMTAB_E_CONFLICT, "not rewritten");
    FAILS(run(f->writer, "DELETE FROM permtab_store"), PERMTAB_E_CONFLICT, "cannot be deleted");
}

static void test_trim(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 20; i++) {
        char text[128];
        snprintf(text, sizeof(text), "INSERT INTO permtab_scope VALUES (1, %u, 0, 0, NULL)", i);
        OK(run(f->writer, text));
    }
    uint64_t rows = number(f->writer, "SELECT COUNT(*) FROM permtab_change");
    assert_int_equal(store_trim_changes(&f->store, 3600000000ll, 1, 100, &failure), 0); /* all young */
    assert_int_equal(store_trim_changes(&f->store, -1000000, rows, 100, &failure), 0);  /* all kept */
    assert_int_equal(store_trim_changes(&f->store, -1000000, 5, 4, &failure), 4);       /* a slice */
    assert_int_equal(store_trim_changes(&f->store, -1000000, 5, 100, &failure), rows - 9);
    assert_int_equal(number(f->writer, "SELECT COUNT(*) FROM permtab_change"), 5);
    assert_int_equal(store_trim_changes(&f->store, -1000000, 0, 100, &failure), 4);
    assert_int_equal(number(f->writer, "SELECT revision FROM permtab_change"), position(f).revision);
}

/* ---- a follower beside writers ---------------------------------------------------------------------------------- */

#define WRITERS       4u
#define TRANSACTIONS  40u
#define ROWS_MAX      8u
#define USER(w, t, r) (((uint64_t)(w) + 1) * 1000000 + (uint64_t)(t)*100 + (r))

struct follower_run {
    struct fixture *f;
    unsigned writer;
    unsigned committed[TRANSACTIONS]; /* rows; 0 rolled back */
    char trouble[256];
};

/* One transaction: some rows, sometimes slow, every third rolled back; sometimes not ours to begin with the counter. */
static int write_one(struct follower_run *own, struct sql *sql, unsigned t, struct failure *trouble)
{
    unsigned rows = 1 + (t * 7 + own->writer) % ROWS_MAX;
    int rc = t % 2
                 ? sql_begin(sql, SQL_WRITE, trouble)
                 : sql_execute(sql, sql_dialect(sql) == SQL_SQLITE ? "BEGIN IMMEDIATE" : "START TRANSACTION",
                               trouble);
    for (unsigned r = 0; rc == 0 && r < rows; r++) {
        struct sql_statement *st =
            sql_prepare(sql, "INSERT INTO permtab_assignment VALUES (?, 3, 0, 0, NULL)", trouble);
        if (!st)
            return trouble->code;
        sql_bind_u64(st, 1, USER(own->writer, t, r));
        rc = sql_step(st, trouble);
        sql_reset(st);
        if (t % 10 == 0)
            usleep(2000);
    }
    if (rc < 0 || t % 3 == 2) {
        sql_rollback(sql);
        return rc;
    }
    rc = sql_commit(sql, trouble);
    if (rc == 0)
        own->committed[t] = rows;
    return rc;
}

static void *writer_main(void *context)
{
    struct follower_run *own = context;
    struct failure trouble = {0};
    struct sql *sql = NULL;
    int rc = sql_connect(&sql, &own->f->options, &trouble);
    for (unsigned t = 0; rc == 0 && t < TRANSACTIONS; t++) {
        do
            rc = write_one(own, sql, t, &trouble);
        while (rc == PERMTAB_E_STORE_AGAIN);
    }
    if (rc < 0)
        snprintf(own->trouble, sizeof(own->trouble), "%d %.200s", rc, trouble.text);
    sql_close(sql);
    return NULL;
}

struct seen {
    uint64_t users[WRITERS * TRANSACTIONS * ROWS_MAX];
    size_t count;
};

static void follow(struct fixture *f, struct log_position *at, struct seen *seen)
{
    bool newer;
    int64_t now;
    struct log_position next;
    struct change_list list;
    OK(store_poll(&f->store, at, &newer, &now, &failure));
    if (!newer)
        return;
    OK(store_snapshot(&f->store, &next, &now, &failure));
    OK(store_read_changes(&f->store, at->revision, 100000, &list, &failure));
    assert_int_equal(list.count, next.revision - at->revision);
    for (size_t i = 0; i < list.count; i++) {
        assert_int_equal(list.items[i].kind, CHANGE_ASSIGNMENT);
        assert_true(seen->count < sizeof(seen->users) / sizeof(*seen->users));
        seen->users[seen->count++] = list.items[i].user;
    }
    change_list_fini(&list);
    store_snapshot_end(&f->store);
    *at = next;
}

/* Each committed row once; a transaction's rows side by side and in order; a writer's transactions in its order. */
static void judge(const struct follower_run *runs, const struct seen *seen)
{
    size_t expected = 0;
    unsigned next[WRITERS] = {0};
    for (unsigned w = 0; w < WRITERS; w++)
        for (unsigned t = 0; t < TRANSACTIONS; t++)
            expected += runs[w].committed[t];
    assert_int_equal(seen->count, expected);
    for (size_t i = 0; i < seen->count;) {
        unsigned w = (unsigned)(seen->users[i] / 1000000 - 1);
        assert_true(w < WRITERS);
        while (next[w] < TRANSACTIONS && runs[w].committed[next[w]] == 0)
            next[w]++;
        assert_true(next[w] < TRANSACTIONS);
        for (unsigned r = 0; r < runs[w].committed[next[w]]; r++)
            assert_int_equal(seen->users[i++], USER(w, next[w], r));
        next[w]++;
    }
}

static void test_follower_sees_each_commit_once(void **state)
{
    struct fixture *f = *state;
    static struct seen seen;
    static struct follower_run runs[WRITERS];
    pthread_t threads[WRITERS];
    OK(run(f->writer, "INSERT INTO permtab_role VALUES (3, 'three', 0, 0, 0, 1)"));
    struct log_position at = position(f);
    memset(&seen, 0, sizeof(seen));
    memset(runs, 0, sizeof(runs));
    for (unsigned w = 0; w < WRITERS; w++) {
        runs[w] = (struct follower_run){.f = f, .writer = w};
        assert_int_equal(pthread_create(&threads[w], NULL, writer_main, &runs[w]), 0);
    }
    unsigned joined = 0;
    while (joined < WRITERS) {
        follow(f, &at, &seen);
        if (pthread_tryjoin_np(threads[joined], NULL) == 0)
            joined++;
        usleep(500);
    }
    follow(f, &at, &seen);
    for (unsigned w = 0; w < WRITERS; w++)
        assert_string_equal(runs[w].trouble, "");
    judge(runs, &seen);
}

#endif
