#!/usr/bin/env python3
"""Cleaning up in Redis, as an operator does it: what is started by command and by itself, how it is watched and
cancelled."""

import json
import os
import subprocess

from harness import MariadbCase, RpcError, SqliteCase, full_only, main, program_for_others
from harness.policies import small
from harness.process import wait_until
from harness.servers import Redis, find

OLD = "00000000000000bb"


class Cleanup:
    def setUp(self):
        super().setUp()
        self.redis = Redis(self.folder / "redis").start()
        self.addCleanup(self.redis.kill)
        self.serving = self.sidecar(redis=f"unix:{self.redis.socket}")
        self.serving.apply(small())
        self.epoch = wait_until(lambda: self.ask("HGET", "permtab:l2:1:marker", "epoch"), 10, "there is a marker")

    def ask(self, *words, input=None):
        return subprocess.run([find("redis-cli"), "-s", str(self.redis.socket), *words], input=input, text=True,
                              stdout=subprocess.PIPE, check=True, timeout=120).stdout.strip()

    def put(self, epoch, names):
        self.ask(input="".join(f"HSET permtab:l2:1:{epoch}:{{{name}}} f v\n" for name in names))

    def left(self, epoch):
        found = self.ask("--scan", "--pattern", f"permtab:l2:1:{epoch}:*").split()
        return {key.split("{")[1].rstrip("}") for key in found}

    def jobs(self):
        return json.loads(self.done("cleanup", "status", "--json"))

    def done(self, *words, code=0):
        done = self.serving.ctl(*words)
        self.assertEqual(code, done.returncode, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout if code == 0 else done.stderr

    def start(self, *words):
        word, number = self.done("cleanup", "start", *words).split()
        self.assertEqual("clean-up", word)
        return int(number)

    def job(self, number):
        return next(job for job in self.jobs() if job["id"] == number)

    def wait(self, number, state="done"):
        wait_until(lambda: self.job(number)["state"] == state, 30,
                   lambda: f"clean-up {number} is {state}: {self.jobs()}")
        return self.job(number)

    # ---- kinds ------------------------------------------------------------------------------------------------

    def test_orphans(self):
        """User 1 has a role; nobody has heard of the others. channel:10 is there, channel:99 is not."""
        self.put(self.epoch, [f"user:{user}" for user in [1, *range(5000, 5400)]])
        self.put(self.epoch, ["scope:channel:10", "scope:channel:99", "scope:server:1", "scope:global"])
        job = self.wait(self.start("orphans"))
        self.assertEqual({"user:1", "scope:channel:10", "scope:server:1", "scope:global"},
                         self.left(self.epoch) & {"user:1", "user:5000", "scope:channel:10", "scope:channel:99",
                                                  "scope:server:1", "scope:global"})
        self.assertFalse([name for name in self.left(self.epoch) if name.startswith("user:5")])
        self.assertEqual(401, job["keys_removed"])
        self.assertEqual(job["keys_total"], job["keys_seen"])
        stats = self.serving.stats()
        self.assertEqual(401, stats["cleanup_keys_removed"])
        self.assertGreater(stats["cleanup_slices"], 5)

    def test_old_epochs_go_by_themselves_after_a_flush(self):
        self.put(OLD, [f"user:{user}" for user in range(300)])
        self.put(self.epoch, [f"user:{user}" for user in range(1000, 1300)])
        self.done("invalidate", "all")
        wait_until(lambda: self.ask("HGET", "permtab:l2:1:marker", "epoch") != self.epoch, 10, "L2 was flushed")
        wait_until(lambda: not self.left(OLD) and not self.left(self.epoch), 20, lambda: f"old keys go: {self.jobs()}")
        self.assertEqual("epochs", self.jobs()[0]["kind"])

    def test_epochs_by_command(self):
        self.put(OLD, [f"user:{user}" for user in range(300)])
        self.put(self.epoch, ["user:77"])
        job = self.wait(self.start("epochs"))
        self.assertEqual(300, job["keys_removed"])
        self.assertIn("user:77", self.left(self.epoch))

    def test_pattern(self):
        self.put(OLD, ["user:41", "user:42", "user:142"])
        job = self.wait(self.start("pattern", "permtab:l2:1:*:{user:4?}"))
        self.assertEqual({"user:142"}, self.left(OLD))
        self.assertEqual("permtab:l2:1:*:{user:4?}", job["pattern"])
        self.ask("SET", "somebody:elses", "1")
        self.wait(self.start("pattern", "*"))
        self.assertEqual("1", self.ask("GET", "somebody:elses"))
        self.assertEqual(self.epoch, self.ask("HGET", "permtab:l2:1:marker", "epoch"))

    # ---- watching and ending ----------------------------------------------------------------------------------

    def slow(self):
        """A sidecar that takes its time, with work for about a minute."""
        self.serving.stop()
        self.serving.configure(cleanup_budget=1)
        self.serving.start()
        self.put(OLD, [f"user:{user}" for user in range(20000)])

    def test_goes_on_without_its_session_until_cancelled(self):
        self.slow()
        with self.serving.rpc() as rpc:
            number = rpc.call("cleanup", action="start", kind="epochs")["id"]
        wait_until(lambda: self.job(number)["keys_removed"] > 100, 20, "it goes on")
        job = self.job(number)
        self.assertEqual("scanning", job["state"])
        self.assertLess(job["keys_seen"], job["keys_total"])
        self.assertIn("epochs scanning: ", self.done("cleanup", "status"))
        self.assertRegex(self.serving.ops("cleanup"), rf"(?m)^{number} epochs scanning seen \d+ of \d+ removed \d+ ")
        self.done("cleanup", "cancel", number)
        job = self.wait(number, "cancelled")
        self.assertIn("no such clean-up", self.done("cleanup", "cancel", number, code=1))
        left = self.left(OLD)
        self.assertGreater(len(left), 1000)
        self.assertEqual(20000 - len(left), job["keys_removed"])
        self.assertEqual("0", self.ask("EXISTS", "permtab:cleanup:lock:epochs"))

    def test_redis_restarted_under_way(self):
        self.slow()
        number = self.start("epochs")
        wait_until(lambda: self.job(number)["keys_removed"] > 100, 20, "it goes on")
        self.redis.kill()
        wait_until(lambda: self.job(number)["state"] == "lost", 10, "it waits for Redis")
        self.redis.socket.unlink()
        self.redis.start()
        wait_until(lambda: self.ask("HGET", "permtab:l2:1:marker", "epoch"), 10, "there is a marker again")
        self.put(OLD, [f"user:{user}" for user in range(50)])
        self.wait(number)
        self.assertTrue(self.serving.health()["ok"])

    # ---- who and what is refused ------------------------------------------------------------------------------

    def test_refusals(self):
        for words, text in ((("start", "nothing"), "is not pattern, epochs or orphans"),
                            (("start", "pattern", "*a*b*c*d*"), "four stars"),
                            (("cancel", "99"), "no such clean-up")):
            self.assertIn(text, self.done("cleanup", *words, code=1))
        for words in (("start",), ("start", "pattern"), ("start", "epochs", "x"), ("begin",), ("cancel", "x"),
                      ("status", "x")):
            self.done("cleanup", *words, code=64)
        with self.serving.rpc() as rpc:
            for params in ({}, {"action": 7}, {"action": "start"}, {"action": "start", "kind": "pattern"},
                           {"action": "start", "kind": "pattern", "pattern": ""}, {"action": "cancel", "id": -1},
                           {"action": "start", "kind": "pattern", "pattern": "x" * 600}):
                with self.assertRaises(RpcError, msg=params) as caught:
                    rpc.call("cleanup", **params)
                self.assertIn("cleanup", caught.exception.text)

    def test_strangers_may_only_look(self):
        if os.geteuid() != 0:
            self.skipTest("takes root to become somebody else")
        control = [program_for_others("permtabctl", self.folder), "--socket", str(self.serving.socket), "cleanup"]
        for words, code in ((["start", "epochs"], 1), (["cancel"], 1), (["status"], 0)):
            done = subprocess.run(control + words, user=65534, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, timeout=120)
            self.assertEqual(code, done.returncode, done.stderr)
            if code:
                self.assertIn("is for root or uid 0", done.stderr)

    def test_without_redis(self):
        alone = self.sidecar(folder=self.folder / "alone")
        done = alone.ctl("cleanup", "start", "epochs")
        self.assertEqual(1, done.returncode)
        self.assertIn("no Redis is configured", done.stderr)
        self.assertIn("no Redis is configured", alone.ops("cleanup"))


class CleanupSqlite(Cleanup, SqliteCase):
    pass


@full_only
class CleanupMariadb(Cleanup, MariadbCase):
    pass


if __name__ == "__main__":
    main()
