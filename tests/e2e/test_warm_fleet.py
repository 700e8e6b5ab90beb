#!/usr/bin/env python3
"""A fresh host knows from Redis what the others are asked for; what is named there is read from the store, or not at
all."""

import re

import msgpack

from harness import SqliteCase, full_only, main
from harness.process import wait_until
from harness.shared import MODERATES, PREFIX, Shared

HOT = PREFIX + "hot:1"
FIRST = 1000
SERVER = 1  # the number of the type


class Fleet(Shared, SqliteCase):
    def peeks(self, host, users):
        worker = self.worker(host)
        return sum(worker.peek(user, "server:1", "message.delete")[0] == "allow" for user in users)

    def fresh(self, entries=4000):
        """Another host, when it has read what is hot and counted the users."""
        host = self.host(1, table_entries=entries)
        wait_until(lambda: host.stats()["hot_keys_read"] > 0, 20, lambda: f"keys are read: {host.stats()}", 0.05)
        wait_until(lambda: host.stats()["warm_jobs"] == 0, 30, lambda: f"the jobs end: {host.stats()}", 0.05)
        return host

    def test_a_fresh_host_reads_what_is_named(self):
        first, = self.hosts(1)
        with first.rpc() as rpc:
            store = rpc.call("subscribe")["store_id"]
        users = range(FIRST, FIRST + 150)
        keys = [word for user in users for word in (user, SERVER, 1, 5)]
        keys += [987654321, SERVER, 1, 4000]  # nobody
        keys += [FIRST, SERVER, 4711, 4000]  # nowhere
        value = msgpack.packb([2, "hot.keys", [{"v": 1, "store": store, "keys": keys}]])
        self.redis.command("HSET", HOT, "0", value, "1", b"rubbish", "2",
                           msgpack.packb([2, "hot.keys", [{"v": 1, "store": store ^ 1, "keys": keys}]]))
        host = self.fresh()
        stats = host.stats()
        self.assertEqual((152, 2), (stats["hot_keys_read"], stats["hot_keys_bad"]))
        self.assertEqual(2, stats["warm_strangers"])
        self.assertEqual(150, self.peeks(host, users))
        job = host.ctl("jobs").stdout
        self.assertRegex(job, r"(?m)^\d+ fleet done 152/152 .*: what other hosts are asked for$")

    def name(self, host, users):
        """As though hosts of the fleet were asked for these."""
        with host.rpc() as rpc:
            store = rpc.call("subscribe")["store_id"]
        keys = [word for user in users for word in (user, SERVER, 1, 5)]
        self.redis.command("HSET", HOT, "0", msgpack.packb([2, "hot.keys", [{"v": 1, "store": store, "keys": keys}]]))

    def looks(self):
        """How many have been looked for one by one, or put: whoever is, is asked how long the values live."""
        return int(re.search(r"cmdstat_pttl:calls=(\d+)", self.redis.command("INFO", "commandstats").decode())[1])

    def test_what_l2_has_is_read_together(self):
        """Many users of one place in one script; what it has not, or what is spoilt, is for the others."""
        self.moderators = 1200
        first, = self.hosts(1)
        users = range(FIRST, FIRST + 1200)
        with first.rpc() as rpc:
            for begin in range(FIRST, FIRST + 1200, 100):
                rpc.call("check_many", queries=[[user, "server:1", MODERATES, None]
                                                for user in range(begin, begin + 100)])
                wait_until(lambda: len(self.keys("*{user:*")) >= begin + 100 - FIRST, 10, "all is put", 0.005)
        missing, garbled, other = FIRST + 1000, FIRST + 1010, FIRST + 1020
        self.redis.command("DEL", self.key_of(f"user:{missing}"))
        self.redis.command("HSET", self.key_of(f"user:{garbled}"), "server:1", "?")
        self.redis.command("DEL", self.key_of(f"user:{other}"))
        self.redis.command("SET", self.key_of(f"user:{other}"), "x")
        self.name(first, users)
        before = self.looks()
        host = self.fresh(entries=20000)
        stats = host.stats()
        self.assertEqual(1200, self.peeks(host, users))
        self.assertEqual(2, stats["l2_corrupt"])
        # The first runs find that no role is known yet, and are read from the store.
        self.assertGreaterEqual(stats["l2_hits"], 1200 - 3 * 64 - 3)
        self.assertLessEqual(self.looks() - before, 2 * (3 * 64 + 3))
        self.assertRegex(host.ctl("jobs").stdout, r"(?m)^\d+ fleet done 1200/1200 .*: what other hosts are asked for$")

    def test_no_more_is_read_than_the_table_has_room_for(self):
        first, = self.hosts(1)
        with first.rpc() as rpc:
            store = rpc.call("subscribe")["store_id"]
        for piece in range(20):
            keys = [word for user in range(piece * 4096, (piece + 1) * 4096) for word in (user, SERVER, 1, 5)]
            value = msgpack.packb([2, "hot.keys", [{"v": 1, "store": store, "keys": keys}]])
            self.redis.command("HSET", HOT, piece, value)
        host = self.host(1, table_entries=10000)
        wait_until(lambda: re.search(r" fleet \w+ +\d+/12288 ", host.ctl("jobs").stdout), 20,
                   lambda: f"three pieces are read: {host.ctl('jobs').stdout}", 0.05)
        self.assertEqual(3 * 4096, host.stats()["hot_keys_read"])

    def test_a_value_that_is_too_long_is_not_fetched(self):
        """One of more than 16 MiB would end the connection, which L2 has, too."""
        self.hosts(1)
        self.redis.command("HSET", HOT, "0", b"x" * 17_000_000, "1", b"rubbish")
        host = self.host(1)
        wait_until(lambda: host.stats()["hot_keys_bad"] == 2, 20, lambda: f"both are bad: {host.stats()}", 0.05)
        wait_until(lambda: "fleet done 0/0" in host.ctl("jobs").stdout, 20, "the job ends", 0.05)
        self.assertEqual(1, host.log().count("redis: connected"), host.log())
        self.assertNotRegex(host.log(), "redis: the connection to .* is lost")

    def test_what_cannot_be_read_is_tried_three_times(self):
        self.hosts(1)
        self.redis.command("ACL", "SETUSER", "default", "-hstrlen")
        host = self.host(1)
        wait_until(lambda: self.tries(host) == 3, 20, lambda: host.ctl("jobs").stdout, 0.05)
        self.redis.command("CLIENT", "KILL", "TYPE", "normal")  # a new connection is no reason for a fourth
        users = iter(range(FIRST, FIRST + 150))
        used = lambda: host.stats()["l2_hits"] + host.stats()["l2_misses"]
        before = used()
        wait_until(lambda: self.check(host, next(users), scope="server:1") == 1 and used() > before, 10,
                   "L2 is asked again", 0.1)
        self.assertEqual(3, self.tries(host), host.ctl("jobs").stdout)

    @staticmethod
    def tries(host):
        return len(re.findall(r"(?m)^\d+ fleet failed ", host.ctl("jobs").stdout))

    @full_only  # the first writing comes when a worker is half a minute old
    def test_what_one_host_is_asked_for_another_one_fills(self):
        first, = self.hosts(1)
        users = range(FIRST, FIRST + 150)
        for user in users:
            self.check(first, user, scope="server:1")
        wait_until(lambda: first.stats()["hot_keys_written"] > 0, 90, "the keys are in Redis", 0.5)
        host = self.fresh()
        self.assertLessEqual(145, self.peeks(host, users))  # now and then a frequency is halved to nothing


if __name__ == "__main__":
    main()
