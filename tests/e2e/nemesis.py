#!/usr/bin/env python3
"""The nemesis: a fleet of sidecars over one MariaDB and one Redis is hurt in every way at random while writers change
the policy and readers write down what they are told; then it is healed, and the checker looks at the whole record.

    nemesis.py [--hosts 20] [--minutes 30] [--seed N] [--round 60] [--no-redis] [--warm] [--keep FOLDER]
               [--daemon PERMTABD]
    nemesis.py --check FOLDER         looks at a record that was kept

Runs in rounds; each ends with healing and a check, and the first one that fails ends the run and keeps its record.
The seed decides what is done and when; what comes of it is also the scheduler's."""

import argparse
import json
import pathlib
import random
import shutil
import sys
import time

from harness import checker, deaths, warming
from harness.faults import choose
from harness.fleet import Fleet, Kept
from harness.paths import temporary_folder
from harness.writers import RpcWriter, SqlWriter

SHOWN = 20
# On every other host the 63 entries of the questions do not fit at first, and the table grows whenever a worker has
# been left alone for five seconds: by its fills, for no hit rate is high enough.
GROWING = {"table_entries": 8, "hit_rate_target": "1.0"}
WARMINGS = 4  # a second, in the whole fleet


def show(text):
    print(text, flush=True)


