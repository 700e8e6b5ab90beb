#!/usr/bin/env python3
"""Subscribers: what they are told, when, and what becomes of those who do not read. And how long changes took, as stats
tell it."""

import json
import re
import signal
import subprocess
import time

from harness import MariadbCase, RpcError, SqliteCase, full_only, main
from harness.paths import program
from harness.policies import small
from harness.process import spawn, wait_until

DELETE = "message.delete"
ASSIGN = "INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES ({}, 101, 1, 1);"


def told(rpc, seconds=5):
    """The params of the next notification."""
    rpc.socket.settimeout(seconds)
    while True:
        message = rpc.receive()
        if message[0] == 2:
            assert message[1] == "invalidated", message
            return message[2][0]


class Subscribe:
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(client_idle=self.idle) if hasattr(self, "idle") else self.sidecar()
        self.serving.apply(small())

    def subscriber(self, **what):
        rpc = self.serving.rpc()
        self.addCleanup(rpc.close)
        self.reply = rpc.call("subscribe", **what)
        return rpc

    def test_told_when_the_table_has_it(self):
        """A subscriber that drops what it knows and asks again gets the new answer, each time."""
        rpc = self.subscriber()
        asking = self.serving.rpc()
        self.addCleanup(asking.close)
        self.assertEqual(self.serving.health()["revision"], self.reply["revision"])
        self.assertEqual(rpc.welcome["store_id"], self.reply["store_id"])
        for wanted in (1, 0) * 5:
            self.sql(ASSIGN.format(77) if wanted else "DELETE FROM permtab_assignment WHERE user_id = 77;")
            note = told(rpc)
            self.assertEqual((["user:77"], "changed"), (note["targets"], note["reason"]))
            answer = asking.call("check", user=77, scope="channel:10", permission=DELETE)
            self.assertEqual(wanted, answer["decision"])
            self.assertGreaterEqual(answer["revision"], note["revision"])

    def test_what_changed_is_named(self):
        rpc = self.subscriber()
        for sql, targets in (
                ("UPDATE permtab_role SET name = 'x' WHERE id = 102;", {"role:102", "scope:server:1"}),
                ("DELETE FROM permtab_role_permission WHERE role_id = 102;", {"role:102"}),
                ("UPDATE permtab_scope SET owner = 5 WHERE type = 2 AND id = 10;", {"scope:channel:10"}),
                ("DELETE FROM permtab_overwrite WHERE scope_type = 2 AND scope_id = 11;", {"scope:channel:11"}),
                ("INSERT INTO permtab_overwrite VALUES (2, 11, 'user', 9, 'message.send', 'deny');", {"user:9"}),
                ("DELETE FROM permtab_requirement WHERE permission = 'message.send';", {"catalogue"})):
            with self.subTest(sql):
                self.sql(sql)
                self.assertEqual(targets, set(told(rpc)["targets"]))
        self.serving.ctl("invalidate", "all")
        note = told(rpc)
        self.assertIn("all", note["targets"])

    def test_expiry_is_told(self):
        rpc = self.subscriber(kinds=["user"])
        soon = time.time_ns() // 1000 + 1500000
        self.sql(f"INSERT INTO permtab_assignment VALUES (77, 101, 1, 1, {soon});")
        self.assertEqual("changed", told(rpc)["reason"])
        note = told(rpc)
        self.assertEqual((["user:77"], "expired"), (note["targets"], note["reason"]))
        self.assertGreaterEqual(time.time_ns() // 1000, soon)

    def test_only_what_was_asked_for(self):
        roles = self.subscriber(kinds=["role"])
        sevens = self.subscriber(kinds=["user", "role"], prefix="user:7")
        self.sql(ASSIGN.format(50) + ASSIGN.format(70) + "UPDATE permtab_role SET name = 'y' WHERE id = 102;")
        got = set()
        while "role:102" not in got:
            got |= set(told(roles)["targets"])
        self.assertEqual({"role:102"}, got)
        self.assertEqual(["user:70"], told(sevens)["targets"])
        # subscribing again replaces; unsubscribing ends it
        roles.call("subscribe", kinds=["user"])
        self.sql(ASSIGN.format(71))
        self.assertEqual(["user:71"], told(roles)["targets"])
        self.assertEqual({"subscribed": True}, roles.call("unsubscribe"))
        self.assertEqual({"subscribed": False}, roles.call("unsubscribe"))
        self.sql(ASSIGN.format(72))
        self.assertEqual(["user:71"], told(sevens)["targets"])
        self.assertEqual(["user:72"], told(sevens)["targets"])
        with self.assertRaises(TimeoutError):
            told(roles, 0.3)
        self.assertEqual(1, self.serving.stats()["subscribers"])
        sevens.close()
        wait_until(lambda: self.serving.stats()["subscribers"] == 0, 5, "the subscription ends with the session")

    def test_nonsense_is_refused(self):
        rpc = self.serving.rpc()
        self.addCleanup(rpc.close)
        for params in ({"kinds": []}, {"kinds": "user"}, {"kinds": ["users"]}, {"kinds": [7]}, {"kinds": ["user"] * 17},
                       {"prefix": "x" * 200}, {"prefix": 7}):
            with self.subTest(params), self.assertRaises(RpcError) as caught:
                rpc.call("subscribe", params)
            self.assertIn("subscribe: ", caught.exception.text)
        self.assertEqual(0, self.serving.stats()["subscribers"])

    def test_watch(self):
        watching = [self.start_watch(), self.start_watch("--json")]
        wait_until(lambda: self.serving.stats()["subscribers"] == 2, 10, "both watch")
        self.sql(ASSIGN.format(77))
        revision = self.serving.health()["revision"]
        line = watching[0].stdout.readline()
        self.assertRegex(line, r"^\d+ user:77 changed\n$")
        note = json.loads(watching[1].stdout.readline())
        self.assertEqual({"revision": int(line.split()[0]), "reason": "changed", "targets": ["user:77"]}, note)
        self.assertGreaterEqual(int(line.split()[0]), revision)
        watching[0].send_signal(signal.SIGINT)
        self.assertEqual(-signal.SIGINT, watching[0].wait(60))
        self.assertEqual(0, self.serving.stop())
        self.assertEqual(1, watching[1].wait(60))
        self.assertEqual("permtabctl: watch: the sidecar is stopping\n", watching[1].stderr.read())
        for process in watching:
            process.stdout.close()
            process.stderr.close()

    def start_watch(self, *words):
        process = spawn([program("permtabctl"), "--socket", str(self.serving.socket), "watch", *words],
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        return process

    # ---- how long changes take ----------------------------------------------------------------------------------

    def test_propagation(self):
        before = self.serving.stats()
        for user in range(70, 90):
            self.sql(ASSIGN.format(user))
        wait_until(lambda: self.serving.stats()["propagation_count"] >= before["propagation_count"] + 20, 5,
                   "all are measured")
        stats = self.serving.stats()
        self.assertEqual(before["propagation_count"] + 20, stats["propagation_count"])
        self.assertEqual(before["propagation_unmeasured"], stats["propagation_unmeasured"])
        self.assertGreater(stats["propagation_max_us"], 0)
        self.assertLess(stats["propagation_p50_us"], 400000)
        # One machine: whatever the way to the store, the clocks are the same.
        self.assertLess(stats["clock_error_us"], 100000)
        self.assertLess(abs(stats["clock_offset_us"]), stats["clock_error_us"] + 2000)
        self.assertEqual(0, stats["clock_steps"])
        text = self.serving.ops("stats prometheus")
        counts = [int(count) for count in re.findall(r'permtab_propagation_seconds_bucket\{le="[^"]+"\} (\d+)', text)]
        self.assertEqual(21, len(counts))
        self.assertEqual(sorted(counts), counts)
        self.assertEqual(stats["propagation_count"], counts[-1])
        histogram = json.loads(self.serving.ops("stats json"))["propagation"]
        self.assertEqual(stats["propagation_count"], sum(count for _, count in histogram["buckets"]))
        self.assertIn(f"propagation_p99_us {stats['propagation_p99_us']}\n", self.serving.ops("stats"))
        self.assertIn(f"clock_steps 0\n", self.serving.ctl("stats").stdout)
        self.assertIn("clock_offset_us", json.loads(self.serving.ctl("stats", "--json").stdout))


class SubscribeSqlite(Subscribe, SqliteCase):
    """And what is the same on every store."""

    def crowd(self, first, count):
        """One batch of so many users."""
        values = ", ".join(f"({10**18 + first + i}, 101, 1, 1)" for i in range(count))
        self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {values};")

    def unread(self):
        return max(int(count) for count in re.findall(r"unread=(\d+)", self.serving.ops("clients")))

    @full_only
    def test_slow_subscriber(self):
        slow, quick = self.subscriber(), self.subscriber()
        for batch in range(9):
            self.crowd(batch * 4000, 4000)
            seen = 0
            while seen < 4000:
                seen += len(told(quick)["targets"])
            self.assertLessEqual(self.unread(), 256 * 1024)
            time.sleep(0.3)
        missed = self.serving.stats()["notifications_missed"]
        self.assertGreater(missed, 4000)
        got = 0
        while True:
            note = told(slow)
            if "missed" in note:
                break
            got += len(note["targets"])
        self.assertEqual((["all"], "missed", 36000 - got), (note["targets"], note["reason"], note["missed"]))
        self.assertEqual(missed, note["missed"])
        self.sql(ASSIGN.format(77))
        self.assertEqual(["user:77"], told(slow)["targets"])

    @full_only
    def test_many_changes_at_once(self):
        rpc = self.subscriber()
        self.crowd(0, 5000)
        notes = [told(rpc) for _ in range(5)]
        self.assertEqual([1000] * 5, [len(note["targets"]) for note in notes])
        self.assertEqual([True] * 4 + [None], [note.get("more") for note in notes])
        self.assertEqual(1, len({note["revision"] for note in notes}))
        self.assertEqual(5000, len({target for note in notes for target in note["targets"]}))
        self.crowd(10000, 5001)
        self.assertEqual(["all"], told(rpc)["targets"])

    def test_many_subscribers(self):
        many = [self.subscriber(kinds=["user"]) for _ in range(256)]
        with self.assertRaises(RpcError) as caught:
            self.subscriber()
        self.assertIn("subscribers", caught.exception.text)
        self.sql(ASSIGN.format(77))
        for rpc in many:
            self.assertEqual(["user:77"], told(rpc)["targets"])
            rpc.close()
        self.subscriber()


class SubscribeIdle(SqliteCase):
    @full_only
    def test_whoever_reads_nothing_is_closed(self):
        self.serving = self.sidecar(client_idle="2s")
        self.serving.apply(small())
        rpc = self.serving.rpc()
        self.addCleanup(rpc.close)
        rpc.call("subscribe")
        crowd = SubscribeSqlite.crowd
        for batch in range(5):
            crowd(self, batch * 4000, 4000)
            time.sleep(0.2)
        wait_until(lambda: self.serving.stats()["subscribers"] == 0, 10, "it is closed")
        self.assertIn("does not read its replies", self.serving.log())


class SubscribeMariadb(Subscribe, MariadbCase):
    quick = ("test_told_when_the_table_has_it", "test_long_transaction_counts_its_own_length")

    def test_long_transaction_counts_its_own_length(self):
        self.sql("START TRANSACTION;" + ASSIGN.format(77) + "SELECT SLEEP(1.2); COMMIT;")
        wait_until(lambda: self.serving.stats()["propagation_max_us"] > 1200000, 3, "the statement's time counts")


if __name__ == "__main__":
    main()
