#!/usr/bin/env python3
"""The soak: two hosts serve at full rate for a long time while everything changes, and what they hold stays as much as
it was. Exits 1 when something was found, and leaves its logs in build/soak.

    soak.py [--minutes 60] [--seed N] [--store both|sqlite|mariadb] [--round 20] [--rate 40]

Half of the time over SQLite and half over MariaDB, each with a Redis. Readers ask without a pause, and visitors come,
fork and go. Writers make `rate` changes a second, by the API and by plain SQL: assignments, grants, overwrites,
inheritance, roles that are switched off, a channel that moves. On both hosts entries and whole tables are flushed; h0's
configuration is read again. h1's worker is killed and replaced, and each time its table grows from 8 entries.

Each round ends in silence, in which is looked at

    answers      as the nemesis does: none that was never true, none older than max_staleness; afterwards all is true
    counters     hits, misses, unknowns, connections, writes, changes, invalidations: equal to what was done
    processes    masters, workers and the readers, which live all the time: memory, descriptors, threads, tables
    the stores   the log is as long as it may be; Redis holds the keys of one epoch

and at the end how that went on. The seed decides what is done and when."""

import argparse
import random
import shutil
import signal
import sys
import time

from harness import checker, deaths, judges
from harness.figures import figures
from harness.paths import ROOT, temporary_folder
from harness.process import wait_until
from harness.rpc import RpcError
from harness.soaked import RETENTION_ROWS, RETENTION_S, MariadbStore, SqliteStore, World
from harness import model, moves

STORES = {"sqlite": SqliteStore, "mariadb": MariadbStore}
SWEEP_S = 1.1  # a sidecar reads what clients have counted once a second
SHOWN = 10
ASK_US = 4000  # between two checks of a reader, beside its peeks: they fill the table, and find the next one

# From the second quarter to the last, half of a run, memory may grow by this much: what malloc keeps in reserve and
# gives back when it likes is a few hundred KB. In an hour of 40 changes a second 36,000 lie between these quarters of a
# store, and 9,000 visits with a connection and a fork each. The smallest block of malloc's takes 32 bytes, so a block
# lost with each change is more than 1 MB. In two minutes only a leak of more than 400 bytes a change shows.
SLACK_KB = 512
WARM_FLUSHES = 12  # what a new table brings malloc to keep is all there after five to ten, when others are at work
WARM_S = 0.5       # between them
# A worker of h1 is a new one each time, and how much it has taken depends on how far it has grown.
SLACK_RENEWED_KB = 2048
SLACK_REDIS = 256 * 1024
SLACK_STORE = 1 << 20
KEYS = len(model.USERS) + 1 + 5 + 8  # of L2: known users, places, and what is no value
LOG_SLACK = 2000                     # rows that are old enough, and still there: somebody looks once a second


def show(text):
    print(text, flush=True)


class Sample:
    """What there is when nobody asks: of one host."""

    def __init__(self, host):
        master, worker = host.sidecar.process.pid, host.sidecar.worker_pid
        self.clients = len(host.readers)
        self.master, self.worker = figures(master), figures(worker)
        self.readers = [figures(reader.process.pid) for reader in host.readers]


