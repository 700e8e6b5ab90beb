#!/usr/bin/env python3
"""Makes each allocation, system call, SQL statement and Redis command fail in turn: of the daemon, of the client
library and of permtabctl (tests/fault/, harness/lives.py).

    faults.py [--program daemon|mariadb|client|permtabctl] [--lives N] [--seed S] [--every site|stack] [--jobs N]
    faults.py --at TEXT [--program …]           only places whose text has this in it: orders are of one build alone
    faults.py --order ORDER [--program …]       one again, as a report names it; prints the program's log

A run without faults comes first, and finds the places: `stack` counts each stack of our own functions once, `site` each
line. Each fails once, with each of its errors, and for good: that call, or all allocations, or all calls of that
function. --lives takes so many of all these by the seed. Ends with `N faults, N found`; exits 0 when none was found."""

import argparse
import concurrent.futures
import os
import random
import shutil
import sys
import time
import traceback

from harness.descriptors import usual_descriptors
from harness.injection import ANY_PROCESS, FUNCTION, KIND, KINDS, MEMORY, PLACE, Order, learn, site
from harness.life_stores import Mariadb
from harness.lives import DaemonLife
from harness.paths import program, temporary_folder
from harness.policies import small
from harness.servers import Redis
from harness.short_lives import COMMANDS, ClientLife, CtlLife
from harness.sidecar import Sidecar
from harness.surroundings import settle

VARIANTS = 4
NAMES = {bit: name for name, bit in KINDS.items()}


