/* Other people's tools on a MariaDB store. pt-online-schema-change makes references again under other names, some
 * tools forget the triggers, and an administrator adds system versioning. Needs PERMTAB_TEST_MYSQL, as
 * test_store_mysql does. */
#include "proxy/store/private.h"
#include "tests/unit/store/store_cases_repair.h"

#define READY(test) cmocka_unit_test_setup_teardown(test, ready, fixture_free)

static int ready(void **state)
{
    return fixture_ready(state, getenv("PERMTAB_TEST_MYSQL"));
}

static void run_all(struct fixture *f, const char *const *texts)
{
    for (; *texts; texts++)
        OK(run(f->writer, *texts));
}

/* Statements that pt-online-schema-change --alter-foreign-keys-method=auto issues, and the same for
 * a guard and a trigger. */
static void test_names_do_not_matter(void **state)
{
    static const char *const renamed[] = {
        "ALTER TABLE permtab_assignment DROP FOREIGN KEY permtab_assignment_role, ADD CONSTRAINT "
        "_permtab_assignment_role"
        " FOREIGN KEY (role_id) REFERENCES permtab_role (id)",
        "ALTER TABLE permtab_scope DROP FOREIGN KEY permtab_scope_parent, ADD CONSTRAINT "
        "__permtab_scope_parent"
        " FOREIGN KEY (parent_type, parent_id) REFERENCES permtab_scope (type, id) ON DELETE NO ACTION",
        "ALTER TABLE permtab_guard DROP FOREIGN KEY permtab_guard_assignment, ADD CONSTRAINT _guard"
        " FOREIGN KEY (user_id, role_id, scope_type, scope_id)"
        " REFERENCES permtab_assignment (user_id, role_id, scope_type, scope_id)",
        "DROP TRIGGER permtab_role_permission_insert",
        "CREATE TRIGGER of_another_name AFTER INSERT ON permtab_role_permission FOR EACH ROW begin /* the "
        "same */"
        " insert into `permtab_counter` VALUES(1,18446744073709551615) ON DUPLICATE KEY UPDATE "
        "revision=LAST_INSERT_ID(revision+1);"
        " INSERT INTO permtab_change(revision,kind,role_id) VALUES (LAST_INSERT_ID(),5,new.role_id); END",
        NULL,
    };
    struct fixture *f = *state;
    some_policy(f);
    run_all(f, renamed);
    OK(opens(f));
    assert_change_is_seen(f, "INSERT INTO permtab_role_permission VALUES (1, 'e', 'allow')");
    FAILS(run(f->writer, "TRUNCATE TABLE permtab_assignment"), PERMTAB_E_CONFLICT, "1701");
}

static const struct damage {
    const char *texts[5];
    const char *says, *mends;
    bool mendable;
} damages[] = {
    {{"ALTER TABLE permtab_assignment DROP FOREIGN KEY permtab_assignment_scope"},
     "reference of permtab_assignment (scope_type,scope_id > permtab_scope(type,id)) is missing",
     "permtabd --migrate makes it again",
     true},
    {{"SET foreign_key_checks = 0", "DROP TABLE permtab_guard", "SET foreign_key_checks = 1"},
     "table permtab_guard is missing",
     "permtabd --migrate makes it again",
     true},
    {{"ALTER TABLE permtab_guard DROP FOREIGN KEY permtab_guard_overwrite"},
     "reference of permtab_guard (",
     "permtabd --migrate makes it again",
     true},
    {{"ALTER TABLE permtab_assignment DROP FOREIGN KEY permtab_assignment_role, ADD CONSTRAINT mine FOREIGN "
      "KEY (role_id)"
      " REFERENCES permtab_role (id) ON DELETE CASCADE"},
     "reference mine of permtab_assignment (role_id > permtab_role(id)) has ON DELETE",
     "DROP FOREIGN KEY mine",
     false},
    {{"ALTER TABLE permtab_role MODIFY id BIGINT NOT NULL"}, "", "", false}, /* refused by the references */
    {{"ALTER TABLE permtab_scope MODIFY owner INT UNSIGNED"},
     "column permtab_scope.owner is int unsigned and must be bigint unsigned",
     "ALTER TABLE",
     false},
    {{"ALTER TABLE permtab_role MODIFY name VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"},
     "column permtab_role.name takes 20 characters and must take 255",
     "ALTER TABLE",
     false},
    {{"ALTER TABLE permtab_change MODIFY nonce BIGINT UNSIGNED NOT NULL DEFAULT 0"},
     "random default",
     "ALTER TABLE",
     false},
    {{"ALTER TABLE permtab_scope DROP COLUMN owner",
      "ALTER TABLE permtab_scope ADD COLUMN owner BIGINT UNSIGNED AS (id) VIRTUAL"},
     "column permtab_scope.owner is computed",
     "ALTER TABLE",
     false},
    {{"SET foreign_key_checks = 0", "DROP TABLE permtab_guard", "ALTER TABLE permtab_change ENGINE = MyISAM"},
     "table permtab_change has the engine myisam",
     "ALTER TABLE permtab_change ENGINE = InnoDB",
     false},
    {{"SET foreign_key_checks = 0", "DROP TABLE permtab_guard",
      "ALTER TABLE permtab_change PARTITION BY HASH (revision) PARTITIONS 2"},
     "table permtab_change is partitioned",
     "REMOVE PARTITIONING",
     false},
    {{"SET foreign_key_checks = 0", "DROP TABLE permtab_requirement",
      "CREATE VIEW permtab_requirement AS SELECT 'a' AS permission, 'b' AS requires"},
     "permtab_requirement is a view and must be a table",
     "backup",
     false},
};

