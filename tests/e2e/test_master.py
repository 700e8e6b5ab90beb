#!/usr/bin/env python3
"""The master and its worker: whoever dies, stops or hangs, there is one that serves again, and never two."""

import array
import datetime
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time

from harness import Rpc, SqliteCase, main
from harness.descriptors import children as unread_children
from harness.paths import program
from harness.policies import small
from harness.process import children, end, is_there, kill, spawn, wait_until
from harness.sidecar import Sidecar
from harness.supervisor import hold, launch_with

QUESTION = (1, "channel:10", "message.delete")
UNKNOWN_ONES = (4242, "channel:20", "message.delete")


class MasterCase(SqliteCase):
    def serve(self, **options):
        self.serving = self.sidecar(**options)
        self.serving.apply(small())
        return self.serving

    def new_worker(self, before):
        """Waits until another worker than `before` serves, and returns its process id."""
        wait_until(lambda: self.serving.worker_pid not in (None, before), 20, "there is another worker")
        self.serving.wait_healthy()
        return self.serving.worker_pid

    def said(self, text):
        wait_until(lambda: text in self.serving.log(), 20, lambda: f"the log says {text!r}")

    def assert_nothing_is_left(self):
        """No process that was started with this configuration, and no file of it."""
        path = str(self.serving.configuration).encode()

        def users():
            found = []
            for line in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if path in line.read_bytes() and is_there(int(line.parent.name)):
                        found.append(line.parent.name)
                except OSError:
                    pass
            return found
        wait_until(lambda: users() == [], 20, lambda: f"all have ended: {users()}")


class DeathsOfTheWorker(MasterCase):
    def test_another_one_serves(self):
        """Whatever ends it. A check that was asked meanwhile waits; and the master says how it was."""
        self.serve()
        worker = self.worker(self.serving, timeout_ms=20000)
        self.assertEqual("allow", worker.check(*QUESTION))
        starts = 1
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL):
            before = self.serving.worker_pid
            os.kill(before, number)
            wait_until(lambda: not is_there(before), 20, "it is dead")
            after = self.new_worker(before)
            starts += 1
            self.assertRegex(self.serving.log(), rf"error permtabd: worker {before} died: signal {number}, [\w ]+ "
                                                 r"after \d+\.\d{3} s; another one begins\n")
            self.assertEqual([after], children(self.serving.process.pid), "no zombie, and no second one")
            self.assertEqual(starts, self.serving.stats()["worker_starts"])
            self.assertRegex(self.serving.health()["last_death"], rf"^signal {number}, [\w ]+ after \d+\.\d{{3}} s$")
            self.assertEqual("deny", worker.check(*UNKNOWN_ONES))
            self.assertEqual("allow", worker.check(*QUESTION))
        self.assertRegex(self.serving.ops("health"), r"\nlast_death signal 9, ")
        self.assertRegex(self.serving.ctl("health").stdout, r"\nthe worker before ended by signal 9, ")

    def test_nothing_is_said_of_deaths_that_were_not(self):
        self.serve()
        self.assertNotIn("last_death", self.serving.health())
        self.assertNotIn("last_death", self.serving.ops("health"))

    def test_signals_to_the_worker_alone(self):
        """Those that a terminal or a supervisor sends to all are the master's affair."""
        self.serve()
        before = self.serving.worker_pid
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(before, number)
        self.assertTrue(self.serving.health()["ok"])
        self.assertEqual(before, self.serving.worker_pid)
        self.assertEqual(0, self.serving.stop())

    def test_one_that_dies_again_and_again_is_given_pauses(self):
        """It serves each time, so it is tried at once; but not for ever as fast as it can die."""
        self.serve()
        for number in range(7):
            before = self.serving.worker_pid
            os.kill(before, signal.SIGKILL)
            self.new_worker(before)
            if "after a pause" in self.serving.log():
                break
        self.assertGreaterEqual(number, 5)
        self.said("another one begins after a pause")

    def test_in_the_grace_it_is_not_replaced(self):
        self.serve(stop_grace="10m")
        self.serving.process.terminate()
        self.said("everything goes on for stop_grace")
        os.kill(self.serving.worker_pid, signal.SIGKILL)
        self.assertEqual(1, self.serving.process.wait(60))
        self.assertIn("died while it was to stop: signal 9", self.serving.log())
        self.assertFalse(self.serving.socket.exists())
        self.assertFalse(self.serving.ops_socket.exists())


