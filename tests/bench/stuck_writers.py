#!/usr/bin/env python3
"""Times a miss with four writers that wait for the store's lock beside a miss without them, in turns, over SQLite and
MariaDB. Starts what it needs on private sockets in a folder that is thrown away.

    tests/bench/stuck_writers.sh [--rounds 20] [--checks 200] [--json FILE]"""

import argparse
import json
import os
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from harness.process import kill, spawn, wait_until  # noqa: E402
from harness.servers import Mariadb, find  # noqa: E402
from harness.sidecar import Sidecar  # noqa: E402

WRITERS = 4
GOAL = 1.2
POLICY = {
    "permissions": [{"name": "message.send"}, {"name": "message.delete"}],
    "scopes": [{"scope": "server:1", "parent": "global"}],
    "roles": [{"id": 1, "name": "everyone", "scope": "server:1", "default": True, "allow": ["message.send"]},
              {"id": 2, "name": "moderator", "scope": "server:1", "allow": ["message.delete"]}],
    "assignments": [{"user": 8, "role": 2, "scope": "server:1"}],
}
TAKE = "DELETE FROM permtab_assignment WHERE user_id = 8"


class SqliteLock:
    def __init__(self, path):
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=30)

    def take(self):
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute(TAKE)

    def give(self):
        self.connection.execute("ROLLBACK")


class MariadbLock:
    def __init__(self, server, database):
        self.client = spawn([find("mariadb", "mysql"), "--no-defaults", f"--socket={server.socket}", "--user=root",
                             "--batch",
                             "--unbuffered", "--skip-column-names", database], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)

    def _say(self, text):
        self.client.stdin.write(text + "; SELECT 'done';\n")
        self.client.stdin.flush()
        assert self.client.stdout.readline().strip() == "done"

    def take(self):
        self._say(f"BEGIN; {TAKE}")

    def give(self):
        self._say("ROLLBACK")


class Contest:
    def __init__(self, name, arguments, sidecar, lock):
        self.name, self.arguments, self.sidecar, self.lock = name, arguments, sidecar, lock
        program = pathlib.Path(arguments.build) / "tests" / "bench" / "bench_questions"
        self.asker = spawn([program, str(sidecar.socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.next_user = 1000000

    def misses(self):
        self.asker.stdin.write(f"{self.next_user} {self.arguments.checks}\n")
        self.asker.stdin.flush()
        self.next_user += self.arguments.checks
        return [int(word) / 1000 for word in self.asker.stdout.readline().split()]

    def with_writers(self):
        self.lock.take()
        writers = []
        for number in range(WRITERS):
            rpc = self.sidecar.rpc(timeout=120)
            rpc.send("assign", {"user": 100 + number, "role": 2, "scope": "server:1", "timeout_ms": 600000})
            writers.append(rpc)
        wait_until(lambda: self.sidecar.stats()["writes_waiting"] == WRITERS, 10, "the writers wait")
        took = self.misses()
        for rpc in writers:
            rpc.close()
        wait_until(lambda: self.sidecar.stats()["writes_waiting"] == 0, 10, "they are given up")
        self.lock.give()
        return took

    def run(self):
        self.misses()  # connections, caches
        rounds = [(statistics.median(self.misses()), statistics.median(self.with_writers()))
                  for _ in range(self.arguments.rounds)]
        without, beside = (statistics.median(column) for column in zip(*rounds))
        ratio = statistics.median(b / a for a, b in rounds)
        kill(self.asker)
        return {"store": self.name, "without_us": round(without, 1), "with_us": round(beside, 1),
                "ratio": round(ratio, 3),
                "goal": GOAL, "rounds": self.arguments.rounds, "checks": self.arguments.checks}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("PERMTAB_BUILD", str(ROOT / "build" / "bench")))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--checks", type=int, default=200, help="misses in a round")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="permtab-bench-", dir="/tmp") as folder:
        folder = pathlib.Path(folder)
        server = Mariadb(folder / "mariadb").start()
        lines = []
        try:
            database = server.database()
            for name, url, lock in (
                    ("SQLite", f"sqlite:{folder}/permtab.db", lambda: SqliteLock(folder / "permtab.db")),
                    ("MariaDB", server.url(database), lambda: MariadbLock(server, database))):
                (folder / name).mkdir()
                sidecar = Sidecar(folder / name, url, table_entries=100000, strangers_max=0, audit_entries=0)
                sidecar.start()
                sidecar.apply(POLICY)
                lines.append(Contest(name, arguments, sidecar, lock()).run())
                sidecar.stop()
        finally:
            server.kill()
    print(f"{'store':8} {'miss':>10} {'with 4 stuck writers':>22} {'ratio':>7}")
    for line in lines:
        print(f"{line['store']:8} {line['without_us']:>7.1f} µs {line['with_us']:>19.1f} µs {line['ratio']:>7.2f}")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(lines, indent=2) + "\n")
    sys.exit(0 if all(line["ratio"] <= GOAL for line in lines) else 1)


if __name__ == "__main__":
    main()
