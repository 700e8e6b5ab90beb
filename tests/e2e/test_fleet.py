#!/usr/bin/env python3
"""Messages: what is committed anywhere is felt everywhere at once, long before a poll would find it; and whatever is
said on the channel, lost, invented or shouted, costs time and nothing else. Polls are a second apart here, or a
minute where a change is to be felt, so that they explain nothing."""

import statistics
import time

from harness import MariadbCase, main
from harness.messages import QUESTION, WHEN_TOLD, FleetShared, Listener
from harness.policies import MODERATOR
from harness.process import wait_until
from harness.shared import CHANNEL


class Messages(FleetShared, MariadbCase):
    quick = ["test_api_write_elsewhere", "test_invented_change"]

    def watch_all(self, workers, user, decision):
        for worker in workers:
            worker.watch(user, *QUESTION, decision, 30000)

    def felt(self, workers):
        """Returns when each saw it. Those that are not told do not see it while they watch."""
        seen = [worker.watched() for worker in workers]
        self.assertNotIn(None, seen)
        return seen

    # ---- what is committed ------------------------------------------------------------------------------------------

    def test_api_write_elsewhere(self):
        """A write through the socket of one host is felt on the others within milliseconds."""
        hosts = self.hosts(3, **WHEN_TOLD)
        workers = [self.worker(host) for host in hosts[1:]]
        late = []
        for user in range(1000, 1008):
            for worker in workers:
                self.assertEqual("allow", worker.check(user, *QUESTION))
            self.watch_all(workers, user, "deny")
            with hosts[0].rpc() as rpc:
                rpc.call("unassign", user=user, role=MODERATOR, scope="server:1")
                done = time.monotonic_ns()
            late += [(seen - done) / 1e6 for seen in self.felt(workers)]
        self.say(f"felt {statistics.median(late):.1f} ms after the write's reply, at most {max(late):.1f}")

    def test_raw_sql(self):
        """The host that polls first tells the others."""
        told = self.hosts(2, **WHEN_TOLD)
        first = self.host(2, poll_interval="100ms")
        self.follow([first])
        self.wait_marker([first])
        workers = [self.worker(host) for host in [*told, first]]
        spread = []
        for user in range(1000, 1006):
            for worker in workers:
                self.assertEqual("allow", worker.check(user, *QUESTION))
            self.watch_all(workers, user, "deny")
            self.demote(user)
            seen = self.felt(workers)
            spread.append((max(seen) - min(seen)) / 1e6)
        self.say(f"the last host {statistics.median(spread):.1f} ms after the first, at most {max(spread):.1f}")

    def test_once_for_the_fleet(self):
        """Every revision is told by one host, and none is left out."""
        self.hosts(5, poll_interval="50ms")
        listener = Listener(self.redis)
        self.addCleanup(listener.socket.close)
        first = self.revision_now()
        for user in range(1000, 1020):
            self.demote(user)
            time.sleep(0.03)
        self.follow()
        wait_until(lambda: self.revision_now() == self.revision(), 5, "the marker follows")
        at = first
        for begin, end in listener.changes():
            self.assertEqual((at, True), (begin, end > begin))
            at = end
        self.assertEqual(self.revision(), at)
        self.assertEqual(20, at - first)

    # ---- what anybody may say ---------------------------------------------------------------------------------------

    def test_plain_messages(self):
        host, = self.hosts(1)
        for message, retired in (("user:1000", 1), ("scope:server:1", 1), ("pattern:user:10*", 1),
                                 ("prefix:user:100", 1), ("role:7", 0), ("poke", 0), ("user:1000 user:1001", 2)):
            for user in (1000, 1001):
                self.assertEqual(1, self.check(host, user))
            with self.counted(host) as grown:
                self.say_on_channel(message)
                time.sleep(0.3)
            self.assertGreaterEqual(grown["invalidation_entries"], retired, f"{message}: {grown}")
            if not retired:
                self.assertEqual(0, grown["invalidation_entries"], f"{message}: {grown}")
            self.assertGreaterEqual(grown["messages"], 1)
            self.assertEqual(0, grown["messages_bad"])
            self.assertEqual(1, self.check(host, 1000))

    def test_poke(self):
        host, = self.hosts(1, poll_interval="20s", max_staleness="60s")
        self.check(host, 1000)
        self.demote(1000)
        self.cli("PUBLISH", CHANNEL, "poke")
        self.wait_check(host, 0, 1000)

    def test_role_message(self):
        """The sets of the role are computed anew, from what the store says."""
        host, = self.hosts(1)
        self.check(host, 1000)
        with self.counted(host) as grown:
            self.cli("PUBLISH", CHANNEL, f"role:{MODERATOR}")
            time.sleep(0.3)
            self.assertEqual(1, self.check(host, 1000))
        self.assertEqual(1, grown["messages"], grown)
        self.assertGreaterEqual(grown["fills"], 1, grown)

    def test_all(self):
        """A new segment, and a new epoch of L2."""
        host, = self.hosts(1)
        self.check(host, 1000)
        epoch = self.marker()["epoch"]
        with self.counted(host) as grown:
            self.cli("PUBLISH", CHANNEL, "all")
            wait_until(lambda: self.marker().get("epoch") not in (None, epoch), 5, "a new epoch")
            self.wait_check(host, 1, 1000)
            time.sleep(0.2)
        self.assertEqual(1, grown["segments"], grown)

    def test_garbage(self):
        """Counted, and a poll; nothing is retired."""
        host, = self.hosts(1)
        self.check(host, 1000)
        garbage = [b"", b" ", b"\x00" * 50, b"\xff\xfe", b"user:", b"user:1000 and more", b"x" * 70000, b"permtab1",
                   b"permtab1 changed", b"permtab1 changed 1 2 3 user:1000",
                   b"permtab2 changed 0000000000000001 1 2 user:1000",
                   b"user:99999999999999999999999", b"scope:nowhere:1", b"pattern:" + b"*" * 200, b"user:1000 \x00"]
        with self.counted(host) as grown:
            self.say_on_channel(*garbage)
            time.sleep(0.3)
        self.assertEqual(len(garbage), grown["messages"], grown)
        self.assertEqual(len(garbage), grown["messages_bad"], grown)
        self.assertGreaterEqual(grown["polls"], 1)
        self.assertEqual(0, grown["entries_retired"], grown)

    def test_foreign_store(self):
        host, = self.hosts(1)
        self.check(host, 1000)
        revision = self.revision_now()
        with self.counted(host) as grown:
            self.say_on_channel(f"permtab1 changed 00000000deadbeef {revision} {revision + 1} user:1000")
            time.sleep(0.2)
        self.assertEqual((1, 0, 0), (grown["messages_foreign"], grown["entries_retired"], grown["message_wakes"]),
                         grown)

    def test_gap(self):
        host, = self.hosts(1)
        self.demote(1000)
        self.follow()
        self.wait_marker()
        revision = self.revision_now()
        with self.counted(host) as grown:
            self.say_on_channel(f"permtab1 changed {self.store()} {revision + 5} {revision + 6} user:7")
            wait_until(lambda: host.stats()["message_gaps"] > 0, 2, "the gap is seen")
            time.sleep(0.01)  # polls that are asked for are a millisecond apart
        self.assertEqual(1, grown["message_gaps"], grown)
        self.assertGreaterEqual(grown["message_wakes"], 1)

    def test_invented_change(self):
        """It takes the user out, and keeps nobody from coming back for longer than the one poll takes that it asks
        for."""
        host, = self.hosts(1, **WHEN_TOLD, request_timeout="20s")
        late = []
        for user in range(1000, 1006):
            self.assertEqual(1, self.check(host, user))
            with self.counted(host) as grown:
                self.say_on_channel(f"permtab1 changed {self.store()} {self.revision_now()} {10 ** 18} user:{user}")
                wait_until(lambda: host.stats()["entries_retired"] >= user - 999, 2, "it is retired", 0.001)
                begun = time.monotonic()
                self.assertEqual(1, self.check(host, user))
                late.append((time.monotonic() - begun) * 1000)
            self.assertEqual(1, grown["entries_retired"], grown)
            # One for the message, one more for whoever asks while that is under way.
            self.assertGreaterEqual(grown["message_wakes"], 1, grown)
            self.assertLessEqual(grown["polls"], grown["message_wakes"] + 2, grown)
        self.say(f"answered after {statistics.median(late):.1f} ms, at most {max(late):.1f}")
        self.demote(1000)
        self.cli("PUBLISH", CHANNEL, "poke")
        self.wait_check(host, 0, 1000)


if __name__ == "__main__":
    main()
