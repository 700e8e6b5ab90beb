#!/usr/bin/env python3
"""Plain SQL at a prompt, while the sidecar runs: each kind of change is obeyed by every worker within max_staleness,
and nobody misses who has nothing to do with it."""

import random
import statistics
import time

from harness import QUICK, MariadbCase, SqliteCase, main
from harness.policies import small
from harness.sidecar import POLL_MS, STALENESS_MS

ROUNDS = 1 if QUICK else 3
DELETE = "message.delete"
SEND = "message.send"

# Those who must keep their entries whatever changes in server:1; and those who must where only one
# user or one role is touched.
ELSEWHERE = [(user, "channel:20", SEND) for user in (50, 51, 52)]
SAME_PLACE = ELSEWHERE + [(user, "channel:10", SEND) for user in (60, 61)]
NOBODY = []  # a change of the catalogue may touch everyone

# name, SQL, SQL that takes it back, the question, the answer before, the answer after, whose entries stay
CHANGES = [
    ("assignment inserted, deleted",
     "INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES (3, 101, 1, 1);",
     "DELETE FROM permtab_assignment WHERE user_id = 3;",
     (3, "channel:10", DELETE), "deny", "allow", SAME_PLACE),
    ("assignment of an id above 2^63",
     "INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES ({max}, 101, 1, 1);",
     "DELETE FROM permtab_assignment WHERE user_id = {max};",
     (2**64 - 1, "channel:10", DELETE), "deny", "allow", SAME_PLACE),
    ("assignment's expiry",
     "UPDATE permtab_assignment SET expires_at = 1000000 WHERE user_id = 1 AND role_id = 101;",
     "UPDATE permtab_assignment SET expires_at = NULL WHERE user_id = 1 AND role_id = 101;",
     (1, "channel:10", DELETE), "allow", "deny", SAME_PLACE),
    ("role's grant",
     "DELETE FROM permtab_role_permission WHERE role_id = 101 AND permission = 'message.delete';",
     "INSERT INTO permtab_role_permission (role_id, permission, effect) VALUES (101, 'message.delete', 'allow');",
     (1, "channel:10", DELETE), "allow", "deny", SAME_PLACE),
    ("role's grant turned into a deny",
     "UPDATE permtab_role_permission SET effect = 'deny' WHERE role_id = 101 AND permission = 'message.delete';",
     "UPDATE permtab_role_permission SET effect = 'allow' WHERE role_id = 101 AND permission = 'message.delete';",
     (1, "channel:10", DELETE), "allow", "deny", SAME_PLACE),
    ("role's parent",
     "INSERT INTO permtab_role_parent (role_id, parent_id) VALUES (102, 101);",
     "DELETE FROM permtab_role_parent WHERE role_id = 102;",
     (2, "channel:10", DELETE), "deny", "allow", SAME_PLACE),
    ("grant of a role that others inherit from",
     "INSERT INTO permtab_role_permission (role_id, permission, effect) VALUES (100, 'member.kick', 'allow');",
     "DELETE FROM permtab_role_permission WHERE role_id = 100 AND permission = 'member.kick';",
     (1, "channel:10", "member.kick"), "deny", "allow", SAME_PLACE),
    ("role no default any more",
     "UPDATE permtab_role SET is_default = 0 WHERE id = 100;",
     "UPDATE permtab_role SET is_default = 1 WHERE id = 100;",
     (5, "channel:10", SEND), "allow", "deny", ELSEWHERE),
    ("role not active any more",
     "UPDATE permtab_role SET active = 0 WHERE id = 101;",
     "UPDATE permtab_role SET active = 1 WHERE id = 101;",
     (1, "channel:10", DELETE), "allow", "deny", ELSEWHERE),
    ("scope's owner",
     "UPDATE permtab_scope SET owner = 3 WHERE type = 1 AND id = 1;",
     "UPDATE permtab_scope SET owner = 900 WHERE type = 1 AND id = 1;",
     (3, "channel:10", "channel.manage"), "deny", "allow", ELSEWHERE),
    ("scope's owner, who loses it",
     "UPDATE permtab_scope SET owner = NULL WHERE type = 1 AND id = 1;",
     "UPDATE permtab_scope SET owner = 900 WHERE type = 1 AND id = 1;",
     (900, "channel:10", "channel.manage"), "allow", "deny", ELSEWHERE),
    ("scope's parent",
     "UPDATE permtab_scope SET parent_id = 2 WHERE type = 2 AND id = 10;",
     "UPDATE permtab_scope SET parent_id = 1 WHERE type = 2 AND id = 10;",
     (1, "channel:10", DELETE), "allow", "deny", ELSEWHERE),
    ("scope inserted, deleted",
     "INSERT INTO permtab_scope (type, id, parent_type, parent_id) VALUES (2, 12, 1, 1);",
     "DELETE FROM permtab_scope WHERE type = 2 AND id = 12;",
     (5, "channel:12", SEND), "deny", "allow", ELSEWHERE),
    ("overwrite for a role",
     "INSERT INTO permtab_overwrite (scope_type, scope_id, subject, subject_id, permission, effect)"
     " VALUES (2, 10, 'role', 100, 'message.send', 'deny');",
     "DELETE FROM permtab_overwrite WHERE scope_type = 2 AND scope_id = 10;",
     (5, "channel:10", SEND), "allow", "deny", ELSEWHERE),
    ("overwrite for a user",
     "INSERT INTO permtab_overwrite (scope_type, scope_id, subject, subject_id, permission, effect)"
     " VALUES (2, 11, 'user', 5, 'message.send', 'allow');",
     "DELETE FROM permtab_overwrite WHERE scope_type = 2 AND scope_id = 11 AND subject = 'user';",
     (5, "channel:11", SEND), "deny", "allow", SAME_PLACE),
    ("permission's requirement",
     "INSERT INTO permtab_requirement (permission, requires) VALUES ('message.send', 'channel.manage');",
     "DELETE FROM permtab_requirement WHERE requires = 'channel.manage';",
     (5, "channel:10", SEND), "allow", "deny", NOBODY),
    ("permission that grants all",
     "UPDATE permtab_permission SET grants_all = 1 WHERE name = 'message.send';",
     "UPDATE permtab_permission SET grants_all = 0 WHERE name = 'message.send';",
     (5, "channel:10", "channel.manage"), "deny", "allow", NOBODY),
    ("many rows of one transaction",
     "BEGIN; DELETE FROM permtab_assignment WHERE user_id = 1;"
     " INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES (4, 101, 1, 1), (1, 102, 1, 1);"
     " COMMIT;",
     "BEGIN; DELETE FROM permtab_assignment WHERE user_id IN (1, 4);"
     " INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES (1, 101, 1, 1); COMMIT;",
     (1, "channel:10", DELETE), "allow", "deny", SAME_PLACE),
]


