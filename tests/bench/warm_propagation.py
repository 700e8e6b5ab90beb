#!/usr/bin/env python3
"""Times commit to effect on a host that is being warmed up as fast as it can, beside the same at rest, in turns: over
SQLite within one host, and over MariaDB with Redis from another host. Starts what it needs on private sockets in a
folder that is thrown away.

    tests/bench/warm_propagation.sh [--entries 300000] [--blocks 8] [--rounds 20] [--stores SQLite,MariaDB]
                                    [--json FILE]

A block at rest takes turns with one in a warm-up: whoever has a role is warmed with warm_budget = 100%, and a round
counts when that was under way before it and after it. `api` is an unassign through a socket,
from its first byte until a worker of the warmed host is not allowed any more; `sql` a DELETE by nobody that permtab
knows, from its acknowledgement, and waits for a poll; `publish` what a message takes on raw connections, without a
goal."""

import argparse
import json
import os
import pathlib
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from harness.process import kill, spawn, wait_until  # noqa: E402
from harness.servers import Mariadb, Redis  # noqa: E402
from harness.sidecar import Sidecar  # noqa: E402

GOAL = 1.5
FIRST = 1000000
CHUNK = 5000
PREFIX = "warm:"
# Between the miss that begins a round and what is timed: while somebody misses now and then, the warm-up leaves most
# connections to the store alone (200 ms, proxy/answer/reads.c), and would not be a full one.
PAUSE_MS = 250
POLICY = {
    "permissions": [{"name": "message.send"}, {"name": "message.delete"}],
    "scopes": [{"scope": "server:1", "parent": "global"}],
    "roles": [{"id": 1, "name": "member", "scope": "server:1", "allow": ["message.send"]},
              {"id": 2, "name": "moderator", "scope": "server:1", "allow": ["message.delete"]}],
    "assignments": [{"user": 1, "role": 2, "scope": "server:1"}],
}
# The part of each round that is timed: of `begin` and `ack`. What has to do with Redis alone comes last.
KINDS = {"api": 0, "sql": 1, "publish": 0}


def inserts(entries):
    for first in range(FIRST, FIRST + entries, CHUNK):
        users = range(first, min(first + CHUNK, FIRST + entries))
        yield ("INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES " +
               ", ".join(f"({user}, 1, 1, 1)" for user in users))


class World:
    """`writer` is who writes, `warmed` the host that is warmed up and asked."""

    def __init__(self, folder, arguments):
        self.folder, self.arguments = folder, arguments
        self.redis = None

    def sidecar(self, name, url, **options):
        (self.folder / name).mkdir()
        return Sidecar(self.folder / name, url, table_entries=2 * self.arguments.entries, warm_at_start=False,
                       warm_budget="100%", audit_entries=0, change_retention_rows=1000, **options)

    def begin(self, url, insert, count, **options):
        first = self.sidecar("h0", url, **options)
        first.start()
        first.apply(POLICY)
        first.stop()
        insert()
        hosts = [first] + [self.sidecar(f"h{number}", url, **options) for number in range(1, count)]
        for host in hosts:
            host.start(120)
            wait_until(lambda: "known users: " in host.log(), 60, "the users are counted", 0.05)
        self.url, self.hosts, self.writer, self.warmed = url, hosts, hosts[0], hosts[-1]

    def end(self):
        for host in getattr(self, "hosts", []):
            host.stop()


class Sqlite(World):
    name = "SQLite"

    def start(self):
        path = self.folder / "permtab.db"

        def insert():
            with sqlite3.connect(path, isolation_level=None) as connection:
                connection.execute("BEGIN")
                for text in inserts(self.arguments.entries):
                    connection.execute(text)
                connection.execute("COMMIT")
        self.begin(f"sqlite:{path}", insert, 1)


class MariadbRedis(World):
    name = "MariaDB"

    def start(self):
        self.mariadb = Mariadb(self.folder / "mariadb").start()
        self.redis = Redis(self.folder / "redis").start()
        database = self.mariadb.database()
        text = ";\n".join(inserts(self.arguments.entries)) + ";"
        self.begin(self.mariadb.url(database), lambda: self.mariadb.client(database, text, timeout=600), 2,
                   redis=f"unix:{self.redis.socket}", redis_prefix=PREFIX)

    def end(self):
        super().end()
        self.redis.kill()
        self.mariadb.kill()


