#!/usr/bin/env python3
"""The account of docs/OPERATIONS.md in Redis: everything works with exactly that rule, and everything in it is used.
And what Redis does with connections whose account is changed."""

import pathlib
import re
import time

from harness import SqliteCase, main
from harness.paths import ROOT
from harness.process import wait_until
from harness.servers import Redis, free_port
from harness.shared import CHANNEL, Shared

# A connection that is closed with a command of ours unread in it is reset.
CLOSED = r"\S+ is lost: (the server closed it|Connection reset by peer)"
OURS = {"acl", "config", "info", "ping"}  # what this test says to Redis itself; PING until it answers


def rule():
    """The words of `ACL SETUSER permtab …` in the document."""
    text = (pathlib.Path(ROOT) / "docs" / "OPERATIONS.md").read_text()
    lines = re.search(r"\n    ACL SETUSER permtab ((?:.*\n)(?:        .*\n)*)", text)
    return lines.group(1).replace(">PASSWORD", ">secret").split()


def allowed():
    return {word[1:] for word in rule() if word.startswith("+")}


class Account(Shared, SqliteCase):
    def setUp(self):
        super().setUp()
        self.redis = Redis(self.folder / "redis", port=free_port()).start()
        self.addCleanup(lambda: self.redis.kill())
        self.redis.command("ACL", "SETUSER", "permtab", *rule())
        self.password = self.folder / "password"
        self.password.write_text("secret\n")
        self.password.chmod(0o600)

    def started(self, count=2, database=1):
        self.redis.command("CONFIG", "RESETSTAT")
        url = f"redis://permtab@127.0.0.1:{self.redis.port}/{database}"
        return self.hosts(count, redis=url, redis_password_file=str(self.password), redis_ping="200ms")

    def ctl(self, *words, host=None):
        done = (host or self.all[0]).ctl(*words)
        self.assertEqual((0, ""), (done.returncode, done.stderr), words)
        return done.stdout

    def refused(self):
        """Returns what was refused, but for the name of a client, which may be."""
        log = self.redis.command("ACL", "LOG")
        entries = [dict(zip(entry[::2], entry[1::2])) for entry in log]
        told = {(entry[b"object"].decode(), entry[b"context"].decode()) for entry in entries}
        return told - {("client|setname", "toplevel")}

    def used(self):
        text = self.redis.command("INFO", "commandstats").decode()
        calls = re.findall(r"cmdstat_(\S+?):calls=(\d+)", text)
        return {name for name, count in calls if int(count) > 0 and name.split("|")[0] not in OURS - {"ping"}}

    # ---- every feature that uses Redis ------------------------------------------------------------------------------

    def use_l2(self):
        first, second = self.all
        self.fill(first, *range(1000, 1010))
        with self.counted(second) as grown:
            for user in range(1000, 1010):
                self.assertEqual(1, self.check(second, user))
        self.assertEqual(10, grown["l2_hits"], grown)
        self.ctl("unassign", "1000", "101", "server:1")
        for host in self.all:
            self.wait_check(host, 0, 1000)
        self.demote(1001)
        self.sql("UPDATE permtab_scope SET owner = 7 WHERE type = 2 AND id = 10;")
        self.follow()
        self.wait_marker()
        for host in self.all:
            self.wait_check(host, 0, 1001)
            wait_until(lambda: host.stats()["messages"] > 0, 10, "messages are heard")

    def use_invalidation(self):
        self.fill(self.all[0], *range(1020, 1030))
        self.ctl("tag", "add", "raid", "user:1020", "user:1021", "scope:channel:10")
        self.assertIn("user:1020", self.ctl("tag", "list", "raid"))
        self.assertIn("raid", self.ctl("tag", "names"))
        self.ctl("tag", "remove", "raid", "user:1021")
        for target in ("user:1022", "user:1023@channel:10", "role:101", "scope:channel:11", "tag:raid",
                       "prefix:user:102", "pattern:user:102?", "all"):
            answer = self.ctl("invalidate", target)
            self.assertNotIn("refuse", answer)
        self.ctl("tag", "remove", "raid")
        self.wait_marker()

    def use_delayed(self):
        task = self.ctl("delay", "user:1", "--in", "1h", "--reason", "x").strip()
        self.ctl("delay", "user:1", "--in", "1h", "--id", task)
        self.ctl("delay", "user:2", "scope:server:1", "--in", "2h")
        self.assertIn("user:1", self.ctl("delayed"))
        self.ctl("delayed", "stats")
        self.ctl("delayed", "advice")
        done = self.all[0].stats()["delayed_done"] + self.all[1].stats()["delayed_done"]
        self.ctl("delay", "user:3", "--in", "0s")
        self.ctl("delay", "user:2", "--in", "0s", "--if", "2 channel:10 message.delete")
        wait_until(lambda: sum(host.stats()["delayed_done"] for host in self.all) > done, 10, "a task is carried out")
        wait_until(lambda: sum(host.stats()["delayed_waited"] for host in self.all) > 0, 10, "a task waits")
        self.ctl("delayed", "run", task)
        self.ctl("delay", "user:4", "--in", "1h")
        self.ctl("delayed", "replace", "user:4")
        self.ctl("delayed", "cancel", "user:2")
        self.ctl("delayed", "run", "all")
        self.ctl("delayed", "cancel", "all")

    def use_cleanup(self):
        for words in (("epochs",), ("orphans",), ("pattern", "permtab:l2:1:*:{user:10??}")):
            self.ctl("cleanup", "start", *words)
        wait_until(lambda: self.ctl("cleanup", "status").count(" done") >= 3, 20, lambda: self.ctl("cleanup", "status"))

    def use_everything(self):
        self.use_l2()
        self.use_invalidation()
        self.use_delayed()
        self.use_cleanup()
        self.ctl("stats")
        time.sleep(0.6)  # nothing is said for longer than redis_ping

    def test_everything_works_and_everything_is_used(self):
        self.started()
        self.use_everything()
        self.assertEqual(set(), self.refused())
        self.assertEqual(allowed(), self.used() - {"client|setname", "auth", "hello"})
        for host in self.all:
            self.assertNotIn("refuse", host.log())
            self.assertEqual(0, host.stats()["l2_errors"])

    # ---- connections whose account is changed -----------------------------------------------------------------------

    def change(self, *words):
        self.redis.command("ACL", "SETUSER", "permtab", *words)

    def hears(self, host):
        """Whether what others publish is heard over the connection that was there."""
        lost = host.log().count("redis subscriber: the connection")
        heard = host.stats()["messages"]
        self.redis.command("PUBLISH", CHANNEL, "poke")
        wait_until(lambda: host.stats()["messages"] > heard or
                   host.log().count("redis subscriber: the connection") > lost, 10, "it is heard or lost")
        return host.log().count("redis subscriber: the connection") == lost

    def right_without_redis(self, host):
        for user in (1050, 1051):
            self.assertEqual(1, self.check(host, user))
        self.demote(1050)
        self.follow()
        self.assertEqual(0, self.check(host, 1050))

    def test_off_or_another_password(self):
        host, = self.started(1)
        for words in (("off",), ("on", "resetpass", ">another")):
            self.change(*words)
            self.assertTrue(self.hears(host))
            time.sleep(1)  # PINGs are answered
            self.assertTrue(self.hears(host))
        self.assertEqual(1, host.log().count("redis: connected"))
        self.right_without_redis(host)
        self.redis.command("CLIENT", "KILL", "USER", "permtab")
        wait_until(lambda: "AUTH is refused" in host.log(), 10, "the next connection is refused")
        self.assertEqual(1, self.check(host, 1052))

    def test_commands_taken_away(self):
        host, = self.started(1)
        self.change("-@all")
        self.assertTrue(self.hears(host))
        self.right_without_redis(host)
        # Redis would leave it subscribed for ever. It is this side that gives up, when it asks whether Redis lives.
        wait_until(lambda: "is lost: PING is refused: NOPERM" in host.log(), 10, "a PING is refused")
        wait_until(lambda: "delayed: Redis refuses to hand out tasks: NOPERM" in host.log(), 10, "tasks wait")
        self.assertLess(host.log().count("NOPERM"), 8, host.log())
        self.change(*rule())
        wait_until(lambda: "delayed: Redis hands out tasks again" in host.log(), 10, "they do no more")
        wait_until(lambda: host.log().count("redis subscriber: connected") == 2, 10, "messages are heard again")
        self.sql("UPDATE permtab_scope SET owner = 7 WHERE type = 2 AND id = 10;")
        self.follow()
        wait_until(lambda: self._follows(host.stats()), 20, "the marker is moved again")

    def test_the_channel_taken_away(self):
        host, = self.started(1)
        self.change("resetchannels")
        wait_until(lambda: "redis subscriber: the connection to " in host.log(), 10, "the subscriber is closed")
        self.assertRegex(host.log(), CLOSED)
        self.right_without_redis(host)

    def test_the_user_deleted(self):
        host, = self.started(1)
        self.redis.command("ACL", "DELUSER", "permtab")
        for name in ("redis:", "redis subscriber:"):
            wait_until(lambda: re.search(f"{name} the connection to {CLOSED}", host.log()), 10, "both are closed")
        self.right_without_redis(host)


if __name__ == "__main__":
    main()
