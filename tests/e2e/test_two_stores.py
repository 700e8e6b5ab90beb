#!/usr/bin/env python3
"""Two stores under one prefix in Redis, as when staging was restored from a dump of production and nobody gave it a
prefix of its own, or when two installations that know nothing of each other share a Redis. Answers are right, few lines
are written, and one of them has L2 while the other does without until it is configured."""

import random
import time

from harness import QUICK, SqliteCase, full_only, main
from harness.process import wait_until
from harness.shared import Shared
from harness.sidecar import Sidecar

USERS = range(1000, 1040)


class TwoStores(Shared, SqliteCase):
    quick = ["test_a_copy"]

    def at(self, path, number, **options):
        """A sidecar over that store."""
        folder = self.folder / f"s{number}"
        folder.mkdir()
        host = Sidecar(folder, f"sqlite:{path}", redis=f"unix:{self.redis.socket}", max_staleness="10s", **options)
        self.addCleanup(self._end_sidecar, host)
        host.start()
        return host

    def copy(self):
        path = self.folder / "copy.db"
        self.sql(f".backup '{path}'")
        return path

    def side(self, path, hosts):
        return {"path": path, "hosts": hosts, "moderators": set(USERS)}

    def change(self, side, user):
        if user in side["moderators"]:
            side["moderators"].discard(user)
            text = f"DELETE FROM permtab_assignment WHERE role_id = 101 AND user_id = {user};"
        else:
            side["moderators"].add(user)
            text = ("INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id)"
                    f" VALUES ({user}, 101, 1, 1);")
        self.sql(text, path=side["path"])
        revision = int(self.sql("SELECT revision FROM permtab_counter;", path=side["path"]).stdout)
        for host in side["hosts"]:
            wait_until(lambda: host.health()["revision"] >= revision, 10, "the change is applied", 0.005)

    def compare(self, side, users):
        for user in users:
            for host in side["hosts"]:
                self.assertEqual(int(user in side["moderators"]), self.check(host, user), f"{user} on {host.folder}")

    def live(self, sides, seconds, until=lambda: False):
        """Writes to both sides, and asks both."""
        chance, end = random.Random(7), time.monotonic() + seconds
        while time.monotonic() < end and not until():
            for side in sides:
                self.change(side, chance.choice(USERS))
                self.compare(side, chance.sample(USERS, 5))
        for side in sides:
            self.compare(side, USERS)

    @staticmethod
    def contested(side):
        return [host.stats().get("l2_contested", 0) for host in side["hosts"]]

    def lines(self, side):
        return [line for host in side["hosts"] for line in host.log().splitlines() if " l2: " in line]

    def share(self, first, second):
        """The first was there first, and keeps L2."""
        sides = (first, second)
        self.live(sides, 60, lambda: all(self.contested(second)))
        self.assertEqual([1, 1], self.contested(second), self.lines(second))
        self.assertEqual([0, 0], self.contested(first), self.lines(first))
        epochs = sum(host.stats()["l2_epochs"] for side in sides for host in side["hosts"])
        self.live(sides, 2 if QUICK else 10)
        self.assertEqual([0, 0, 1, 1], self.contested(first) + self.contested(second))
        self.assertEqual(epochs, sum(host.stats()["l2_epochs"] for side in sides for host in side["hosts"]))
        told = self.lines(first) + self.lines(second)
        self.assertLessEqual(len(told), 4 + 2 + 4, told)  # contests, yields, that the marker is not followed
        for host in second["hosts"]:
            self.assertEqual(1, host.log().count("uses the prefix \"permtab:\" in Redis too"), host.log())
        # The first one's hosts have it to themselves.
        one, other = first["hosts"]
        with self.counted(other) as grown:
            for user in range(1100, 1120):
                self.fill(one, user)
                self.assertEqual(1, self.check(other, user))
        self.assertEqual(20, grown["l2_hits"], grown)
        # And the second one's, as soon as somebody has read the line in the log.
        for host in second["hosts"]:
            host.stop()
            host.configure(redis_prefix="staging:")
            host.start()
        self.wait_marker(second["hosts"])
        one, other = second["hosts"]
        self.check(other, 1090)  # from now on it knows the roles
        with self.counted(other) as grown:
            for user in range(1100, 1120):
                self.fill(one, user)
                self.assertEqual(1, self.check(other, user))
        self.assertEqual(20, grown["l2_hits"], grown)
        self.live(sides, 1 if QUICK else 3)
        self.assertEqual([0, 0, 0, 0], self.contested(first) + self.contested(second))

    def test_a_copy(self):
        """The copy is of the same id, and of the same history up to the day of the dump."""
        first = self.side(self.path, self.hosts(2))
        path = self.copy()
        self.share(first, self.side(path, [self.at(path, number) for number in range(2)]))

    @full_only
    def test_another_store(self):
        first = self.side(self.path, self.hosts(2))
        path = self.folder / "other.db"
        hosts = [self.at(path, 0)]
        hosts[0].apply(self.policy())
        self.share(first, self.side(path, hosts + [self.at(path, 1)]))

    @full_only
    def test_a_copy_that_is_not_written_to(self):
        """It stays where the dump was made, which is in the other one's log."""
        first = self.side(self.path, self.hosts(2))
        path = self.copy()
        second = self.side(path, [self.at(path, number) for number in range(2)])
        end = time.monotonic() + 60
        while not all(self.contested(second)) and time.monotonic() < end:
            self.change(first, random.choice(USERS))
            self.compare(first, random.sample(USERS, 5))
            for host in second["hosts"]:
                self.check(host, random.randrange(2000, 100000))
            self.compare(second, random.sample(USERS, 5))
        self.assertEqual([0, 0, 1, 1], self.contested(first) + self.contested(second))


if __name__ == "__main__":
    main()
