#!/usr/bin/env python3
"""Other people's tools on the store's schema, with the real daemon: what they may change, and what permtabd --migrate
mends."""

import pathlib
import re
import subprocess

from harness import MariadbCase, SqliteCase, main
from harness.policies import small
from harness.process import wait_until
from harness.servers import Redis, find

DELETE = "message.delete"
MODERATOR = (1, "channel:10", DELETE)  # allowed by the policy
OTHER = (5, "channel:10", DELETE)
SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "conf" / "schema"
DOCUMENT = SCHEMA.parents[1] / "docs" / "SCHEMA.md"


class Tools:
    def serving_small(self, **options):
        serving = self.sidecar(**options)
        serving.apply(small())
        return serving, self.worker(serving)

    def expect(self, reader, question, decision):
        reader.watch(*question, decision, 15000)
        self.assertIsNotNone(reader.watched(), f"{question} was never {decision}")

    def test_what_went_unseen_is_not_answered_from_redis(self):
        """A tool drops triggers and somebody a role while no sidecar runs. Redis' values are of the same revision
        as the store, and wrong: the start that makes the triggers again has it forgotten."""
        redis = Redis(self.folder / "redis").start()
        self.addCleanup(redis.kill)
        serving, reader = self.serving_small(redis=f"unix:{redis.socket}", audit_entries=0)
        self.sql("INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id)"
                 " VALUES (5, 101, 1, 1), (5, 102, 1, 1), (1, 102, 1, 1);")
        self.expect(reader, OTHER, "allow")
        before = serving.stats()["l2_puts"]
        self.expect(reader, MODERATOR, "allow")
        wait_until(lambda: serving.stats()["l2_puts"] > before, 10, "L2 has an answer")
        serving.ctl("invalidate", "user:5")
        serving.stop()
        self.sql("DROP TRIGGER permtab_assignment_delete; "
                 "DELETE FROM permtab_assignment WHERE user_id = 1 AND role_id = 101;")
        serving.start()
        self.assertIn("trigger permtab_assignment_delete is missing", serving.log())
        wait_until(lambda: serving.stats()["l2_marker_known"] == 1, 10, "Redis is connected")
        reader = self.worker(serving)
        self.expect(reader, OTHER, "allow")  # from the store, and with it the roles that L2 names
        self.assertEqual("deny", reader.check(*MODERATOR))

    def test_migrating_under_a_running_sidecar(self):
        """It says what is wrong and what mends it; when that is done it goes on by itself, with what went unseen."""
        serving, reader = self.serving_small()
        self.expect(reader, MODERATOR, "allow")
        self.sql("DROP TRIGGER permtab_assignment_delete; DELETE FROM permtab_assignment WHERE user_id = 1;")
        self.expect(reader, MODERATOR, "unknown")
        wait_until(lambda: "permtabd --migrate makes it again" in serving.ctl("health").stdout, 10,
                   "it says what mends it")
        done = serving.run("--migrate")
        self.assertEqual(0, done.returncode, done.stderr)
        self.expect(reader, MODERATOR, "deny")


class OnSqlite(Tools, SqliteCase):
    quick = ("test_what_went_unseen_is_not_answered_from_redis",)

    def test_plain_client(self):
        """Every file through sqlite3, and nothing besides."""
        self.sql("".join(file.read_text() for file in sorted((SCHEMA / "sqlite").glob("*.sql"))))
        serving, reader = self.serving_small(store_migrate=False)
        self.expect(reader, MODERATOR, "allow")
        self.assertEqual([["wal"]], self.rows("PRAGMA journal_mode;"))
        serving.stop()

    def test_rebuilt_by_an_orm(self):
        """Django's and sqlite-utils' way of changing a table, while the sidecar serves."""
        serving, reader = self.serving_small()
        self.expect(reader, MODERATOR, "allow")
        self.sql("PRAGMA legacy_alter_table = ON; BEGIN;"
                 'CREATE TABLE "new__permtab_assignment" ("user_id" integer NOT NULL, "role_id" integer NOT NULL'
                 ' REFERENCES "permtab_role" ("id"), "scope_type" integer NOT NULL, "scope_id" integer NOT NULL,'
                 ' "expires_at" integer, "note" text, PRIMARY KEY ("user_id", "role_id", "scope_type", "scope_id"),'
                 ' FOREIGN KEY ("scope_type", "scope_id") REFERENCES "permtab_scope" ("type", "id")) '
             'STRICT, WITHOUT ROWID;'
                 'INSERT INTO "new__permtab_assignment" SELECT *, NULL FROM "permtab_assignment" WHERE user_id <> 1;'
                 'DROP TABLE "permtab_assignment"; ALTER TABLE "new__permtab_assignment" '
             'RENAME TO "permtab_assignment"; COMMIT;')
        self.expect(reader, MODERATOR, "unknown")
        done = serving.run("--migrate")
        self.assertEqual(0, done.returncode, done.stderr)
        self.expect(reader, MODERATOR, "deny")
        self.sql("INSERT INTO permtab_assignment VALUES (1, 101, 1, 1, NULL, 'back');")
        self.expect(reader, MODERATOR, "allow")


