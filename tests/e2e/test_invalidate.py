#!/usr/bin/env python3
"""Invalidation on demand, through permtabctl, the socket and plain text on the channel: on this host, in Redis, and
on another host over the same MariaDB and Redis."""

import json
import subprocess

from harness import MariadbCase, RpcError, SqliteCase, full_only, main
from harness.policies import HELPER, MEMBER, MODERATOR, small
from harness.process import wait_until
from harness.servers import Redis, find

SEND = "message.send"
MISS, RETIRED = -16, -15  # of shm/error.h

# Users without rows of their own leave nothing in Redis: these have some.
USERS = [3, 5, 6, 7, 8, 51, 52, *range(100, 150), 2400, 2501]


def policy():
    document = small()
    document["assignments"] += [{"user": user, "role": HELPER, "scope": "server:1"} for user in USERS]
    return document


class Asking:
    """Questions that all of them ask a sidecar."""

    def done(self, sidecar, *words, code=0, **options):
        done = sidecar.ctl(*words, **options)
        self.assertEqual(code, done.returncode, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout if code == 0 else done.stderr

    def resident(self, reader, user, scope, permission=SEND):
        """The lease may have ended for a moment on a machine that has much to do, which says
        nothing about the entry."""
        def look():
            decision, why = reader.peek(user, scope, permission)
            return (decision != "unknown",) if decision != "unknown" or why in (MISS, RETIRED) else None
        return wait_until(look, 10, "the lease holds")[0]

    def fill(self, reader, users, scope="channel:10"):
        """A check may time out on a machine that has much to do; then it is asked again."""
        for user in users:
            wait_until(lambda: reader.check(user, scope, SEND) != "unknown" and self.resident(reader, user, scope), 10,
                       f"user {user} is resident at {scope}")


class WithoutRedis(Asking, SqliteCase):
    """Everything but tags works on this host."""

    def setUp(self):
        super().setUp()
        self.here = self.sidecar()
        self.here.apply(small())
        self.reader = self.worker(self.here)

    def gone(self, *words, keeps=(), goes=(), scope="channel:10", **options):
        users = [*keeps, *goes]
        self.fill(self.reader, users, scope)
        said = self.done(self.here, "invalidate", *words, **options)
        self.assertEqual([user for user in users if user not in goes],
                         [user for user in users if self.resident(self.reader, user, scope)], words)
        return said

    def test_targets(self):
        self.gone("user:5", goes=[5], keeps=[6])
        self.gone("user:5", "user:6", "user:8", goes=[5, 6, 8], keeps=[7])
        self.gone("-", "user:9", goes=[5, 6, 9], keeps=[7], input="user:5\nuser:6 user:404\n\n")
        self.gone("prefix:user:5", goes=[5, 51, 512], keeps=[6, 15])
        self.gone("pattern:user:[12]?", goes=[10, 25], keeps=[1, 2, 30, 100])
        self.gone("pattern:scope:*:11", goes=[5, 6], scope="channel:11")
        self.gone("scope:channel:11", goes=[5, 6], scope="channel:11")
        self.gone("scope:server:1", goes=[5, 6])
        self.gone(f"role:{MEMBER}", goes=[5, 6])

    def test_one_user_at_one_place(self):
        self.fill(self.reader, [5, 6], "channel:11")
        self.fill(self.reader, [5, 6], "channel:20")
        self.assertEqual("1 entry\n", self.done(self.here, "invalidate", "user:5@channel:11"))
        self.assertFalse(self.resident(self.reader, 5, "channel:11"))
        self.assertTrue(self.resident(self.reader, 6, "channel:11"))
        self.assertTrue(self.resident(self.reader, 5, "channel:20"))

    def test_reply(self):
        self.fill(self.reader, [5])
        with self.here.rpc() as rpc:
            reply = rpc.call("invalidate", what="user:5")
            self.assertEqual({"entries", "keys", "retries", "singles", "failed", "published", "took_us"}, set(reply))
            self.assertEqual((1, 0, 0, False), (reply["entries"], reply["keys"], reply["failed"], reply["published"]))
            self.assertEqual(0, rpc.call("invalidate", targets=["user:5", "role:9"], reason="twice",
                                         batch=3)["entries"])

    def test_refusals(self):
        with self.here.rpc() as rpc:
            for params, code, says in [
                    ({}, -3, "what"), ({"what": "user:1", "targets": ["user:2"]}, -3, "what"),
                    ({"targets": []}, -3, "what"),
                    ({"targets": "user:1"}, -3, "what"), ({"targets": ["user:1", 5]}, -3, "no target"),
                    ({"targets": ["user:1", "planet"]}, -3, "planet"), ({"what": "x" * 5000}, -3, "no target"),
                    ({"what": "pattern:[a"}, -3, "pattern"), ({"what": "scope:guild:1"}, -12, "guild"),
                    ({"targets": ["user:1"] * 10001}, -4, "10001"), ({"targets": ["user:1"] * 100000}, -4, "100000"),
                    ({"targets": ["prefix:user:1"] * 17}, -4, "16"), ({"what": "user:1", "batch": 0}, -4, "batch"),
                    ({"what": "user:1", "batch": 1025}, -4, "batch"),
                    ({"what": "user:1", "reason": "x" * 200}, -3, "reason"), ({"what": "tag:raid"}, None, "Redis")]:
                with self.subTest(str(params)[:80]):
                    with self.assertRaises(RpcError) as caught:
                        rpc.call("invalidate", params)
                    if code is not None:
                        self.assertEqual(code, caught.exception.code)
                    self.assertIn(says, caught.exception.text)
            with self.assertRaises(RpcError) as caught:
                rpc.call("tag_names")
            self.assertIn("Redis", caught.exception.text)
        self.assertIn("10000", self.done(self.here, "invalidate", "-", code=64, input="user:1\n" * 10001))
        self.assertIn("1 to 1024", self.done(self.here, "invalidate", "user:1", "--batch", "0", code=1))
        self.assertIn("line 2: a zero byte",
                      self.done(self.here, "invalidate", "-", code=64, input="user:1\nuser:2 \0 user:3\n"))
        self.assertIn("line 2: longer",
                      self.done(self.here, "invalidate", "-", code=64, input="user:1\n" + "user:2 " * 50))

    def test_history(self):
        for number in range(12):
            self.done(self.here, "invalidate", f"user:{number}", "--reason", f"because {number}")
        self.done(self.here, "invalidate", "role:1")
        lines = self.done(self.here, "invalidations", "--last", 3).splitlines()
        self.assertIn("client role:1: 0 entries", lines[0])
        self.assertIn("client user:11: ", lines[1])
        self.assertIn("(because 11)", lines[1])
        self.assertIn("client user: 12 in the last minute, 12 in the last hour", lines)
        self.assertIn("client role: 1 in the last minute, 1 in the last hour", lines)
        told = json.loads(self.done(self.here, "invalidations", "--last", 100, "--json"))
        self.assertEqual(list(range(13, 0, -1)), [record["number"] for record in told["invalidations"]])
        self.assertEqual("because 0", told["invalidations"][-1]["reason"])
        with self.here.rpc() as rpc:
            page = rpc.call("invalidations", last=5, before=9)["invalidations"]
            self.assertEqual([8, 7, 6, 5, 4], [record["number"] for record in page])
        self.assertIn("what=user:11", self.here.ops("invalidations"))
        self.assertIn("rate client user minute=12 hour=12", self.here.ops("invalidations"))

    def test_history_is_bounded(self):
        self.here.stop()
        self.here.configure(invalidation_history=4)
        self.here.start()
        with self.here.rpc() as rpc:
            for number in range(600):
                rpc.call("invalidate", what=f"user:{number}")
            self.assertEqual(["user:599", "user:598", "user:597", "user:596"],
                             [record["what"] for record in rpc.call("invalidations", last=500)["invalidations"]])

    def test_subscribers_are_told(self):
        with self.here.rpc() as subscriber:
            subscriber.call("subscribe")
            self.fill(self.reader, [5, 6])
            for targets, told in [(["user:5", "user:6@channel:10"], ["user:5", "user:6@channel:10"]),
                                  (["prefix:user:6"], ["all"])]:
                self.done(self.here, "invalidate", *targets, "--reason", "a test")
                kind, method, [params] = subscriber.receive()
                self.assertEqual((2, "invalidated", told, "a test"),
                                 (kind, method, params["targets"], params["reason"]))

    def test_who_goes_away(self):
        """The session ends while its pattern is being matched."""
        self.fill(self.reader, range(1000, 1200))
        for _ in range(20):
            with self.here.rpc() as rpc:
                rpc.send("invalidate", {"targets": ["prefix:user:1", "pattern:*9*"]})
        wait_until(lambda: self.here.stats()["invalidations_running"] == 0, 10, "all of them have ended")
        self.assertEqual(20, self.here.stats()["invalidations"])
        self.assertFalse(self.resident(self.reader, 1100, "channel:10"))


class WithRedis(Asking, MariadbCase):
    """Two hosts over one store and one Redis."""

    def setUp(self):
        super().setUp()
        self.redis = Redis(self.folder / "redis").start()
        self.addCleanup(self.redis.kill)
        self.options = {"redis": f"unix:{self.redis.socket}", "redis_prefix": "e2e[1]:", "cleanup_budget": 50}
        self.here = self.sidecar(folder=self.folder / "here", **self.options)
        self.there = self.sidecar(folder=self.folder / "there", **self.options)
        self.here.apply(policy())
        revision = self.here.health()["revision"]
        wait_until(lambda: self.there.health()["revision"] >= revision, 10, "the other host follows")
        self.near, self.far = self.worker(self.here), self.worker(self.there)

    def cli(self, *words):
        done = subprocess.run([find("redis-cli"), "-s", str(self.redis.socket), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout.strip()

    def keys(self, text):
        """L2's keys of a target, such as user:5; any epoch."""
        return [key for key in self.cli("--scan").splitlines() if key.endswith("{%s}" % text)]

    def fill_both(self, users, scope="channel:10"):
        self.fill(self.near, users, scope)
        self.fill(self.far, users, scope)
        for user in users:
            wait_until(lambda: self.keys(f"user:{user}"), 5, f"user {user} is in Redis")

    def gone_both(self, users, scope="channel:10"):
        for user in users:
            wait_until(lambda: not self.resident(self.near, user, scope), 2, f"{user} is gone here", 0.002)
            wait_until(lambda: not self.resident(self.far, user, scope), 2, f"{user} is gone there", 0.002)

    def kept_both(self, users, scope="channel:10"):
        for user in users:
            self.assertTrue(self.resident(self.near, user, scope) and self.resident(self.far, user, scope), user)

    def test_user(self):
        self.fill_both([5, 6])
        self.assertEqual("1 entry, 1 key of L2, other hosts told\n", self.done(self.here, "invalidate", "user:5"))
        self.gone_both([5])
        self.kept_both([6])
        self.assertEqual([], self.keys("user:5"))
        self.assertEqual(1, len(self.keys("user:6")))
        wait_until(lambda: self.there.stats()["invalidations_heard"] == 1, 5, "it was heard")
        self.assertEqual(0, self.here.stats()["invalidations_heard"])
        self.assertIn("message what=user:5 ", self.there.ops("invalidations"))

    @full_only
    def test_group_in_batches(self):
        users = list(range(100, 150))
        self.fill_both(users)
        self.fill_both([7])
        with self.here.rpc() as rpc:
            reply = rpc.call("invalidate", targets=[f"user:{user}" for user in users], batch=8)
        self.assertEqual((50, 50, 0, True), (reply["entries"], reply["keys"], reply["failed"], reply["published"]))
        self.gone_both(users)
        self.kept_both([7])

    def test_prefix_and_pattern(self):
        self.fill_both([5, 51, 52, 6])
        said = self.done(self.here, "invalidate", "prefix:user:5")
        self.assertIn("3 keys of L2", said)
        self.gone_both([5, 51, 52])
        self.kept_both([6])
        self.fill_both([5, 51, 52, 6])
        said = self.done(self.there, "invalidate", "pattern:user:5?")
        self.assertIn("2 keys of L2", said)
        self.gone_both([51, 52])
        self.kept_both([5, 6])

    @full_only
    def test_scope_and_role(self):
        self.fill_both([5])
        self.done(self.here, "invalidate", "scope:server:1")
        self.gone_both([5])
        self.fill_both([5])
        self.done(self.here, "invalidate", f"role:{MEMBER}", f"role:{MODERATOR}")
        self.gone_both([5])

    def test_all(self):
        self.fill_both([5, 6])
        before = self.keys("user:5")
        segments = self.there.stats()["segments"]
        self.done(self.here, "invalidate", "all")
        wait_until(lambda: self.there.stats()["segments"] > segments, 5, "the other host has another table")
        wait_until(lambda: not set(before) & set(self.keys("user:5")), 20, "the old keys are swept")
        self.fill_both([5])  # the warm-up may have been there before
        self.assertNotEqual(before, self.keys("user:5"))

    def test_tags(self):
        self.assertEqual("3 added, 3 in tag:raid\n", self.done(self.here, "tag", "add", "raid", "user:5", "user:6", "-",
                                                              input="role:77\n"))
        self.assertEqual("1 added, 4 in tag:raid\n", self.done(self.there, "tag", "add", "raid", "user:6", "user:8"))
        self.assertEqual("1 removed, 3 in tag:raid\n", self.done(self.here, "tag", "remove", "raid", "user:6"))
        self.done(self.here, "tag", "add", "other", "scope:server:1")
        self.assertEqual("role:77\nuser:5\nuser:8\n", self.done(self.there, "tag", "list", "raid"))
        self.assertEqual("other\nraid\n", self.done(self.there, "tag", "names"))
        self.fill_both([5, 6, 8])
        self.assertIn("2 entries, 2 keys", self.done(self.there, "invalidate", "tag:raid"))
        self.gone_both([5, 8])
        self.kept_both([6])
        with self.here.rpc() as rpc, self.assertRaises(RpcError) as caught:
            rpc.call("tag_remove", tag="raid", targets=[])  # an empty list is not the whole tag
        self.assertIn("at least one", caught.exception.text)
        self.assertEqual("3 removed, 0 in tag:raid\n", self.done(self.here, "tag", "remove", "raid"))
        self.assertEqual("other\n", self.done(self.here, "tag", "names"))
        self.assertIn("names nothing", self.done(self.here, "invalidate", "tag:raid", code=1))
        self.assertIn("a tag holds", self.done(self.here, "tag", "add", "raid", "prefix:user:5", code=1))
        self.assertIn("letters", self.done(self.here, "tag", "add", "*", "user:5", code=1))

    @full_only
    def test_a_long_tag(self):
        users = "".join(f"user:{user}\n" for user in range(2500))
        self.assertEqual("2500 added, 2500 in tag:many\n", self.done(self.here, "tag", "add", "many", "-", input=users))
        self.assertEqual(sorted(users.split()), self.done(self.here, "tag", "list", "many").split())
        self.fill_both([3, 2400, 2501])
        self.done(self.here, "invalidate", "tag:many")
        self.gone_both([3, 2400])
        self.kept_both([2501])

    def test_plain_text(self):
        channel = "e2e[1]:invalidate"
        self.fill_both([5, 6])
        self.cli("PUBLISH", channel, "user:5")
        self.gone_both([5])
        wait_until(lambda: not self.keys("user:5"), 5, "L2 has nothing of it")
        self.kept_both([6])
        self.fill_both([5, 51])
        self.cli("PUBLISH", channel, "pattern:user:5*")
        self.gone_both([5, 51])
        wait_until(lambda: not self.keys("user:5") + self.keys("user:51"), 10, "L2 has nothing of it")
        self.kept_both([6])
        started = [sidecar.ops("cleanup").count("user:5") for sidecar in (self.here, self.there)]
        self.assertEqual(1, sum(started), "one host sweeps")
        self.cli("PUBLISH", channel, "scope:channel:10 hello")  # nothing of it is believed
        self.kept_both([6])
        segments = [sidecar.stats()["segments"] for sidecar in (self.here, self.there)]
        self.cli("PUBLISH", channel, "all")
        wait_until(lambda: all(sidecar.stats()["segments"] > had
                               for sidecar, had in zip((self.here, self.there), segments)), 5, "both have other tables")

    def test_a_message_that_was_lost(self):
        message = "permtab1 invalidate 00000000000000aa {} user:1"
        for number in (1, 2, 2, 5):
            self.cli("PUBLISH", "e2e[1]:invalidate", message.format(number))
        wait_until(lambda: self.here.stats()["invalidation_gaps"] == 2, 5, "two are missed")

    @full_only
    def test_redis_is_away(self):
        self.fill_both([5])
        self.redis.kill()
        wait_until(lambda: "info redis: connected" in self.here.log() and "is lost" in self.here.log(), 5,
                   "it is noticed")
        said = self.done(self.here, "invalidate", "user:5", code=1)
        self.assertIn("Redis is away", said)
        self.assertFalse(self.resident(self.near, 5, "channel:10"))
        with self.here.rpc() as rpc:
            reply = rpc.call("invalidate", what="prefix:user:5")
            self.assertFalse(reply["published"])
            self.assertIn("Redis is away", reply["trouble"])
            with self.assertRaises(RpcError) as caught:
                rpc.call("tag_names")
            self.assertIn("Redis is away", caught.exception.text)
        self.redis.start()
        wait_until(lambda: self.here.ctl("invalidate", "user:5").returncode == 0, 10, "it is back")

    @full_only
    def test_stopping_in_the_middle(self):
        """A client that waits is not left hanging, and the sidecar ends cleanly."""
        self.redis.process.send_signal(19)  # SIGSTOP
        try:
            with self.here.rpc() as rpc:
                rpc.send("invalidate", {"targets": [f"user:{user}" for user in range(9000)] + ["pattern:*1*", "tag:x"]})
                rpc.call("health")
                self.assertEqual(0, self.here.stop())
        finally:
            self.redis.process.send_signal(18)


if __name__ == "__main__":
    main()