class StoreAway(MasterCase):
    """A worker that cannot start, because the store's folder has been moved away."""

    def setUp(self):
        super().setUp()
        self.place = self.folder / "store"
        self.place.mkdir()
        self.away = self.folder / "away"
        self.url = f"sqlite:{self.place}/permtab.db"

    def break_it(self):
        self.serve()
        self.place.rename(self.away)
        os.kill(self.serving.worker_pid, signal.SIGKILL)
        self.said("before it served: ")

    def begins(self):
        times = re.findall(r"^(\S+)Z info permtabd: worker \d+ begins", self.serving.log(), re.M)
        return [datetime.datetime.fromisoformat(when).timestamp() for when in times]

    def test_pauses_grow_and_end(self):
        self.break_it()
        wait_until(lambda: len(self.begins()) >= 5, 20, "it was tried five times")
        times = self.begins()
        for number, gap in enumerate(b - a for a, b in zip(times, times[1:])):
            self.assertGreater(gap, min(0.1 * 2 ** number, 5) - 0.01)
        self.assertRegex(self.serving.log(), r"error permtabd: worker died: code 1 after \d+\.\d{3} s, before it "
                                             r"served: .*permtab\.db.*; another one begins after a pause\n")
        self.away.rename(self.place)
        self.serving.wait_healthy()
        self.said("permtabd: a worker serves again")
        self.assertIn("before it served", self.serving.health()["last_death"])

    def test_told_to_stop_in_a_pause(self):
        self.break_it()
        wait_until(lambda: len(self.begins()) >= 5 and not unread_children(self.serving.process.pid), 20,
                   "there is nobody, and will not be for a second and more")
        self.assertEqual(0, self.serving.stop())
        self.assertFalse(self.serving.socket.exists())
        self.assertFalse(self.serving.ops_socket.exists())


class Starts(MasterCase):
    def hang(self):
        """A start that waits for the store."""
        self.serve(store_timeout="60s")
        self.serving.stop()
        writer = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(writer.close)
        writer.execute("BEGIN EXCLUSIVE")
        self.serving.launch()
        wait_until(lambda: self.serving.worker_pid is not None, 20, "a worker begins")
        time.sleep(0.3)
        return writer

    def test_a_first_worker_that_is_killed_is_the_end(self):
        self.hang()
        os.kill(self.serving.worker_pid, signal.SIGKILL)
        self.assertEqual(1, self.serving.process.wait(60))
        self.assertRegex(self.serving.log(), r"\npermtabd: signal 9, \w+ after \d+\.\d{3} s, before it served\n$")
        self.assertFalse(self.serving.socket.exists())

    def test_told_to_stop_while_it_starts(self):
        writer = self.hang()
        self.serving.process.terminate()
        time.sleep(0.2)
        writer.execute("ROLLBACK")
        self.assertEqual(0, self.serving.process.wait(60), self.serving.log())
        self.assertFalse(self.serving.socket.exists())

    def test_the_master_dies_at_any_moment_of_it(self):
        self.serve()
        self.serving.stop()
        dice = random.Random(9)
        for _ in range(25):
            self.serving.launch()
            time.sleep(dice.random() * 0.06)
            os.kill(self.serving.process.pid, signal.SIGKILL)
            self.serving.process.wait(60)
        self.assert_nothing_is_left()
        self.serving.start()
        self.assertTrue(self.serving.health()["ok"])

    def test_a_third_one_takes_over_from_one_that_ends(self):
        """It waits for the lock of an instance in its grace, which is told to end meanwhile."""
        self.serve(stop_grace="10m")
        self.serving.process.terminate()
        self.said("everything goes on for stop_grace")
        first, self.serving.process = self.serving.process, None
        self.serving.launch()
        self.addCleanup(kill, first)
        self.said(f"is serving it, process {first.pid}; waiting for it to end")
        first.terminate()
        self.assertEqual(0, first.wait(60))
        self.serving.wait_healthy()

    def test_told_to_stop_while_it_waits_for_another(self):
        self.serve()
        first = self.serving.process
        self.addCleanup(kill, first)
        self.serving.launch()
        self.said("waiting for it to end")
        self.assertEqual(0, self.serving.stop())
        self.serving.process = first
        self.assertTrue(self.serving.health()["ok"])


