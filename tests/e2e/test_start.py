#!/usr/bin/env python3
"""A start waits for nobody, and reads nothing before its first answer that grows with the store."""

import re
import sqlite3

from harness import MariadbCase, SqliteCase, main
from harness.policies import MODERATOR, small
from harness.process import wait_until

HELD = {"strangers_max": 0, "audit_entries": 0, "poll_interval": "20s", "max_staleness": "60s"}
MANY = 3000


def grown():
    """Each table that a policy fills, with hundreds of rows or thousands."""
    document = small()
    document["scopes"] += [{"scope": f"channel:{1000 + number}", "parent": "server:1",
                            "overwrites": [{"role": MODERATOR, "allow": ["channel.manage"], "deny": []}]}
                           for number in range(MANY // 4)]
    document["roles"] += [{"id": 1000 + number, "name": f"r{number}", "scope": "server:1", "inherits": [MODERATOR],
                           "allow": ["channel.view"]} for number in range(MANY // 4)]
    document["assignments"] += [{"user": 1000 + number, "role": MODERATOR, "scope": "server:1"}
                                for number in range(MANY)]
    return document


class Sqlite(SqliteCase):
    def test_a_start_waits_for_no_writer(self):
        """Who writes has SQLite's one lock for as long as it takes."""
        self.sidecar().stop()
        with sqlite3.connect(self.path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE permtab_scope SET owner = owner")
            serving = self.sidecar()  # waits until it is healthy
            self.assertTrue(serving.health()["ok"])
            other.execute("ROLLBACK")

    def test_the_first_answer_of_a_start_is_one(self):
        """Whoever comes before the table has a lease waits for it at the door, unless the store lets it wait."""
        serving = self.sidecar()
        serving.apply(small())
        for _ in range(5):
            serving.stop()
            serving.launch()
            with wait_until(lambda: self.connect(serving), 20, "the socket is there", 0.001) as rpc:
                reply = rpc.call("check", user=1, scope="server:1", permission="message.delete")
            if "the store lets the first poll wait" in serving.log():
                self.skipTest("the machine had no time for a poll")
            self.assertEqual(1, reply["decision"], reply)

    def connect(self, serving):
        try:
            return serving.rpc(timeout=60)
        except OSError:
            return None

    def test_a_large_table_begins_small(self):
        """Nobody waits for its memory: it grows to table_entries beside everything else."""
        serving = self.sidecar(table_entries=300000)
        wait_until(lambda: serving.stats()["table_capacity"] == 300000, 20, "the table is as large as it is to be")
        self.assertRegex(serving.log(), r"it grows from 100000 to 300000 entries")


class Mariadb(MariadbCase):
    def make_server(self):
        return self.own_server()

    def rows_read(self):
        """Of all tables of policies and their log, as the server counts them."""
        text = self.server.client(self.database, "SHOW GLOBAL STATUS LIKE 'Handler_read%';").stdout
        return {name: int(count) for name, count in re.findall(r"(Handler_read_\w+)\t(\d+)", text)}

    def cost_of_a_start(self, serving):
        """Rows that it reads until it has answered one question."""
        before = self.rows_read()
        serving.start()
        with serving.rpc() as rpc:
            self.assertEqual(1, rpc.call("check", user=1, scope="server:1", permission="message.delete")["decision"])
        after = self.rows_read()
        serving.stop()
        return {name: after[name] - before[name] for name in before}

    def test_the_first_answer_costs_the_same_from_a_small_store_and_a_large_one(self):
        serving = self.sidecar(**HELD)
        serving.apply(small())
        serving.stop()
        little = self.cost_of_a_start(serving)
        serving.start()
        serving.apply(grown())
        serving.stop()
        much = self.cost_of_a_start(serving)
        self.say(f"rows read by a start: {little} and {much}")
        for name, count in little.items():
            self.assertLess(abs(much[name] - count), 100, f"{name}: {little} and {much}")
        self.assertGreater(sum(little.values()), 10)


if __name__ == "__main__":
    main()
