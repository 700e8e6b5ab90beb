#!/usr/bin/env python3
"""L2 when Redis is slow, full or gone, and when hosts race for it: latency alone suffers, for the stated times."""

import itertools
import subprocess
import threading
import time

from harness import MariadbCase, full_only, main
from harness.process import Stopwatch, spawn, wait_until
from harness.servers import find
from harness.shared import MODERATES, Shared

TIMEOUT_S = 0.1  # redis_timeout


class Slow(Shared, MariadbCase):
    quick = ["test_full"]
    redis_timeout = None
    moderators = 600  # others are strangers, about whom L2 is not asked

    def asked(self, host, users, wanted=1):
        """Seconds that each answer took."""
        times = []
        with host.rpc() as rpc:
            for user in users:
                watch = Stopwatch(host.process, self.server.process)
                reply = rpc.call("check", user=user, scope="channel:10", permission="message.delete")
                times.append(watch.seconds())
                self.assertEqual(wanted, reply["decision"])
        return times

    def test_stopped(self):
        """SIGSTOP: five looks wait for redis_timeout, then none for a second, then one, and again for twice as long."""
        self.first, = self.hosts(1, redis_ping="60s")
        self.redis.pause()
        try:
            begun = [self.lost_look(user) for user in range(1000, 1005)]
            watch, looks = Stopwatch(self.first.process), self.looks()
            self.assertEqual(1, self.first.stats()["l2_breaker_open"])
            self.assertLess(max(self.asked(self.first, range(1005, 1012))), TIMEOUT_S + 0.5)
            now = self.looks()
            if time.monotonic() < begun[-1] + TIMEOUT_S + 0.95:  # else the first trial may have been made
                self.assertEqual(looks, now)
            trials = self.trials(begun[-1], watch, looks)
            self.say("trials after " + ", ".join(f"{after:.2f} s" for after, _ in trials))
            earliest = TIMEOUT_S  # each comes so long after the last one was given up, and is itself waited for
            for wanted, (after, less) in zip((1, 2, 4), trials):
                earliest += wanted + TIMEOUT_S
                self.assertGreater(after, earliest - 0.05)
                self.assertLess(less, earliest + 0.7)
        finally:
            self.redis.resume()
        self.demote(1000)
        self.wait_check(self.first, 0, 1000)
        wait_until(lambda: self.is_well_again(), 16, "L2 is used again", 0.1)

    def looks(self):
        """How many looks into L2 have found nothing. Those that the breaker keeps back do not count."""
        return self.first.stats()["l2_misses"]

    def lost_look(self, user):
        """A question whose look into L2 is waited for in vain. Returns when it began."""
        looks, begun = self.looks(), time.monotonic()
        took, = self.asked(self.first, [user])
        self.assertGreater(time.monotonic() - begun, TIMEOUT_S * 0.9)
        self.assertLess(took, TIMEOUT_S + 0.5)
        self.assertEqual(looks + 1, self.looks())
        return begun

    def trials(self, begun, watch, looks):
        """[(seconds since `begun`, seconds by `watch`)] at which the next three looks after `looks` were given up."""
        found, users = [], itertools.count(1020)
        while len(found) < 3 and watch.seconds() < 9:
            self.asked(self.first, [next(users)])
            if self.looks() != looks:
                found.append((time.monotonic() - begun, watch.seconds()))
                looks = self.looks()
            time.sleep(0.05)
        self.assertEqual(3, len(found), found)
        return found

    def is_well_again(self):
        self.first.ctl("invalidate", "user:1199")
        self.check(self.first, 1199)
        return self.first.stats()["l2_breaker_open"] == 0

    def test_slow_but_alive(self):
        """Every command waits behind another client's: five such looks, and Redis is left alone."""
        self.first, = self.hosts(1)
        stop = threading.Event()

        def disturb():
            while not stop.is_set():
                self.redis.command("DEBUG", "SLEEP", "0.05")
        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            times = self.asked(self.first, range(1000, 1030))
        finally:
            stop.set()
            thread.join()
        self.assertLess(max(times), 0.7, times)
        self.assertLess(sorted(times)[15], 0.05, times)  # most do not wait
        self.assertEqual(1, self.first.stats()["l2_breaker_open"])

    def test_client_pause(self):
        """Redis takes no commands for half a second; nobody waits longer, and afterwards everything is as before."""
        self.first, second = self.hosts(2)
        self.redis.command("CLIENT", "PAUSE", "500")
        times = self.asked(self.first, range(1000, 1010))
        self.assertLess(max(times), TIMEOUT_S + 0.5, times)
        self.demote(1000)
        for host in self.all:
            self.wait_check(host, 0, 1000)
        wait_until(self.is_well_again, 5, "L2 is used again", 0.1)
        self.wait_marker()

    def test_full(self):
        """A Redis without room makes for misses and no errors; a change is told to the others all the same."""
        self.first, second = self.hosts(2, poll_interval="1s", max_staleness="5s")
        self.fill(self.first, *range(1000, 1010))
        self.redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.redis.command("CONFIG", "SET", "maxmemory", "1mb")
        with self.counted(second) as grown:
            for user in range(1000, 1010):
                self.assertEqual(1, self.check(second, user))
        self.assertEqual(10, grown["l2_hits"], grown)  # what is there is still found
        with self.counted(second) as grown:
            for user in range(1010, 1030):
                self.assertEqual(1, self.check(second, user))
        self.assertEqual((0, 0, 0), (grown["requests_failed"], grown["fills_failed"], grown["l2_breaker_open"]), grown)
        for user in range(1000, 1005):
            self.demote(user)
            for host in self.all:  # one of them polls within a second, the other one hears of it
                self.wait_check(host, 0, user, seconds=2)
        heard = [host.stats()["messages"] for host in self.all]
        self.assertTrue(all(count > 0 for count in heard), heard)
        self.redis.command("CONFIG", "SET", "maxmemory", "0")
        wait_until(lambda: int(self.marker()["revision"]) == self.revision(), 5, "the marker has caught up", 0.05)
        self.wait_marker()
        user = self.put_again(self.first, 1100)  # after a pause
        with self.counted(second) as grown:
            self.assertEqual(1, self.check(second, user))
        self.assertEqual(1, grown["l2_hits"], grown)

    @full_only
    def test_gone(self):
        """Nobody waits at all while there is no connection."""
        self.first, second = self.hosts(2)
        self.redis.kill()
        wait_until(lambda: self.first.stats()["l2_marker_known"] == 0, 5, "it is noticed")
        times = self.asked(self.first, range(1000, 1020))
        self.assertLess(sorted(times)[10], TIMEOUT_S / 2, times)
        self.demote(1000)
        for host in self.all:
            self.wait_check(host, 0, 1000)
        self.redis.start()
        self.wait_marker(seconds=10)


