"""tests/e2e/proxy: what lies between a sidecar and its servers, and can be made to do what networks do."""

import socket

from .paths import program
from .process import end, spawn, wait_until


class Proxy:
    """One process with many links. The rules of a link are words of tests/e2e/proxy/rules.h, given by name:
    proxy.set("h1.redis", "marked", drop=0.5, duplicate=0.1). Marked are subscriptions to Redis and fills from
    MariaDB."""

    def __init__(self, folder):
        self.path = folder / "proxy.sock"
        self.process = spawn([program("proxy"), str(self.path)])
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(10)
        wait_until(self._connected, 10, "the proxy listens")
        self._file = self._socket.makefile("rw")

    def _connected(self):
        try:
            self._socket.connect(str(self.path))
            return True
        except OSError:
            return False

    def close(self):
        self._file.close()
        self._socket.close()
        end(self.process)

    def command(self, *words):
        self._file.write(" ".join(map(str, words)) + "\n")
        self._file.flush()
        status, _, rest = self._file.readline().strip().partition(" ")
        assert status == "ok", f"{words}: {rest}"
        return rest

    def add(self, name, port, kind):
        """Makes a link to 127.0.0.1:port; returns the port to connect to. kind: redis, mysql or raw."""
        return int(self.command("add", name, port, kind))

    def set(self, name, part="all", **rules):
        """mode="pass", "refuse" or "stall"; the others are numbers. Rules that are not named stay."""
        self.command("set", name, part, *(f"{rule}={value}" for rule, value in rules.items()))

    def reset(self, name):
        """Everything passes again."""
        self.command("set", name, "all", "reset")

    def cut(self, name, part="all"):
        """Resets the connections there are."""
        self.command("cut", name, part)

    def stats(self, name):
        return {key: int(value) for key, value in (word.split("=") for word in self.command("stats", name).split())}

    def seed(self, number):
        self.command("seed", number)
