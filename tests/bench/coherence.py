#!/usr/bin/env python3
"""Times coherence: commit to effect on another host, and misses from L2 and from the store, with two hosts and with
more. Starts MariaDB, Redis and the sidecars itself, on private sockets in a folder that is thrown away.

    tests/bench/coherence.sh [--hosts 2,20] [--rounds 300] [--json FILE]"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from harness.process import wait_until  # noqa: E402
from harness.servers import Mariadb, Redis  # noqa: E402
from harness.sidecar import Sidecar  # noqa: E402

FIRST = 1000000


def policy(users):
    return {
        "permissions": [{"name": "message.send"}, {"name": "message.delete"}],
        "scopes": [{"scope": "server:1", "parent": "global"}],
        "roles": [{"id": 1, "name": "member", "scope": "server:1", "allow": ["message.send"]},
                  {"id": 2, "name": "moderator", "scope": "server:1", "allow": ["message.delete"]}],
        "assignments": [{"user": 1, "role": 2, "scope": "server:1"}] +
                       [{"user": FIRST + number, "role": 1, "scope": "server:1"} for number in range(users)],
    }


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = pathlib.Path(folder)
        self.programs = pathlib.Path(arguments.build) / "tests" / "bench"
        self.lines = []

    def run(self, program, *options):
        done = subprocess.run([self.programs / program, *map(str, options)], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{program} failed ({done.returncode})")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def fleet(self, hosts, mariadb, redis):
        url = mariadb.url(mariadb.database())
        sidecars = []
        for number in range(hosts):
            folder = self.folder / f"{hosts}-{number}"
            folder.mkdir()
            sidecars.append(Sidecar(folder, url, redis=f"unix:{redis.socket}", redis_prefix=f"fleet{hosts}:",
                                    table_entries=200000,
                                    audit_entries=0, strangers_max=0, store_threads=4 if number < 2 else 1,
                                    change_retention_rows=1000000))
            sidecars[-1].start()
        return url, sidecars

    def measure(self, hosts, mariadb, redis):
        rounds = self.arguments.rounds
        users = 2 * 101 * (rounds // 4 + 2)
        url, sidecars = self.fleet(hosts, mariadb, redis)
        try:
            revision = sidecars[0].apply(policy(users))["revision"]
            for sidecar in sidecars:
                wait_until(lambda: sidecar.health()["revision"] >= revision, 20, "the policy is everywhere")
            sockets = [sidecar.socket for sidecar in sidecars]
            lines = self.run("bench_propagation", redis.socket, f"fleet{hosts}:invalidate", url, *sockets, "--rounds",
                             rounds)
            lines += self.run("bench_fill", redis.socket, sockets[0], sockets[1], FIRST, users, "--rounds", rounds // 4)
            for line in lines:
                line["hosts"] = hosts
            self.lines += lines
        finally:
            for sidecar in sidecars:
                sidecar.stop()

    def everything(self):
        mariadb = Mariadb(self.folder / "mariadb").start()
        redis = Redis(self.folder / "redis").start()
        try:
            for hosts in self.arguments.hosts:
                self.measure(hosts, mariadb, redis)
        finally:
            redis.kill()
            mariadb.kill()


def named(lines, hosts, name):
    return next(line for line in lines if line["hosts"] == hosts and line["name"] == name)


def print_table(lines):
    for hosts in sorted({line["hosts"] for line in lines}):
        publish, by_hand = named(lines, hosts, "publish"), named(lines, hosts, "by hand")
        print(f"\n{hosts} hosts: change to effect on another host, us      p50      p99   beside PUBLISH   "
              f"beside SQL + PUBLISH")
        for name, part, base in (("publish", "begin", publish), ("by hand", "begin", by_hand),
                                 ("api", "begin", by_hand),
                                 ("sql", "begin", by_hand), ("by hand", "ack", publish), ("api", "ack", publish),
                                 ("sql", "ack", publish)):
            line = named(lines, hosts, name)
            p50, p99 = line[f"{part}_p50_us"], line[f"{part}_p99_us"]
            first = f"{p50 / publish['begin_p50_us']:6.2f}x {p99 / publish['begin_p99_us']:6.2f}x"
            second = (f"{p50 / by_hand['begin_p50_us']:6.2f}x {p99 / by_hand['begin_p99_us']:6.2f}x"
                      if base is by_hand else "")
            print(f"  {name:10} from {'the first byte' if part == 'begin' else 'acknowledged':16}"
                  f"{p50:18.0f}{p99:9.0f}   {first}   {second}")
        raw = named(lines, hosts, "raw round trip + raw GET")
        print(f"{hosts} hosts: a miss, us                                    p50      p99            ratio")
        for line in lines:
            if line["hosts"] == hosts and line["contest"] == "fill":
                print(f"  {line['name']:36}{line['p50_us']:20.1f}{line['p99_us']:9.1f}   "
                      f"{line['p50_us'] / raw['p50_us']:6.2f}x {line['p99_us'] / raw['p99_us']:6.2f}x")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--hosts", default="2,20", help="sizes of the fleet, by commas")
    parser.add_argument("--rounds", type=int, default=300, help="operations of each kind")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    arguments = parser.parse_args()
    arguments.hosts = [int(number) for number in arguments.hosts.split(",")]
    arguments.build = os.path.abspath(arguments.build)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="permtab-bench-") as folder:
        bench = Bench(arguments, folder)
        bench.everything()
    print(f"{os.cpu_count()} cores, load {before:.1f} before, {os.getloadavg()[0]:.1f} after; "
          f"{arguments.rounds} rounds, interleaved")
    print_table(bench.lines)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(bench.lines, indent=1))


if __name__ == "__main__":
    main()
