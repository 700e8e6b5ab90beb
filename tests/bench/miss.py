#!/usr/bin/env python3
"""Times a single miss of a user at a known place, over MariaDB, beside a prepared SELECT by primary key on one
connection to the same server, in turns; and counts the statements of a miss and the processor time that it takes, which
a crowded machine does not change much. Starts MariaDB and permtabd on private sockets in a folder that is thrown away.

    tests/bench/miss.sh [--users 200000] [--rounds 25] [--json FILE]"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from harness.process import kill, spawn  # noqa: E402
from harness.servers import Mariadb  # noqa: E402
from harness.sidecar import Sidecar  # noqa: E402

GOAL = 3.0
FIRST = 1000000  # of bench_miss
CHUNK = 5000
COUNTED = 3000
TRIED = 4000  # of measure.c: their answers are compared with the truth
A_ROUND = 2048  # at most, unless a miss takes less than 17 us
POLICY = {
    "permissions": [{"name": "message.send"}],
    "scopes": [{"scope": "server:1", "parent": "global"}],
    "roles": [{"id": 2, "name": "member", "scope": "server:1", "allow": ["message.send"]}],
    "assignments": [{"user": 1, "role": 2, "scope": "server:1"}],
}


def values(first, last):
    return ", ".join(f"({user}, 2, 1, 1)" for user in range(first, last))


def serve(folder, mariadb, url, database, users):
    sidecar = Sidecar(folder, url, table_entries=2 * users, audit_entries=0, change_retention_rows=1000)
    sidecar.start()
    sidecar.apply(POLICY)
    sidecar.stop()
    last = FIRST + users
    mariadb.client(database, "".join(
        "INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES "
        f"{values(first, min(first + CHUNK, last))};" for first in range(FIRST, last, CHUNK)), timeout=600)
    return sidecar.start(60)


def processor_us(pid):
    """What all threads of a process have had, and how long they have waited for a processor."""
    had = waited = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        words = (task / "schedstat").read_text().split()
        had, waited = had + int(words[0]) / 1000, waited + int(words[1]) / 1000
    return had, waited


class Account:
    """Of many misses: what the server is asked, and what both processes take, without the same of an idle time as
    long."""

    def __init__(self, build, sidecar, mariadb):
        self.sidecar, self.mariadb = sidecar, mariadb
        self.asker = spawn([pathlib.Path(build) / "tests" / "bench" / "bench_questions", sidecar.socket],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def look(self):
        questions = self.mariadb.client(None, "SHOW GLOBAL STATUS LIKE 'Questions';").stdout.split()[1]
        return [int(questions), *processor_us(self.sidecar.worker_pid), *processor_us(self.mariadb.process.pid)]

    def during(self, work):
        before, begun = self.look(), time.monotonic()
        work()
        took = time.monotonic() - begun
        return [after - first for first, after in zip(before, self.look())], took

    def ask(self, users):
        self.asker.stdin.write(f"{users.start} {len(users)}\n")
        self.asker.stdin.flush()
        assert len(self.asker.stdout.readline().split()) == len(users), "bench_questions ended"

    def of_a_miss(self, users):
        self.ask(users[:100])  # connections
        users = users[100:]
        busy, took = self.during(lambda: self.ask(users))
        idle, _ = self.during(lambda: time.sleep(took))
        kill(self.asker)
        names = ("statements", "worker_us", "worker_waited_us", "store_us", "store_waited_us")
        return {name: (one - other) / len(users) for name, one, other in zip(names, busy, idle)}


def fewest(rounds):
    """Whoever is beyond the last one is a stranger, answered without a statement: the figures would be too good."""
    return TRIED + (2 + rounds) * A_ROUND + COUNTED  # two rounds' worth find out how many make a round


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("PERMTAB_BUILD", str(ROOT / "build" / "bench")))
    parser.add_argument("--users", type=int, default=200000, help="each is missed once at most")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    arguments = parser.parse_args()
    if arguments.users < fewest(arguments.rounds):
        parser.error(f"--users {arguments.users}: {arguments.rounds} rounds need at least {fewest(arguments.rounds)}, "
                     "because no user is missed twice")
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="permtab-bench-", dir="/tmp") as folder:
        folder = pathlib.Path(folder)
        mariadb = Mariadb(folder / "mariadb").start()
        sidecar = None
        try:
            database = mariadb.database()
            url = mariadb.url(database)
            sidecar = serve(folder, mariadb, url, database, arguments.users)
            last = FIRST + arguments.users
            program = pathlib.Path(arguments.build) / "tests" / "bench" / "bench_miss"
            done = subprocess.run([program, sidecar.socket, "--store", url, "--rounds", str(arguments.rounds)],
                                  stdout=subprocess.PIPE, text=True, check=True)
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            account = Account(arguments.build, sidecar, mariadb).of_a_miss(range(last - COUNTED, last))
        finally:
            if sidecar:
                sidecar.stop()
            mariadb.kill()
    print(f"{os.cpu_count()} cores, load {before:.1f} before, {os.getloadavg()[0]:.1f} after; "
          f"medians of {arguments.rounds} rounds")
    for line in lines:
        print(f"  {line['name']:24}{line['ns'] / 1000:>9.1f} us {line['ratio']:>7.2f}x   {line['ratio_low']:.2f} to "
              f"{line['ratio_high']:.2f}")
    ratio = lines[1]["ratio"]
    print(f"  goal {GOAL:g}x: {'reached' if ratio <= GOAL else 'missed'}")
    print(f"  a miss: {account['statements']:.2f} statements; processor time {account['store_us']:.0f} us in MariaDB "
          f"and {account['worker_us']:.0f} us in permtabd, which waited for a processor for "
          f"{account['store_waited_us']:.0f} us and {account['worker_waited_us']:.0f} us")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(lines + [account], indent=1) + "\n")
    sys.exit(0 if ratio <= GOAL else 1)


if __name__ == "__main__":
    main()
