#!/usr/bin/env python3
"""Messages when the channel itself fails: Redis restarts, drops who does not read, or is flooded. What was said
meanwhile is found in the store, and afterwards changes are felt at once again."""

import socket
import statistics
import threading
import time

from harness import MariadbCase, full_only, main
from harness.messages import QUESTION, WHEN_TOLD, FleetShared
from harness.policies import MODERATOR
from harness.process import wait_until
from harness.shared import CHANNEL


class Trouble(FleetShared, MariadbCase):
    """The channel itself fails."""

    quick = []

    def felt_at_once(self, user):
        """A change is heard from the other host, not found by a poll: there is none while this lasts."""
        first, second = self.all
        worker = self.worker(second)
        late = []
        for other in range(user, user + 4):
            self.assertEqual("allow", worker.check(other, *QUESTION))
            worker.watch(other, *QUESTION, "deny", 20000)
            with first.rpc() as rpc:
                rpc.call("unassign", user=other, role=MODERATOR, scope="server:1")
                done = time.monotonic_ns()
            seen = worker.watched()
            self.assertIsNotNone(seen)
            late.append((seen - done) / 1e6)
        worker.close()
        self.say(f"felt {statistics.median(late):.1f} ms after the write's reply, at most {max(late):.1f}")

    def subscribers(self):
        return int(self.redis.command("PUBSUB", "NUMSUB", CHANNEL)[1])

    def test_killed_subscribers(self):
        self.hosts(2, **WHEN_TOLD)
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
        self.hosts(2, **WHEN_TOLD)
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
        first, second = self.hosts(2, **WHEN_TOLD)
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

    def test_pokes_for_nothing(self):
        """A client that may publish cannot have all hosts ask the store a thousand times a second each."""
        first, _ = self.hosts(2)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.redis.socket))
        begun = time.monotonic()
        with self.counted(first) as grown:
            while time.monotonic() - begun < 2:
                connection.sendall(f"PUBLISH {CHANNEL} poke\r\n".encode())
                time.sleep(0.0005)
            took = time.monotonic() - begun
        connection.close()
        self.say(f"{grown['messages']} messages in {took:.1f} s, {grown['message_wakes']} wakes, "
                 f"{grown['polls']} polls")
        self.assertGreater(grown["messages"], 500)
        self.assertLess(grown["polls"], 64 + 120 * took, grown)
        self.felt_at_once(1010)

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
