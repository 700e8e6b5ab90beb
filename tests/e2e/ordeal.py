#!/usr/bin/env python3
"""Ordeals: a sidecar dies again and again while many processes ask it, and every answer is compared with what it must
be. Prints what was done, how often, and what came of it; exits 1 when something was promised and not kept.

    ordeal.py kills    [--count 100] [--every 30] [--entries 1000000] [--hot 50000] [--processes 4] [--period 200]
                       [--who worker|master|both] [--signal KILL|SEGV|STOP] [--during growth|start]
                       [--table-entries 1000] [--worker-timeout 10]
    ordeal.py crowd    [--processes 10000] [--period 1000000] [--count 3]
    ordeal.py restarts [--count 10] [--every 8] [--entries 100000] [--hot 20000] [--processes 2] [--period 200]
    ordeal.py stampede [--clients 1000] [--questions 50] [--places 8] [--store sqlite|mariadb|both]
                       [--redis with|without|both] [--how single|many|both] [--count 1] [--check-ms 1000]
                       [--calm 200000] [--table-entries 100000]

`kills`: nothing is ever wrong. Killed: check never fails, and peek is UNKNOWN for a small share of the time, but during
growth, when the table is too small. Stopped: UNKNOWN when the lease has ended, until the master has replaced the worker
after worker_timeout; both are told to go on after four seconds; a master that is stopped nobody notices. A master that
is gone is started again at once.
`restarts`: whoever holds the sockets starts the daemon again, and then in turns one of another version, whose tables
these processes cannot read, and this one; nobody is refused, and check never fails.
`crowd`: so many processes hold the table of a worker that dies; all have the next one's before the lease has ended.
`stampede`: so many processes open the table of a fresh host at once, and then ask at once, each for other users. All
are answered, each has its fair share, and the store is asked for many users at a time.
docs/RELIABILITY.md has what came of them, and the promises."""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import sys
import threading
import time
from typing import NamedTuple

from harness.crowd import Crowd, assign_all, policy
from harness.moments import Moments
from harness.paths import ROOT, program, temporary_folder
from harness.process import kill, wait_until
from harness.rpc import Rpc, RpcError
from harness.sidecar import STALENESS_MS, Sidecar
from harness.stampede import CALM_USERS, FreshHost, Stampede, broken_promises, watch
from harness.supervisor import Supervisor

LOG = ROOT / "build" / "ordeal.log"
ANSWER_LIMIT_MS = 300  # from the death of a worker to the first answer over the socket, 99 times of 100
CHECK_MS = 1000        # what a check waits
PAUSES_MS = 150        # before the second start of a worker that died before it served: 100, and a start and a death
BLIND_SHARE = 0.01     # of the time in which peek may be UNKNOWN on what is hot
STOPPED_S = 4.0        # whoever is stopped together with its master goes on after that: two leases
SILENT_STARTS = 10     # proxy/master/workers.c
GROWTH_S = 60          # the next growth, or start, begins within this
ATTEMPTS = 20
SUMMED = ("peeks", "peek_unknown", "checks", "check_unknown", "wrong")


def show(text):
    print(text, flush=True)


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def resident_mb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


class Ordeal:
    """with Ordeal(…) as ordeal: a store of `entries` users, a sidecar over it, and the promises that were broken. In
    the end nothing is left but build/ordeal.log."""

    def __init__(self, entries, **options):
        self.broken = []
        self.entries = entries
        # What was hot is to be back before the lease ends, and a tenth of the store's time may not do for that.
        self.options = {"warm_budget": "100%", **options}

    def __enter__(self):
        self.folder = temporary_folder("ordeal")
        self.sidecar = None
        try:
            self.sidecar = Sidecar(self.folder, f"sqlite:{self.folder}/permtab.db", **self.options)
            self.sidecar.start()
            self.sidecar.apply(policy())
            self.sidecar.stop()
            assign_all(self.folder / "permtab.db", self.entries)
            self.sidecar.start(120)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            if self.sidecar:
                kill(self.sidecar.process)
                LOG.parent.mkdir(parents=True, exist_ok=True)
                LOG.write_text(self.sidecar.log())
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def expect(self, kept, text):
        if not kept:
            self.broken.append(text)
            show(f"BROKEN: {text}")

    def hurt(self, who, number):
        """The worker first: it dies with its master."""
        worker = self.sidecar.worker_pid
        if who in ("worker", "both") and worker is not None:
            os.kill(worker, number)
        if who in ("master", "both"):
            self.sidecar.process.send_signal(number)

    def keep_up(self, who):
        """Does what a supervisor does when the master is gone."""
        if who != "worker":
            self.sidecar.process.wait()
            self.sidecar.launch()

    def seconds_to_answer(self, begun, user=2, limit=60):
        """Until somebody who has just connected is answered."""
        while time.monotonic() - begun < limit:
            try:
                with Rpc(self.sidecar.socket, timeout=limit) as rpc:
                    if rpc.call("check", user=user, scope="server:1", permission="message.send")["decision"] == 1:
                        return time.monotonic() - begun
            except (OSError, EOFError, RpcError):
                time.sleep(0.001)
        return limit


