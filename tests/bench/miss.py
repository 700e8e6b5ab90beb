#!/usr/bin/env python3
"""Times a single miss of a user at a known place, over MariaDB, beside a prepared SELECT by primary key on one
connection to the same server, in turns; and counts the statements of a miss. Starts MariaDB and permtabd on private
sockets in a folder that is thrown away.

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

from harness.servers import Mariadb  # noqa: E402
from harness.sidecar import Sidecar  # noqa: E402

GOAL = 3.0
FIRST = 1000000  # of bench_miss
CHUNK = 5000
COUNTED = 500
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


def statements(sidecar, mariadb, users):
    """Of a miss: what the server has been asked, without what it was asked in an idle time as long."""
    def asked():
        line = mariadb.client(None, "SHOW GLOBAL STATUS LIKE 'Questions';").stdout
        return int(line.split()[1])

    def during(work):
        before, begun = asked(), time.monotonic()
        work()
        return asked() - before, time.monotonic() - begun
    with sidecar.rpc() as rpc:
        def misses():
            for user in users:
                rpc.call("check", user=user, scope="server:1", permission="message.send")
        counted, took = during(misses)
    idle, _ = during(lambda: time.sleep(took))
    return (counted - idle) / len(users)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("PERMTAB_BUILD", str(ROOT / "build" / "bench")))
    parser.add_argument("--users", type=int, default=200000, help="each is missed once at most")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    arguments = parser.parse_args()
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
            per_miss = statements(sidecar, mariadb, range(last - COUNTED, last))
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
    print(f"  goal {GOAL:g}x: {'reached' if ratio <= GOAL else 'missed'}; {per_miss:.2f} statements a miss")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(lines + [{"statements": per_miss}], indent=1) + "\n")
    sys.exit(0 if ratio <= GOAL else 1)


if __name__ == "__main__":
    main()