class Nemesis:
    """One fleet's. round() hurts it for that long and returns the violations."""

    def __init__(self, fleet, seed, say=show):
        self.fleet = fleet
        self.dice = random.Random(seed)
        self.seed = seed
        self.say = say
        self.rounds = 0
        self.history = []  # (seconds since the round began, what)
        self.counts = {}
        self.launched = {}

    # ---- hurting -----------------------------------------------------------------------------------------------------

    def note(self, text):
        self.history.append((round(time.monotonic() - self.begun, 3), text))

    def duration(self, takes):
        """Some faults outlast the bound, some the time-outs, some are over before anybody has noticed. Without
        MariaDB nobody learns anything: that is soon boring."""
        bound = self.fleet.staleness_ms / 1000 * (0.4 if "mariadb" in takes else 1)
        return self.dice.choice((self.dice.uniform(0.05, 0.5), self.dice.uniform(0.2, 1) * bound,
                                 self.dice.uniform(1, 2.2) * bound))

    def hurt(self, until):
        """Up to three faults at a time, and quiet in between."""
        present = []  # (when it ends, name, what it takes, end)
        while True:
            now = time.monotonic()
            for fault in [fault for fault in present if fault[0] <= now or now >= until]:
                present.remove(fault)
                self.note(f"end of {fault[1]}: {', '.join(fault[2])}")
                if fault[3]:
                    fault[3]()
            self.keep_up({name for fault in present for name in fault[2]})
            if now >= until:
                return
            if len(present) < 3 and self.dice.random() < 0.1:
                self.begin_fault(present)
            time.sleep(0.05)

    def begin_fault(self, present):
        fault = choose(self.fleet, self.dice, {name for other in present for name in other[2]})
        if fault is None:
            return
        name, takes, begin = fault
        self.note(f"{name}: {', '.join(takes)}")
        self.counts[name] = self.counts.get(name, 0) + 1
        try:
            end = begin()
        except (OSError, EOFError, RuntimeError) as trouble:  # Redis is busy dying, or loading
            self.note(f"{name} failed: {trouble}")
            return
        present.append((time.monotonic() + (self.duration(takes) if end else 0), name, takes, end))

    def keep_up(self, taken):
        """Does what a supervisor does: it looks at masters alone. A worker that died is its master's business. A
        sidecar may give up before it serves, when the store is away or its first worker is killed; ending later is
        a failure."""
        for host in self.fleet.hosts:
            process = host.sidecar.process
            if host.name in taken or (process and process.poll() is None):
                continue
            if process and process.returncode not in (0, None):
                log = host.sidecar.log()[self.launched.get(host.name, 0):]
                assert process.returncode == 1 and ": serving " not in log, \
                    f"{host.name} ended with {process.returncode}: {log[-2000:]}"
            self.launched[host.name] = len(host.sidecar.log())
            host.sidecar.launch()

    # ---- a round -----------------------------------------------------------------------------------------------------

    def writers(self, rate):
        def wrote(write):
            for host in self.dice_of_writers.sample(self.fleet.hosts, min(3, len(self.fleet.hosts))):
                host.reader.token(self.fleet.store_id, write.revision)
        self.dice_of_writers = random.Random(self.seed + self.rounds)
        kinds = (SqlWriter, RpcWriter, RpcWriter, RpcWriter)
        return [kind(self.fleet, self.seed * 1000 + self.rounds * 10 + number, rate, wrote)
                for number, kind in enumerate(kinds)]

    def round(self, seconds, rate=15, sweep_us=10000, ask_us=10000):
        """A record and its violations."""
        fleet = self.fleet
        fleet.begin()
        self.rounds += 1
        self.history = []
        self.logged = {host.name: len(host.sidecar.log()) for host in fleet.hosts}
        self.begun = time.monotonic()
        fleet.proxy.seed(self.seed * 100 + self.rounds)
        # Long enough to be told, by a table that nobody may believe any more, what was not true within the bound.
        fleet.start_readers(sweep_us, ask_us, lazy_us=fleet.staleness_ms * 2500)
        writers = self.writers(rate)
        warmer = warming.Warmer(fleet, self.seed * 100 + self.rounds, WARMINGS) if fleet.warm else None
        for thread in writers + [warmer] * fleet.warm:
            thread.start()
        self.hurt(time.monotonic() + seconds)
        self.note("healing")
        if warmer:
            warmer.stop()
        fleet.heal()
        time.sleep(0.2)  # writes to a healed fleet
        for writer in writers:
            writer.stop()
        fleet.wait_for(fleet.revision())
        fleet.stop_readers()
        self.note("healed")
        kept = fleet.record([write for writer in writers for write in writer.writes])
        record = kept.open()
        found = checker.check(record)
        present = fleet.present()
        if record.timelines.state != present:
            found.append(checker.Violation("model", "store", -1, f"the tables differ from the log in "
                                           f"{sorted(record.timelines.state ^ present)}"))
        fleet.end_readers()
        for host in fleet.hosts:
            found += [checker.Violation("died", host.name, -1, f"{host.name}: {text}")
                      for text in deaths.unexplained(host.sidecar.log(), host.signalled)]
        self.report(record, found)
        if warmer:
            self.report_warming(warmer)
        return kept, found

    def report(self, record, found):
        counts = checker.summary(record)
        answers = ", ".join(f"{mode} {counts.get((mode, 'allow'), 0)}/{counts.get((mode, 'deny'), 0)}/"
                            f"{counts.get((mode, 'unknown'), 0)}" for mode in ("peek", "check", "check_at"))
        unheard = sum(write.ended_ns is None for write in record.writes)
        faults = sum(1 for _, text in self.history if not text.startswith(("end of", "heal")))
        self.say(f"round {self.rounds}: {faults} faults, {len(record.log)} revisions of {len(record.writes)} writes "
                 f"({unheard} unheard), answers allow/deny/unknown: {answers}; {len(found)} violations")
        self.report_lives()
        if self.fleet.redis:
            mangled = self.fleet.messages()
            self.say("  messages so far: " + ", ".join(f"{name} {count}" for name, count in mangled.items()))
        for violation in found[:SHOWN]:
            self.say(f"  {violation.kind}: {violation.text}")

    def report_lives(self):
        """Of this round."""
        logs = [host.sidecar.log()[self.logged[host.name]:] for host in self.fleet.hosts]
        died, by_master = (sum(counts) for counts in zip(*map(deaths.deaths, logs)))
        grown = list(map(deaths.growths, logs))
        self.say(f"  tables grew {sum(grown)} times, on {sum(map(bool, grown))} hosts; "
                 f"{died} workers died by a signal, {by_master} of them of their masters")

    def report_warming(self, warmer):
        """Of this round, but for what is evicted and read from Redis: that is of workers that live, since they do."""
        every = [warming.warmed(host.sidecar.log()[self.logged[host.name]:]) for host in self.fleet.hosts]
        total = warming.Warmed(*map(sum, zip(*every)))
        stats = [host.sidecar.stats() for host in self.fleet.hosts]
        evicted, hot, bad = (sum(each[name] for each in stats)
                             for name in ("entries_evicted", "hot_keys_read", "hot_keys_bad"))
        self.say("  warm-up: " + ", ".join(f"{count} {what}" for what, count in warmer.counts.items()) +
                 f"; jobs {total.done} done, {total.cancelled} cancelled, {total.failed} failed: {total.filled} keys "
                 f"filled, {total.strangers} of strangers skipped; {evicted} entries evicted, {hot} hot keys and {bad} "
                 f"spoilt pieces read by the workers that are left")

    def keep(self, kept, found, folder):
        """All there is to look at."""
        kept.save(folder)
        (folder / "faults.json").write_text(json.dumps({"seed": self.seed, "round": self.rounds,
                                                        "faults": self.history}, indent=1))
        (folder / "violations.txt").write_text("".join(f"{violation.kind}: {violation.text}\n" for violation in found))
        for host in self.fleet.hosts:
            (folder / f"{host.name}.log").write_text(host.sidecar.log())
        self.say(f"kept in {folder}; look at it again with nemesis.py --check {folder}")


