"""Clients that come, fork and go (tests/e2e/visitor.c)."""

import subprocess

from .paths import program
from .process import kill, spawn


class Visitor:
    """One visit every `period_us`, three times `checks` checks in it, and two connections. Whoever of the first `users`
    asks at `scope` is to be allowed the permission."""

    def __init__(self, socket, scope, permission, users=21, period_us=100000, checks=100):
        self.process = spawn([program("visitor"), str(socket), str(period_us), str(checks), str(users), scope,
                              permission], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self._expect("ready")

    def _expect(self, word):
        line = self.process.stdout.readline().strip()
        assert line == word, f"the visitor said {line!r} where {word!r} was expected"

    def _send(self, word):
        self.process.stdin.write(word + "\n")

    def start(self):
        self._send("start")
        self._expect("started")

    def stop(self):
        """What was done since the last stop, by name: visits, connections, checks, unknown, wrong, failed."""
        self._send("stop")
        return {name: int(number) for name, number in
                (word.split("=") for word in self.process.stdout.readline().split())}

    def keep_descriptors(self):
        """A fault on purpose."""
        self._send("keep")
        self._expect("kept")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            kill(self.process)
        self.process.stdout.close()