class Race(Shared, MariadbCase):
    """Races between reading the store and putting what was read."""

    quick = []

    def lock(self, table, seconds):
        """A client that keeps everybody from reading that table for so long."""
        client = spawn([find("mariadb", "mysql"), "--no-defaults", f"--socket={self.server.socket}", "--user=root",
                        "--batch",
                        "--skip-column-names", "--unbuffered", self.database], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                       text=True)
        client.stdin.write(f"LOCK TABLES {table} WRITE; SELECT 'locked'; SELECT SLEEP({seconds}); UNLOCK TABLES;\n")
        client.stdin.close()
        self.assertEqual("locked\n", client.stdout.readline())
        self.addCleanup(client.stdout.close)
        return client

    @staticmethod
    def check_at_two_places(host, user):
        """In one snapshot, where neither is known."""
        with host.rpc() as rpc:
            rpc.call("check_many", queries=[[user, place, MODERATES, None] for place in ("channel:10", "server:1")])

    def test_a_late_put_is_refused(self):
        """A fill is read before a change and comes back after it was applied elsewhere, again and again."""
        hosts = first, second, third = self.hosts(3)
        for user in range(1000, 1010):
            first.ctl("invalidate", "scope:server:1")  # what it knows is one statement, which would wait as a whole
            client = self.lock("permtab_overwrite", 0.3)
            asking = threading.Thread(target=self.check_at_two_places, args=(first, user))
            asking.start()
            time.sleep(0.05)  # it has begun its snapshot, and waits for the lock
            first.pause()
            self.demote(user)
            self.follow([second, third])
            wait_until(lambda: int(self.marker()["revision"]) == self.revision(), 2, "the marker has moved", 0.002)
            client.wait(60)
            first.resume()
            asking.join()
            self.follow()
            for host in hosts[::-1]:
                self.assertEqual(0, self.check(host, user))
                host.ctl("invalidate", f"user:{user}")
                self.assertEqual(0, self.check(host, user))
        stats = first.stats()
        self.say(f"{stats['l2_puts_refused']} puts refused, {stats['fills_repeated']} fills repeated of 10")
        self.assertGreater(stats["l2_puts_refused"] + stats["fills_repeated"], 0)

    def test_one_read_of_the_store_for_two_hosts(self):
        """The host that misses second waits for what the first one reads."""
        first, second = self.hosts(2)
        with self.counted(first) as one, self.counted(second) as two:
            for user in range(1000, 1010):
                client = self.lock("permtab_assignment", 0.06)
                asking = [threading.Thread(target=self.check, args=(host, user)) for host in self.all]
                for thread in asking:
                    thread.start()
                client.wait(60)
                for thread in asking:
                    thread.join()
        self.say(f"{one['l2_misses'] + two['l2_misses']} reads of the store for 10 users on 2 hosts")
        self.assertGreater(one["l2_lock_waits"] + two["l2_lock_waits"], 0)
        self.assertLessEqual(one["l2_misses"] + two["l2_misses"], 14)  # 10, and a few that were too slow for the lock

    def test_a_lock_that_is_lost_costs_time_alone(self):
        """The lock's holder is gone, or it is somebody else's: bounded waiting, then the store."""
        first, second = self.hosts(2)
        for user in range(1000, 1005):
            self.redis.command("SET", f"permtab:l2:1:lock:{user}:channel:10", "somebody")
            watch = Stopwatch(first.process, self.server.process)
            self.assertEqual(1, self.check(first, user))
            self.assertLess(watch.seconds(), 1)
        self.assertGreater(first.stats()["l2_lock_waits"], 0)


if __name__ == "__main__":
    main()