class Soak:
    """A run over one world; `found` is everything that was wrong."""

    def __init__(self, world, seed, rate=40, sweep_us=0, say=show):
        self.world, self.rate, self.sweep_us, self.say = world, rate, sweep_us, say
        self.dice = random.Random(seed)
        self.seed = seed
        self.rounds, self.found, self.totals = 0, [], {}
        self.samples = {host.name: [] for host in world.hosts}
        self.whys = {}       # of checks that were UNKNOWN: {code of shm/error.h: how many}
        self.held = []       # (keys, bytes) of Redis
        self.bytes = []      # of the store
        self.revisions = []  # (when, revision)

    def judge(self, where, sentences):
        for sentence in sentences:
            self.found.append(f"{where}: {sentence}")
            self.say(f"  WRONG {where}: {sentence}")

    def warm_up(self):
        """malloc finds out how much it keeps: tables are made anew, and filled while others ask and write as in the
        rounds, as often as that takes."""
        self.world.begin()
        writers = self.start()
        for _ in range(WARM_FLUSHES):
            before = {host.name: host.sidecar.stats()["rebuilds"] for host in self.world.hosts}
            with self.world.hosts[0].sidecar.rpc() as rpc:
                rpc.call("invalidate", what="all")
            for host in self.world.hosts:
                wait_until(lambda: host.sidecar.stats()["rebuilds"] > before[host.name], 20,
                           lambda: f"{host.name} makes its table anew: {host.sidecar.log()[-2000:]}")
                host.sidecar.wait_healthy()
            time.sleep(WARM_S)
        self.stop(writers)
        self.world.finals()
        for host in self.world.hosts:
            host.answers()  # the first round has its own
        self.world.clean_up()

    # ---- a round -----------------------------------------------------------------------------------------------------

    def round(self, seconds):
        world = self.world
        self.rounds += 1
        world.begin()
        self.flushed, self.invalidated, self.disturbed = False, dict.fromkeys(self.samples, 0), set()
        before = {host.name: self.settled(host) for host in world.hosts}
        writers = self.start()
        self.disturb(time.monotonic() + seconds)
        visited = self.stop(writers)
        finals, asked = world.finals()
        answers = {host.name: host.answers() for host in world.hosts}
        writes = [write for writer in writers for write in writer.writes]
        record = self.judge_answers(writes, answers, finals, visited)
        for host in world.hosts:
            if host.name not in self.disturbed:
                calls, unknown = self.calls(answers[host.name], visited[host.name], asked[host.name])
                opened = visited[host.name]["connections"] + sum(host.name in writer.made for writer in writers[1:])
                self.judge_counters(host, before[host.name], calls, unknown, opened, writes, record)
        world.clean_up()
        self.sample()
        self.report(record, visited)

    def settled(self, host):
        """Its figures, when it has read all that was counted."""
        time.sleep(SWEEP_S)
        return host.sidecar.stats() | {"connections": host.sidecar.connections}

    def start(self):
        writers = self.world.writers(self.seed * 1000 + 10 * self.rounds, self.rate)
        for writer in writers[1:]:
            writer.made = writer.connections  # it forgets them when it stops
        for host in self.world.hosts:
            for reader in host.readers:
                reader.start(self.sweep_us, ASK_US)
            host.visitor.start()
        for writer in writers:
            writer.start()
        return writers

    def stop(self, writers):
        """Readers last: they have asked after every write. What visitors did, by host."""
        visited = {host.name: host.visitor.stop() for host in self.world.hosts}
        for writer in writers:
            writer.stop()
        for host in self.world.hosts:
            host.sidecar.wait_healthy()
        self.world.wait_for(self.world.revision())
        for host in self.world.hosts:
            for reader in host.readers:
                reader.stop()
        return visited

    def disturb(self, until):
        """Flushes now and then; and on h1 what costs a worker, in every other round."""
        first, second = self.world.hosts
        third = (until - time.monotonic()) / 3
        if self.rounds % 3 == 0:
            first.reload(stop_grace=f"{self.rounds % 7}s")
        if self.rounds % 4 == 1:
            self.disturbed.add(second.name)
            time.sleep(third)
            second.kill_worker()
        elif self.rounds % 4 == 3:
            self.disturbed.add(second.name)
            time.sleep(third)
            before = second.sidecar.worker_pid
            second.reload(request_timeout=f"{4 + self.rounds % 3}s")
            second.new_worker(before)
        targets = [f"user:{user}" for user in model.USERS] + [f"role:{role}" for role in model.GRANTS] + \
            [f"scope:channel:{channel}" for channel in (*model.CHANNELS, moves.MOVING)] + ["scope:server:1"]
        while time.monotonic() < until:
            self.invalidate(self.dice.choice(self.world.hosts), self.dice.choice(targets))
            time.sleep(self.dice.uniform(0, 0.6))
        if self.rounds % 3 == 2:
            self.flushed = True
            self.invalidate(self.dice.choice(self.world.hosts), "all")
            time.sleep(third)  # everything is asked for again

    def invalidate(self, host, target):
        with host.sidecar.rpc() as rpc:
            try:
                rpc.call("invalidate", what=target)
                self.invalidated[host.name] += 1
            except RpcError as trouble:
                self.judge(host.name, [f"invalidate {target}: {trouble}"])

    # ---- judging a round ---------------------------------------------------------------------------------------------

    def judge_answers(self, writes, answers, finals, visited):
        spans = {name: spans for told in answers.values() for name, spans in told.items()}
        record = self.world.record(writes, spans, finals)
        found = checker.check(record)
        self.judge("answers", [f"{one.kind}: {one.text}" for one in found[:SHOWN]])
        present = self.world.present()
        if not found and record.timelines.state != present:
            self.judge("store", [f"the tables differ from the log in {record.timelines.state ^ present}"])
        for name, counts in visited.items():
            self.judge(name, judges.judge_equal("answers to visitors that were DENY", counts["wrong"], 0))
            if name not in self.disturbed:
                self.judge(name, judges.judge_equal("visits that failed", counts["failed"], 0))
        return record

    @staticmethod
    def calls(answers, visited, asked):
        """How often clients asked in all, and how often they were told nothing."""
        spans = [span for told in answers.values() for span in told if span[9] != checker.REVISION]
        return (sum(span[4] for span in spans) + visited["checks"] + asked[0],
                sum(span[4] for span in spans if span[8] == checker.UNKNOWN) + visited["unknown"] + asked[1])

    def judge_counters(self, host, before, calls, unknown, opened, writes, record):
        acknowledged = sum(write.where == host.name and write.ended_ns is not None for write in writes)
        unheard = sum(write.where == host.name and write.ended_ns is None for write in writes)
        truth = {"hits and misses": calls, "table_unknowns": unknown, "worker_starts": 0,
                 "invalidations": self.invalidated[host.name]}
        if not self.flushed:
            truth |= {"rebuilds": 0, "changes": len(record.log)}

        def grown():
            after = host.sidecar.stats()
            found = {name: value - before[name] for name, value in after.items() if name in before}
            found["hits and misses"] = found["table_hits"] + found["table_misses"]
            return found | {"clients now": after["clients"], "revision now": after["applied_revision"],
                            "clients_accepted": found["clients_accepted"] - host.sidecar.connections +
                            before["connections"]}

        truth |= {"clients now": len(host.readers) + 1, "clients_accepted": opened,
                  "revision now": self.world.revision()}
        deadline = time.monotonic() + 5 * SWEEP_S
        while any((counted := grown())[name] != value for name, value in truth.items()) and \
                time.monotonic() < deadline:
            time.sleep(0.1)
        for name, value in truth.items():
            self.judge(host.name, judges.judge_equal(name, counted[name], value))
        self.judge(host.name, judges.judge_within("writes", counted["writes"], acknowledged, acknowledged + unheard))
        for name in ("audit_differences", "protocol_errors", "l2_corrupt", "messages_bad", "clients_refused"):
            self.judge(host.name, judges.judge_equal(name, counted[name], 0))

    def sample(self):
        world = self.world
        for host in world.hosts:
            # The table before may wait to be dropped for a moment, and h1's may be growing still.
            wait_until(lambda: self.one_table(host), 40,
                       lambda: f"{host.name} has one table: {host.sidecar.ops('table')}", 0.1)
            self.samples[host.name].append(Sample(host))
        self.held.append(world.redis_holds())
        self.bytes.append(world.store.bytes())
        self.revisions.append((time.monotonic(), world.revision()))
        self.judge("store", self.judge_log(int(world.rows("SELECT COUNT(*) FROM permtab_change;")[0][0])))
        self.judge("Redis", judges.judge_within("keys after a clean-up", self.held[-1][0], 0, KEYS))

    @staticmethod
    def one_table(host):
        """A client leaves a table with its next check."""
        for reader in host.readers:
            reader.final()
        text = host.sidecar.ops("table")
        return "\ngrowth none\n" in text and "\nretired 0 tables" in text

    def judge_log(self, rows):
        """Rows are removed that are old enough and beyond the number that is kept."""
        now, revision = self.revisions[-1]
        old = [old for when, old in self.revisions if when < now - RETENTION_S]
        young = revision - (old[-1] if old else 0)
        return judges.judge_within("rows of the log", rows, 1, max(RETENTION_ROWS, young) + LOG_SLACK)

    def report(self, record, visited):
        counts = checker.summary(record)
        answers = ", ".join(f"{mode} {counts.get((mode, 'allow'), 0)}/{counts.get((mode, 'deny'), 0)}/"
                            f"{counts.get((mode, 'unknown'), 0)}" for mode in ("peek", "check", "check_at"))
        for name, count in counts.items():
            self.totals[name] = self.totals.get(name, 0) + count
        for told in record.hosts.values():
            for span in told:
                if span[8] == checker.UNKNOWN and span[9] in (checker.CHECK, checker.CHECK_AT):
                    self.whys[span[10]] = self.whys.get(span[10], 0) + span[4]
        self.totals["revisions"] = self.totals.get("revisions", 0) + len(record.log)
        self.totals["visits"] = self.totals.get("visits", 0) + sum(one["visits"] for one in visited.values())
        held = "; ".join(f"{name} {sample[-1].master.memory_kb} and {sample[-1].worker.memory_kb} KB, "
                         f"{sum(sample[-1].worker.descriptors.values())} descriptors"
                         for name, sample in self.samples.items())
        what = (" (flushed)" if self.flushed else "") + (" (another worker of h1)" if self.disturbed else "")
        self.say(f"round {self.rounds}{what}: {len(record.log)} revisions, allow/deny/unknown {answers}; {held}; "
                 f"Redis {self.held[-1][0]} keys, {self.held[-1][1] // 1024} KB")

    # ---- judging the run ---------------------------------------------------------------------------------------------

    def judge_run(self):
        for host in self.world.hosts:
            self.judge_host(host, self.samples[host.name], host is not self.world.hosts[0])
        self.judge("Redis", judges.judge_flat("bytes of memory", [held for _, held in self.held], SLACK_REDIS))
        if self.revisions[-1][0] - self.revisions[0][0] > 4 * RETENTION_S:  # the log is trimmed in the second quarter
            self.judge("store", judges.judge_flat("bytes of the files", self.bytes, SLACK_STORE))

    def judge_host(self, host, samples, renewed):
        masters, workers = [one.master for one in samples], [one.worker for one in samples]
        slack = SLACK_RENEWED_KB if renewed else SLACK_KB
        lazy = self.world.store.lazy
        processes = [("the master", masters, SLACK_KB, 1), ("the worker", workers, slack, 2)]
        processes += [(f"reader {number}", [one.readers[number] for one in samples], SLACK_KB, 2)
                      for number in range(len(host.readers))]
        for what, figures_of, allowed, tables in processes:
            self.judge(host.name, judges.judge_flat(f"KB of {what}", [one.memory_kb for one in figures_of], allowed))
            self.judge(host.name, judges.judge_same(f"threads of {what}", [one.threads for one in figures_of]))
            for one in figures_of:
                self.judge(host.name, judges.judge_within(f"tables of {what}", one.tables,
                                                          0 if tables == 1 else 1, tables))
        for what, figures_of, clients, some in [("the worker", workers, len(host.readers), lazy)] + \
                [(what, figures_of, 0, {}) for what, figures_of, _, _ in processes if what != "the worker"]:
            self.judge(host.name, judges.judge_descriptors(what, [(one.descriptors, clients) for one in figures_of],
                                                           some))
        self.judge(host.name, judges.judge_equal("worker_starts", host.sidecar.stats()["worker_starts"], host.begun))
        self.judge(host.name, deaths.unexplained(host.sidecar.log(), host.signalled))

    def judge_end(self):
        """Everybody goes: connections are closed, and processes end as they should."""
        self.world.end_clients()
        for host in self.world.hosts:
            wait_until(lambda: host.sidecar.stats()["clients"] == 1, 5,
                       lambda: f"{host.name} knows that all have gone: {host.sidecar.ops('clients')}", 0.05)
        for name, status in self.world.end().items():
            self.judge(name, judges.judge_equal("exit status", status, 0))

    def run(self, seconds, round_s):
        self.warm_up()
        until = time.monotonic() + seconds
        while time.monotonic() < until or self.rounds < 4:
            self.round(round_s)
        self.judge_run()
        self.judge_end()
        return self.found

    def summary(self):
        def line(values):
            return f"{judges.middle(values, 2):.0f} to {judges.middle(values, 4):.0f}"
        parts = []
        for name, samples in self.samples.items():
            parts.append(f"{name}: master {line([one.master.memory_kb for one in samples])} KB, worker "
                         f"{line([one.worker.memory_kb for one in samples])} KB, first reader "
                         f"{line([one.readers[0].memory_kb for one in samples])} KB")
        answers = sum(count for name, count in self.totals.items() if isinstance(name, tuple))
        unknown = sum(count for name, count in self.totals.items() if isinstance(name, tuple) and name[1] == "unknown")
        return (f"{self.rounds} rounds, {answers} answers ({unknown} unknown, of checks {self.whys}), "
                f"{self.totals.get('revisions', 0)} revisions, {self.totals.get('visits', 0)} visits; medians of the "
                f"second and the last quarter: {'; '.join(parts)}; Redis "
                f"{line([held // 1024 for _, held in self.held])} KB; "
                f"{len(self.found)} things are wrong")


