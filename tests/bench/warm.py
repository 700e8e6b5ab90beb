#!/usr/bin/env python3
"""Times the warm-up of a million (user, place) pairs at warm_budget = 100%: in each case every user has one role at the
same place. Starts the servers itself, on private sockets in a folder that is thrown away.

    tests/bench/warm.sh [--what demand,death,fleet] [--stores sqlite,mariadb] [--users 1000000] [--rounds 3]
                        [--json FILE]

demand  a fresh sidecar is told to warm the place up, by turns with the store's own command line, which reads the same
        rows out: seconds of each until all is done, medians
death   every pair was asked for, and the worker is killed: how soon the next one's table has a share of them, beside
        what was left of the lease of the old one
fleet   another host with the same store and Redis was asked for every pair: how soon the table of a fresh one has a
        share of them

A share is of a sample, which is peeked at every 10 ms. Each line has the statements of the store in it that fills and
the warm-up took (`reads`)."""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from harness.crowd import policy  # noqa: E402
from harness.paths import BUILD, program  # noqa: E402
from harness.process import wait_until  # noqa: E402
from harness.servers import Mariadb, Redis  # noqa: E402
from harness.sidecar import Sidecar  # noqa: E402

SHARE, SAMPLE = 0.95, 4000
SLICE = 50000  # rows written at a time
PATIENCE = 600
ROWS = "SELECT user_id, role_id, scope_type, scope_id, expires_at FROM permtab_assignment"


class Store:
    """Users 1 to `users`, each with one of two roles at server:1."""

    def __init__(self, kind, users, folder, server):
        folder.mkdir()
        self.kind, self.users, self.folder, self.server = kind, users, folder, server
        self.database = server.database() if kind == "mariadb" else None
        self.path = folder / "permtab.db"
        self.url = server.url(self.database) if self.database else f"sqlite:{self.path}"
        sidecar = self.sidecar("first")
        sidecar.start()
        sidecar.apply(policy())
        sidecar.stop()
        for begin in range(1, users + 1, SLICE):
            self.insert(begin, min(begin + SLICE - 1, users))

    def insert(self, begin, end):
        into = "INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id)"
        numbers = f"WITH RECURSIVE n(i) AS (SELECT {begin} UNION ALL SELECT i + 1 FROM n WHERE i < {end})"
        rows = "SELECT i, 1 + i % 2, 1, 1 FROM n"
        if self.database:
            self.server.client(self.database, f"SET max_recursive_iterations = {SLICE}; {into} {numbers} {rows};")
        else:
            self.sqlite(f"PRAGMA synchronous = off; {numbers} {into} {rows};")

    def sqlite(self, text):
        subprocess.run(["sqlite3", self.path, text], check=True, stdout=subprocess.DEVNULL)

    def read_out(self):
        """Seconds in which the store's own command line reads the rows."""
        begun = time.monotonic()
        if self.database:
            self.server.client(self.database, ROWS)
        else:
            self.sqlite(ROWS)
        return time.monotonic() - begun

    def sidecar(self, name, **options):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Sidecar(folder, self.url, table_entries=self.users + self.users // 4, table_memory_max="4GB",
                       warm_budget="100%", **options)


class Watcher:
    """bench_warm.c, which is a client of the sidecar."""

    def __init__(self, sidecar, users):
        arguments = [BUILD / "tests" / "bench" / "bench_warm", sidecar.socket, users, SAMPLE, SHARE]
        self.process = subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        words = self.process.stdout.readline().split()
        if not words:
            raise SystemExit(f"bench_warm has no answer to \"{command}\"")
        return [float(word) for word in words]

    def watch(self, begun):
        """Seconds after `begun` until it had the table, half of the share, and all of it, and the share in the end."""
        *moments, share = self.ask("watch 60")
        attached, half, whole = (moment / 1e9 - begun if moment else None for moment in moments)
        return {"attached": attached, "half": half, "whole": whole, "share": share}


def wait_for_the_end(sidecar):
    """Of all jobs; what was counted until then."""
    wait_until(lambda: sidecar.stats()["warm_jobs"] == 0, PATIENCE, "the warm-up did not end")
    stats = sidecar.stats()
    return {"reads": stats["store_reads"], "filled": stats["warm_filled"]}


def demand(store, rounds):
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(store.read_out())
        sidecar = store.sidecar("demand")
        sidecar.start(120)
        wait_until(lambda: sidecar.stats()["table_capacity"] >= store.users, 120, "the table did not grow")
        begun = time.monotonic()
        subprocess.run([program("permtabctl"), "--socket", sidecar.socket, "warm", "scope:server:1"], check=True,
                       stdout=subprocess.DEVNULL)
        counts = wait_for_the_end(sidecar)
        ours.append(time.monotonic() - begun)
        sidecar.stop()
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    return [{"seconds": ours, "command line": theirs, "ratio": ours / theirs, **counts}]


def death(store, rounds):
    sidecar = store.sidecar("death")
    sidecar.start(120)
    results = []
    with Watcher(sidecar, store.users) as watcher:
        watcher.ask("fill")
        for _ in range(rounds):
            time.sleep(5)  # a worker that dies young is followed after a pause, and by a smaller table
            begun = time.monotonic()
            os.kill(sidecar.worker_pid, signal.SIGKILL)
            lease, = watcher.ask("lease")
            result = watcher.watch(begun)
            results.append({**result, "lease": lease / 1e9 - begun, **wait_for_the_end(sidecar)})
    sidecar.stop()
    return results


def fleet(store, rounds, redis):
    options = {"redis": f"unix:{redis.socket}", "redis_prefix": f"{store.kind}:"}
    first = store.sidecar("one", **options)
    first.start(120)
    with Watcher(first, store.users) as watcher:
        watcher.ask("fill")
    # A worker tells its keys half a minute after its start, if it is some host's turn: the next one knows all of them.
    redis.command("DEL", f"{store.kind}:hot:1", f"{store.kind}:hot:1:turn")
    os.kill(first.worker_pid, signal.SIGKILL)
    wait_until(lambda: first.stats()["hot_keys_written"] >= SHARE * store.users, PATIENCE, "no keys were written")
    results = []
    for number in range(rounds):
        second = store.sidecar(f"fresh-{number}", **options)
        begun = time.monotonic()
        second.start(120)
        with Watcher(second, store.users) as watcher:
            result = watcher.watch(begun)
        results.append({**result, **wait_for_the_end(second)})
        second.stop()
    first.stop()
    return results


def text(value):
    return f"{value:.2f}" if isinstance(value, float) else "never" if value is None else str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default="demand,death,fleet")
    parser.add_argument("--stores", default="sqlite,mariadb")
    parser.add_argument("--users", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    whats, kinds = arguments.what.split(","), arguments.stores.split(",")
    results = []
    with tempfile.TemporaryDirectory(prefix="permtab-warm-") as folder:
        folder = pathlib.Path(folder)
        server = Mariadb(folder / "m").start() if "mariadb" in kinds else None
        redis = Redis(folder / "r").start() if "fleet" in whats else None
        measures = {"demand": demand, "death": death, "fleet": lambda store, rounds: fleet(store, rounds, redis)}
        for kind in kinds:
            store = Store(kind, arguments.users, folder / kind, server)
            for what in whats:
                for result in measures[what](store, arguments.rounds):
                    results.append({"store": kind, "users": arguments.users, "what": what, **result})
                    print(f"{kind:8}  {what:6}  "
                          + "  ".join(f"{name} {text(value)}" for name, value in result.items()), flush=True)
        for one in (redis, server):
            if one:
                one.kill()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
