#!/usr/bin/env python3
"""L2: what one host has read from the store, another one finds in Redis; and whatever happens to Redis, the answers
are right."""

from harness import MariadbCase, SqliteCase, full_only, main
from harness.policies import MEMBER, MODERATOR
from harness.process import wait_until
from harness.shared import MODERATES, Shared


class L2(Shared):
    def test_second_host_does_not_ask_the_store(self):
        first, second = self.hosts(2)
        users = range(1000, 1020)
        self.fill(first, *users)
        with self.counted(second) as grown:
            for user in users:
                self.assertEqual(1, self.check(second, user))
                self.assertEqual(0, self.check(second, user, permission="member.kick"))
        self.assertEqual(len(users), grown["l2_hits"], grown)
        self.assertEqual(0, grown["l2_misses"], grown)
        self.assertEqual(len(users), grown["fills"], grown)

    def test_what_does_not_exist_is_known_to_others(self):
        first, second = self.hosts(2, strangers_max=0)  # else the filter answers for them
        self.fill(first, 5, scope="channel:777")
        self.fill(first, 999999)  # a user without rows
        with self.counted(second) as grown:
            self.assertEqual(0, self.check(second, 5, scope="channel:777"))
            self.assertEqual(0, self.check(second, 999999))
            self.assertEqual(1, self.check(second, 999999, permission="channel.view"))
        self.assertEqual((2, 0), (grown["l2_hits"], grown["l2_misses"]), grown)
        for key in self.keys("*{user:999999}") + self.keys("*{scope:channel:777}"):
            self.assertLessEqual(self.redis.command("PTTL", key), 30000, "who has no rows is remembered briefly")
        self.sql("INSERT INTO permtab_scope (type, id, parent_type, parent_id) VALUES (2, 777, 1, 1);")
        self.follow()
        for host in self.all:
            self.assertEqual(1, self.check(host, 5, scope="channel:777", permission="channel.view"))

    def test_a_change_removes_that_users_field_alone(self):
        first, second = self.hosts(2)
        self.fill(first, 1000, 1001)
        before = self.keys("*{*")
        self.promote(7)
        self.demote(1000)
        self.follow()
        self.wait_marker()
        self.assertEqual(before, self.keys("*{*"))
        fields = {user: self.redis.command("HKEYS", self.key_of(f"user:{user}")) for user in (1000, 1001)}
        self.assertEqual(set(fields[1001]) - set(fields[1000]), {b"server:1"})
        with self.counted(second) as grown:
            self.assertEqual(0, self.check(second, 1000))
            self.assertEqual(1, self.check(second, 1001))
        self.assertEqual((1, 1), (grown["l2_hits"], grown["l2_misses"]), grown)

    def test_a_role_edit_leaves_the_keys_alone(self):
        first, second = self.hosts(2)
        self.fill(first, *range(1000, 1010))
        before = {key: self.redis.command("HGETALL", key) for key in self.keys("*{*")}
        self.sql(f"DELETE FROM permtab_role_permission WHERE role_id = {MODERATOR} AND permission = '{MODERATES}';")
        self.follow()
        self.wait_marker()
        self.assertEqual(before, {key: self.redis.command("HGETALL", key) for key in self.keys("*{*")})
        with self.counted(second) as grown:
            for user in range(1000, 1010):
                self.assertEqual(0, self.check(second, user))
        self.assertEqual((10, 0), (grown["l2_hits"], grown["l2_misses"]), grown)

    def test_every_kind_of_change(self):
        """Answers of the second host come from L2, or are right otherwise, after each."""
        first, second = self.hosts(2)
        user = 1000
        question = {"scope": "channel:10", "permission": "message.send"}
        for sql, wanted in (
                (f"INSERT INTO permtab_overwrite (scope_type, scope_id, subject, subject_id, permission, effect)"
                 f" VALUES (2, 10, 'user', {user}, 'message.send', 'deny');", 0),
                (f"DELETE FROM permtab_overwrite WHERE subject = 'user' AND subject_id = {user};", 1),
                (f"INSERT INTO permtab_overwrite (scope_type, scope_id, subject, subject_id, permission, effect)"
                 f" VALUES (1, 1, 'role', {MEMBER}, 'channel.view', 'deny');", 0),
                (f"DELETE FROM permtab_overwrite WHERE scope_type = 1 AND subject_id = {MEMBER};", 1),
                ("UPDATE permtab_scope SET parent_type = 1, parent_id = 2 WHERE type = 2 AND id = 10;", 1),
                ("UPDATE permtab_role SET is_default = 0 WHERE id = 200;", 0),
                (f"UPDATE permtab_scope SET owner = {user} WHERE type = 2 AND id = 10;", 1),
                ("UPDATE permtab_scope SET owner = NULL WHERE type = 2 AND id = 10;", 0),
                ("UPDATE permtab_role SET is_default = 1 WHERE id = 200;", 1)):
            self.sql(sql)
            self.follow()
            for host in self.all:
                self.assertEqual(wanted, self.check(host, user, **question), sql)

    def test_an_overwrite_of_user_0(self):
        """Its change row looks like one of a role. What L2 says of the user must go as well: others put the scope
        back."""
        first, second = self.hosts(2, strangers_max=0)
        self.fill(first, 0, permission="message.send")
        self.sql("INSERT INTO permtab_overwrite (scope_type, scope_id, subject, subject_id, permission, effect)"
                 " VALUES (2, 10, 'user', 0, 'message.send', 'deny');")
        self.follow()
        self.wait_marker()
        self.fill(first, 1001)
        self.assertEqual(0, self.check(second, 0, permission="message.send"))

    def test_check_many_takes_few_scripts(self):
        first, second = self.hosts(2)
        queries = [[1000 + number, "channel:10", MODERATES, None] for number in range(100)]
        with first.rpc() as rpc:
            self.assertEqual([1] * 100, rpc.call("check_many", queries=queries)["decisions"])
        wait_until(lambda: len(self.keys("*{user:10*")) >= 99, 5, "all are in L2")
        self.redis.command("CONFIG", "RESETSTAT")
        with self.counted(second) as grown, second.rpc() as rpc:
            self.assertEqual([1] * 100, rpc.call("check_many", queries=queries)["decisions"])
        self.assertEqual((100, 0), (grown["l2_hits"], grown["l2_misses"]), grown)
        stats = self.redis.command("INFO", "commandstats").decode()
        calls = int(stats.split("cmdstat_evalsha:calls=")[1].split(",")[0])
        self.assertLessEqual(calls, 10, stats)
        self.say(f"check_many of 100 misses took {calls} scripts")

    def test_restart_keeps_the_epoch(self):
        first, second = self.hosts(2)
        self.fill(first, *range(1000, 1010))
        epoch = self.marker()["epoch"]
        for host in self.all:
            host.stop()
        self.demote(1000)
        self.promote(5001)
        for host in self.all:
            host.start()
        self.wait_marker()
        self.assertEqual(epoch, self.marker()["epoch"])
        self.assertEqual(0, self.check(second, 1000))
        self.check(second, 1100)  # it has to learn the roles again
        with self.counted(second) as grown:
            for user in range(1001, 1010):
                self.assertEqual(1, self.check(second, user))
        self.assertEqual((9, 0), (grown["l2_hits"], grown["l2_misses"]), grown)

    def test_off(self):
        """Nothing is read or put; messages go on."""
        first, second = self.hosts(2, l2=False, poll_interval="1s", max_staleness="5s")
        self.check(first, 1000)
        self.check(second, 1000)
        self.assertEqual([], self.keys("*{*"))
        for host in self.all:
            stats = host.stats()
            self.assertEqual((0, 0, 0), (stats["l2_hits"], stats["l2_misses"], stats["l2_puts"]))
        before, users = second.stats()["message_wakes"], iter(range(1000, 1020))

        def message_wakes():
            """A poll that is due just then needs no message to wake it."""
            user = next(users)
            self.demote(user)
            self.wait_check(first, 0, user)
            self.wait_check(second, 0, user)
            return second.stats()["message_wakes"] > before

        wait_until(message_wakes, 60, "a message wakes the second host")
        self.assertEqual([], self.keys("*{*"))


class L2Mariadb(L2, MariadbCase):
    quick = ["test_second_host_does_not_ask_the_store", "test_a_change_removes_that_users_field_alone",
             "test_restart_keeps_the_epoch"]


@full_only
class L2Sqlite(L2, SqliteCase):
    pass


if __name__ == "__main__":
    main()