class Hanging(MasterCase):
    def test_a_worker_that_hangs_is_replaced(self):
        self.serve(worker_timeout="1s")
        worker = self.worker(self.serving, timeout_ms=60000)
        self.assertEqual("allow", worker.check(*QUESTION))
        before = self.serving.worker_pid
        os.kill(before, signal.SIGSTOP)
        wait_until(lambda: not is_there(before), 20, "it was killed")
        self.said(f"worker {before} is killed: its loop has not turned for worker_timeout")
        self.new_worker(before)
        self.assertIn("signal 9, Killed of its master", self.serving.health()["last_death"])
        self.assertEqual("allow", worker.check(*QUESTION))

    def test_never(self):
        self.serve(worker_timeout="0s")
        before = self.serving.worker_pid
        os.kill(before, signal.SIGSTOP)
        time.sleep(2)
        os.kill(before, signal.SIGCONT)
        self.serving.wait_healthy()
        self.assertEqual(before, self.serving.worker_pid)

    def test_whoever_was_away_does_not_judge(self):
        """Both processes stopped, as by a terminal or a debugger, or the master alone. What it has not heard meanwhile
        nobody could have told it. Its patience is long enough for a worker that waits for a processor."""
        patience = 4
        self.serve(worker_timeout=f"{patience}s")
        before = self.serving.worker_pid
        self.serving.pause()
        time.sleep(1.5 * patience)
        self.serving.process.send_signal(signal.SIGCONT)
        time.sleep(0.5)  # the master looks first
        os.kill(before, signal.SIGCONT)
        self.serving.wait_healthy()
        self.serving.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * patience)
        self.serving.process.send_signal(signal.SIGCONT)
        time.sleep(1.5)
        self.serving.wait_healthy()
        self.assertEqual(before, self.serving.worker_pid, self.serving.log())
        self.assertNotIn("is killed", self.serving.log())

    def test_a_stopped_worker_hears_that_it_is_to_end(self):
        self.serve(worker_timeout="0s")
        os.kill(self.serving.worker_pid, signal.SIGSTOP)
        self.serving.process.terminate()
        self.assertEqual(0, self.serving.process.wait(60), self.serving.log())
        self.assertFalse(self.serving.socket.exists())

    def test_one_that_does_not_end_is_killed(self):
        """It is stopped again and again, so it never gets to it."""
        self.serve(worker_timeout="0s")
        before = self.serving.worker_pid
        os.kill(before, signal.SIGSTOP)
        self.serving.process.terminate()
        while self.serving.process.poll() is None:
            try:
                os.kill(before, signal.SIGSTOP)
            except ProcessLookupError:
                break
        status = self.serving.process.wait(60)
        self.assertFalse(self.serving.socket.exists())
        if status == 0:
            self.skipTest("it was quicker than we could stop it")
        self.assertEqual(1, status)
        self.assertIn("is killed: it was to end, and did not", self.serving.log())


class DeathOfTheMaster(MasterCase):
    def test_the_worker_goes_with_it(self):
        """kill -9: no worker, no listener and no lock is left, and the next one starts at once."""
        self.serve()
        before = self.serving.worker_pid
        os.kill(self.serving.process.pid, signal.SIGKILL)
        self.serving.process.wait(60)
        wait_until(lambda: not is_there(before), 20, "the worker is gone")
        wait_until(self.refused, 20, "its sockets are gone, too")
        self.serving.start()
        self.assertTrue(self.serving.health()["ok"])

    def refused(self):
        """A process is gone a moment before its sockets are."""
        try:
            self.serving.rpc().close()
        except ConnectionRefusedError:
            return True
        except (OSError, EOFError):
            return False
        return False

    def test_a_start_right_behind_it(self):
        """Without waiting for the worker: it may still have the sockets for a moment."""
        self.serve()
        for _ in range(10):
            os.kill(self.serving.process.pid, signal.SIGKILL)
            self.serving.process.wait(60)
            self.serving.start()

    def test_a_stopped_worker_goes_with_it(self):
        self.serve(worker_timeout="0s")
        before = self.serving.worker_pid
        os.kill(before, signal.SIGSTOP)
        self.serving.kill()
        self.assertFalse(is_there(before))
        self.serving.start()