class OnMariadb(Tools, MariadbCase):
    quick = ("test_plain_client",)

    def plain(self, file, *arguments):
        return subprocess.run([find("mariadb", "mysql"), "--no-defaults", f"--socket={self.server.socket}",
                               "--user=root", *arguments,
                               self.database], input=file.read_text(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)

    def test_plain_client(self):
        """The files work on a server where nothing is committed by itself, and with a mode of its own."""
        for file in sorted((SCHEMA / "mysql").glob("*.sql")):
            done = self.plain(file, "--init-command=SET autocommit = 0, sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'")
            self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual([["ready", "3"]], self.rows("SELECT schema_state, schema_version FROM permtab_store;"))
        _, reader = self.serving_small(store_migrate=False)
        self.expect(reader, MODERATOR, "allow")

    def test_references_renamed(self):
        """References are as pt-online-schema-change --alter-foreign-keys-method=auto leaves them behind,
        while the sidecar serves."""
        _, reader = self.serving_small()
        self.expect(reader, MODERATOR, "allow")
        self.sql("ALTER TABLE permtab_assignment DROP FOREIGN KEY permtab_assignment_role, "
                 "ADD CONSTRAINT _permtab_assignment_role"
                 " FOREIGN KEY (role_id) REFERENCES permtab_role (id) ON DELETE RESTRICT ON UPDATE RESTRICT;"
                 "ALTER TABLE permtab_guard DROP FOREIGN KEY permtab_guard_assignment, "
                 "ADD CONSTRAINT _permtab_guard_assignment"
                 " FOREIGN KEY (user_id, role_id, scope_type, scope_id)"
                 " REFERENCES permtab_assignment (user_id, role_id, scope_type, scope_id);"
                 "DELETE FROM permtab_assignment WHERE user_id = 1;")
        self.expect(reader, MODERATOR, "deny")

    def pour(self, commands, old, new):
        """Runs a shell command of SCHEMA on the test's own server."""
        dump = find("mariadb-dump", "mysqldump")
        client = f"--no-defaults --socket={self.server.socket} --user=root"
        commands = commands.replace("mariadb-dump",
                                    f"{dump} {client}").replace("| mariadb", f"| {find('mariadb', 'mysql')} {client}")
        commands = commands.replace(" OLD ", f" {old} ").replace("NEW", new)
        return subprocess.run(["bash", "-o", "pipefail", "-c", commands], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)

    def test_data_alone(self):
        """The commands of SCHEMA: into a store that was just migrated, and into one that a sidecar serves."""
        self.serving_small()[0].stop()
        commands = re.search(r"^    data=.*?NEW$", DOCUMENT.read_text(), re.M | re.S).group(0)
        old = self.database
        for served in (False, True):
            self.database = self.server.database()
            self.url = self.server.url(self.database)
            serving = self.sidecar(start=served, folder=self.folder / str(served))
            if served:
                commands = re.sub(r"\$data [^;]*permtab_scope_type\n *", "", commands)
            else:
                self.assertEqual(0, serving.run("--migrate").returncode)
            done = self.pour(commands, old, self.database)
            self.assertEqual(0, done.returncode, done.stderr)
            if not served:
                serving.start()
            wait_until(lambda: serving.ctl("check", *MODERATOR).stdout == "allow\n", 20,
                       "the sidecar has read what was poured in")
            self.expect(self.worker(serving), MODERATOR, "allow")


if __name__ == "__main__":
    main()
