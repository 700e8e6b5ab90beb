#!/usr/bin/env python3
"""L2 when Redis holds what it should not, forgets, goes back in time, is slow, is full or is gone: time is lost, and
nothing else. Users are demoted meanwhile, and must stay so."""

import os

from harness import MariadbCase, full_only, main
from harness.process import wait_until
from harness.shared import MARKER, Shared

SERVER, CHANNEL = "scope:server:1", "scope:channel:10"


class Spoilt(Shared, MariadbCase):
    """Values into which somebody wrote something."""

    quick = ["test_every_field_holds_something_else"]

    def setUp(self):
        super().setUp()
        self.first, self.second = self.hosts(2)
        self.next_user = 1000

    def look_spoilt(self, spoil, counter):
        """The first host puts, somebody spoils, the second one looks."""
        user = self.next_user = self.next_user + 1
        self.fill(self.first, user)
        spoil(f"user:{user}")
        with self.counted(self.second) as grown:
            self.assertEqual(1, self.check(self.second, user))
            self.assertEqual(0, self.check(self.second, user, permission="member.kick"))
        self.assertEqual(1, grown["l2_misses"], grown)
        self.assertGreaterEqual(grown[counter], 1, grown)
        self.assertEqual((0, 0, 0), (grown["l2_hits"], grown["requests_failed"], grown["fills_failed"]), grown)

    def good_value(self, words, field):
        return self.redis.command("HGET", self.key_of(words), field)

    def test_every_field_holds_something_else(self):
        for what in (b"", b"x", b"\xff" * 100, b"\x93\x02\xa8l2.scope\x91\x80", os.urandom(300)):
            for words, field in ((None, "server:1"), (None, "global"), (None, "channel:10"), (CHANNEL, "value"),
                                 (SERVER, "value"), ("scope:global", "value")):
                def spoil(user):
                    self.redis.command("HSET", self.key_of(words or user), field, what)
                self.look_spoilt(spoil, "l2_corrupt")
                self.heal()

    def heal(self):
        """Removes what was spoilt, so that the next case is about its own field."""
        for key in self.keys("*{scope:*"):
            self.redis.command("DEL", key)

    def test_cut_and_newer_values(self):
        for words, field in ((None, "server:1"), (SERVER, "value")):
            def cut(user):
                value = self.good_value(words or user, field)
                self.redis.command("HSET", self.key_of(words or user), field, value[:-1])

            def newer(user):
                value = self.good_value(words or user, field)
                self.assertIn(b"\xa1v\x01", value)
                self.redis.command("HSET", self.key_of(words or user), field, value.replace(b"\xa1v\x01", b"\xa1v\x02"))

            def swapped(user):
                value = self.good_value(SERVER if words is None else user, "value" if words is None else "server:1")
                self.redis.command("HSET", self.key_of(words or user), field, value)
            for spoil in (cut, newer, swapped):
                self.look_spoilt(spoil, "l2_corrupt")
                self.heal()

    def test_values_that_are_too_large(self):
        for words, field in ((None, "server:1"), (SERVER, "value")):
            def spoil(user):
                self.redis.command("HSET", self.key_of(words or user), field, b"x" * 70000)
            self.look_spoilt(spoil, "l2_oversized")
            self.heal()

    def test_parents_that_lead_nowhere(self):
        for parent in ("channel:10", "server:1", "x", "server:99", "channel:11", "-"):
            def spoil(_):
                self.redis.command("HSET", self.key_of(CHANNEL), "parent", parent)
            user = self.next_user = self.next_user + 1
            self.fill(self.first, user)
            if parent == "-":  # says that there is no such scope, and is believed: it looks like one of ours
                continue
            spoil(user)
            self.assertEqual(1, self.check(self.second, user), parent)
            self.heal()

    def test_keys_of_another_type(self):
        """One such key may not keep the others from being found, nor stand in the way for ever."""
        for words in ("user", CHANNEL, "scope:global"):
            self.heal()
            with self.counted(self.second) as grown:
                for _ in range(8):
                    user = self.next_user = self.next_user + 1
                    self.fill(self.first, user)
                    key = self.key_of(f"user:{user}" if words == "user" else words)
                    self.redis.command("SET", key, "x")
                    self.assertEqual(1, self.check(self.second, user))
            self.assertEqual(0, grown["l2_breaker_open"], f"{words}: {grown}")
            self.assertEqual(0, grown["l2_errors"], f"{words}: {grown}")
            user = self.next_user = self.next_user + 1
            self.fill(self.first, user)
            with self.counted(self.second) as grown:
                self.assertEqual(1, self.check(self.second, user))
            self.assertEqual(1, grown["l2_hits"], f"{words}: {grown}")

    def test_a_spoilt_scope_is_mended_by_the_next_put(self):
        self.fill(self.first, 1000)
        self.redis.command("HSET", self.key_of("scope:global"), "value", "x")
        self.fill(self.second, 1000)  # finds it so, reads the store, and puts
        self.fill(self.second, 1001)
        with self.counted(self.first) as grown:
            self.assertEqual(1, self.check(self.first, 1001))
        self.assertEqual(1, grown["l2_hits"], grown)


