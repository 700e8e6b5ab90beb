"""A reader of the fleet: tests/e2e/reader.c, which asks the same questions for as long as it runs and writes down the
answers."""

import signal
import subprocess

from .paths import program
from .process import kill, spawn


class Reader:
    def __init__(self, socket, path, questions, seed=1):
        """Asks [(user, scope, permission)]; answers go to the file at `path`."""
        self.path = path
        self.process = spawn([program("reader"), str(socket), str(path), str(seed)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, bufsize=1)
        self._expect("ready")
        for question in questions:
            self._send("question", *question)

    def _send(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def _expect(self, word):
        line = self.process.stdout.readline().strip()
        assert line == word, f"the reader said {line!r} where {word!r} was expected"

    def start(self, sweep_us=10000, ask_us=20000):
        """Without asking (0) it stays with its table, come what may: peeking looks for no other."""
        self._send("start", sweep_us, ask_us)
        self._expect("started")

    def token(self, store_id, revision):
        """Sets what check_at asks for from now on."""
        self._send("token", store_id, revision)

    def stop(self):
        """Everything is in the file when this returns."""
        self._send("stop")
        self._expect("stopped")

    def final(self):
        """A letter a question: A, D or U."""
        self._send("final")
        return self.process.stdout.readline().strip()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        try:
            self.process.stdin.close()
            self.process.wait(60)
        except (subprocess.TimeoutExpired, OSError):
            kill(self.process)
        self.process.stdout.close()