# ---- kills -------------------------------------------------------------------------------------------------------

def warm_up(ordeal, crowd, entries, hot):
    """Everything is asked for once, and then what is hot for a minute, so that the keys know most of it."""
    begun = time.monotonic()
    answered = crowd.fill(1, entries)
    ordeal.expect(answered == entries, f"{answered} of {entries} were answered at first")
    show(f"filled {entries} entries in {time.monotonic() - begun:.0f} s; "
         f"resident {ordeal.sidecar.stats()['entries']}; {hot} are hot")
    time.sleep(60)
    crowd.report()


class Promise(NamedTuple):
    """What is kept by a sidecar to which that is done, besides: no wrong answer, and it serves again."""
    answer_ms: float  # until the first answer over the socket, 99 times of 100
    checks: bool      # no check fails
    blind: float      # the share of the time in which peek may be UNKNOWN; None: none is promised
    forgets: bool = False  # peek may be UNKNOWN once for each of those who are hot


def promise(arguments):
    """docs/RELIABILITY.md. A check has a second, and the table that was left answers until its lease ends, which is
    longer. So as long as the next answer is there within a second no check may fail. Whoever is stopped is missed after
    worker_timeout (ten of these while it starts), of which the master looks at the clock in every quarter."""
    stopped = arguments.signal == "STOP"
    # While the table is too small for what is hot, peek is UNKNOWN for what is not in it. And the keys, by which the
    # next worker knows what is hot, are the master's, unless a supervisor keeps them.
    gone = not stopped and arguments.who != "worker"
    blind = None if gone or arguments.during == "growth" else BLIND_SHARE
    forgets = gone and arguments.during is None
    if stopped and arguments.who == "master":
        # Nobody notices; but before that one has died, when it is a start that is hurt.
        return Promise(CHECK_MS if arguments.during == "start" else ANSWER_LIMIT_MS, True, blind)
    if stopped and arguments.who == "both":
        return Promise(1000 * STOPPED_S + CHECK_MS, False, None)
    if stopped:
        patience = arguments.worker_timeout_s * (SILENT_STARTS if arguments.during == "start" else 1)
        return Promise(1250 * patience + CHECK_MS, False, None)
    if arguments.during == "start":
        return Promise(ANSWER_LIMIT_MS + PAUSES_MS if arguments.who == "worker" else CHECK_MS, True, blind)
    # A master has to begin before its worker does, and connections are refused meanwhile.
    return Promise(ANSWER_LIMIT_MS if arguments.who == "worker" else CHECK_MS, True, blind, forgets)


