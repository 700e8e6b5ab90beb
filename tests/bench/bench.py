#!/usr/bin/env python3
"""Runs the benchmark programs, with the servers they need on private sockets, and prints one table.

Each program prints lines of JSON (measure.c); this adds the goals of the design, says which were reached, and writes
everything to --json FILE. --smoke compares answers on small tables and times nothing: that is what ctest runs."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

# (contest, part of the world's name, contender) -> the ratio to reach
GOALS = {
    ("dependent check", "10000000 entries, 1000 sets", "permtab_peek"): 1.25,
    ("dependent check", "10000000 entries, 1000 sets", "permtab_check"): 1.25,
    ("batch", "10000000 entries, 1000 sets", "check_many of 100"): 0.35,
    ("batch", "10000000 entries, 1000 sets", "check_many of 1000"): 0.35,
    ("role edit", "1 sets", "1000000 holders in 1 sets"): 1.5,
    ("role edit", "100 sets", "1000000 holders in 100 sets"): 1.5,
}
VIEW_GOAL_NS = 3.0
ENTRY_GOAL_BYTES = 32.0

POLICY = {
    "permissions": [{"name": "message.send"}, {"name": "message.delete"}, {"name": "channel.view"}],
    "scopes": [{"scope": "server:1", "parent": "global"}],
    "roles": [{"id": 1, "name": "everyone", "scope": "server:1", "default": True,
               "allow": ["message.send", "channel.view"]},
              {"id": 2, "name": "moderator", "scope": "server:1", "inherits": [1], "allow": ["message.delete"]}],
    "assignments": [{"user": 1, "role": 2, "scope": "server:1"}],
}


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = folder
        self.programs = os.path.join(arguments.build, "tests", "bench")
        self.results = []
        self.children = []
        self.common = ["--rounds", str(arguments.rounds)]
        if arguments.smoke:
            self.common = ["--check-only"]

    def run(self, program, *options):
        command = [os.path.join(self.programs, program), *self.common, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{program} {' '.join(options)} failed ({done.returncode})")
        for line in done.stdout.splitlines():
            self.results.append(json.loads(line))

    def start(self, command, ready):
        """Starts a server and waits until ready() is true."""
        log = open(os.path.join(self.folder, os.path.basename(command[0]) + ".log"), "wb")
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        log.close()
        self.children.append(child)
        deadline = time.monotonic() + 15
        while not ready():
            if child.poll() is not None or time.monotonic() > deadline:
                with open(log.name, encoding="utf-8", errors="replace") as text:
                    sys.stderr.write(text.read()[-2000:])
                raise SystemExit(f"{command[0]} did not start")
            time.sleep(0.02)
        return child

    def stop(self, child):
        self.children.remove(child)
        child.terminate()
        child.wait(timeout=15)

    def stop_all(self):
        for child in list(self.children):
            self.stop(child)

    def checks(self, entries, sets, peers=False, folded=False):
        options = ["--entries", str(entries), "--sets", str(sets)]
        redis = None
        if folded:
            options.append("--folded")
        if peers:
            lmdb = tempfile.mkdtemp(dir=self.folder)
            options += ["--lmdb", lmdb]
        if peers and shutil.which("redis-server"):
            socket = os.path.join(self.folder, "redis.sock")
            redis = self.start(["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly",
                                "no", "--dir", self.folder], lambda: os.path.exists(socket))
            options += ["--redis", socket]
        self.run("bench_check", *options)
        if redis is not None:
            self.stop(redis)
            if os.path.exists(socket):
                os.unlink(socket)

    def misses(self):
        socket = os.path.join(self.folder, "permtab.sock")
        config = os.path.join(self.folder, "permtab.conf")
        policy = os.path.join(self.folder, "policy.json")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'store = "sqlite:{self.folder}/permtab.db"\nsocket = "{socket}"\n'
                       f'ops_socket = "{self.folder}/ops.sock"\ntable_entries = 1000000\nstrangers_max = 0\n')
        with open(policy, "w", encoding="utf-8") as file:
            json.dump(POLICY, file)
        control = [os.path.join(self.arguments.build, "client", "permtabctl"), "--socket", socket]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        daemon = self.start([os.path.join(self.arguments.build, "proxy", "permtabd"), "-c", config],
                            lambda: subprocess.run([*control, "health"], check=False, **quiet).returncode == 0)
        subprocess.run([*control, "apply", policy], check=True, stdout=subprocess.DEVNULL)
        self.run("bench_miss", socket)
        self.stop(daemon)

    def everything(self):
        if self.arguments.smoke:
            self.checks(2000, 50, peers=True)
            self.checks(2000, 50, folded=True)
            self.run("bench_role_edit", "--few", "200", "--many", "2000")
            self.run("bench_retire", "20000")
            self.run("bench_load", "--slots", "20000")
            self.run("bench_growth", "1000", "4000")
            self.run("bench_eviction", "--keys", "5000")
        elif self.arguments.quick:
            self.checks(10000, 1000, peers=True)
            self.checks(1000000, 1000)
            self.run("bench_role_edit", "--many", "100000")
        else:
            self.checks(10000, 1000, peers=True)
            self.checks(1000000, 1000, peers=True)
            for sets in (1000, 20000, 1000000):
                self.checks(10000000, sets)
            self.checks(10000000, 1000, folded=True)
            self.run("bench_role_edit")
        self.misses()


def goal_of(line):
    if line.get("name") == "permtab_view_has":
        return "reached" if line["ns"] <= VIEW_GOAL_NS else "missed", f"{VIEW_GOAL_NS:g} ns"
    goal = GOALS.get((line.get("contest"), line.get("world"), line.get("name")))
    if goal is None:
        return None
    return "reached" if line["ratio"] <= goal else "missed", f"{goal:g}x"


def shown_ns(value):
    if value < 10000:
        return f"{value:.1f} ns"
    return f"{value / 1000:.1f} us" if value < 10000000 else f"{value / 1000000:.1f} ms"


def print_table(results):
    heading = None
    for line in results:
        if "figure" in line:
            continue
        if heading != (line["contest"], line["world"]):
            heading = (line["contest"], line["world"])
            print(f"\n{line['contest']}: {line['world']} ({line['clock']} time)")
        text = f"  {line['name']:34}{shown_ns(line['ns']):>12}{line['ratio']:>10.2f}x"
        text += f"   {line['ratio_low']:.2f} to {line['ratio_high']:.2f}"
        goal = goal_of(line)
        if goal is not None:
            text += f"   goal {goal[1]}: {goal[0]}"
        print(text)
    print()
    for line in results:
        if "figure" in line:
            goal = f" (goal {ENTRY_GOAL_BYTES:g})" if line["figure"] == "bytes an entry" else ""
            print(f"{line['figure']}, {line['name']}, {line['world']}: {line['value']:.1f} {line['unit']}{goal}")


def machine():
    def read(path):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        except OSError:
            return ""
    model = [line.split(":", 1)[1].strip()
             for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    return {"kernel": platform.release(), "processor": model[0] if model else platform.machine(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0], "shmem_huge_pages": read("/sys/kernel/mm/transparent_hugepage/shmem_enabled")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds of each contest")
    parser.add_argument("--quick", action="store_true", help="smaller tables")
    parser.add_argument("--smoke", action="store_true", help="compare answers, time nothing")
    arguments = parser.parse_args()
    arguments.build = os.path.abspath(arguments.build)
    if arguments.rounds < 5:
        parser.error("--rounds: at least 5")
    about = machine()
    with tempfile.TemporaryDirectory(prefix="permtab-bench-") as folder:
        bench = Bench(arguments, folder)
        try:
            bench.everything()
        finally:
            bench.stop_all()
    about["load_after"] = os.getloadavg()[0]
    if arguments.smoke:
        print(f"{len([line for line in bench.results if 'checked' in line])} contests, every answer was right")
        return
    print(f"{about['cores']} cores, {about['processor']}, Linux {about['kernel']}, load {about['load']:.1f} before, "
          f"{about['load_after']:.1f} after; medians of {arguments.rounds} rounds, quartiles of the ratio")
    print_table(bench.results)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"machine": about, "results": bench.results}, file, indent=1)


if __name__ == "__main__":
    main()