def fleet_options(warm):
    if not warm:
        return {"in_turn": (GROWING, {})}
    return {"in_turn": (GROWING, {}, warming.CRAMPED), "warm": True, **warming.OPTIONS}


def run(hosts, seconds, round_s, seed, redis=True, poll_ms=100, staleness_ms=2000, keep=None, say=show, ask_us=20000,
        daemon=None, warm=False):
    """True when nothing was found."""
    folder = temporary_folder("nemesis")
    say(f"seed {seed}: {hosts} hosts, {seconds:.0f} s in rounds of {round_s:.0f} s, poll {poll_ms} ms, "
        f"bound {staleness_ms} ms, "
        f"{'with' if redis else 'without'} Redis{', and warming up all the time' if warm else ''}")
    good = True
    try:
        # A worker that is stopped for longer than the timeout is killed, and faults last up to 2.2 bounds.
        with Fleet(folder, hosts, redis=redis, poll_ms=poll_ms, staleness_ms=staleness_ms, binary=daemon,
                   worker_timeout=f"{staleness_ms * 3 // 2}ms", **fleet_options(warm)) as fleet:
            fleet.start(warming.document() if warm else None)
            nemesis = Nemesis(fleet, seed, say)
            until = time.monotonic() + seconds
            while good and time.monotonic() < until:
                nemesis.history = []
                try:
                    kept, found = nemesis.round(min(round_s, max(1, until - time.monotonic())), ask_us=ask_us)
                except AssertionError as trouble:  # somebody did not heal, or crashed
                    found = [checker.Violation("unhealed", "", -1, str(trouble))]
                    say(f"  unhealed: {trouble}")
                    kept = fleet.unfinished()
                if found:
                    good = False
                    nemesis.keep(kept, found, pathlib.Path(keep) if keep else folder / "kept")
            say("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(nemesis.counts.items())))
    finally:
        if good:
            shutil.rmtree(folder, ignore_errors=True)
    return good


def main():
    parser = argparse.ArgumentParser(description="Hurts a fleet of sidecars and checks every answer.")
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--round", type=float, default=60, help="seconds until the next healing and check")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--poll", type=int, default=100, help="poll_interval in milliseconds")
    parser.add_argument("--staleness", type=int, default=2000, help="max_staleness in milliseconds")
    parser.add_argument("--no-redis", action="store_true")
    parser.add_argument("--warm", action="store_true",
                        help="tables are warmed up all the time, on demand too, and some of them are far too small")
    parser.add_argument("--keep", help="where the record of a failure goes; a temporary folder otherwise")
    parser.add_argument("--daemon", help="another permtabd than the build's, such as one of tests/e2e/broken")
    parser.add_argument("--check", help="a folder with a record that was kept")
    arguments = parser.parse_args()
    if arguments.check:
        found = checker.check(Kept.load(pathlib.Path(arguments.check)).open())
        for violation in found:
            print(f"{violation.kind}: {violation.text}")
        print(f"{len(found)} violations")
        sys.exit(1 if found else 0)
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 31)
    good = run(arguments.hosts, arguments.minutes * 60, arguments.round, seed, not arguments.no_redis, arguments.poll,
               arguments.staleness, arguments.keep, daemon=arguments.daemon, warm=arguments.warm)
    print("nothing found" if good else f"failed; seed {seed}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