static void one_damage(struct fixture *f, const struct damage *damage)
{
    for (size_t i = 0; damage->texts[i]; i++)
        if (run(f->writer, damage->texts[i]) < 0 && damage->says[0])
            fail_msg("%s: %s", damage->texts[i], failure.text);
    if (damage->says[0] == '\0') {
        OK(opens(f));
        return;
    }
    FAILS(opens(f), PERMTAB_E_SCHEMA, damage->says);
    if (!strstr(failure.text, damage->mends))
        fail_msg("\"%s\" does not say \"%s\"", failure.text, damage->mends);
    uint64_t before = number(f->writer, "SELECT revision FROM permtab_counter");
    if (damage->mendable) {
        OK(migrate(f));
        OK(opens(f));
        assert_new_page(f, before);
    } else {
        FAILS(migrate(f), PERMTAB_E_SCHEMA, damage->says);
    }
}

static void test_damages(void **state)
{
    void *own = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
        ready(&own);
        some_policy(own);
        one_damage(own, &damages[i]);
        fixture_free(&own);
    }
}

/* A key of the application's own changes nothing unless it cascades. */
static void test_references_of_the_application(void **state)
{
    static const char *const harmless[] = {
        "CREATE TABLE account (id BIGINT UNSIGNED PRIMARY KEY)",
        "INSERT INTO account VALUES (7), (8), (42)",
        "ALTER TABLE permtab_assignment ADD CONSTRAINT theirs FOREIGN KEY (user_id) REFERENCES account (id) "
        "ON DELETE RESTRICT",
        "ALTER TABLE permtab_role ADD UNIQUE KEY theirs (name)", /* REPLACE fires triggers here */
        NULL,
    };
    static const char *const cascades[] = {
        "ALTER TABLE permtab_assignment DROP FOREIGN KEY theirs",
        "ALTER TABLE permtab_assignment ADD CONSTRAINT theirs FOREIGN KEY (user_id) REFERENCES account (id) "
        "ON UPDATE CASCADE",
        NULL,
    };
    struct fixture *f = *state;
    some_policy(f);
    run_all(f, harmless);
    OK(opens(f));
    run_all(f, cascades);
    FAILS(opens(f), PERMTAB_E_SCHEMA,
          "reference theirs of permtab_assignment (user_id > account(id)) has ON DELETE or ON UPDATE");
    OK(run(f->writer, "ALTER TABLE permtab_assignment DROP FOREIGN KEY theirs"));
    OK(run(f->writer, "ALTER TABLE permtab_scope ADD CONSTRAINT theirs FOREIGN KEY (owner) REFERENCES "
                      "account (id) ON DELETE SET NULL"));
    FAILS(opens(f), PERMTAB_E_SCHEMA, "theirs of permtab_scope (owner > account(id))");
}

/* Every change of present rows fires triggers. What the server shows by default of the past does not reach us. */
static void test_system_versioning(void **state)
{
    struct fixture *f = *state;
    struct sql *other = NULL;
    some_policy(f);
    OK(run(f->writer, "ALTER TABLE permtab_assignment ADD SYSTEM VERSIONING"));
    OK(opens(f));
    assert_change_is_seen(f, "INSERT INTO permtab_assignment VALUES (9, 1, 1, 5, NULL)");
    assert_change_is_seen(f, "UPDATE permtab_assignment SET expires_at = 1 WHERE user_id = 9");
    assert_change_is_seen(f, "DELETE FROM permtab_assignment WHERE user_id = 9");
    OK(run(f->writer, "SET GLOBAL system_versioning_asof = '2020-01-01 00:00:00'"));
    int rc = sql_connect(&other, &f->options, &failure);
    OK(run(f->writer, "SET GLOBAL system_versioning_asof = DEFAULT"));
    OK(rc);
    assert_int_equal(number(other, "SELECT COUNT(*) FROM permtab_assignment"), 2);
    sql_close(other);
}

/* An account that may not repair says what is wrong, and that it may not. */
static void test_an_account_without_rights(void **state)
{
    struct fixture *f = *state;
    char text[512], url[512];
    snprintf(text, sizeof(text), "CREATE USER '%s'@localhost", f->database);
    OK(run(f->writer, text));
    snprintf(text, sizeof(text), "GRANT SELECT, TRIGGER ON %s.* TO '%s'@localhost", f->database, f->database);
    OK(run(f->writer, text));
    const char *rest = strchr(f->url, '@');
    snprintf(url, sizeof(url), "mysql://%s%s", f->database, rest);
    struct sql_options options = {.url = url};
    struct store store;
    unsigned applied;
    int rc = store_open(&store, &options, &failure);
    if (rc == 0)
        store_close(&store);
    drop_trigger(f, "assignment_delete");
    int refused = store_migrate(&options, &applied, &failure);
    snprintf(text, sizeof(text), "DROP USER '%s'@localhost", f->database);
    OK(run(f->writer, text));
    OK(rc);
    assert_true(refused < 0);
    if (!strstr(failure.text, "trigger permtab_assignment_delete is missing") ||
        !strstr(failure.text, "denied"))
        fail_msg("\"%s\"", failure.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_REPAIR_CASES,
        READY(test_names_do_not_matter),
        cmocka_unit_test(test_damages),
        READY(test_references_of_the_application),
        READY(test_system_versioning),
        READY(test_an_account_without_rights),
    };
    if (!getenv("PERMTAB_TEST_MYSQL")) {
        printf("skipped: PERMTAB_TEST_MYSQL is not set (mysql://user@/database?socket=/path of a server to "
               "test on)\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