class Trial:
    """A program with the places at which its calls can fail. world(): what all lives share, made once."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.binary = program({"client": "fault_client", "permtabctl": "permtabctl"}.get(name, "permtabd"))
        self.redis = self.sidecar = self.server = None
        self.usual = {}

    def begin(self):
        self.redis = Redis(self.folder / "redis").start()
        if self.name == "mariadb":
            self.server = Mariadb(self.folder / "mariadb")
        if self.name in ("client", "permtabctl"):
            self.sidecar = Sidecar(self.folder, f"sqlite:{self.folder}/permtab.db", clients_max=1000).start()
            self.sidecar.apply(small())

    def end(self):
        for part in (self.sidecar, self.redis, self.server):
            if part:
                part.kill()

    def life(self, order, command=0):
        if self.name == "client":
            return ClientLife(order, self.sidecar)
        if self.name == "permtabctl":
            return CtlLife(order, self.sidecar, command, self.usual.get(command))
        store = self.server.store if self.server else None
        return DaemonLife(order, f"unix:{self.redis.socket}", self.usual or None, store)

    def commands(self):
        return range(len(COMMANDS)) if self.name == "permtabctl" else range(1)

    def look(self, command, kinds, process):
        """The places of a life without faults; that it has no complaints is the first test."""
        lives = []
        for counting in (Order(kinds=0), Order(kinds=kinds, process=process)):
            life = self.life(counting, command)
            complaints = life.live()
            lives.append(life)
            if complaints:
                sys.exit(f"without any fault: {complaints}\n{life.log}")
        if self.name == "permtabctl":
            self.usual[command] = life.done
        elif self.name != "client":
            self.usual = usual_descriptors([life.notes["descriptors"] for life in lives])
        places = life.places if hasattr(life, "places") else life.faults.places()
        if life.notes["lost"]:
            sys.exit("there are more places than the shim has room for")
        life.clean()
        learn(self.binary, places)
        return places


def orders_of(place, process):
    """All the ways in which the calls of a place fail: (order, …)."""
    kinds = place.kind
    chosen = {"kinds": kinds, "place": place.place, "caller": place.caller, "number": 1, "process": process}
    for variant in range(1 if kinds == MEMORY else VARIANTS):
        yield Order(**chosen, variant=variant)
    yield Order(**chosen, reach=PLACE)
    yield Order(**chosen, reach=KIND if kinds == MEMORY else FUNCTION)


def choose(places, every, process):
    """The places that stand for all others, and their orders: [(place, order)]."""
    seen = {}
    for place in sorted(places, key=lambda place: place.place):
        own = tuple(frame for frame in place.frames if frame[0] == "" or "permtab" in frame[0])
        key = site(place) if every == "site" else (place.function, place.frames[0], own)
        seen.setdefault((place.kind, key), place)
    return [(place, order) for place in seen.values() for order in orders_of(place, process)]


class Report:
    def __init__(self, keep):
        self.keep = keep
        self.ends, self.found, self.missed = {}, {}, 0
        self.lives = 0

    def add(self, place, order, command, life):
        self.lives += 1
        if order.number and life.notes["failed"] == 0:
            self.missed += 1
        kind = NAMES[place.kind]
        how = "found" if life.complaints else "ended" if "ended" in life.notes else "never served" \
            if "never served" in life.notes else "lived on"
        self.ends[kind, how] = self.ends.get((kind, how), 0) + 1
        for complaint in life.complaints[:3]:
            print(f"FOUND {order} {f'command {command} ' if command else ''}{place}\n    {complaint}", flush=True)
        if life.complaints:
            self.found.setdefault(site(place), []).append(order)
            if self.keep:
                os.makedirs(self.keep, exist_ok=True)
                with open(os.path.join(self.keep, str(order).replace(":", "-") + ".log"), "w") as file:
                    file.write(f"{place}\n{life.complaints}\n{life.notes}\n{life.log}")

    def print(self, places):
        for (kind, how), count in sorted(self.ends.items()):
            print(f"    {kind}: {count} {how}")
        print(f"{self.lives} faults at {places} places, {self.missed} not reached, "
              f"{len(self.found)} sites with findings")


def run(trial, options):
    """Lives all chosen lives; returns how many sites had complaints."""
    process = {"all": ANY_PROCESS, "first": 0, "children": 1}[options.process]
    kinds = sum(KINDS[kind] for kind in options.kinds.split(","))
    work, places = [], 0
    for command in trial.commands():
        found = [place for place in trial.look(command, kinds, process) if options.at in str(place)]
        chosen = choose(found, options.every, process)
        places += len({place.place for place, _ in chosen})
        work += [(place, order, command) for place, order in chosen]
    random.Random(options.seed).shuffle(work)
    total = len(work)
    work = work[:options.lives] if options.lives else work
    print(f"{trial.name}: {places} places, {total} faults, {len(work)} of them by seed {options.seed}", flush=True)
    report, begun = Report(options.keep), time.monotonic()

    def one(item):
        place, order, command = item
        life, begun = trial.life(order, command), time.monotonic()
        try:
            life.live()
        except Exception:  # a hole of the test's own: it must not end the run unseen
            life.complaints.append(traceback.format_exc())
            life.notes.setdefault("failed", 0)
        life.notes["seconds"] = time.monotonic() - begun
        try:
            life.clean()
        except Exception:
            life.complaints.append(traceback.format_exc())
        return item, life

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, item) for item in work]):
            (place, order, command), life = done.result()
            report.add(place, order, command, life)
            if report.lives % 200 == 0:
                print(f"    {report.lives} of {len(work)} in {time.monotonic() - begun:.0f} s", flush=True)
    report.print(len({place.place for place, _, _ in work}))
    print(f"    {time.monotonic() - begun:.0f} s")
    return len(report.found)


def repeat(trial, text, command):
    order = Order.parse(text)
    trial.look(command, order.kinds, ANY_PROCESS)
    life = trial.life(order, command)
    complaints = life.live()
    print(life.log)
    if life.first:
        learn(trial.binary, [life.first])
        print(life.first)
    print(life.notes)
    print("\n".join(complaints))
    life.clean()
    return len(complaints)


def main():
    parser = argparse.ArgumentParser(description="Makes calls fail, one after the other.")
    parser.add_argument("--program", choices=["daemon", "mariadb", "client", "permtabctl"], default="daemon")
    parser.add_argument("--lives", type=int, default=0, help="how many, by the seed; 0: all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--every", choices=["site", "stack"], default="stack")
    parser.add_argument("--at", default="", help="only places whose text, as a report prints it, has this in it")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--process", choices=["all", "first", "children"], default="all")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--order", help="one fault, as a report names it")
    parser.add_argument("--command", type=int, default=0, help="which of permtabctl's commands, for --order")
    parser.add_argument("--keep", help="a folder for the logs of what was found")
    options = parser.parse_args()
    settle()
    folder = temporary_folder("faults")
    trial = Trial(options.program, folder)
    try:
        trial.begin()
        found = repeat(trial, options.order, options.command) if options.order else run(trial, options)
    finally:
        trial.end()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if found == 0 else 1)


if __name__ == "__main__":
    main()
