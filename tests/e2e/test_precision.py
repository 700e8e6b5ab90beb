#!/usr/bin/env python3
"""One user's change among a million resident entries makes that user miss, and nobody else, on every host."""

from harness import MariadbCase, QUICK, main
from harness.policies import MODERATOR
from harness.process import wait_until
from harness.shared import Shared

SCOPE, PERMISSION = "channel:10", "message.send"
USERS = 50_000 if QUICK else 1_000_000
FIRST = 1_000_000
CHOSEN = FIRST + USERS // 2
SHOWN = 8  # a worker names so many at most


class Precision(Shared, MariadbCase):
    quick = ["test_one_user_among_many"]

    def assert_missing(self, host, worker, users):
        """The table answers for all but these, and those that made room: with some seeds of the hash a window of a few
        entries in a million is full, whatever is moved."""
        counts, others = worker.range(FIRST, USERS, SCOPE, PERMISSION, mode="peek")
        seen = {user: worker.peek(user, SCOPE, PERMISSION) for user in others}
        evicted = host.stats()["entries_evicted"]
        self.assertLess(evicted, SHOWN, (counts, seen, host.stats()))
        self.assertLessEqual(set(users), set(others), (counts, seen, host.stats()))
        self.assertLessEqual(len(others), len(users) + evicted, (counts, seen, host.stats()))
        self.assertEqual({"allow": USERS - len(others), "deny": 0, "unknown": len(others)}, counts)

    def test_one_user_among_many(self):
        hosts = self.hosts(2, table_entries=USERS * 5 // 4, max_staleness="30s")
        hosts[0].apply(self.policy())
        for host in hosts:
            wait_until(lambda: host.stats()["filter_users"] > 0, 20, "the users are counted")
            wait_until(lambda: host.stats()["table_capacity"] == USERS * 5 // 4, 20, "there is room for all of them")
        workers = [self.worker(host, timeout_ms=30000) for host in hosts]
        for host, worker in zip(hosts, workers):
            counts, others = worker.range(FIRST, USERS, SCOPE, PERMISSION)
            self.assertEqual(counts["allow"], USERS, others and (counts, others, worker.why(), host.stats()))
            self.assert_missing(host, worker, [])
            stats = host.stats()
            self.assertGreaterEqual(stats["entries"] + stats["entries_evicted"], USERS)
        retired = [host.stats()["entries_retired"] for host in hosts]
        with hosts[0].rpc() as rpc:
            reply = rpc.call("assign", user=CHOSEN, role=MODERATOR, scope="server:1")
        for host, worker, before in zip(hosts, workers, retired):
            wait_until(lambda: host.health()["revision"] >= reply["revision"], 10, "the change is applied")
            self.assert_missing(host, worker, [CHOSEN])
            self.assertEqual(host.stats()["entries_retired"], before + 1)
            self.assertEqual(worker.check(CHOSEN, SCOPE, PERMISSION), "allow")
            self.assert_missing(host, worker, [])


if __name__ == "__main__":
    main()