class Executioner:
    """Strikes at the right moment, and does what a supervisor does afterwards."""

    def __init__(self, ordeal, arguments):
        self.ordeal, self.who, self.during = ordeal, arguments.who, arguments.during
        self.number = getattr(signal, f"SIG{arguments.signal}")
        self.moments = Moments(ordeal.sidecar)
        self.dice = random.Random(arguments.count)
        self.missed, self.grown = 0, False
        self.patience_s = 0.02  # how long after the beginning of a growth it may strike

    def strike(self):
        """When it was struck (CLOCK_MONOTONIC, seconds)."""
        if self.during == "growth":
            return self.strike_growth()
        if self.during == "start":
            return self.strike_start()
        return self.hurt(self.number)

    def hurt(self, number):
        begun = time.monotonic()
        self.ordeal.hurt(self.who, number)
        if number != signal.SIGSTOP:
            self.ordeal.keep_up(self.who)
        elif self.who != "worker":
            threading.Timer(STOPPED_S, self.ordeal.sidecar.resume).start()
        return begun

    def strike_growth(self):
        """A worker grows its table when it is some seconds old. The next one begins with a table of that size, unless
        the keys, which know it, died with their master: so each time it is a new master, but for the first time."""
        for _ in range(ATTEMPTS):
            if self.grown:
                self.ordeal.hurt("both", signal.SIGKILL)
                self.ordeal.keep_up("both")
                self.ordeal.sidecar.wait_healthy()
            self.grown = True
            grows = self.moments.growth_begins(GROWTH_S)
            assert grows, f"the table does not grow: {self.ordeal.sidecar.ops('table')}"
            time.sleep(self.dice.uniform(0, self.patience_s))
            if self.moments.growth_goes_on():
                begun = self.hurt(self.number)
                if self.moments.growth_goes_on():
                    return begun
                self.ordeal.sidecar.wait_healthy()  # it ended at that moment
            self.missed += 1
            self.patience_s /= 2
        raise AssertionError("growth is always over before anybody can strike")

    def strike_start(self):
        """A worker dies, and the next one as it starts. When the master goes, too, its first worker is the one."""
        self.moments.skip()
        begun = time.monotonic()
        self.ordeal.hurt(self.who, signal.SIGKILL)
        self.ordeal.keep_up(self.who)
        for _ in range(ATTEMPTS):
            pid = self.moments.worker_begins(GROWTH_S) if self.who == "worker" else self.first_worker()
            time.sleep(self.dice.uniform(0, 0.010))
            if not self.moments.somebody_serves():
                break
            self.missed += 1
            self.moments.skip()
            self.ordeal.hurt(self.who, signal.SIGKILL)
            self.ordeal.keep_up(self.who)
        if self.who == "worker":
            os.kill(pid, self.number)
        else:
            self.hurt(self.number)
        return begun

    def first_worker(self):
        return wait_until(lambda: self.ordeal.sidecar.worker_pid, 10, "a worker begins", 0.0005)


def judge(ordeal, kept, total, answers, hot):
    share = total["peek_unknown"] / total["peeks"]
    late = quantile(answers, 0.99)
    ordeal.expect(total["wrong"] == 0, "an answer was wrong")
    ordeal.expect(late <= kept.answer_ms, f"the first answer came after {late:.0f} ms, and not {kept.answer_ms:.0f}")
    if kept.checks:
        ordeal.expect(total["check_unknown"] == 0, "a check failed")
    if kept.blind is not None:
        ordeal.expect(share <= kept.blind, "peek was UNKNOWN for too long")
    if kept.forgets:  # and now and then for two who ask for the same one at the same moment
        ordeal.expect(total["peek_unknown"] <= 1.1 * hot * len(answers), "peek was UNKNOWN for what had been asked for")
    return share