class DirectSql:
    max_id = "18446744073709551615"

    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(table_entries=20000)
        self.serving.apply(small())
        self.workers = [self.worker(self.serving) for _ in range(2)]

    def committed_ns(self):
        """Returns when the newest change was written, by its own row, as CLOCK_MONOTONIC."""
        offset = time.time_ns() - time.monotonic_ns()
        [[at]] = self.rows("SELECT at FROM permtab_change ORDER BY revision DESC LIMIT 1;")
        return int(at) * 1000 - offset

    def make(self, name, sql, question, before, after, stays):
        """Makes one change; returns how long the slowest worker took to see it, in milliseconds."""
        for worker in self.workers:
            self.assertEqual(before, worker.check(*question), f"{name}: before it")
            for other in stays:
                self.assertNotEqual("unknown", worker.check(*other))
            worker.watch(*question, after)
        time.sleep(random.uniform(0, POLL_MS / 1000))  # else each change begins just after a poll
        begun = time.monotonic_ns()
        self.sql(sql)
        seen = [worker.watched() for worker in self.workers]
        self.assertNotIn(None, seen, f"{name}: {after} was never seen")
        self.assertLessEqual((max(seen) - begun) / 1e6, STALENESS_MS, name)
        for worker in self.workers:
            for other in stays:
                self.assertNotEqual("unknown", worker.peek(*other)[0], f"{name}: {other} lost its entry")
        return (max(seen) - self.committed_ns()) / 1e6

    def test_each_kind_of_change(self):
        delays = []
        for _ in range(ROUNDS):
            for name, forth, back, question, before, after, stays in CHANGES:
                with self.subTest(name):
                    delays.append(self.make(name, forth.format(max=self.max_id), question, before, after, stays))
                    delays.append(self.make(name + ", taken back", back.format(max=self.max_id), question, after,
                                            before, stays))
        delays.sort()
        self.say(f"{len(delays)} changes by plain SQL, commit to the slowest of 2 workers: "
                 f"p50 {statistics.median(delays):.0f} ms, p99 {delays[int(len(delays) * 0.99)]:.0f} ms "
                 f"(poll_interval {POLL_MS} ms, max_staleness {STALENESS_MS} ms)")

    def test_a_rolled_back_change_is_none(self):
        question = (1, "channel:10", DELETE)
        self.assertEqual("allow", self.workers[0].check(*question))
        before = self.rows("SELECT revision FROM permtab_counter;")
        self.workers[0].trace(*question, 600)
        self.sql("BEGIN; DELETE FROM permtab_assignment WHERE user_id = 1; ROLLBACK;")
        self.assertEqual({"allow"}, {decision for _, _, decision, _ in self.workers[0].traced()})
        self.assertEqual(before, self.rows("SELECT revision FROM permtab_counter;"))

    def test_an_update_that_changes_nothing_makes_no_revision(self):
        before = self.rows("SELECT revision FROM permtab_counter;")
        self.sql("UPDATE permtab_role SET active = 1, is_default = is_default; UPDATE permtab_scope SET owner = owner;"
                 "UPDATE permtab_assignment SET expires_at = NULL WHERE expires_at IS NULL;")
        self.assertEqual(before, self.rows("SELECT revision FROM permtab_counter;"))

    def test_an_assignment_expires_by_itself(self):
        """Nobody writes anything when it ends."""
        question = (1, "channel:10", DELETE)
        self.workers[0].check(*question)
        ends = time.time_ns() // 1000 + 1_500_000
        ends_monotonic = time.monotonic_ns() + 1_500_000_000
        self.sql(f"UPDATE permtab_assignment SET expires_at = {ends} WHERE user_id = 1 AND role_id = 101;")
        time.sleep(0.5)
        self.assertEqual("allow", self.workers[0].check(*question))
        self.workers[0].watch(*question, "deny")
        seen = self.workers[0].watched()
        self.assertIsNotNone(seen)
        delay = (seen - ends_monotonic) / 1e6
        self.assertGreater(delay, -20, "it ended before its time")
        self.assertLessEqual(delay, STALENESS_MS)
        self.say(f"an assignment ended by itself, seen after {delay:.0f} ms")

    def test_role_edit_leaves_every_entry(self):
        """A role that thousands hold: nobody misses, everybody follows."""
        users = range(10_000, 11_000)
        values = ", ".join(f"({user}, 101, 1, 1)" for user in users)
        self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {values};")
        questions = [(user, "server:1", DELETE) for user in users]
        self.workers[0].watch(users[-1], "server:1", DELETE, "allow")
        self.assertIsNotNone(self.workers[0].watched())
        # A thousand reads of the store, which may take longer than a worker has for a check.
        self.assertEqual("A" * len(users), self.worker(self.serving, timeout_ms=60000).many(questions)[0])
        fills = self.serving.stats()["fills"]
        self.workers[0].watch(users[0], "server:1", DELETE, "deny", mode="peek")
        self.sql("DELETE FROM permtab_role_permission WHERE role_id = 101 AND permission = 'message.delete';")
        self.assertIsNotNone(self.workers[0].watched())
        self.assertEqual("D" * len(users), self.workers[0].many(questions, "peek")[0])
        self.assertEqual(fills, self.serving.stats()["fills"], "somebody had to be filled again")


class OnSqlite(DirectSql, SqliteCase):
    quick = ("test_each_kind_of_change", "test_role_edit_leaves_every_entry")
    max_id = "-1"


class OnMariadb(DirectSql, MariadbCase):
    quick = ("test_each_kind_of_change",)


if __name__ == "__main__":
    main()