def run(store, seconds, seed, round_s=20, rate=40, sweep_us=0, say=show, logs=None, daemon=None):
    """What was found wrong over that store. `daemon`: another permtabd than the build's."""
    folder = temporary_folder("soak")
    soak = None
    try:
        with World(folder, STORES[store], binary=daemon) as world:
            say(f"{STORES[store].name}, seed {seed}: {seconds:.0f} s in rounds of {round_s:.0f} s")
            try:
                world.start()
                world.start_clients()
                soak = Soak(world, seed, rate, sweep_us, say)
                found = soak.run(seconds, round_s)
            except AssertionError as trouble:  # somebody did not do what was waited for
                found = [*(soak.found if soak else []), str(trouble)]
                say(f"  WRONG: {trouble}")
            if soak and soak.held:
                say(soak.summary())
            if found and logs:
                logs.mkdir(parents=True, exist_ok=True)
                for host in world.hosts:
                    (logs / f"{store}-{host.name}.log").write_text(host.sidecar.log())
                (logs / f"{store}-found.txt").write_text("".join(f"{sentence}\n" for sentence in found))
                say(f"the logs are in {logs}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def main():
    parser = argparse.ArgumentParser(description="Serves at full rate for a long time, and looks at what it holds.")
    parser.add_argument("--minutes", type=float, default=60, help="in all")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--store", choices=("both", *STORES), default="both")
    parser.add_argument("--round", type=float, default=20, help="seconds from one look to the next")
    parser.add_argument("--rate", type=float, default=40, help="changes a second")
    parser.add_argument("--sweep", type=int, default=0, help="microseconds between sweeps of a reader; 0: full rate")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # whoever ends it finds its folder removed
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 31)
    stores = list(STORES) if arguments.store == "both" else [arguments.store]
    found = []
    for store in stores:
        found += run(store, arguments.minutes * 60 / len(stores), seed, arguments.round, arguments.rate,
                     arguments.sweep, logs=ROOT / "build" / "soak")
    show("everything stayed as it was" if not found else f"{len(found)} things are wrong; seed {seed}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
