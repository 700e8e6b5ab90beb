#!/usr/bin/env python3
"""Times the warm-up of a million (user, place) pairs at warm_budget = 100%, beside the store's own command line, which
reads the same rows out. Starts the servers itself, on private sockets in a folder that is thrown away.

    tests/bench/warm.sh [--what demand,death,fleet] [--stores sqlite,mariadb] [--users 1000000] [--rounds 3]
                        [--json FILE]

demand  a job of `permtabctl warm scope:…` in a fresh sidecar, and the command line, in turns
death   all pairs are hot, and the worker is killed: how soon 95 % of them are answered from the next one's table, and
        what was left of the lease of the old one; the statements of the warm-up
fleet   a fresh host that has the store, and the keys and values of another one in Redis: how soon 95 % are answered,
        and what it has read of the store"""

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

SHARE, SAMPLE, SLICE = 0.95, 4000, 50000
ROWS = "SELECT user_id, role_id, scope_type, scope_id, expires_at FROM permtab_assignment"


class Store:
    """`users` users, each with one role at server:1."""

    def __init__(self, kind, users, folder, server):
        self.kind, self.users, self.folder, self.server = kind, users, folder, server
        folder.mkdir()
        self.database = server.database() if kind == "mariadb" else None
        self.path = folder / "permtab.db"
        self.url = server.url(self.database) if self.database else f"sqlite:{self.path}"
        sidecar = self.sidecar("first")
        sidecar.start()
        sidecar.apply(policy())
        sidecar.stop()
        for begin in range(1, users + 1, SLICE):
            self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) "
                     f"WITH RECURSIVE n(i) AS (SELECT {begin} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < "
                     f"{min(begin + SLICE, users + 1)}) SELECT i, 1 + i % 2, 1, 1 FROM n")

    def sql(self, text):
        if self.database:
            self.server.client(self.database, f"SET max_recursive_iterations = {SLICE}; {text};")
        else:
            subprocess.run(["sqlite3", self.path, f"PRAGMA synchronous = off; {text};"], check=True,
                           stdout=subprocess.DEVNULL)

    def read_out(self):
        """Seconds in which the store's own command line reads the rows."""
        begun = time.monotonic()
        if self.database:
            self.server.client(self.database, ROWS)
        else:
            subprocess.run(["sqlite3", "-readonly", self.path, ROWS], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun

    def sidecar(self, name, **options):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Sidecar(folder, self.url, warm_budget="100%", table_memory_max="4GB", **options)


class Watcher:
    def __init__(self, sidecar, users):
        self.process = subprocess.Popen([BUILD / "tests" / "bench" / "bench_warm", str(sidecar.socket), str(users), str(SAMPLE), str(SHARE)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        return [float(word) for word in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def ended(sidecar, seconds=600):
    """Waits for the end of the last job; its seconds."""
    wait_until(lambda: sidecar.stats()["warm_filled"] > 0 and sidecar.stats()["warm_jobs"] == 0, seconds,
               "the warm-up did not end")


def demand(store, rounds):
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(store.read_out())
        sidecar = store.sidecar("demand", table_entries=int(1.25 * store.users))
        sidecar.start(120)
        time.sleep(1)  # until users are counted, in part
        begun = time.monotonic()
        subprocess.run([program("permtabctl"), "--socket", sidecar.socket, "warm", "scope:server:1"], check=True,
                       stdout=subprocess.DEVNULL)
        while sidecar.stats()["warm_jobs"] > 0 or sidecar.stats()["warm_filled"] == 0:
            time.sleep(0.01)
        ours.append(time.monotonic() - begun)
        stats = sidecar.stats()
        sidecar.stop()
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    return {"seconds": round(ours, 2), "command line": round(theirs, 2), "ratio": round(ours / theirs, 2),
            "filled": stats["warm_filled"], "reads": stats["store_reads"]}


def death(store, rounds):
    sidecar = store.sidecar("death", table_entries=int(1.25 * store.users))
    sidecar.start(120)
    watcher = Watcher(sidecar, store.users)
    answered, = watcher.ask("fill")
    results = []
    for _ in range(rounds):
        time.sleep(5)
        lease, = watcher.ask("lease")
        begun = time.monotonic()
        os.kill(sidecar.worker_pid, signal.SIGKILL)
        lease, = watcher.ask("lease")
        attached, half, whole, share = watcher.ask("watch 30")
        ended(sidecar)
        stats = sidecar.stats()
        results.append({"attached": attached / 1e9 - begun, "half": half / 1e9 - begun,
                        "95 %": whole / 1e9 - begun if whole else None, "lease left": lease / 1e9 - begun, "share": share,
                        "reads": stats["store_reads"], "filled": stats["warm_filled"], "known": stats["keys_known"],
                        "log": [line for line in sidecar.log().splitlines() if "warm-up" in line or "table" in line or "started" in line or "users" in line][-12:]})
        print("   ", {name: round(value, 2) if isinstance(value, float) else value
                      for name, value in results[-1].items()}, flush=True)
    watcher.close()
    sidecar.stop()
    return {"answered": answered, "rounds": results}


def fleet(store, redis):
    options = {"redis": f"unix:{redis.socket}", "redis_prefix": f"{store.kind}:"}
    first = store.sidecar("one", table_entries=int(1.25 * store.users), **options)
    first.start(120)
    watcher = Watcher(first, store.users)
    answered, = watcher.ask("fill")
    # The next worker tells the keys half a minute after its start, if it is some host's turn.
    redis.command("DEL", f"{store.kind}:hot:1", f"{store.kind}:hot:1:turn")
    os.kill(first.worker_pid, signal.SIGKILL)
    time.sleep(45)
    watcher.close()
    second = store.sidecar("two", table_entries=int(1.25 * store.users), **options)
    begun = time.monotonic()
    second.start(120)
    import os as o
    if o.environ.get("PERF"):
        subprocess.Popen(["perf","record","-g","-F","997","-o","/tmp/l2.data","-p",str(second.worker_pid),"--","sleep","5"],stderr=subprocess.DEVNULL)
    watcher = Watcher(second, store.users)
    attached, half, whole, share = watcher.ask("watch 60")
    ended(second)
    stats = second.stats()
    watcher.close()
    log = [line for line in second.log().splitlines() if "warm-up" in line]
    second.stop()
    first.stop()
    return {"answered": answered, "95 %": round(whole / 1e9 - begun, 2), "share": share,
            "half": round(half / 1e9 - begun, 2), "reads": stats["store_reads"], "filled": stats["warm_filled"],
            "log": log[-2:]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default="demand,death,fleet")
    parser.add_argument("--stores", default="sqlite,mariadb")
    parser.add_argument("--users", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="permtab-warm-") as folder:
        folder = pathlib.Path(folder)
        server = Mariadb(folder / "m").start() if "mariadb" in arguments.stores else None
        redis = Redis(folder / "r").start() if "fleet" in arguments.what else None
        for kind in arguments.stores.split(","):
            store = Store(kind, arguments.users, folder / kind, server)
            for what in arguments.what.split(","):
                print(f"{kind}, {what}:", flush=True)
                if what == "demand":
                    result = demand(store, arguments.rounds)
                elif what == "death":
                    result = death(store, arguments.rounds)
                else:
                    result = fleet(store, redis)
                results[f"{kind} {what}"] = result
                print(f"    {result}", flush=True)
        for one in (redis, server):
            if one:
                one.kill()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
