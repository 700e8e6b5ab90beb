#!/usr/bin/env python3
"""The fast lane: what is committed anywhere is felt everywhere at once, long before a poll would find it; and whatever is said
on the channel, lost, invented or shouted, costs time and nothing else. Polls are a second apart here, so that they explain
nothing."""

import socket
import statistics
import threading
import time

from harness import MariadbCase, full_only, main
from harness.policies import MODERATOR
from harness.process import wait_until
from harness.shared import CHANNEL, MODERATES, Shared

QUESTION = ("channel:10", MODERATES)


class Listener:
    """A raw subscriber."""

    def __init__(self, redis):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(redis.socket))
        self.socket.settimeout(0.2)
        self.socket.sendall(f"SUBSCRIBE {CHANNEL}\r\n".encode())
        self.bytes = self.socket.recv(4096)

    def changes(self, seconds=0.3):
        """[(from, to)] of what was heard so far."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.bytes += self.socket.recv(1 << 20)
            except TimeoutError:
                pass
        words = [line.split() for line in self.bytes.decode(errors="replace").split("\r\n")]
        return [(int(line[3]), int(line[4])) for line in words if line[:2] == ["permtab1", "changed"]]


class _Lane(Shared, MariadbCase):
    def hosts(self, count, **options):
        return super().hosts(count, **{"poll_interval": "1s", **options})

    def say_on_channel(self, *messages):
        for message in messages:
            self.redis.command("PUBLISH", CHANNEL, message)

    def store(self):
        return self.marker()["store"]

    def revision_now(self):
        return int(self.marker()["revision"])


class Lane(_Lane):
    quick = ["test_api_write_elsewhere", "test_invented_change"]

    def watch_all(self, workers, user, decision):
        for worker in workers:
            worker.watch(user, *QUESTION, decision, 5000)

    # ---- what is committed ------------------------------------------------------------------------------------------

    def test_api_write_elsewhere(self):
        """A write through the socket of one host is felt on the others within milliseconds."""
        hosts = self.hosts(3)
        workers = [self.worker(host) for host in hosts[1:]]
        late = []
        for user in range(1000, 1008):
            for worker in workers:
                self.assertEqual("allow", worker.check(user, *QUESTION))
            self.watch_all(workers, user, "deny")
            with hosts[0].rpc() as rpc:
                rpc.call("unassign", user=user, role=MODERATOR, scope="server:1")
                done = time.monotonic_ns()
            late += [(worker.watched() - done) / 1e6 for worker in workers]
        self.say(f"felt {statistics.median(late):.1f} ms after the write's reply, at most {max(late):.1f}")
        self.assertLess(statistics.median(late), 150, late)  # by polls alone it would be half a second

    def test_raw_sql(self):
        """Whoever polls first tells the others."""
        hosts = self.hosts(3)
        workers = [self.worker(host) for host in hosts]
        spread = []
        for user in range(1000, 1006):
            for worker in workers:
                self.assertEqual("allow", worker.check(user, *QUESTION))
            self.watch_all(workers, user, "deny")
            self.demote(user)
            seen = [worker.watched() for worker in workers]
            spread.append((max(seen) - min(seen)) / 1e6)
        self.say(f"the last host {statistics.median(spread):.1f} ms after the first, at most {max(spread):.1f}")
        self.assertLess(statistics.median(spread), 200, spread)  # by polls alone it would be half a second

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
        for message, retired in (("user:1000", 1), ("scope:server:1", 1), ("pattern:user:10*", 1), ("prefix:user:100", 1),
                                 ("role:7", 0), ("poke", 0), ("user:1000 user:1001", 2)):
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
                   b"permtab1 changed", b"permtab1 changed 1 2 3 user:1000", b"permtab2 changed 0000000000000001 1 2 user:1000",
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
        self.assertEqual((1, 0, 0), (grown["messages_foreign"], grown["entries_retired"], grown["message_wakes"]), grown)

    def test_gap(self):
        host, = self.hosts(1)
        self.demote(1000)
        self.follow()
        self.wait_marker()
        revision = self.revision_now()
        with self.counted(host) as grown:
            self.say_on_channel(f"permtab1 changed {self.store()} {revision + 5} {revision + 6} user:7")
            wait_until(lambda: host.stats()["message_gaps"] > 0, 2, "the gap is seen")
        self.assertEqual(1, grown["message_gaps"], grown)
        self.assertGreaterEqual(grown["message_wakes"], 1)

    def test_invented_change(self):
        """It takes the user out, and keeps nobody from coming back for longer than a poll takes."""
        host, = self.hosts(1)
        late = []
        for user in range(1000, 1006):
            self.assertEqual(1, self.check(host, user))
            with self.counted(host) as grown:
                self.say_on_channel(f"permtab1 changed {self.store()} {self.revision_now()} {10 ** 18} user:{user}")
                wait_until(lambda: host.stats()["entries_retired"] > 0, 2, "it is retired", 0.001)
                begun = time.monotonic()
                self.assertEqual(1, self.check(host, user))
                late.append((time.monotonic() - begun) * 1000)
            self.assertEqual(1, grown["entries_retired"], grown)
        self.say(f"answered after {statistics.median(late):.1f} ms, at most {max(late):.1f}")
        self.assertLess(statistics.median(late), 200, late)
        self.demote(1000)
        self.wait_check(host, 0, 1000)


class Trouble(_Lane):
    """The channel itself fails."""

    quick = []

    def felt_at_once(self, user):
        """A change is heard from the other host, not found by a poll. The best of a few: a poll may be due just then."""
        first, second = self.all
        worker = self.worker(second)
        late = []
        for other in range(user, user + 4):
            self.assertEqual("allow", worker.check(other, *QUESTION))
            worker.watch(other, *QUESTION, "deny", 5000)
            with first.rpc() as rpc:
                rpc.call("unassign", user=other, role=MODERATOR, scope="server:1")
                done = time.monotonic_ns()
            late.append((worker.watched() - done) / 1e6)
        worker.close()
        self.assertLess(statistics.median(late), 150, late)

    def subscribers(self):
        return int(self.redis.command("PUBSUB", "NUMSUB", CHANNEL)[1])

    def test_killed_subscribers(self):
        self.hosts(2)
        with self.counted(self.all[0]) as grown:
            self.cli("CLIENT", "KILL", "TYPE", "pubsub")
            self.demote(1000)  # told to nobody
            wait_until(lambda: self.subscribers() == 2, 10, "subscribed again")
            time.sleep(0.1)
        self.assertGreaterEqual(grown["message_wakes"], 1, grown)
        for host in self.all:
            self.assertEqual(0, self.check(host, 1000))
        self.felt_at_once(1010)

    def test_redis_restarted(self):
        self.hosts(2)
        self.redis.kill()
        self.demote(1000)
        self.redis.start()
        wait_until(lambda: self.subscribers() == 2, 10, "subscribed again")
        self.wait_marker()
        for host in self.all:
            self.wait_check(host, 0, 1000, seconds=2)
        self.felt_at_once(1010)

    @full_only
    def test_dropped_for_not_reading(self):
        """A sidecar that is stopped while much is published is dropped by Redis; it notices, and asks the store."""
        first, second = self.hosts(2)
        self.redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 65536 0")
        self.assertEqual(1, self.check(second, 1000))
        second.pause()
        try:
            for _ in range(100):
                self.say_on_channel(b"user:7 " * 2000)
            wait_until(lambda: self.subscribers() == 1, 5, "Redis has dropped it")
            with first.rpc() as rpc:
                rpc.call("unassign", user=1000, role=MODERATOR, scope="server:1")
        finally:
            second.resume()
        self.wait_check(second, 0, 1000, seconds=2)
        wait_until(lambda: self.subscribers() == 2, 10, "subscribed again")
        self.felt_at_once(1010)

    @full_only
    def test_flood(self):
        """50,000 messages are not as many polls, and the lease goes on."""
        host, = self.hosts(1, poll_interval="100ms", max_staleness="3s")
        worker = self.worker(host)
        self.assertEqual("allow", worker.check(1150, *QUESTION))
        worker.trace(1150, *QUESTION, 6000)
        begun = time.monotonic()
        with self.counted(host) as grown:
            flood = "".join(f"PUBLISH {CHANNEL} {word}\r\n" for word in ("poke", "user:7", "nonsense!", "user:1001"))
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(str(self.redis.socket))
            reader = threading.Thread(target=self.drain, args=(connection, 50000))
            reader.start()
            connection.sendall(flood.encode() * 12500)
            reader.join()
            connection.close()
            wait_until(lambda: self.heard(host) >= 50000, 20, lambda: f"all are heard: {host.stats()}", 0.05)
            took = time.monotonic() - begun
        self.say(f"50,000 messages in {took:.1f} s, {grown['polls']} polls")
        self.assertLess(grown["polls"], 1000 * took + 50, grown)
        self.assertLess(grown["polls"], 10000, grown)
        spans = worker.traced()
        self.assertEqual({"allow"}, {decision for _, _, decision, _ in spans}, spans)
        self.demote(1150)
        self.wait_check(host, 0, 1150)

    @staticmethod
    def drain(connection, replies):
        seen = 0
        while seen < replies:
            seen += connection.recv(1 << 16).count(b"\n")

    @staticmethod
    def heard(host):
        return host.stats()["messages"]


if __name__ == "__main__":
    main()
