#!/usr/bin/env python3
"""Delayed invalidations through permtabctl and the socket: several sidecars over one store and one Redis."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import unittest

from harness import RpcError, SqliteCase, full_only, harness_for_others, main
from harness.policies import small
from harness.process import wait_until
from harness.servers import Redis, find

KEYS = "permtab:delayed:*"


class Delayed(SqliteCase):
    def setUp(self):
        super().setUp()
        self.redis = Redis(self.folder / "redis").start()
        self.addCleanup(lambda: self.redis.process and self.redis.kill())
        self.first = self.host("a")
        self.first.apply(small())
        self.second = self.host("b")

    def host(self, name, **options):
        sidecar = self.sidecar(folder=self.folder / name, redis=f"unix:{self.redis.socket}", **options)
        wait_until(lambda: "redis: connected" in sidecar.log(), 10, "the sidecar is connected to Redis")
        return sidecar

    def redis_cli(self, *words):
        return subprocess.run([find("redis-cli"), "-s", str(self.redis.socket), *map(str, words)], check=True,
                              stdout=subprocess.PIPE, text=True, timeout=120).stdout

    def ctl(self, *words, host=None, code=0):
        done = (host or self.first).ctl(*words)
        self.assertEqual(code, done.returncode, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout if code == 0 else done.stderr

    def total(self, name):
        return self.first.stats()[name] + self.second.stats()[name]

    def nothing_left(self, seconds=5):
        wait_until(lambda: self.redis_cli("KEYS", KEYS).strip() == "", seconds,
                   lambda: f"Redis holds nothing of the queue: {self.redis_cli('KEYS', KEYS)}")

    def fill(self):
        for host in (self.first, self.second):
            self.assertEqual("allow\n", self.ctl("check", 1, "channel:10", "message.send", host=host))
            self.assertEqual(1, host.stats()["entries"])

    # ---- being carried out ----------------------------------------------------------------------------------------

    def test_reaches_every_host_once(self):
        self.fill()
        task = self.ctl("delay", "user:1", "--in", "1s", "--reason", "the raid is over").strip()
        self.assertRegex(task, "^[0-9a-f]{32}$")
        self.assertRegex(self.ctl("delayed", host=self.second),
                         f'^{task}  due in [01].\\d s  user:1  reason "the raid is over"\n$')
        self.assertEqual(1, self.second.stats()["entries"])
        wait_until(lambda: self.first.stats()["entries"] + self.second.stats()["entries"] == 0, 5,
                   "both have forgotten the user")
        self.nothing_left()
        self.assertEqual(1, self.total("delayed_done"))
        self.assertEqual(0, self.total("delayed_late"))
        self.assertEqual("allow\n", self.ctl("check", 1, "channel:10", "message.send"))

    def test_at(self):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
        begun = time.time()
        self.ctl("delay", "user:1", "scope:server:1", "--at", at)
        self.nothing_left()
        self.assertGreater(time.time() - begun, 0.8)
        self.assertEqual(1, self.total("delayed_done"))

    def test_permission_condition(self):
        self.ctl("delay", "user:2", "--in", "0s", "--if", "2 channel:10 message.delete AND NOT channel.manage")
        wait_until(lambda: self.total("delayed_waited") >= 2, 10, "it was looked at")
        self.assertEqual(0, self.total("delayed_done"))
        self.assertRegex(self.ctl("delayed"),
                         r'if "2 channel:10 message.delete AND NOT channel.manage"  waited \d times'
                         r'  because "the condition does not hold"')
        self.ctl("assign", 2, 101, "server:1")
        wait_until(lambda: self.total("delayed_done") == 1, 15, "it was carried out")
        self.nothing_left()

    def test_revision_condition(self):
        revision = self.first.health()["revision"]
        self.ctl("delay", "user:2", "--in", "0s", "--if-revision", revision + 1)
        self.ctl("delay", "user:1", "--in", "0s", "--if-revision", revision)
        wait_until(lambda: self.total("delayed_done") == 1 and self.total("delayed_waited") >= 1, 10, "one of them was")
        self.ctl("assign", 2, 101, "server:1")
        wait_until(lambda: self.total("delayed_done") == 2, 15, "both were")
        self.nothing_left()

    def test_ends_undone(self):
        self.ctl("delay", "user:2", "--in", "0s", "--if", "2 global administrator", "--expires-in", "1s")
        wait_until(lambda: self.total("delayed_expired") == 1, 10, "it has ended")
        self.nothing_left()
        self.assertEqual(0, self.total("delayed_done"))

    @full_only
    def test_killed_host(self):
        """The other host carries out whatever the killed one had taken."""
        with self.first.rpc() as rpc:
            for number in range(400):
                rpc.call("delay", targets=[f"user:{number}"], in_ms=1500)
        wait_until(lambda: self.first.stats()["delayed_taken"] > 0, 10, "the first host has begun")
        self.first.kill()
        self.nothing_left(60)

    @full_only
    def test_restarted_fleet(self):
        """Tasks outlive the hosts."""
        self.ctl("delay", "user:1", "--in", "1s")
        self.first.kill()
        self.second.kill()
        time.sleep(1.5)
        self.first.start()
        wait_until(lambda: self.first.stats()["delayed_done"] == 1, 10, "it was carried out")
        self.nothing_left()

    # ---- commands over many -----------------------------------------------------------------------------------------

    def add_many(self, count, **params):
        with self.first.rpc() as rpc:
            sent = [rpc.send("delay", {"targets": [f"user:{number % 3}"], "in_ms": 600000, **params})
                    for number in range(count)]
            for _ in sent:
                self.assertIsNone(rpc.receive()[2])

    def test_cancel(self):
        self.add_many(2500, reason="a b")
        task = self.ctl("delay", "user:9@channel:10", "pattern:user:9*", "--in", "1h").strip()
        self.assertEqual("834 tasks\n", self.ctl("delayed", "cancel", "user:0"))
        self.assertEqual("1 task\n", self.ctl("delayed", "cancel", task, host=self.second))
        self.assertEqual("0 tasks\n", self.ctl("delayed", "cancel", "pattern:user:9*"))
        self.assertEqual("1666 tasks\n", self.ctl("delayed", "cancel", "reason:a b", host=self.second))
        self.nothing_left()
        self.assertEqual(2501, self.total("delayed_cancelled"))

    def test_advice(self):
        self.assertEqual("", self.ctl("delayed", "advice"))
        self.add_many(1200, reason="end of term")
        advice = self.ctl("delayed", "advice")
        self.assertIn("permtabctl delayed run 'reason:end of term'", advice)
        self.assertIn("permtabctl delayed replace user:1", advice)
        number = re.search(r"^(\d+)  recommended  400 tasks name user:1:", advice, re.MULTILINE).group(1)
        self.assertEqual("400 tasks\n", self.ctl("delayed", "do", number))
        wait_until(lambda: self.total("delayed_done") == 1, 10, "one was carried out for all of them")
        self.assertIn("ask for advice again", self.ctl("delayed", "do", number, host=self.second, code=1))
        number = re.search(r"^(\d+)  recommended  \d+ tasks have the reason:end of term: carry", advice,
                           re.MULTILINE).group(1)
        self.assertEqual("800 tasks\n", self.ctl("delayed", "do", number))
        wait_until(lambda: self.total("delayed_done") == 801, 20, "all were carried out")
        self.nothing_left()

    def test_stats(self):
        self.add_many(10)
        lines = dict(line.split() for line in self.ctl("delayed", "stats").splitlines())
        self.assertEqual("10", lines["queued"])
        self.assertEqual("0", lines["overdue"])
        self.assertEqual("10", lines["added_last_minute"])
        self.assertTrue(590000 < int(lines["first_due_in_ms"]) <= 600000)
        self.assertEqual("10 tasks\n", self.ctl("delayed", "run", "all"))
        wait_until(lambda: self.total("delayed_done") == 10, 10, "they were carried out")
        self.assertEqual("1000 tasks\n", self.ctl("delayed", "run"))
        self.nothing_left()

    # ---- what is refused --------------------------------------------------------------------------------------------

    def test_wrong(self):
        for words, text in [
            (["delay", "user:1"], "--in or --at"),
            (["delay", "user:1", "--in", "1s", "--at", "2027-01-01T00:00:00Z"], "--in or --at"),
            (["delay", "user:1", "--in", "1"], "no duration"),
            (["delay", "user:1", "--in", "99999999999999d"], "no duration"),
            (["delay", "user:1", "--at", "tomorrow"], "no time"),
            (["delay", "user:1", "--at", "1798761600"], "looks like seconds"),
            (["delay", "user:1", "--in", "1s", "--if-revision", "x"], "no number"),
            (["delay", "--in", "1s"], "usage"),
            (["delayed", "cancel"], "cancel WHAT"),
            (["delayed", "do", "x"], "no id"),
            (["delayed", "list", "--max", "5"], "cancel WHAT"),
            (["delayed", "run", "user:1", "--max", "5"], "without WHAT"),
        ]:
            with self.subTest(words):
                self.assertIn(text, self.ctl(*words, code=64))
        for words, text in [
            (["delay", "nobody:1", "--in", "1s"], '"nobody:1" is no target'),
            (["delay", "user:1", "--in", "91d"], "90 days"),
            (["delay", "user:1", "--in", "1d", "--expires-in", "90d"], "90 days"),
            (["delay", "user:1", "--in", "1s", "--if", "1 channel:10 message.sent"], 'no permission "message.sent"'),
            (["delay", "user:1", "--in", "1s", "--if", "1 guild:10 message.send"], "no scope type"),
            (["delay", "user:1", "--in", "1s", "--if", "1 channel:10 message.send AND"], "wrong at byte 16"),
            (["delay", "user:1", "--in", "1s", "--reason", "x" * 96], "at most 95 bytes"),
            (["delay", "user:1", "--in", "1s", "--expires-in", "0s"], "expected at least 1"),
            (["delay", "user:1", "--in", "1s", "--id", "X"], "32 hexadecimal digits"),
            (["delayed", "cancel", "nonsense"], '"nonsense" is no id'),
            (["delayed", "replace", "reason:x"], "cannot be done"),
            (["delayed", "do", "77"], "ask for advice again"),
        ]:
            with self.subTest(words):
                self.assertIn(text, self.ctl(*words, code=1))
        self.nothing_left(1)

    @unittest.skipUnless(os.getuid() == 0, "needs two users")
    def test_writing_methods_ask_for_the_uid(self):
        script = ("import os, sys\nos.setuid(65534)\nsys.path.insert(0, sys.argv[1])\n"
                  "from harness.rpc import Rpc, RpcError\n"
                  "for method in sys.argv[3:]:\n"
                  "    with Rpc(sys.argv[2]) as rpc:\n"
                  "        try:\n            rpc.call(method)\n            print(method, 0)\n"
                  "        except RpcError as error:\n            print(method, error.code)\n")
        methods = ["delay", "delayed_cancel", "delayed_run", "delayed_replace", "delayed_do", "delayed",
                   "delayed_stats", "delayed_advice"]
        self.folder.chmod(0o755)
        (self.folder / "a").chmod(0o755)
        done = subprocess.run([sys.executable, "-c", script, harness_for_others(self.folder),
                               str(self.first.socket), *methods], stdout=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual({method: "-25" for method in methods[:5]} | {method: "0" for method in methods[5:]},
                         dict(line.split() for line in done.stdout.splitlines()))

    def test_redis_away(self):
        self.ctl("delay", "user:1", "--in", "1h")
        self.redis.kill()
        wait_until(lambda: "away" in self.first.ctl("delay", "user:1", "--in", "1s").stderr, 10,
                   "it says that Redis is away")
        self.assertIn("Redis is away", self.ctl("delayed", "stats", code=1))
        self.assertTrue(self.first.health()["ok"])
        self.redis.start()
        wait_until(lambda: self.first.ctl("delayed", "stats").returncode == 0, 15, "Redis is back")
        self.ctl("delay", "user:1", "--in", "0s")
        self.nothing_left()

    def test_without_redis(self):
        alone = self.sidecar(folder=self.folder / "c")
        for words in (["delay", "user:1", "--in", "1s"], ["delayed"], ["delayed", "cancel", "all"], ["delayed", "run"],
                      ["delayed", "stats"], ["delayed", "advice"], ["delayed", "do", "1"]):
            self.assertIn("none is configured", self.ctl(*words, host=alone, code=1))

    def test_hostile_params(self):
        with self.first.rpc() as rpc:
            for params in [{}, {"targets": "user:1", "in_ms": 1}, {"targets": [], "in_ms": 1},
                           {"targets": [7], "in_ms": 1},
                           {"targets": ["user:1"] * 101, "in_ms": 1}, {"targets": ["user:1"], "in_ms": -1},
                           {"targets": ["user:1"], "in_ms": 2**64 - 1}, {"targets": ["user:1"], "at": 2**64 - 1},
                           {"targets": ["user:1"], "in_ms": 1, "expires_in_ms": 2**64 - 1},
                           {"targets": ["x" * 100000], "in_ms": 1}, {"targets": ["user:1"], "in_ms": 1, "id": "x" * 32},
                           {"targets": ["user:1"], "in_ms": 1, "if": "1 global " + "NOT " * 200 + "a"}]:
                with self.assertRaises(RpcError, msg=json.dumps(params)[:100]):
                    rpc.call("delay", params)
            with self.assertRaises(RpcError) as raised:
                rpc.call("delay", targets=["user:1", 7], in_ms=1)
            self.assertNotIn("user:1", raised.exception.text)  # it is the other one that is wrong
            for cursor in ("x", "1" * 40, "0:", 7):
                with self.assertRaises(RpcError):
                    rpc.call("delayed_cancel", what="user:1", cursor=cursor)
            reply = rpc.call("delay", targets=["user:1"], in_ms=600000, reason="a\nb\x7fc")
            self.assertEqual("a?b?c", rpc.call("delayed", most=2**64 - 1)["tasks"][0]["reason"])
            self.assertEqual(1, rpc.call("delayed_cancel", what=reply["id"])["tasks"])
        self.nothing_left(1)

    def test_session_gone(self):
        """A client that does not wait for its answer."""
        for _ in range(50):
            rpc = self.first.rpc()
            rpc.send("delayed_stats", {})
            rpc.send("delay", {"targets": ["user:1"], "in_ms": 0})
            rpc.socket.shutdown(socket.SHUT_RDWR)
            rpc.close()
        self.assertTrue(self.first.health()["ok"])
        self.nothing_left()


if __name__ == "__main__":
    main()
