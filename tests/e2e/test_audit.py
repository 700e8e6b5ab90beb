#!/usr/bin/env python3
"""The auditor in the running daemon: finds nothing while everything is changed the usual way, and finds, heals and
reports what was changed behind the triggers' back."""

import ctypes
import random
import shutil
import subprocess
import time

from harness import full_only, main, MariadbCase, QUICK, SqliteCase
from harness.paths import temporary_folder
from harness.policies import small
from harness.process import Stopwatch, wait_until
from harness.servers import Mariadb, Redis, find

DELETE, SEND = "message.delete", "message.send"
AUDITS = 400
ENABLE_TRIGGER = 1003  # SQLITE_DBCONFIG_ENABLE_TRIGGER


class Audit:
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(audit_entries=AUDITS)
        policy = small()
        # Two roles each: who loses one is no stranger to the store.
        policy["assignments"] += [{"user": user, "role": role, "scope": "server:1"} for user in range(1000, 1040)
                                  for role in (101, 102)]
        self.serving.apply(policy)
        self.reader = self.worker(self.serving)

    def fill(self):
        for user in range(1000, 1040):
            self.assertEqual("allow", self.reader.check(user, "channel:10", DELETE))
            self.assertEqual("allow", self.reader.check(user, "channel:11", DELETE))
            self.reader.check(user, "channel:20", SEND)
            self.reader.check(user, "channel:99", SEND)

    def audited(self, more=300, asking=()):
        """Waits until so many more entries have been looked at. Somebody goes on asking: a
        rebuild leaves no entries."""
        wanted = self.serving.stats()["audit_checks"] + more

        def enough():
            for question in asking:
                self.reader.check(*question)
            return self.serving.stats()["audit_checks"] >= wanted
        wait_until(enough, 20, "entries are audited")

    def test_nothing_is_found_where_nothing_is_wrong(self):
        self.fill()
        self.audited()
        end = time.monotonic() + (2 if QUICK else 12)
        while time.monotonic() < end:
            user, role = random.randrange(1000, 1040), random.choice((101, 102))
            self.sql(random.choice((
                f"DELETE FROM permtab_assignment WHERE user_id = {user};",
                f"INSERT INTO permtab_assignment VALUES ({user}, {role}, 1, 1, NULL);",
                f"INSERT INTO permtab_assignment VALUES ({user}, {role}, 2, 10, {time.time_ns() // 1000 + 1000000});",
                f"INSERT INTO permtab_role_permission VALUES ({role}, 'channel.manage', 'allow');",
                f"DELETE FROM permtab_role_permission WHERE role_id = {role} AND permission = 'channel.manage';",
                f"UPDATE permtab_role SET is_default = 1 - is_default WHERE id = {role};",
                "UPDATE permtab_scope SET owner = 1001 WHERE type = 2 AND id = 10;",
                "UPDATE permtab_scope SET owner = NULL WHERE type = 2 AND id = 10;",
                f"INSERT INTO permtab_overwrite VALUES (2, 10, 'role', {role}, 'message.send', 'deny');",
                f"INSERT INTO permtab_overwrite VALUES (2, 11, 'user', {user}, 'message.send', 'allow');",
                "DELETE FROM permtab_overwrite WHERE scope_type = 2 AND scope_id = 10;",
                f"INSERT INTO permtab_role_parent VALUES (102, 101);",
                f"DELETE FROM permtab_role_parent WHERE role_id = 102;")), check=False)  # many rows are there already
            for _ in range(8):
                self.reader.check(random.randrange(1000, 1040),
                                  random.choice(("channel:10", "channel:11", "server:1")), DELETE)
        stats = self.serving.stats()
        self.say(f"{stats['audit_checks']} audits, {stats['audit_skipped']} said nothing, "
                 f"{stats['changes']} changes, {stats['entries_retired']} retired")
        self.assertGreater(stats["audit_checks"], 500)
        self.assertEqual(0, stats["audit_differences"], self.serving.log()[-2000:])
        self.assertEqual("", self.serving.health()["alarm"])

    @full_only
    def test_rows_removed_behind_the_triggers(self):
        self.fill()
        self.audited()
        watching = self.serving.rpc()
        self.addCleanup(watching.close)
        watching.call("subscribe", kinds=["user"])
        watch = Stopwatch(self.serving.process, self.reader.process)
        self.remove_unseen()
        # 160 entries, 400 a second; three differences and the whole table goes. Nobody wrote, so nothing else can heal.
        # User 1 still has the role, so its definition is known here whatever else is thrown away.
        for user in range(1000, 1040):
            wait_until(lambda u=user: self.reader.check(1, "channel:10", DELETE) == "allow" and
                       self.reader.check(u, "channel:10", DELETE) == "deny", 10, f"user {user} is healed")
        seconds = watch.seconds()
        self.say(f"healed after {seconds:.2f} s")
        self.assertLess(seconds, 6, "the table was filled with the same again, from L2 perhaps")
        stats = self.serving.stats()
        self.assertGreaterEqual(stats["audit_differences"], 1)
        self.assertGreaterEqual(stats["audit_overgrants"], 1)
        self.assertEqual(0, stats["polls_disbelieved"], "the feed's own look was first")
        self.assertRegex(self.serving.log(), r"error audit: user \d+ at \S+ differs from the store at revision \d+: ")
        self.said_so()
        note = watching.receive()[2][0]
        self.assertRegex(note["targets"][0], "^(user:|all$)")
        # And what is found is found once. The third difference, which makes the table anew, may be of an entry that
        # nobody asked about.
        asking = [(user, "channel:10", DELETE) for user in range(1000, 1040)]
        wait_until(lambda: self.finds_nothing(asking), 30, "all is found")

    def finds_nothing(self, asking):
        before = self.serving.stats()["audit_differences"]
        self.audited(asking=asking)
        return self.serving.stats()["audit_differences"] == before

    def said_so(self):
        """The sidecar is healthy, and an operator sees that something was wrong."""
        # A rebuild, and a busy machine, may have ended the lease for a moment.
        wait_until(lambda: self.serving.health()["ok"], 10, "it is healthy")
        health = self.serving.health()
        self.assertRegex(health["alarm"], r"^the auditor found \d+ differences?, the last at 20\S+Z$")
        ctl = self.serving.ctl("health")
        self.assertEqual((0, ""), (ctl.returncode, ctl.stderr))
        self.assertIn(f"\nalarm: {health['alarm']}\n", ctl.stdout)
        self.assertIn(f"\nalarm {health['alarm']}\n", self.serving.ops("health"))
        self.assertRegex(self.serving.ops("stats prometheus"), r"permtab_audit_differences_total [1-9]")

    def test_role_changed_behind_the_triggers(self):
        self.fill()
        self.audited()
        self.reader.watch(1000, "channel:10", DELETE, "deny", 10000)
        self.change_role_unseen()
        self.assertIsNotNone(self.reader.watched(), self.serving.log()[-2000:])
        self.assertGreaterEqual(self.serving.stats()["audit_rebuilds"], 1)
        self.assertEqual("allow", self.reader.check(1000, "channel:10", SEND))
        self.said_so()


