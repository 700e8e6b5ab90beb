#!/usr/bin/env python3
"""Times a start: from the death of a worker, by SIGKILL, to the first answer that the next one gives over the socket;
and from the launch of the daemon to its first answer. With stores and tables of several sizes, so that whatever grows
with them shows. Starts the servers itself, on private sockets in a folder that is thrown away.

    tests/bench/start.sh [--stores sqlite,mariadb] [--users 1,100000] [--entries 1000,1000000] [--rounds 20]
                         [--json FILE]"""

import argparse
import json
import os
import pathlib
import signal
import sqlite3
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from harness.rpc import Rpc, RpcError  # noqa: E402
from harness.servers import Mariadb  # noqa: E402
from harness.sidecar import Sidecar  # noqa: E402

FIRST, SLICE = 1000, 50000
POLICY = {
    "permissions": [{"name": "message.send"}],
    "scopes": [{"scope": "server:1", "parent": "global"}],
    "roles": [{"id": 1, "name": "member", "scope": "server:1", "allow": ["message.send"]}],
    "assignments": [{"user": FIRST, "role": 1, "scope": "server:1"}],
}


def first_answer(socket, seconds=60):
    """Asks until there is an answer, as a client does that has lost its sidecar."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with Rpc(socket, timeout=seconds) as rpc:
                if rpc.call("check", user=FIRST, scope="server:1", permission="message.send")["decision"] == 1:
                    return time.monotonic()
        except (OSError, EOFError, RpcError):
            pass
        time.sleep(0.0005)
    raise SystemExit("no answer")


class Store:
    """A store with so many users, each with one role: the table that grows without bounds."""

    def __init__(self, kind, users, folder, server):
        self.folder = folder
        folder.mkdir()
        self.server = server
        self.database = server.database() if kind == "mariadb" else None
        self.path = folder / "permtab.db"
        self.url = server.url(self.database) if kind == "mariadb" else f"sqlite:{self.path}"
        sidecar = self.sidecar(1000)
        sidecar.start()
        sidecar.apply(POLICY)
        sidecar.stop()
        for begin in range(1, users, SLICE):
            self.insert(begin, min(SLICE, users - begin))

    def insert(self, begin, count):
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})"
        into = "INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id)"
        rows = f"SELECT i + {FIRST + begin}, 1, 1, 1 FROM n"
        if self.database:
            self.server.client(self.database, f"SET max_recursive_iterations = {SLICE}; {into} {numbers} {rows};")
        else:
            with sqlite3.connect(self.path) as connection:
                connection.execute(f"{numbers} {into} {rows}")

    def sidecar(self, entries):
        return Sidecar(self.folder, self.url, table_entries=entries, table_memory_max="4GB")


def milliseconds(values):
    values = sorted(1000 * value for value in values)
    return {"median": round(statistics.median(values), 1), "p99": round(values[int(0.99 * (len(values) - 1))], 1),
            "most": round(values[-1], 1)}


def launches(sidecar, rounds):
    times = []
    for _ in range(rounds):
        begun = time.monotonic()
        sidecar.launch()
        times.append(first_answer(sidecar.socket) - begun)
        sidecar.stop()
    return times


def deaths(sidecar, rounds):
    times = []
    sidecar.start()
    for _ in range(rounds):
        time.sleep(1.1)  # a worker that dies young is followed after a pause
        pid = sidecar.worker_pid
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        times.append(first_answer(sidecar.socket) - begun)
    sidecar.stop()
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", default="sqlite,mariadb")
    parser.add_argument("--users", default="1,100000,1000000")
    parser.add_argument("--entries", default="1000,1000000,10000000")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    results = []
    print("store     users      table_entries  launch: median  p99    death: median  p99    (ms, first answer)")
    with tempfile.TemporaryDirectory(prefix="permtab-start-") as folder:
        folder = pathlib.Path(folder)
        server = Mariadb(folder / "m").start() if "mariadb" in arguments.stores else None
        for kind in arguments.stores.split(","):
            for users in map(int, arguments.users.split(",")):
                store = Store(kind, users, folder / f"{kind}-{users}", server)
                for entries in map(int, arguments.entries.split(",")):
                    launch = milliseconds(launches(store.sidecar(entries), arguments.rounds))
                    death = milliseconds(deaths(store.sidecar(entries), arguments.rounds))
                    results.append({"store": kind, "users": users, "entries": entries, "launch": launch,
                                    "death": death})
                    print(f"{kind:8}  {users:<9}  {entries:<13}  {launch['median']:>14}  {launch['p99']:<5}"
                          f"  {death['median']:>13}  {death['p99']:<5}", flush=True)
        if server:
            server.kill()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
