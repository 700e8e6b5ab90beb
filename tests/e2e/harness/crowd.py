"""Many processes that ask without end (tests/e2e/crowd.c), and the store that they ask about."""

import sqlite3
import subprocess

from .paths import program
from .process import spawn

SENDER, SILENT = 1, 2


def policy():
    """User N is to hold SENDER when N is even, and SILENT when N is odd, at server:1."""
    return {
        "permissions": [{"name": "message.send"}],
        "scopes": [{"scope": "server:1", "parent": "global",
                    "overwrites": [{"role": SILENT, "deny": ["message.send"]}]}],
        "roles": [{"id": SENDER, "name": "sender", "scope": "server:1", "allow": ["message.send"]},
                  {"id": SILENT, "name": "silent", "scope": "server:1"}],
    }


def assign_all(path, count):
    """Assigns users 1 to `count` by plain SQL; the sidecar applies the policy first, and is not running now."""
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("PRAGMA synchronous = off")
    store.execute("BEGIN IMMEDIATE")
    store.executemany("INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES (?, ?, 1, 1)",
                      ((user, SENDER if user % 2 == 0 else SILENT) for user in range(1, count + 1)))
    store.execute("COMMIT")
    store.close()


class Crowd:
    """`processes` of them, each with a question every `period_us`, about users 1 to `hot`."""

    def __init__(self, socket, processes, period_us, hot):
        self.process = spawn([program("crowd"), str(socket), str(processes), str(period_us), str(hot)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        first = self.process.stdout.readline()
        assert first == "running\n", f"the crowd said {first!r}"

    def _ask(self, line):
        self.process.stdin.write(line + "\n")
        answer = self.process.stdout.readline()
        assert answer and not answer.startswith("error"), f"the crowd said {answer!r}"
        return answer

    def fill(self, first, count):
        """How many of these users were answered."""
        return int(self._ask(f"fill {first} {count}"))

    def report(self):
        """The figures since the last report, by name."""
        return {name: int(number) for name, number in (word.split("=") for word in self._ask("report").split())}

    def close(self):
        self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