class Contest:
    def __init__(self, world, arguments):
        self.world, self.arguments = world, arguments
        program = pathlib.Path(arguments.build) / "tests" / "bench" / "bench_propagation"
        redis, channel = (str(world.redis.socket), f"{PREFIX}invalidate") if world.redis else ("-", "-")
        self.program = spawn([program, redis, channel, world.url, str(world.writer.socket), str(world.warmed.socket),
                              "--driven", "--rounds", "1000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.kinds = [kind for kind in KINDS if world.redis or kind != "publish"]
        self.samples = {(kind, warm): [] for kind in self.kinds for warm in (False, True)}
        self.rates = []
        self.short = 0

    def rounds(self, kind, count):
        self.program.stdin.write(f"{kind} {count} {PAUSE_MS}\n")
        self.program.stdin.flush()
        words = self.program.stdout.readline().split()
        if len(words) != count:
            raise SystemExit(f"bench_propagation ended; the log says {self.world.warmed.log()[-2000:]}")
        times = [[int(number) / 1000 for number in word.split(",")] for word in words]
        return [(pair[KINDS[kind]], pair[0] - pair[1]) for pair in times]

    def job(self):
        with self.world.warmed.rpc() as rpc:
            return rpc.call("jobs")["jobs"][0]

    def empty(self):
        """The table is as after a start, and nothing goes on."""
        host = self.world.warmed
        host.ctl("jobs", "cancel")
        before = host.stats()["segments"]
        assert host.ctl("invalidate", "all").returncode == 0
        wait_until(lambda: host.stats()["segments"] > before and host.health()["ok"], 60, "there is another table",
                   0.05)
        wait_until(lambda: host.log().count("known users: ") >= host.log().count("is rebuilt at"), 60,
                   "users are counted", 0.05)
        time.sleep(0.3)  # what comes after a rebuild, on other hosts too

    def warm_block(self, kind):
        """The times of those rounds before and after which the warm-up was under way, and had filled something in
        between."""
        assert self.world.warmed.ctl("warm", "role:1").returncode == 0
        wait_until(lambda: self.job()["state"] != "reading" and self.job()["done"] > 0, 60, self.job, 0.01)
        first, begun, times = self.job(), time.monotonic(), []
        before = first
        while len(times) < self.arguments.rounds:
            found = self.rounds(kind, 1)
            after, took = self.job(), time.monotonic() - begun
            if (before["state"], after["state"]) != ("filling", "filling") or after["done"] == before["done"]:
                self.short += 1
                break
            times += found
            self.rates.append((after["done"] - first["done"]) / took)
            before = after
        return times

    def run(self):
        self.rounds("api", 5)  # connections, roles
        for number in range(self.arguments.blocks):
            for kind in self.kinds:
                self.empty()
                if number % 2 == 0:
                    rest = self.rounds(kind, self.arguments.rounds)
                warm = self.warm_block(kind)
                self.empty()
                if number % 2 == 1:
                    rest = self.rounds(kind, self.arguments.rounds)
                self.samples[kind, False] += rest
                self.samples[kind, True] += warm
        kill(self.program)

    def lines(self):
        return [line_of(self.world.name, kind, self.samples[kind, False], self.samples[kind, True], self.rates)
                for kind in self.kinds]


# ---- figures -----------------------------------------------------------------------------------------------------

def at(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def spread(rest, warm, dice):
    """Quartiles of the ratio of the p99s, when the rounds are drawn again from those that were seen."""
    ratios = [at(dice.choices(warm, k=len(warm)), 0.99) / at(dice.choices(rest, k=len(rest)), 0.99)
              for _ in range(500)]
    return at(ratios, 0.25), at(ratios, 0.75)


def quantiles(values):
    return {"p50_us": at(values, 0.5), "p99_us": at(values, 0.99)}


def line_of(store, kind, rest_rounds, warm_rounds, rates):
    rest, rest_acknowledged = zip(*rest_rounds)
    warm, warm_acknowledged = zip(*warm_rounds)
    low, high = spread(rest, warm, random.Random(1))
    return {"store": store, "change": kind, "rounds": [len(rest), len(warm)],
            "goal": GOAL if kind != "publish" else None,
            "rest": quantiles(rest), "warm": quantiles(warm),
            "rest_acknowledged": quantiles(rest_acknowledged), "warm_acknowledged": quantiles(warm_acknowledged),
            "ratio_p50": at(warm, 0.5) / at(rest, 0.5), "ratio_p99": at(warm, 0.99) / at(rest, 0.99),
            "ratio_p99_low": low, "ratio_p99_high": high, "keys_a_second": statistics.median(rates)}


def reached(line):
    return line["goal"] is None or line["ratio_p99"] <= line["goal"]


def print_line(line):
    rounds = line["rounds"]
    print(f"{line['store']} {line['change']}, {rounds[0]} rounds at rest and {rounds[1]} warming, "
          f"{line['keys_a_second']:.0f} keys filled a second:")
    for part, name in (("", "until the effect"), ("_acknowledged", "until acknowledged")):
        rest, warm = line[f"rest{part}"], line[f"warm{part}"]
        print(f"  {name:20} at rest p50 {rest['p50_us']:>7.0f} us  p99 {rest['p99_us']:>7.0f} us   warming p50 "
              f"{warm['p50_us']:>7.0f} us  p99 {warm['p99_us']:>7.0f} us")
    goal = "" if line["goal"] is None else f", goal {GOAL:g}x: {'reached' if reached(line) else 'missed'}"
    print(f"  ratio p50 {line['ratio_p50']:.2f}x, p99 {line['ratio_p99']:.2f}x ({line['ratio_p99_low']:.2f} to "
          f"{line['ratio_p99_high']:.2f}){goal}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("PERMTAB_BUILD", str(ROOT / "build" / "bench")))
    parser.add_argument("--entries", type=int, default=300000, help="holders of the role that is warmed")
    parser.add_argument("--blocks", type=int, default=8, help="of each kind, at rest and while warming")
    parser.add_argument("--rounds", type=int, default=20, help="in a block")
    parser.add_argument("--stores", default="SQLite,MariaDB")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    arguments = parser.parse_args()
    before, lines = os.getloadavg()[0], []
    for world_of in (Sqlite, MariadbRedis):
        if world_of.name not in arguments.stores.split(","):
            continue
        with tempfile.TemporaryDirectory(prefix="permtab-bench-", dir="/tmp") as folder:
            world = world_of(pathlib.Path(folder), arguments)
            try:
                world.start()
                contest = Contest(world, arguments)
                contest.run()
            finally:
                world.end()
            lines += contest.lines()
            print(f"{world.name}: {arguments.entries} entries, {contest.short} blocks were shorter because the warm-up "
                  f"had ended", flush=True)
    print(f"{os.cpu_count()} cores, load {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    for line in lines:
        print_line(line)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(lines, indent=1) + "\n")
    sys.exit(0 if all(map(reached, lines)) else 1)


if __name__ == "__main__":
    main()