class Descriptors(MasterCase):
    def links(self, pid):
        names = []
        for number in os.listdir(f"/proc/{pid}/fd"):
            if int(number) > 2:
                names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        return names

    def test_each_has_its_own(self):
        if os.getuid() != 0:
            self.skipTest("another process' descriptors are looked at")
        self.serve()
        before = self.serving.worker_pid
        os.kill(before, signal.SIGKILL)
        after = self.new_worker(before)
        master, worker = self.links(self.serving.process.pid), self.links(after)
        kinds = [name.split("/")[-1].split(":[")[0].split(" ")[0] for name in master]
        self.assertEqual(sorted(["anon_inode", "memfd:permtab-keys", "ops.sock.lock", "permtab.sock.lock",
                                 "socket", "socket", "socket"]), sorted(kinds), "with two listeners and the channel")
        self.assertIn("anon_inode:[signalfd]", master)
        self.assertEqual([], [name for name in worker if "signalfd" in name or name.endswith(".lock")])
        self.assertIn("memfd:permtab-keys", " ".join(worker))


class Reload(MasterCase):
    def hup(self, **changes):
        self.serving.configure(**changes)
        self.serving.process.send_signal(signal.SIGHUP)

    def test_a_wrong_one_changes_nothing(self):
        self.serve()
        before = self.serving.worker_pid
        self.hup(poll_interval="5m", stop_grace="9m")
        self.said("the configuration was not read again, and nothing changes: ")
        self.assertRegex(self.serving.log(), r"error permtabd: .*: \S+permtab\.conf:\d+: max_staleness|poll_interval")
        self.assertEqual(before, self.serving.worker_pid)
        self.assertNotIn("stop_grace is 9m", self.serving.log())
        self.hup(poll_interval="100ms", stop_grace="0s")
        self.said("the configuration is what it was")

    def test_live_options(self):
        self.serve()
        before = self.serving.worker_pid
        self.hup(log_level="debug", worker_timeout="3s")
        self.said("log_level is debug now")
        self.said("worker_timeout is 3s now")
        self.assertTrue(self.serving.health()["ok"])
        self.assertEqual(before, self.serving.worker_pid)
        os.kill(before, signal.SIGSTOP)
        self.new_worker(before)
        self.assertIn("its loop has not turned for worker_timeout", self.serving.log())

    def test_any_other_takes_a_worker(self):
        self.serve()
        worker = self.worker(self.serving, timeout_ms=20000)
        self.assertEqual("allow", worker.check(*QUESTION))
        before = self.serving.worker_pid
        self.hup(clients_max=2, log_level="debug")
        self.said("clients_max is 2 for the next worker")
        self.new_worker(before)
        self.said("the new configuration serves")
        self.assertEqual("allow", worker.check(*QUESTION))
        self.assertEqual([self.serving.worker_pid], children(self.serving.process.pid))
        with self.serving.rpc():  # with the worker's that is two
            with self.assertRaises((OSError, EOFError)):
                self.serving.rpc()
        self.assertNotIn(" died", self.serving.log())
        self.assertNotIn("last_death", self.serving.health())

    def test_a_password_may_change_in_its_file(self):
        secret = self.folder / "secret"
        secret.write_text("first\n")
        self.serve(redis_password_file=str(secret))
        before = self.serving.worker_pid
        secret.write_text("second\n")
        self.hup()
        self.said(f"redis_password_file is {secret} for the next worker")
        self.new_worker(before)
        self.assertNotIn("second\n", self.serving.log())

    def test_what_only_a_restart_changes_is_named(self):
        self.serve()
        before = self.serving.worker_pid
        self.hup(socket=str(self.folder / "other.sock"), socket_mode="0600", stop_grace="1s")
        self.said(f"socket stays {self.serving.socket}: only a restart makes it {self.folder}/other.sock")
        self.said("socket_mode stays 0666: only a restart makes it 0600")
        self.said("stop_grace is 1s now")
        self.assertTrue(self.serving.health()["ok"])
        self.assertEqual(before, self.serving.worker_pid)

    def test_back_to_the_one_before(self):
        self.serve()
        before = self.serving.worker_pid
        self.hup(store="sqlite:/nonexistent/folder/permtab.db")
        self.said("the new configuration does not start, so the one before is back: code 1 after ")
        self.new_worker(before)
        with self.serving.rpc() as rpc:
            self.assertEqual(1, rpc.call("check", user=1, scope="channel:10", permission="message.delete")["decision"])
        # It counts for the next reload, too: what is in force is the one before.
        self.hup(store=self.url)
        self.said("the configuration is what it was")

    def test_a_reload_in_a_change_waits_for_it(self):
        self.serve()
        before = self.serving.worker_pid
        self.hup(audit_entries=5)
        self.hup(audit_entries=6)
        self.said("audit_entries is 6 for the next worker")
        self.said("the new configuration serves")
        wait_until(lambda: len(children(self.serving.process.pid)) == 1, 20, "there is one worker")
        self.new_worker(before)

    def test_the_demo_keeps_its_folder(self):
        log = open(self.folder / "demo.log", "w+")
        self.addCleanup(log.close)
        process = spawn([Sidecar(self.folder, self.url).binary, "--demo"], stdout=log, stderr=log, cwd=self.folder,
                        env={**os.environ, "XDG_RUNTIME_DIR": str(self.folder)})
        self.addCleanup(end, process)
        text = pathlib.Path(log.name).read_text
        wait_until(lambda: "is removed at the end" in text(), 20, "it serves")
        [demo] = self.folder.glob("permtab-demo-*")
        os.kill(children(process.pid)[0], signal.SIGKILL)
        wait_until(lambda: text().count(": serving ") == 2, 20, "another worker serves")
        self.assertTrue((demo / "permtab.db").exists())
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the configuration is what it was" in text(), 20, text)
        self.assertEqual(1, text().count("is removed at the end"))
        self.assertEqual(0, end(process))
        self.assertFalse(demo.exists())


