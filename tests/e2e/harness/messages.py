"""The parts that the tests of messages share: hosts that poll once a second or once a minute, so that polls explain
nothing, and the channel."""

import socket
import time

from .process import wait_until
from .shared import CHANNEL, MODERATES, Shared

QUESTION = ("channel:10", MODERATES)
# Polls that a message asks for, and no others: what such a host knows before the minute is over it was told.
WHEN_TOLD = {"poll_interval": "60s", "max_staleness": "10m"}


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


class FleetShared(Shared):
    def hosts(self, count, **options):
        return super().hosts(count, **{"poll_interval": "1s", **options})

    def wait_marker(self, hosts=None, seconds=10):
        """A host that hears nothing of Redis in time asks with the next poll, which shall not be a minute away."""
        def follow():
            self.redis.command("PUBLISH", CHANNEL, "poke")
            return all(self._follows(host.stats()) for host in hosts or self.all)
        wait_until(follow, seconds, lambda: f"the marker is known: {[host.stats() for host in hosts or self.all]}",
                   0.05)

    def say_on_channel(self, *messages):
        for message in messages:
            self.redis.command("PUBLISH", CHANNEL, message)

    def store(self):
        return self.marker()["store"]

    def revision_now(self):
        return int(self.marker()["revision"])
