#!/usr/bin/env python3
"""The master and its worker: whoever dies, stops or hangs, there is one that serves again, and never two."""

import datetime
import itertools
import os
import random
import re
import signal
import sqlite3
import time

from harness import full_only, main
from harness.descriptors import children as unread_children
from harness.master import QUESTION, UNKNOWN_ONES, MasterCase
from harness.moments import Moments
from harness.process import children, is_there, kill, wait_until


class DeathsOfTheWorker(MasterCase):
    def test_another_one_serves(self):
        """Whatever ends it. A check that was asked meanwhile waits; and the master says how it was."""
        # A sanitizer would end the process in its own way.
        asan = os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0:handle_abort=0:handle_sigbus=0"
        self.serve(environment={"ASAN_OPTIONS": asan})
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
        for _ in range(100):
            before = self.serving.worker_pid
            os.kill(before, signal.SIGKILL)
            self.new_worker(before)
            if "after a pause" in self.serving.log():
                break
        ages = re.findall(r" died: signal 9, \w+ after (\S+) s; another one begins", self.serving.log())
        self.said("another one begins after a pause")
        quick = list(itertools.takewhile(lambda age: float(age) < 1, reversed(ages)))
        self.assertEqual(6, len(quick), "only deaths within a second are quick, and the sixth of them is one too many")

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

    @full_only
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
    def hang(self, lock="BEGIN EXCLUSIVE"):
        """A start that waits for a store whose schema it has to make, and that it cannot even look at. With BEGIN
        IMMEDIATE it can, and has found that it has to."""
        self.serving = self.sidecar(start=False, store_timeout="60s")
        writer = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(writer.close)
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute(lock)
        self.serving.launch()
        wait_until(lambda: self.serving.worker_pid is not None, 20, "a worker begins")
        time.sleep(0.3)
        self.assertIsNotNone(self.serving.worker_pid)
        self.assertNotIn("serving", self.serving.log())
        return writer

    def test_a_first_worker_that_is_killed_is_the_end(self):
        self.hang()
        os.kill(self.serving.worker_pid, signal.SIGKILL)
        self.assertEqual(1, self.serving.process.wait(60))
        self.assertRegex(self.serving.log(), r"^permtabd: signal 9, \w+ after \d+\.\d{3} s, before it served\n$")
        self.assertFalse(self.serving.socket.exists())

    def test_told_to_stop_while_it_starts(self):
        writer = self.hang()
        self.serving.process.terminate()
        time.sleep(0.2)
        writer.execute("ROLLBACK")
        self.assertEqual(0, self.serving.process.wait(60), self.serving.log())
        self.assertFalse(self.serving.socket.exists())

    def test_told_twice_to_stop_while_it_migrates(self):
        self.hang("BEGIN IMMEDIATE")
        self.serving.process.terminate()
        self.said("a second signal ends it at once")
        self.serving.process.terminate()
        self.assertEqual(1, self.serving.process.wait(60))
        self.assertIn("is killed: it was told twice to end", self.serving.log())
        self.assert_nothing_is_left()
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

    def test_a_start_that_hangs_is_given_up(self):
        """It has ten times worker_timeout, also when the configuration allows migrations: none is to be made here."""
        self.serve(worker_timeout="500ms")
        moments = Moments(self.serving)
        os.kill(self.serving.worker_pid, signal.SIGKILL)
        before = moments.worker_begins(60)
        time.sleep(0.01)  # it has come to the store, or not even that
        if moments.somebody_serves():
            self.skipTest("it was quicker than we could stop it")
        os.kill(before, signal.SIGSTOP)
        self.said(f"worker {before} is killed: its start has not gone on for ten times worker_timeout")
        self.new_worker(before)

    @full_only
    def test_never(self):
        self.serve(worker_timeout="0s")
        before = self.serving.worker_pid
        os.kill(before, signal.SIGSTOP)
        time.sleep(2)
        os.kill(before, signal.SIGCONT)
        self.serving.wait_healthy()
        self.assertEqual(before, self.serving.worker_pid)

    @full_only
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

    @full_only
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


if __name__ == "__main__":
    main()
