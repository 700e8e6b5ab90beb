#!/usr/bin/env python3
"""A Redis that lets us read and not write: full, or with an account that may not. A few lines in the log, pauses
between the attempts, right answers meanwhile, and all is well again when Redis is."""

from harness import SqliteCase, full_only, main
from harness.policies import MODERATOR
from harness.process import wait_until
from harness.servers import Redis, free_port
from harness.shared import CHANNEL, Shared

CHANGES = 10


class Refused(Shared, SqliteCase):
    def edit_roles(self):
        """Changes that touch nothing in L2, so that the marker's step has nothing to remove before it writes. The first
        one may change nothing at all."""
        for _ in range(CHANGES // 2):
            for change in ("DELETE FROM permtab_role_permission WHERE role_id = {role} AND permission = 'member.kick';",
                           "INSERT INTO permtab_role_permission VALUES ({role}, 'member.kick', 'deny');"):
                self.sql(change.format(role=MODERATOR))
                self.follow()

    def lines(self, words):
        return [line for host in self.all for line in host.log().splitlines() if words in line]

    def ask_strangers_to_l2(self):
        """Asks about users who miss, so that each is looked for, and put."""
        for host in self.all:
            for user in range(1000, 1020):
                self.assertIn(self.check(host, user), (0, 1))

    def trouble_is_bounded(self, begin, reason):
        self.edit_roles()
        for _ in range(10):
            self.ask_strangers_to_l2()
            self.demote(1000)
            self.follow()
            self.assertEqual([0, 0], [self.check(host, 1000) for host in self.all])
            self.promote(1000)
            self.follow()
            self.assertEqual([1, 1], [self.check(host, 1000) for host in self.all])
        self.assertLess(len(self.lines(" l2: ")), 20)
        told = self.lines(begin)
        self.assertTrue(told, self.all[0].log())
        self.assertLessEqual(len(told), 2 * 2, told)  # each host, and once more if it was over in between
        self.assertTrue(all(reason in line for line in told), told)

    def test_full(self):
        first, second = self.hosts(2)
        self.redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.redis.command("CONFIG", "SET", "maxmemory", "1")
        self.trouble_is_bounded("l2: Redis refuses", "OOM ")
        self.redis.command("CONFIG", "SET", "maxmemory", "0")
        self.put_again(first, 1020)

        def over():  # a change makes each host try
            self.edit_roles()
            return self.lines("l2: the marker is moved again")
        wait_until(over, 60, "it is said that it is over", 0.1)
        self.wait_marker()

    @full_only
    def test_full_and_nothing_changes(self):
        """A step that is refused is not tried ten times a second."""
        first, _ = self.hosts(2)
        self.redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.redis.command("CONFIG", "SET", "maxmemory", "1")
        self.sql(f"INSERT INTO permtab_role_permission VALUES ({MODERATOR}, 'member.kick', 'deny');")
        self.follow()
        with self.counted(first) as grown:
            polls = first.stats()["polls"]
            wait_until(lambda: first.stats()["polls"] > polls + 60, 60, "sixty polls")
        self.assertLess(grown["l2_advances"], 12, grown)
        self.assertIn(len(self.lines("l2: Redis refuses to move the marker")), (1, 2))
        self.assertLessEqual(len(self.lines(" l2: ")), 2)

    def account(self, *rules):
        self.redis.command("ACL", "SETUSER", "permtab", "reset", "on", ">secret", "~*", *rules)

    @full_only
    def test_an_account_without_the_channel(self):
        self.redis = Redis(self.folder / "redis", port=free_port()).start()
        self.addCleanup(lambda: self.redis.kill())
        self.account("+@all", "&*")
        password = self.folder / "password"
        password.write_text("secret\n")
        password.chmod(0o600)
        self.hosts(2, redis=f"redis://permtab@127.0.0.1:{self.redis.port}", redis_password_file=str(password))
        self.account("+@all", "resetchannels")
        for host in self.all:
            wait_until(lambda: "SUBSCRIBE is refused" in host.log(), 10, "the subscriber was closed")
        self.trouble_is_bounded("l2: Redis refuses to move", "")
        self.assertLessEqual(len(self.lines("redis subscriber: ")), 2 * 5)
        self.account("+@all", "resetchannels", "&" + CHANNEL)
        for host in self.all:
            wait_until(lambda: "redis subscriber: connected" in host.log().split("SUBSCRIBE is refused")[-1], 10,
                       "it is subscribed again")

        def over():
            self.edit_roles()
            return self.lines("l2: the marker is moved again")
        wait_until(over, 60, "it is said that it is over", 0.1)
        self.wait_marker()


if __name__ == "__main__":
    main()
