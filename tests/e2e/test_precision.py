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


class Precision(Shared, MariadbCase):
    quick = ["test_one_user_among_many"]

    def missing(self, worker):
        counts, others = worker.range(FIRST, USERS, SCOPE, PERMISSION, mode="peek")
        self.assertEqual(counts["deny"], 0)
        self.assertEqual(counts["allow"] + counts["unknown"], USERS)
        return others

    def test_one_user_among_many(self):
        hosts = self.hosts(2, table_entries=USERS * 5 // 4, max_staleness="30s")
        hosts[0].apply(self.policy())
        for host in hosts:
            wait_until(lambda: host.stats()["filter_users"] > 0, 20, "the users are counted")
            wait_until(lambda: host.stats()["table_capacity"] == USERS * 5 // 4, 20, "there is room for all of them")
        workers = [self.worker(host, timeout_ms=30000) for host in hosts]
        for host, worker in zip(hosts, workers):
            counts, _ = worker.range(FIRST, USERS, SCOPE, PERMISSION)
            self.assertEqual(counts["allow"], USERS)
            self.assertEqual(self.missing(worker), [])
            self.assertGreaterEqual(host.stats()["entries"], USERS)
        retired = [host.stats()["entries_retired"] for host in hosts]
        with hosts[0].rpc() as rpc:
            reply = rpc.call("assign", user=CHOSEN, role=MODERATOR, scope="server:1")
        for host, worker, before in zip(hosts, workers, retired):
            wait_until(lambda: host.health()["revision"] >= reply["revision"], 10, "the change is applied")
            self.assertEqual(self.missing(worker), [CHOSEN])
            self.assertEqual(host.stats()["entries_retired"], before + 1)
            self.assertEqual(worker.check(CHOSEN, SCOPE, PERMISSION), "allow")
            self.assertEqual(self.missing(worker), [])


if __name__ == "__main__":
    main()
