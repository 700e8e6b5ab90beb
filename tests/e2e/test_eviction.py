#!/usr/bin/env python3
"""In a full table what is used stays: a client that only hits tells by its samples."""

from harness import SqliteCase, main
from harness.policies import MODERATOR, small
from harness.process import wait_until

FIRST = 1000
ENTRIES = 1000  # as many as there is room for
MEMBERS = 3 * ENTRIES
HIT, QUIET = FIRST, FIRST + 1  # filled one after the other; the first of them is hit


class Sqlite(SqliteCase):
    def test_what_is_hit_in_shared_memory_stays(self):
        document = small()
        document["assignments"] += [{"user": user, "role": MODERATOR, "scope": "server:1"}
                                    for user in range(FIRST, FIRST + MEMBERS)]
        serving = self.sidecar(table_entries=ENTRIES, hit_rate_target=0)
        serving.apply(document)
        worker = self.worker(serving)
        for user in (HIT, QUIET):
            self.assertEqual("allow", worker.check(user, "server:1", "message.delete"))
        for _ in range(ENTRIES):  # clients that come, hit and go, more than there are parts to be had
            with serving.rpc() as rpc:
                rpc.call("check", user=HIT, scope="server:1", permission="message.delete")
        before = serving.stats()["samples"]
        # The first sample makes the client known; it has its part from the next look at samples on.
        wait_until(lambda: worker.spin(HIT, "server:1", "message.delete", 50) or worker.spun()
                   and serving.stats()["samples"] > before + 500, 20, "samples are taken", 0.05)
        with serving.rpc() as rpc:
            for user in range(FIRST + 2, FIRST + MEMBERS):
                rpc.call("check", user=user, scope="server:1", permission="message.delete")
        self.assertGreater(serving.stats()["entries_evicted"], ENTRIES)
        fresh = self.worker(serving)
        self.assertEqual("allow", fresh.peek(HIT, "server:1", "message.delete")[0])
        self.assertEqual("unknown", fresh.peek(QUIET, "server:1", "message.delete")[0])


if __name__ == "__main__":
    main()
