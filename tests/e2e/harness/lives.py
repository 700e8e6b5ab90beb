"""Lives of our programs, lived with one fault each (injection.py): what is done to them, and what must never come of
it. A life returns a list of complaints; none means that whatever failed ended in a clear error, or was made good."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from .descriptors import children, descriptors, without_life
from .injection import MEMORY, ONCE, Faults
from .life_stores import PATIENCE, LockedOut, Sqlite
from .paths import temporary_folder
from .policies import HELPER, MEMBER, MODERATOR, small
from .process import kill
from .rpc import Rpc, RpcError
from .sidecar import Sidecar
from .worker import Worker

STALENESS = 0.5  # seconds, as configured below
HANG = 90        # seconds after which what should have ended hangs: this machine may have other things to do

# What says that something is wrong inside, whatever the exit status.
_ALARMS = re.compile(r"Assertion|Sanitizer|runtime error:|free\(\)|malloc\(\)|realloc\(\)|corrupted|double free|"
                     r"stack smashing|buffer overflow|Backtrace|terminate called")
# The last words of libconfuse's scanner (3.3) when it has no memory: it exits, or its assertion fails, which the C
# library cannot even say when no allocation succeeds.
_LIBCONFUSE = re.compile(r"^(out of dynamic memory in .*|(?P<aborted>Unexpected error\.|"
                         r"permtabd: lexer\.l:\d+: qputc: Assertion `cfg_qstring' failed\.))$", re.MULTILINE)
# The last words of a program that gives up, and lines of the log.
_REASON = re.compile(r"^(permtabd|permtabctl): \S|^\S+Z (error|warning) ", re.MULTILINE)

ALLOWED = {(1, "channel:10", "message.delete"), (2, "server:1", "member.kick"), (3, "channel:10", "message.send"),
           (3, "channel:20", "message.send"), (900, "channel:10", "member.kick")}
DENIED = {(3, "channel:11", "message.send"), (7, "channel:10", "member.kick"), (1, "channel:99", "message.send")}


class Ended(Exception):
    """The program under test has ended by itself."""


def alarms(text):
    """Lines that no program of ours may ever print."""
    return [line[:300] for line in text.splitlines() if _ALARMS.search(line)]


class Truth:
    """What may be answered. A change whose outcome is not known leaves both; one that was made stops the old answer,
    for questions that were asked after it."""

    def __init__(self):
        self._may = {question: {"deny"} for question in ALLOWED | DENIED}  # before there is a policy

    def unsure(self, question, *decisions):
        self._may[question] |= set(decisions)

    def certain(self, question, decision):
        self._may[question] = {decision}

    def applied(self, done):
        for question in ALLOWED | DENIED:
            if not done:
                self.unsure(question, "allow", "deny")
            else:
                self.certain(question, "allow" if question in ALLOWED else "deny")

    def may(self, question):
        return set(self._may[question])

    def questions(self):
        return sorted(self._may)


class DaemonLife:
    """A sidecar over a fresh store: started, given a policy, asked through the table and the socket, changed by itself
    and behind its back, flushed, reloaded, stopped. Faults are in it alone. `usual`: descriptors() of a life without
    any."""

    def __init__(self, order, redis, usual=None, store=None, **options):
        self.order, self.usual = order, usual
        self.complaints, self.notes = [], {}
        self.folder = temporary_folder("fault")
        self.faults = Faults(self.folder / "faults", order)
        self.truth = Truth()
        self.store = store(self.folder) if store else Sqlite(self.folder)
        options = {"poll_interval": "50ms", "max_staleness": "500ms", "store_threads": 2, "store_write_threads": 1,
                   "redis": redis, "redis_prefix": f"{self.folder.name}:", "table_entries": 100,
                   "log_level": "debug", **options}
        self.sidecar = Sidecar(self.folder, self.store.url, environment=self.faults.environment(), **options)
        self.rpc = self.worker = None
        self.silences = 0
        # What fails once is made good. What goes on failing may fail whoever asks, and is not waited for.
        self.patience = 20 if order.reach == ONCE else 1.5

    def live(self):
        try:
            self._live()
        finally:
            self._disconnect()
            if self.worker:
                kill(self.worker.process)
                self.worker.process.stdin.close()
                self.worker.process.stdout.close()
            kill(self.sidecar.process)
            figures = self.faults.figures()
            self.notes.update(calls=figures[0], failed=figures[1], lost=figures[2])
            self.first = self.faults.first()
            self.log = self.sidecar.log()
            known = _LIBCONFUSE if self.notes.get("ended") == "by libconfuse" else None
            self.complaints += [f"it says: {line}" for line in alarms(self.log) if not (known and known.search(line))]
        return self.complaints

    def _was_ended_by_libconfuse(self, status):
        """Its scanner of the configuration ends the process when it has no memory: the one death that is not ours."""
        first = self.faults.first()
        last = _LIBCONFUSE.search(self.sidecar.log())
        if last is None or first is None or first.kind != MEMORY:
            return False
        of_it = any("libconfuse" in path for path, _ in first.frames)
        return of_it and status in ((-signal.SIGABRT,) if last["aborted"] else (1, 2))

    def clean(self):
        self.store.clean()
        shutil.rmtree(self.folder, ignore_errors=True)

    def complain(self, text):
        self.complaints.append(text)

    def _live(self):
        try:
            if not self._begin():
                return
            if not self._policy() and self.order.reach == ONCE:  # what it says of all else would be of no use
                self._stop()
                return
            self._ask()
            self._changes()
            self._ask()
            self._commands()
            self._ask()
            self._settle()
            self._stop()
        except Ended:
            self._gave_up("while it served")

    # ---- its end --------------------------------------------------------------------------------------------------

    def _gave_up(self, when):
        status = self.sidecar.process.wait(HANG)
        self.notes["ended"] = f"{when}, with {status}"
        if self._was_ended_by_libconfuse(status):
            self.notes["ended"] = "by libconfuse"
        elif status not in (1, 2):
            self.complain(f"it ended {when} with {status}")
        elif not _REASON.search(self.sidecar.log()):
            self.complain(f"it ended {when} without saying why")
        self._start_again()

    def _start_again(self):
        """Whatever it was, the next start finds nothing that is broken."""
        self._disconnect()
        self.sidecar.environment = dict(os.environ)
        try:
            self.sidecar.start(30)
        except AssertionError as error:
            self.complain(f"it does not start again: {str(error)[-400:]}")
            return
        self.sidecar.stop()

    def _check_alive(self):
        if self.sidecar.process.poll() is not None:
            raise Ended

    def _stop(self):
        process = self.sidecar.process
        below = children(process.pid)
        process.terminate()
        try:
            status = process.wait(HANG)
        except subprocess.TimeoutExpired:
            self.complain("it does not stop")
            return
        if self._was_ended_by_libconfuse(status):  # while it read the configuration again
            self._gave_up("when it was to stop")
            return
        if status not in (0, 1) or (status == 1 and not _REASON.search(self.sidecar.log())):
            self.complain(f"told to stop, it ended with {status}")
        deadline = time.monotonic() + HANG
        while any(pathlib.Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < deadline:
            time.sleep(0.01)
        if any(pathlib.Path(f"/proc/{pid}").exists() for pid in below):
            self.complain("it left a child behind")
        first = self.faults.first()
        left = {path.name for path in self.folder.iterdir() if path.is_socket()}
        if left and not (first and first.function in ("unlink", "lstat", "lstat64")):
            self.complain(f"it left {', '.join(sorted(left))} behind")
        for trouble in self.store.troubles():
            self.complain(f"the store: {trouble}")
        if "locked out" in self.notes:
            try:
                self.store.write(f"DELETE FROM permtab_assignment WHERE user_id = 2 AND role_id = {HELPER}")
            except LockedOut as error:
                self.complain(f"it keeps others from writing when it has gone: {error}")

    # ---- what is done to it ---------------------------------------------------------------------------------------

    def _begin(self):
        self.sidecar.launch()
        deadline = time.monotonic() + HANG
        while time.monotonic() < deadline:
            if self.sidecar.process.poll() is not None:
                self._gave_up("while it started")
                return False
            try:
                if self._call("health")["ok"]:
                    return True
            except (OSError, EOFError, RpcError):
                pass
            if self.order.reach != ONCE and time.monotonic() > deadline - HANG + 3:
                self.notes["never served"] = True
                self._stop()
                return False
            time.sleep(0.01)
        self.complain("it neither serves nor ends")
        return False

    def _connection(self):
        if self.rpc is None:
            self.rpc = Rpc(self.sidecar.socket, timeout=self.patience)
        return self.rpc

    def _disconnect(self):
        if self.rpc is not None:
            self.rpc.close()
            self.rpc = None

    def _call(self, method, params=None):
        try:
            return self._connection().call(method, params)
        except RpcError:
            raise
        except (OSError, EOFError) as error:
            self._disconnect()
            self.silences += isinstance(error, TimeoutError)
            raise

    def _is_silent(self):
        """What fails for good may keep it from ever answering; then it is only told to stop."""
        return self.order.reach != ONCE and self.silences >= 3

    def _try(self, action, what):
        """Until it succeeds; its result. None when it did not: for a fault that is over a complaint."""
        deadline, error = time.monotonic() + self.patience * 3, None
        while time.monotonic() < deadline and not self._is_silent():
            self._check_alive()
            try:
                return action() or {}
            except (OSError, EOFError, RpcError) as failure:
                error = failure
                if not isinstance(failure, RpcError):
                    self._disconnect()
                time.sleep(0.05)
        self._check_alive()
        if self.order.reach == ONCE:
            self.complain(f"{what} never succeeded: {error}")
        return None

    def _policy(self):
        self.truth.applied(False)
        text = json.dumps(small())
        done = self._try(lambda: self._connection().apply(text), "apply") is not None
        self.truth.applied(done)
        return done

    def _ask(self):
        self._ask_table()
        self._ask_socket()

    def _judge(self, question, decision, may, how):
        if decision != "unknown" and decision not in may:
            self.complain(f"{how} {question} is {decision}, and only {' or '.join(sorted(may))} was true")

    def _attached(self):
        try:
            if self.worker is None:
                self.worker = Worker(self.sidecar.socket, timeout_ms=300)
        except AssertionError as error:
            self.notes["worker"] = str(error)
            self.silences += 1
        return self.worker

    def _ask_table(self):
        self._check_alive()
        if self._is_silent() or not self._attached():
            return
        for question in self.truth.questions():
            for ask in (self.worker.check, self.worker.peek):
                may = self.truth.may(question)
                try:
                    answer = ask(*question)
                except AssertionError as error:  # the name is not known, or cannot be asked for
                    self.notes["worker"] = str(error)
                    continue
                self._judge(question, answer if isinstance(answer, str) else answer[0], may, "check of")

    def _ask_socket(self):
        for question in self.truth.questions():
            self._check_alive()
            if self._is_silent():
                return
            may = self.truth.may(question)
            try:
                answer = self._call("check", dict(zip(("user", "scope", "permission"), question)))["decision"]
            except (OSError, EOFError, RpcError):
                continue
            self._judge(question, {1: "allow", 0: "deny", -1: "unknown"}[answer], may, "check over the socket of")

    def _write(self, method, params, question):
        """A change that takes `question`'s ALLOW away."""
        self.truth.unsure(question, "deny")
        done = self._try(lambda: self._call(method, params), method)
        if done is not None and "allow" in self.truth.may(question):
            self.truth.certain(question, "deny")

    def _changes(self):
        self._write("unassign", {"user": 1, "role": MODERATOR, "scope": "server:1"},
                    (1, "channel:10", "message.delete"))
        self._write("revoke", {"role": MEMBER, "permission": "message.send"}, (3, "channel:10", "message.send"))
        self._ask_table()
        question = (2, "server:1", "member.kick")
        self.truth.unsure(question, "deny")
        if not self._write_behind(f"DELETE FROM permtab_assignment WHERE user_id = 2 AND role_id = {HELPER}"):
            return
        # Nobody tells it; the promise is that nothing is believed for longer than this.
        committed = time.monotonic()
        while time.monotonic() < committed + STALENESS:
            self._ask_socket()
            time.sleep(0.05)
        self.truth.certain(question, "deny")
        self._ask_table()

    def _write_behind(self, text):
        """By plain SQL. False when nobody can: a program that can never again give a lock back keeps everybody out for
        as long as it lives; and no longer."""
        try:
            self.store.write(text, PATIENCE if self.order.reach == ONCE else 10)
            return True
        except LockedOut as error:
            self.notes["locked out"] = str(error)
            if self.order.reach == ONCE:
                self.complain(f"nobody else can write: {error}")
            return False

    def _commands(self):
        for method, params in (("invalidate", {"targets": ["user:1", "scope:channel:10", "role:100"]}),
                               ("invalidate", {"what": "all"}), ("permissions", {"user": 3, "scope": "channel:10"}),
                               ("explain", {"user": 3, "scope": "channel:10", "permission": "message.send"}),
                               ("check_many", {"queries": [[3, "channel:20", "message.send", None]] * 3}),
                               ("export", {}), ("stats", {}), ("catalogue", {}), ("subscribe", {}),
                               ("tag_add", {"tag": "raid", "targets": ["user:9"]}), ("tag_list", {"tag": "raid"}),
                               ("delay", {"targets": ["user:3"], "in_ms": 1}), ("delayed", {}),
                               ("cleanup", {"action": "start", "kind": "orphans"}), ("delayed_stats", {})):
            self._check_alive()
            if self._is_silent():
                return
            try:
                self._call(method, params)
            except (OSError, EOFError, RpcError):
                pass
        try:
            self.sidecar.ops("stats", seconds=self.patience)
            self.sidecar.ops("clients", seconds=self.patience)
        except OSError:
            pass
        self.sidecar.configure(poll_interval="40ms")
        self._check_alive()
        self.sidecar.process.send_signal(1)  # SIGHUP

    def _healed(self):
        try:
            if not self._call("health")["ok"]:
                return "its health says: " + str(self._call("health").get("trouble"))
            for question in self.truth.questions():
                if self.worker.check(*question) not in self.truth.may(question):
                    return f"{question} is unknown: {self.worker.why()}"
        except (OSError, EOFError, RpcError, AssertionError) as error:
            return str(error)
        return None

    def _settle(self):
        """After a fault that is over everything is as ever."""
        if self.order.reach != ONCE:
            return
        deadline, trouble = time.monotonic() + HANG, "nothing"
        while trouble and time.monotonic() < deadline:
            self._check_alive()
            trouble = self._healed() if self._attached() else "no worker can attach"
            time.sleep(0.02 if trouble else 0)
        if trouble:
            self.complain(f"it does not heal: {trouble}")
        for name, count in self._surplus().items():
            self.complain(f"{count} descriptors of {name}, and {self.usual[without_life(name)]} are usual")

    def _surplus(self):
        """{what it is: how many} of what it has open more often than is usual, and goes on having. A table that another
        one has taken the place of is kept until its lease has ended and its readers have left it: when they ask."""
        deadline = time.monotonic() + HANG
        while True:
            counts = self.notes["descriptors"] = self._descriptors()
            more = {name: count for name, count in counts.items()
                    if count > (self.usual or {}).get(without_life(name), count)}
            if not more or time.monotonic() > deadline:
                return more
            self._check_alive()
            self._healed()
            time.sleep(0.05)

    def _descriptors(self):
        counts = {}
        for pid in children(self.sidecar.process.pid) | {self.sidecar.process.pid}:
            for name, count in descriptors(pid).items():
                counts[name] = counts.get(name, 0) + count
        return counts