class Marker(Shared, MariadbCase):
    """The marker, and what may happen to it."""

    quick = ["test_emptied"]

    def recovers(self, spoil, epochs=True):
        """After `spoil` a demotion is obeyed at once and for good, and L2 serves again."""
        first, second = self.hosts(2)
        self.fill(first, *range(1000, 1010))
        before = self.marker()["epoch"]
        spoil()
        self.demote(1000)
        self.wait_check(first, 0, 1000)
        self.wait_check(second, 0, 1000)
        for host in self.all:  # what makes them look: somebody who is not in the table
            self.check(host, 1020)
        wait_until(lambda: self._marker_is_well(), 4, lambda: f"the marker is well: {self.cli('HGETALL', MARKER)}",
                   0.02)
        if epochs:
            self.assertNotEqual(before, self.marker()["epoch"])
        self.wait_marker()
        self.fill(first, 1030)
        with self.counted(second) as grown:
            self.assertEqual(1, self.check(second, 1030))
        self.assertEqual(1, grown["l2_hits"], grown)
        for host in self.all:
            self.assertEqual(0, self.check(host, 1000))

    def _marker_is_well(self):
        return (self.redis.command("TYPE", MARKER) == b"hash" and
                int(self.marker().get("revision", "0")) == self.revision() and len(self.marker()) == 4)

    def test_emptied(self):
        self.recovers(lambda: self.cli("FLUSHALL"))

    def test_deleted(self):
        self.recovers(lambda: self.cli("DEL", MARKER))

    def test_of_another_store(self):
        self.recovers(lambda: self.cli("HSET", MARKER, "store", "00000000deadbeef"))

    def test_ahead(self):
        self.recovers(lambda: self.cli("HSET", MARKER, "revision", "00000000000000999999"))

    def test_of_another_history(self):
        self.recovers(lambda: self.cli("HSET", MARKER, "nonce", "12345"))

    def test_garbage(self):
        self.recovers(lambda: self.cli("HSET", MARKER, "revision", "x", "nonce", "y", "epoch", "z", "store", ""))

    def test_half_gone(self):
        self.recovers(lambda: self.cli("HDEL", MARKER, "epoch"))

    def test_of_another_type(self):
        self.recovers(lambda: (self.cli("DEL", MARKER), self.cli("SET", MARKER, "x")))

    @full_only
    def test_killed_and_restarted_empty(self):
        def spoil():
            self.redis.kill()
            self.demote(1001)
            for host in self.all:
                self.wait_check(host, 0, 1001)
            self.redis.start()
            self.reconnected()
        self.recovers(spoil)

    @full_only
    def test_restored_from_an_older_dump(self):
        """Rights that were revoked in between do not come back."""
        def spoil():
            kept = self.redis.save("before")
            self.demote(1001)
            self.follow()
            self.redis.kill()
            self.demote(1002)
            self.redis.start(dump=kept)
            self.reconnected()
            for host in self.all:
                self.assertEqual(0, self.check(host, 1001))
                self.assertEqual(0, self.check(host, 1002))
                host.ctl("invalidate", "user:1001")
                self.assertEqual(0, self.check(host, 1001))
        self.recovers(spoil, epochs=False)

    @full_only
    def test_restored_under_open_connections(self):
        """Somebody loads an older file into a running server: no connection ends, nobody is told."""
        first, second = self.hosts(2)
        self.fill(first, *range(1000, 1010))
        kept = self.redis.command("DUMP", self.key_of("user:1000")), self.redis.command("DUMP", MARKER)
        key = self.key_of("user:1000")
        self.demote(1000)
        self.follow()
        self.wait_marker()
        self.redis.command("RESTORE", key, 0, kept[0], "REPLACE")
        self.redis.command("RESTORE", MARKER, 0, kept[1], "REPLACE")
        third = self.host(2)
        for host in (first, second, third):
            self.assertEqual(0, self.check(host, 1000))
            self.assertEqual(1, self.check(host, 1001))
        scripts = sum(host.stats()["l2_advances"] for host in self.all)
        self.promote(5000)
        self.follow()
        wait_until(self._marker_is_well, 4, "the marker has caught up", 0.02)
        self.assertLess(sum(host.stats()["l2_advances"] for host in self.all) - scripts, 20)

    def reconnected(self):
        for host in self.all:
            wait_until(lambda: host.stats()["l2_marker_known"] == 1, 10, "connected again", 0.02)


if __name__ == "__main__":
    main()