def table_of(arguments):
    """During growth it is too small for what is hot, and grows as soon as that is seen."""
    if arguments.during != "growth":
        return {"table_entries": arguments.table_entries}
    return {"table_entries": min(arguments.table_entries, arguments.hot // 2), "hit_rate_target": "1.0"}


def kills(arguments):
    answers, total = [], {}
    kept = promise(arguments)
    with Ordeal(arguments.entries, **table_of(arguments), table_memory_max="1GB", strangers_max=2 * arguments.entries,
                worker_timeout=f"{arguments.worker_timeout_s:g}s") as ordeal, \
            Crowd(ordeal.sidecar.socket, arguments.processes, arguments.period, arguments.hot) as crowd:
        if arguments.during != "growth":  # else it would have grown before anybody strikes
            warm_up(ordeal, crowd, arguments.entries, arguments.hot)
        executioner = Executioner(ordeal, arguments)
        begun = time.monotonic()
        for turn in range(arguments.count):
            death = executioner.strike()
            answers.append(1000 * ordeal.seconds_to_answer(death))
            time.sleep(max(0, death + arguments.every - time.monotonic()))
            ordeal.sidecar.wait_healthy()
            report = crowd.report()
            for name in SUMMED:
                total[name] = total.get(name, 0) + report[name]
            total["longest_check_us"] = max(total.get("longest_check_us", 0), report["longest_check_us"])
            show(f"{turn + 1}: answered after {answers[-1]:.0f} ms; peek unknown {report['peek_unknown']} of "
                 f"{report['peeks']}, check unknown {report['check_unknown']} of {report['checks']} "
                 f"(why {report['why']}), wrong {report['wrong']}, longest check "
                 f"{report['longest_check_us'] / 1000:.0f} ms")
        seconds = time.monotonic() - begun
        during = f" during {arguments.during} (too late and done again {executioner.missed} times)" \
            if arguments.during else ""
        share = judge(ordeal, kept, total, answers, arguments.hot)
        show(f"{arguments.count} times SIG{arguments.signal} to {arguments.who}{during} in {seconds:.0f} s, "
             f"{arguments.processes} processes, {arguments.hot} hot of {arguments.entries}: "
             f"wrong {total['wrong']}; check failed {total['check_unknown']} of {total['checks']}, longest "
             f"{total['longest_check_us'] / 1000:.0f} ms; peek unknown {100 * share:.2f} % of the time; first answer "
             f"median {statistics.median(answers):.0f} ms, p99 {quantile(answers, 0.99):.0f} ms")
    return ordeal.broken


# ---- restarts ----------------------------------------------------------------------------------------------------

SLICE = 0.05     # seconds, in each of which the rate of hits is measured
BACK_RATE = 0.99


class Visitor(threading.Thread):
    """Connects and leaves, without end."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.connected, self.refused, self.leaving = str(path), 0, [], threading.Event()
        self.start()

    def run(self):
        while not self.leaving.wait(0.002):
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
                    one.connect(self.path)
                    self.connected += 1
            except OSError as error:
                self.refused.append(repr(error))

    def leave(self):
        self.leaving.set()
        self.join()


def watch_restart(crowd, begun, seconds):
    """The sums until so long after `begun`, and when the rate of hits was back for good; None: it was not."""
    total, back = dict.fromkeys((*SUMMED, "longest_check_us"), 0), 0.0
    while (now := time.monotonic()) < begun + seconds:
        time.sleep(SLICE)
        report = crowd.report()
        for name in SUMMED:
            total[name] += report[name]
        total["longest_check_us"] = max(total["longest_check_us"], report["longest_check_us"])
        if report["peek_unknown"] > (1 - BACK_RATE) * report["peeks"]:
            back = time.monotonic() - begun
    return total, back if back < now - begun else None


ROW = "{:>3}  {:14}  {:>10}  {:>12}  {:>8}  {:>16}  {:>13}  {:>15}  {:>12}"


def show_restart(row, version, stopped, first, refused, total, back):
    blind = f"{1000 * total['seconds'] * total['peek_unknown'] / total['peeks']:.0f} ms"
    show(ROW.format(row, version, f"{1000 * stopped:.0f} ms", f"{1000 * first:.0f} ms", refused,
                    f"{total['check_unknown']} of {total['checks']}", f"{total['longest_check_us'] / 1000:.0f} ms",
                    blind, "-" if back is None else f"{1000 * back:.0f} ms"))


def restart(ordeal, supervisor, crowd, visitor, row, binary, every):
    """One restart, and a line about it. Returns what was summed."""
    own = binary is None
    refused, begun = len(visitor.refused), time.monotonic()
    status = ordeal.sidecar.stop()
    stopped = time.monotonic() - begun
    supervisor.launch(binary)
    first = []
    answered = threading.Thread(target=lambda: first.append(ordeal.seconds_to_answer(begun)))
    answered.start()
    total, back = watch_restart(crowd, begun, every)
    answered.join()
    total["seconds"] = time.monotonic() - begun
    show_restart(row, "itself" if own else "another layout", stopped, first[0], len(visitor.refused) - refused,
                 total, back)
    ordeal.expect(status == 0, f"it ended with {status}")
    ordeal.expect(not own or back is not None, "the rate of hits did not come back")
    return total


def restarts(arguments):
    totals = []
    with contextlib.ExitStack() as stack:
        ordeal = stack.enter_context(
            Ordeal(arguments.entries, table_entries=2 * arguments.entries, table_memory_max="1GB",
                   strangers_max=2 * arguments.entries))
        ordeal.sidecar.stop()
        supervisor = Supervisor(ordeal.sidecar)
        stack.callback(supervisor.close)
        supervisor.launch()
        ordeal.sidecar.wait_healthy(120)
        visitor = Visitor(ordeal.sidecar.socket)
        stack.callback(visitor.leave)
        with Crowd(ordeal.sidecar.socket, arguments.processes, arguments.period, arguments.hot) as crowd:
            warm_up(ordeal, crowd, arguments.entries, arguments.hot)
            show(ROW.format("", "restart to", "ended in", "first answer", "refused", "check failed", "longest check",
                            "peek unknown", "hits back in"))
            binaries = [None] * arguments.count + [program("broken-layout"), None] * arguments.count
            for row, binary in enumerate(binaries, 1):
                totals.append(restart(ordeal, supervisor, crowd, visitor, row, binary, arguments.every))
        visitor.leave()
    own = totals[:arguments.count]
    blind = sum(one["peek_unknown"] for one in own) / sum(one["peeks"] for one in own)
    show(f"{len(totals)} restarts; {visitor.connected} connected, {len(visitor.refused)} were refused; to itself peek "
         f"unknown {100 * blind:.2f} % of the time")
    ordeal.expect(not visitor.refused, f"somebody was refused: {visitor.refused[:3]}")
    ordeal.expect(sum(one["check_unknown"] for one in totals) == 0, "a check failed")
    ordeal.expect(sum(one["wrong"] for one in totals) == 0, "an answer was wrong")
    return ordeal.broken


# ---- a crowd -----------------------------------------------------------------------------------------------------

def crowd(arguments):
    staleness = STALENESS_MS / 1000
    with Ordeal(1000, table_entries=10000, clients_max=2 * arguments.processes) as ordeal, \
            Crowd(ordeal.sidecar.socket, arguments.processes, arguments.period, 1000) as asking:
        time.sleep(5)
        asking.report()
        for turn in range(arguments.count):
            death = time.monotonic_ns()
            os.kill(ordeal.sidecar.worker_pid, signal.SIGKILL)
            first = ordeal.seconds_to_answer(death / 1e9)
            time.sleep(2 * staleness)
            report = asking.report()
            stats = wait_until(ordeal.sidecar.stats, 10, "figures")
            show(f"{turn + 1}: first answer after {1000 * first:.0f} ms; {report['attached']} of "
                 f"{arguments.processes} attached the new table between "
                 f"{(report['first_ns'] - death) / 1e6:.0f} and {(report['last_ns'] - death) / 1e6:.0f} ms after; "
                 f"peek unknown {report['peek_unknown']} of {report['peeks']}, check unknown "
                 f"{report['check_unknown']} of {report['checks']} (why {report['why']}), wrong {report['wrong']}, "
                 f"longest turn {stats['turns_max_us'] / 1000:.1f} ms, resident "
                 f"{resident_mb(ordeal.sidecar.worker_pid):.0f} MB")
            ordeal.expect(report["attached"] == arguments.processes, "not all have the new table")
            ordeal.expect(report["wrong"] == 0, "an answer was wrong")
            ordeal.expect(report["check_unknown"] == 0, "a check failed")
    return ordeal.broken


# ---- a stampede --------------------------------------------------------------------------------------------------

def show_stampede(what, arguments, opened, asked):
    def ms(name):
        return f"{asked[f'{name}_us'] / 1000:.0f}"

    def times(name):
        return "/".join(f"{asked[f'{name}_{part}_us'] / 1000:.1f}" for part in ("p50", "p99", "max"))

    answers = arguments.clients * arguments.questions
    sql = f"{asked['statements']} statements in " if asked["statements"] else ""
    show(f"{what}: all {arguments.clients} opened in {opened['open_max_us'] / 1000:.0f} ms, half in "
         f"{opened['open_p50_us'] / 1000:.0f}; {answers} answers in {ms('total')} ms: unknown {asked['unknown']} (why "
         f"{asked['why']}), wrong {asked['wrong']}; a client was done after {ms('client_min')} to {ms('client_max')}, "
         f"median {ms('client_p50')} ms, Jain {asked['jain'] / 1000:.3f}; when a quarter was done {asked['seen']} were "
         f"answered, of each client at least {asked['least']}; a call p50/p99/max {times('wait')} ms; {sql}"
         f"{asked['store_reads']} reads; longest turn {asked['turns_max_us'] / 1000:.1f}, {asked['cpu_ms']:.0f} ms of "
         f"processor time; the calm one ({asked['calm_count']} questions) {times('calm')} ms, before {times('before')} "
         f"ms, unknown {asked['calm_unknown']}")


def stampede(arguments):
    broken, answers = [], arguments.clients * arguments.questions
    stores = ("sqlite", "mariadb") if arguments.store == "both" else (arguments.store,)
    levels = (False, True) if arguments.redis == "both" else (arguments.redis == "with",)
    ways = ("single", "many") if arguments.how == "both" else (arguments.how,)
    for store, redis in ((store, redis) for store in stores for redis in levels):
        with FreshHost(store, redis, answers + CALM_USERS, arguments.places,
                       table_entries=arguments.table_entries) as host:
            for how in ways * arguments.count:
                what = f"{store}, {'Redis' if redis else 'no Redis'}, {how}"
                host.begin()
                with Stampede(host.sidecar.socket, arguments.clients, arguments.questions, arguments.places, how,
                              arguments.check_ms, arguments.calm_us) as herd:
                    opened, asked = watch(host, herd, calm_s=1)
                show_stampede(what, arguments, opened, asked)
                for text in broken_promises(opened, asked, how, answers, arguments.questions):
                    show(f"BROKEN: {text}")
                    broken.append(text)
    return broken


def main():
    parser = argparse.ArgumentParser(description="Sidecars die while many ask.")
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("kills")
    part.add_argument("--count", type=int, default=100)
    part.add_argument("--every", type=float, default=30, help="seconds from one death to the next")
    part.add_argument("--entries", type=int, default=1000000)
    part.add_argument("--hot", type=int, default=50000)
    part.add_argument("--processes", type=int, default=4)
    part.add_argument("--period", type=int, default=200, help="microseconds between two questions of a process")
    part.add_argument("--who", choices=("worker", "master", "both"), default="worker")
    part.add_argument("--signal", choices=("KILL", "SEGV", "STOP"), default="KILL")
    part.add_argument("--during", choices=("growth", "start"), help="strike just then; otherwise at any time")
    part.add_argument("--table-entries", type=int, default=1000, help="during growth half of --hot at most")
    part.add_argument("--worker-timeout", type=float, default=10, dest="worker_timeout_s", help="in seconds")
    part.set_defaults(run=kills)
    part = parts.add_parser("restarts")
    part.add_argument("--count", type=int, default=10, help="to itself; and so often to another version and back")
    part.add_argument("--every", type=float, default=8, help="seconds from one restart to the next")
    part.add_argument("--entries", type=int, default=100000)
    part.add_argument("--hot", type=int, default=20000)
    part.add_argument("--processes", type=int, default=2)
    part.add_argument("--period", type=int, default=200, help="microseconds between two questions of a process")
    part.set_defaults(run=restarts)
    part = parts.add_parser("crowd")
    part.add_argument("--processes", type=int, default=10000)
    part.add_argument("--period", type=int, default=1000000)
    part.add_argument("--count", type=int, default=3)
    part.set_defaults(run=crowd)
    part = parts.add_parser("stampede")
    part.add_argument("--clients", type=int, default=1000, help="processes")
    part.add_argument("--questions", type=int, default=50, help="of each of them")
    part.add_argument("--places", type=int, default=8)
    part.add_argument("--store", choices=("sqlite", "mariadb", "both"), default="both")
    part.add_argument("--redis", choices=("with", "without", "both"), default="both")
    part.add_argument("--how", choices=("single", "many", "both"), default="both",
                      help="permtab_check one after the other, or permtab_check_many")
    part.add_argument("--count", type=int, default=1, help="of each kind")
    part.add_argument("--calm", type=int, default=200000, dest="calm_us",
                      help="microseconds between two questions of the client that asks now and then")
    part.add_argument("--table-entries", type=int, default=100000)
    part.add_argument("--check-ms", type=int, default=1000, help="what a call may take")
    part.set_defaults(run=stampede)
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # whoever ends it finds its folder removed
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    broken = arguments.run(arguments)
    show("every promise was kept" if not broken else f"{len(broken)} promises were broken")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