class AuditSqlite(Audit, SqliteCase):
    def unseen(self, text):
        """A session without triggers."""
        library = ctypes.CDLL("libsqlite3.so.0")
        database = ctypes.c_void_p()
        self.assertEqual(0, library.sqlite3_open(str(self.path).encode(), ctypes.byref(database)))
        self.assertEqual(0, library.sqlite3_busy_timeout(database, 5000))
        self.assertEqual(0, library.sqlite3_db_config(database, ENABLE_TRIGGER, 0, None))
        code = library.sqlite3_exec(database, text.encode(), None, None, None)
        library.sqlite3_close(database)
        self.assertEqual(0, code)

    def remove_unseen(self):
        self.unseen("DELETE FROM permtab_assignment WHERE user_id >= 1000 AND role_id = 101")

    def change_role_unseen(self):
        self.unseen("DELETE FROM permtab_role_permission WHERE role_id = 101")


@full_only
class AuditWithRedis(AuditSqlite):
    """Facts that were read before are in L2 as well, under a marker that knows nothing of rows changed behind the
    triggers: healing the table alone would fill it from there again and again."""

    def sidecar(self, **options):
        redis = Redis(self.folder / "redis").start()
        self.addCleanup(redis.kill)
        return super().sidecar(redis=f"unix:{redis.socket}", **options)

    def audited(self, more=300, asking=()):
        super().audited(more, asking)
        self.assertGreater(self.serving.stats()["l2_puts"], 0)

    def test_a_host_that_finds_differences_all_the_time_empties_l2_once_a_minute(self):
        """And heals itself all the same."""
        self.fill()
        self.audited()
        before = self.serving.stats()
        for allowed in (False, True, False, True):
            rebuilds = self.serving.stats()["audit_rebuilds"]
            self.unseen("DELETE FROM permtab_role_permission WHERE role_id = 101")
            if allowed:
                self.unseen(f"INSERT INTO permtab_role_permission VALUES (101, '{DELETE}', 'allow')")
            self.reader.watch(1000, "channel:10", DELETE, "allow" if allowed else "deny", 10000)
            self.assertIsNotNone(self.reader.watched(), self.serving.log()[-2000:])
            wait_until(lambda: self.serving.stats()["audit_rebuilds"] > rebuilds, 10, "it was found")
            self.fill_again()
        after = self.serving.stats()
        self.assertGreaterEqual(after["audit_rebuilds"] - before["audit_rebuilds"], 4)
        self.assertEqual(1, after["l2_epochs"] - before["l2_epochs"])

    def fill_again(self):
        for user in range(1000, 1040):
            self.reader.check(user, "channel:10", DELETE)


