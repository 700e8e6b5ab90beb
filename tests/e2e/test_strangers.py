#!/usr/bin/env python3
"""Users without rows of their own: a flood of made-up ids costs the store next to nothing and displaces nobody, and
whoever gets a first row has it at once."""

import random
import time

from harness import QUICK, MariadbCase, SqliteCase, full_only, main
from harness.policies import MODERATOR, OWNER, small
from harness.process import wait_until

SEND, DELETE, MANAGE = "message.send", "message.delete", "channel.manage"
FLOOD = 5000 if QUICK else 20000
BATCH = 1000


class Strangers:
    def serve(self, counted=True, **options):
        """Nothing here is about time, so there is plenty of it, also on a busy computer."""
        self.serving = self.sidecar(max_staleness="10s", request_timeout="20s", **options)
        self.serving.apply(small())
        if counted:
            self.counted()
        return self.patient_worker()

    def patient_worker(self):
        return self.worker(self.serving, timeout_ms=20000)

    def counted(self, times=1):
        wait_until(lambda: self.serving.log().count("known users: ") >= times, 20, "the users are counted", 0.05)

    def flood(self, worker, scopes, permission, expected, count=FLOOD):
        """Random ids, a thousand at a time; every answer is looked at."""
        for _ in range(count // BATCH):
            queries = [(random.getrandbits(64), random.choice(scopes), permission) for _ in range(BATCH)]
            self.assertEqual({expected}, set(worker.many(queries)[0]))

    def insert(self, user):
        self.sql("INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id)"
                 f" VALUES ({user}, {MODERATOR}, 1, 1);")

    def test_a_stranger_who_is_given_a_role_has_it_at_once(self):
        worker = self.serve()
        self.flood(worker, ["channel:10"], SEND, "A", BATCH)
        with self.serving.rpc() as rpc:
            for user in range(100000, 100050):
                self.assertEqual("deny", worker.check(user, "channel:10", DELETE))
                self.assertEqual("allow", worker.check(user, "channel:10", SEND))
                rpc.call("assign", user=user, role=MODERATOR, scope="server:1")
                self.assertEqual("allow", worker.check(user, "channel:10", DELETE))
                rpc.call("unassign", user=user, role=MODERATOR, scope="server:1")
                self.assertEqual("deny", worker.check(user, "channel:10", DELETE))
        for user in range(200000, 200005):
            self.assertEqual("deny", worker.check(user, "channel:10", DELETE))
            worker.watch(user, "channel:10", DELETE, "allow")
            self.insert(user)
            self.assertIsNotNone(worker.watched())

    def test_a_stranger_may_own_a_server(self):
        """The first one asked about there, and one after others."""
        worker = self.serve()
        for scope in ("channel:10", "channel:11"):
            self.assertEqual("deny", worker.check(31337, scope, MANAGE))
            self.assertEqual("allow", worker.check(OWNER, scope, MANAGE))
            self.assertEqual("deny", worker.check(31338, scope, MANAGE))
        answered = self.serving.stats()["strangers_answered"]
        self.assertGreaterEqual(answered, 4)
        with self.serving.rpc() as rpc:
            self.assertEqual(1, rpc.call("check", user=OWNER, scope="server:1", permission=MANAGE)["decision"])
        self.sql("UPDATE permtab_scope SET owner = 31338 WHERE type = 1 AND id = 1;")
        wanted = int(self.rows("SELECT revision FROM permtab_counter;")[0][0])
        wait_until(lambda: self.serving.health()["revision"] >= wanted, 5, "the table follows")
        self.assertEqual("deny", worker.check(OWNER, "channel:10", MANAGE))
        self.assertEqual("allow", worker.check(31338, "channel:10", MANAGE))

    def test_changes_of_a_place_reach_strangers(self):
        worker = self.serve()
        self.flood(worker, ["channel:10"], SEND, "A", BATCH)
        worker.watch(777, "channel:10", SEND, "deny")
        self.sql("INSERT INTO permtab_overwrite (scope_type, scope_id, subject, subject_id, permission, effect)"
                 " VALUES (2, 10, 'role', 100, 'message.send', 'deny');")
        self.assertIsNotNone(worker.watched())
        self.flood(worker, ["channel:10"], SEND, "D", BATCH)

    def test_known_users_keep_their_entries(self):
        worker = self.serve(table_entries=1000)
        known = [(user, "channel:10", DELETE) for user in range(10000, 10600)]
        values = ", ".join(f"({user}, {MODERATOR}, 1, 1)" for user, _, _ in known)
        self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {values};")
        worker.watch(*known[-1], "allow")
        self.assertIsNotNone(worker.watched())
        self.assertEqual("A" * len(known), worker.many(known)[0])
        self.flood(worker, ["channel:10"], SEND, "A")
        self.assertEqual("A" * len(known), worker.many(known, "peek")[0])

    def test_more_users_than_the_filter_has_room_for(self):
        worker = self.serve(counted=False, strangers_max=10)
        values = ", ".join(f"({user}, {MODERATOR}, 1, 1)" for user in range(10000, 10050))
        self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {values};")
        wait_until(lambda: "more than strangers_max" in self.serving.log(), 20, "it says so", 0.05)
        self.flood(worker, ["channel:10"], SEND, "A", BATCH)
        self.assertEqual("allow", worker.check(10000, "channel:10", DELETE))
        self.assertEqual(0, self.serving.stats()["strangers_answered"])

    @full_only
    def test_all_of_many_users_are_counted(self):
        """More than fit into one slice, and there before the sidecar: no change names them."""
        many = range(10_000_000, 10_025_000)
        self.serve()
        serving = self.serving
        for first in range(0, len(many), 5000):
            values = ", ".join(f"({user}, {MODERATOR}, 1, 1)" for user in many[first:first + 5000])
            self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {values};")
        self.sql("INSERT INTO permtab_overwrite (scope_type, scope_id, subject, subject_id, permission, effect)"
                 " VALUES (1, 1, 'user', 5, 'message.delete', 'allow');")
        serving.stop()
        serving.log_path.unlink()
        serving.start()
        self.counted()
        self.assertAlmostEqual(len(many) + 3, serving.stats()["filter_users"], delta=2)
        worker = self.patient_worker()
        self.flood(worker, ["channel:10"], DELETE, "D", BATCH)
        for first in range(0, len(many), 5000):
            queries = [(user, "channel:10", DELETE) for user in many[first:first + 5000]]
            self.assertEqual({"A"}, set(worker.many(queries)[0]))
        self.assertEqual("allow", worker.check(5, "channel:10", DELETE))

    def test_they_are_counted_again_after_a_rebuild(self):
        worker = self.serve()
        self.flood(worker, ["channel:10"], SEND, "A", BATCH)
        before = self.serving.stats()
        self.assertEqual(2, before["filter_users"])
        self.assertEqual(0, self.serving.ctl("invalidate", "all").returncode)
        self.counted(2)
        self.flood(worker, ["channel:10"], SEND, "A", BATCH)
        after = self.serving.stats()
        self.assertGreater(after["filter_rebuilds"], before["filter_rebuilds"])
        self.assertGreaterEqual(after["strangers_answered"], before["strangers_answered"] + BATCH // 2)


class OnSqlite(Strangers, SqliteCase):
    pass


class OnMariadb(Strangers, MariadbCase):
    quick = ("test_a_flood_costs_no_reads", "test_a_stranger_may_own_a_server")

    def selects(self):
        return int(self.server.client(None, "SHOW GLOBAL STATUS LIKE 'Com_select';").stdout.split()[1])

    def reads(self):
        return self.serving.stats()["store_reads"]

    def test_a_flood_costs_no_reads(self):
        worker = self.serve()
        begun, selects = time.monotonic(), self.selects()
        time.sleep(2)
        idle = (self.selects() - selects) / (time.monotonic() - begun)  # polls
        begun, selects, reads = time.monotonic(), self.selects(), self.reads()
        self.flood(worker, ["channel:10", "server:1", "server:2", "channel:20"], SEND, "A")
        self.flood(worker, ["channel:11", "channel:404"], SEND, "D")
        seconds = time.monotonic() - begun
        cost = self.selects() - selects - idle * seconds
        reads = self.reads() - reads
        self.say(f"{2 * FLOOD} questions about made-up users in {seconds:.1f} s: {cost:.0f} SELECTs beyond the polls, "
                 f"{reads} reads, {self.serving.stats()['strangers_answered']} answered without one")
        self.assertLess(cost, 2 * FLOOD / 100)
        self.assertLess(reads, 2 * FLOOD / 64 / 4)

    def test_without_a_filter_each_costs_some(self):
        """The cost that the test above measures is there to be seen."""
        worker = self.serve(counted=False, strangers_max=0)
        reads = self.reads()
        self.flood(worker, ["channel:10"], SEND, "A", BATCH)
        self.assertGreaterEqual(self.reads() - reads, BATCH / 64)
        self.assertEqual(0, self.serving.stats()["filter_users"])

    quick = ("test_a_flood_costs_no_reads", "test_a_stranger_who_is_given_a_role_has_it_at_once")


if __name__ == "__main__":
    main()