class Supervised(MasterCase):
    """By a supervisor that speaks sd_notify's protocol."""

    def setUp(self):
        super().setUp()
        path = self.folder / "notify.sock"
        self.supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.supervisor.close)
        self.supervisor.bind(str(path))
        self.supervisor.settimeout(60)
        self.environment = {**os.environ, "NOTIFY_SOCKET": str(path)}

    def hear(self):
        """The lines of the next message, and its descriptors."""
        data, descriptors, _, _ = socket.recv_fds(self.supervisor, 4096, 4)
        for descriptor in descriptors:
            self.addCleanup(os.close, descriptor)
        return data.decode().split("\n"), descriptors

    def hear_until(self, line):
        """Messages until one has that line, itself included."""
        heard = []
        while not heard or line not in heard[-1]:
            heard.append(self.hear()[0])
        return heard

    def test_what_it_is_told(self):
        self.serve(environment=self.environment)
        lines, [keys] = self.hear()
        self.assertEqual(["FDSTORE=1", "FDNAME=permtab-keys"], lines)
        self.assertRegex(os.readlink(f"/proc/self/fd/{keys}"), "memfd:permtab-keys")
        lines, _ = self.hear()
        self.assertEqual(["READY=1", f"STATUS=Worker {self.serving.worker_pid} serves."], lines)
        before = self.serving.worker_pid
        os.kill(before, signal.SIGKILL)
        self.assertRegex(self.hear()[0][0], "^STATUS=A worker died: signal 9, Killed after ")
        after = self.new_worker(before)
        self.assertEqual(["READY=1", f"STATUS=Worker {after} serves."], self.hear()[0])
        self.serving.process.send_signal(signal.SIGHUP)
        reloading, clock = self.hear()[0]
        self.assertEqual("RELOADING=1", reloading)
        name, _, us = clock.partition("=")
        self.assertEqual("MONOTONIC_USEC", name)
        self.assertLess(abs(time.monotonic() - int(us) / 1e6), 60)
        self.assertEqual(["READY=1"], self.hear()[0])
        self.serving.configure(audit_entries=7)
        self.serving.process.send_signal(signal.SIGHUP)
        self.assertEqual("RELOADING=1", self.hear()[0][0])
        self.assertEqual("READY=1", self.hear()[0][0])  # only when the new worker serves
        self.new_worker(after)
        self.assertEqual(7, int(re.search(r"audit_entries is (\d+) for", self.serving.log()).group(1)))
        self.serving.process.terminate()
        self.assertEqual("STOPPING=1", self.hear()[0][0])
        self.assertEqual(0, self.serving.process.wait(60))

    def test_the_watchdog_hears_of_a_loop_that_turns(self):
        """And of nothing else. The master's own patience is off, so that the supervisor's is what counts."""
        self.serve(environment={**self.environment, "WATCHDOG_USEC": "800000"}, worker_timeout="0s")
        for _ in range(4):
            self.hear_until("WATCHDOG=1")
        os.kill(self.serving.worker_pid, signal.SIGSTOP)
        time.sleep(1)  # what was sent before that
        self.supervisor.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                self.supervisor.recv(4096)
        time.sleep(2)
        with self.assertRaises(BlockingIOError):
            self.supervisor.recv(4096)
        self.supervisor.settimeout(60)
        os.kill(self.serving.worker_pid, signal.SIGCONT)
        self.hear_until("WATCHDOG=1")

    def test_the_watchdog_is_not_ours(self):
        self.serve(environment={**self.environment, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
        self.hear_until(f"STATUS=Worker {self.serving.worker_pid} serves.")
        time.sleep(0.5)
        self.supervisor.setblocking(False)
        with self.assertRaises(BlockingIOError):
            self.supervisor.recv(4096)


class Inherited(MasterCase):
    """Sockets that somebody else holds, as systemd does for a socket unit."""

    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(start=False)

    def hold(self, path):
        held = hold(path)
        self.addCleanup(held.close)
        return held

    def launch(self, *descriptors, **options):
        launch_with(self.serving, descriptors, **options)

    def test_matched_by_what_they_are_bound_to(self):
        """In whatever order; and they stay when the daemon goes."""
        ops, clients = self.hold(self.serving.ops_socket), self.hold(self.serving.socket)
        inodes = [path.stat().st_ino for path in (self.serving.socket, self.serving.ops_socket)]
        self.launch(ops.fileno(), clients.fileno())
        self.serving.wait_healthy()
        self.assertIn("ok", self.serving.ops("health").split())
        self.assertEqual(0, self.serving.stop())
        self.assertEqual(inodes, [path.stat().st_ino for path in (self.serving.socket, self.serving.ops_socket)])
        self.assertFalse(pathlib.Path(f"{self.serving.socket}.lock").exists())

    def test_one_inherited_and_one_made(self):
        clients = self.hold(self.serving.socket)
        self.launch(clients.fileno())
        self.serving.wait_healthy()
        self.assertIn("ok", self.serving.ops("health").split())
        self.assertEqual(0, self.serving.stop())
        self.assertTrue(self.serving.socket.exists())
        self.assertFalse(self.serving.ops_socket.exists())

    def test_one_that_matches_nothing_is_refused(self):
        other = self.hold(self.folder / "other.sock")
        self.launch(other.fileno())
        self.assertEqual(2, self.serving.process.wait(60))
        self.assertIn(f'permtabd: LISTEN_FDS: descriptor 3 is bound to "{self.folder}/other.sock", which is neither '
                      "socket nor ops_socket", self.serving.log())

    def test_restarts_under_load(self):
        self.restart_under_load([self.serving.binary] * 3)

    def test_restarts_of_another_version(self):
        """Whose table the worker cannot read: it is answered over the socket, and reads the next one again."""
        try:
            other = program("broken-layout")
        except AssertionError:
            self.skipTest("builds with sanitizers do not have the other version")
        self.restart_under_load([other, self.serving.binary, other, self.serving.binary])

    def restart_under_load(self, binaries):
        """Nobody is refused, and no check fails: who comes between two instances waits."""
        clients = self.hold(self.serving.socket)
        self.launch(clients.fileno())
        self.serving.wait_healthy()
        self.serving.apply(small())
        worker = self.worker(self.serving, timeout_ms=60000)
        stop, wrong, asked = threading.Event(), [], [0, 0]

        def connect():
            while not stop.is_set():
                try:
                    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
                        one.settimeout(60)
                        one.connect(str(self.serving.socket))
                        asked[0] += 1
                except OSError as error:
                    wrong.append(repr(error))
                time.sleep(0.002)

        def check():
            while not stop.is_set():
                for question, expected in ((QUESTION, "allow 0"), (UNKNOWN_ONES, "deny 0")):
                    answer = " ".join(worker.ask("check", *question))
                    if answer != expected:
                        wrong.append(answer)
                    asked[1] += 1

        threads = [threading.Thread(target=target) for target in (connect, check)]
        for thread in threads:
            thread.start()
        try:
            for binary in binaries:
                self.assertEqual(0, self.serving.stop(), self.serving.log())
                self.launch(clients.fileno(), binary=binary)
                self.serving.wait_healthy()
                before = list(asked)
                wait_until(lambda: asked[0] > before[0] and asked[1] > before[1], 20, "both go on")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual([], wrong)
        self.assertGreater(min(asked), 3)
        wait_until(lambda: worker.check(*QUESTION) == "allow" and worker.peek(*QUESTION) == ("allow", 0), 20,
                   "the worker reads the table again")

    def test_keys_that_were_stored(self):
        if os.getuid() != 0:
            self.skipTest("another process' descriptors are looked at")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            path = self.folder / "notify.sock"
            supervisor.bind(str(path))
            supervisor.settimeout(60)
            self.serving.environment["NOTIFY_SOCKET"] = str(path)
            self.serving.start()
            _, [keys], _, _ = socket.recv_fds(supervisor, 4096, 4)
        self.addCleanup(os.close, keys)
        self.serving.stop()
        self.launch(keys, names="permtab-keys")
        self.serving.wait_healthy()
        inode = os.fstat(keys).st_ino
        for pid in (self.serving.process.pid, self.serving.worker_pid):
            inodes = {os.stat(path).st_ino for path in pathlib.Path(f"/proc/{pid}/fd").glob("*")}
            self.assertIn(inode, inodes)
        self.serving.stop()
        strange = os.memfd_create("permtab-keys")
        self.addCleanup(os.close, strange)
        self.launch(strange, names="permtab-keys")
        self.serving.wait_healthy()
        self.assertIn("the stored keys are not ours", self.serving.log())


class ProcessOne(MasterCase):
    """In a container it is process 1: signals have no default effect, and orphans are its children."""

    def launch(self, script):
        if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no namespace of processes can be made here")
        self.serving = self.sidecar(start=False)
        with open(self.serving.log_path, "a") as log:
            self.outer = spawn(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "-",
                                self.serving.binary, "-c", str(self.serving.configuration)], stdout=log, stderr=log)
        self.addCleanup(kill, self.outer)
        self.serving.process = self.outer
        self.serving.wait_healthy()
        [self.one] = children(self.outer.pid)

    def test_orphans_and_the_end(self):
        self.launch('(sleep 0.5 & sleep 1 &) ; exec "$@"')
        self.serving.apply(small())
        wait_until(lambda: len(children(self.one)) == 1, 20, "the orphans have ended")
        states = [path.read_text().rsplit(")", 1)[1].split() for path in pathlib.Path("/proc").glob("[0-9]*/stat")
                  if path.exists()]
        self.assertEqual([], [state for state in states if state[:2] == ["Z", str(self.one)]], "nobody is left unread")
        [worker] = children(self.one)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: children(self.one) not in ([], [worker]), 20, "there is another worker")
        self.serving.wait_healthy()
        os.kill(self.one, signal.SIGTERM)
        self.assertEqual(0, self.outer.wait(60), self.serving.log())
        self.assertFalse(self.serving.socket.exists())
        self.serving.process = None

    def test_waiting_for_another(self):
        """SIGTERM ends it also before there is a worker."""
        first = self.sidecar(folder=self.folder / "first")
        self.launch('exec "$@"')
        self.serving.configure(socket=str(first.socket))
        os.kill(self.one, signal.SIGTERM)
        self.assertEqual(0, self.outer.wait(60))
        with open(self.serving.log_path, "a") as log:
            self.outer = spawn(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", self.serving.binary, "-c",
                                str(self.serving.configuration)], stdout=log, stderr=log)
        self.addCleanup(kill, self.outer)
        self.serving.process = None
        self.said("waiting for it to end")
        [one] = children(self.outer.pid)
        os.kill(one, signal.SIGTERM)
        self.assertEqual(0, self.outer.wait(60))


if __name__ == "__main__":
    main()