@full_only
class AuditMariadb(Audit, MariadbCase):
    """TRUNCATE and swapped tables the feed's own look notices first (test_distrust.py). What it cannot see is rows
    that are replayed from a binary log, as in a recovery to a point in time: row events fire no triggers."""

    @classmethod
    def setUpClass(cls):
        cls.server_folder = temporary_folder("mariadb")
        cls.addClassCleanup(shutil.rmtree, cls.server_folder, True)
        cls.binlogged = Mariadb(cls.server_folder / "m").start("--log-bin=bin", "--binlog-format=ROW", "--server-id=1")
        cls.addClassCleanup(cls.binlogged.kill)

    def make_server(self):
        return self.binlogged

    def unseen(self, table, text):
        """Runs it on a copy of the table without triggers, and replays the row events on the table itself."""
        copy = self.server.database()
        self.server.client(copy, f"SET sql_log_bin = 0; CREATE TABLE {table} LIKE {self.database}.{table};"
                                 f"INSERT INTO {table} SELECT * FROM {self.database}.{table};")
        file = self.server.client(copy, "FLUSH BINARY LOGS; SHOW MASTER STATUS;").stdout.split()[0]
        self.server.client(copy, text + " FLUSH BINARY LOGS;")
        events = subprocess.run([find("mariadb-binlog", "mysqlbinlog"), "--no-defaults",
                                 f"--rewrite-db={copy}->{self.database}",
                                 str(self.server.data / file)], stdout=subprocess.PIPE, text=True, check=True).stdout
        before = self.rows("SELECT max(revision) FROM permtab_change;")
        self.server.client(None, events)
        self.assertEqual(before, self.rows("SELECT max(revision) FROM permtab_change;"), "a trigger saw it")

    def remove_unseen(self):
        self.unseen("permtab_assignment", "DELETE FROM permtab_assignment WHERE user_id >= 1000 AND role_id = 101;")
        self.assertEqual([["42"]], self.rows("SELECT count(*) FROM permtab_assignment;"))

    def change_role_unseen(self):
        self.unseen("permtab_role_permission", "DELETE FROM permtab_role_permission WHERE role_id = 101;")
        self.assertEqual([["0"]], self.rows("SELECT count(*) FROM permtab_role_permission WHERE role_id = 101;"))


if __name__ == "__main__":
    main()
