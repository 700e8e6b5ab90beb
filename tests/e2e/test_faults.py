#!/usr/bin/env python3
"""A sample of what faults.py does: calls of the daemon, of the client library and of permtabctl fail, one after the
other. The sample is the same for the same build; tests/long/faults.sh does all of it."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest
import unittest.mock

from harness import QUICK, full_only, main
from harness.injection import KIND, MEMORY, ONCE, SQL, SYSTEM, Faults, Order, calls, learn
from harness.life_stores import LockedOut
from harness.lives import DaemonLife
from harness.paths import program, temporary_folder
from harness.servers import Redis

# The same calls for the same build: what is still open elsewhere is for tests/long/faults.sh to find, not for whoever
# changed something else.
SEED = 20261130


class TheShim(unittest.TestCase):
    """It sees what it is to see, and fails what it is told to."""

    def setUp(self):
        self.folder = temporary_folder("shim")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def run_under(self, order, *words):
        faults = Faults(self.folder / "faults", order)
        done = subprocess.run([program("permtabd"), *words], env={**os.environ, **faults.environment()},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        return faults, done

    def configured(self):
        path = self.folder / "permtab.conf"
        path.write_text(f'store = "sqlite:{self.folder}/permtab.db"\n')
        return "-t", "-c", str(path)

    def test_counts_without_failing(self):
        faults, done = self.run_under(Order(), *self.configured())
        self.assertEqual(0, done.returncode, done.stderr)
        calls, failed, lost = faults.figures()
        places = faults.places()
        self.assertEqual((0, 0), (failed, lost))
        self.assertEqual(calls, sum(place.calls for place in places))
        functions = {place.function for place in places}
        self.assertTrue({"malloc", "open"} & functions, functions)
        learn(program("permtabd"), places)
        self.assertTrue(any("config_load" in str(place) for place in places), list(map(str, places)))

    def test_fails_once_or_for_good(self):
        counted, done = self.run_under(Order(kinds=MEMORY), *self.configured())
        self.assertEqual(0, done.returncode, done.stderr)
        for reach, most in ((ONCE, 1), (KIND, counted.figures()[0])):
            faults, done = self.run_under(Order(kinds=MEMORY, number=3, reach=reach), *self.configured())
            self.assertLessEqual(1, faults.figures()[1])
            self.assertLessEqual(faults.figures()[1], most)
            self.assertEqual(MEMORY, faults.first().kind)
            self.assertNotEqual(0, done.returncode)
            self.assertRegex(done.stderr, r"^permtabd: .*memory\n$")

    def test_fails_at_one_place(self):
        counted, _ = self.run_under(Order(kinds=SYSTEM), *self.configured())
        place = next(place for place in counted.places() if place.function in ("open", "open64", "fopen", "fopen64"))
        faults, done = self.run_under(Order(kinds=SYSTEM, place=place.place, caller=place.caller, number=1, variant=1),
                                      *self.configured())
        self.assertEqual((1, place.place), (faults.figures()[1], faults.first().place))
        self.assertEqual(2, done.returncode)
        self.assertIn("Permission denied", done.stderr)


class Judging(unittest.TestCase):
    """A life finds what is wrong with a daemon."""

    def setUp(self):
        self.folder = temporary_folder("judge")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.redis = Redis(self.folder / "redis").start()
        self.addCleanup(self.redis.kill)

    def live(self, change=None):
        life = DaemonLife(Order(kinds=0), f"unix:{self.redis.socket}")
        self.addCleanup(life.clean)
        if change:
            change(life)
        return life.live(), life

    def test_finds_nothing_without_a_fault(self):
        complaints, life = self.live()
        self.assertEqual([], complaints, life.log)

    def test_finds_an_answer_that_is_too_old(self):
        """A daemon that is merely slow would not do: any fill that is newer than the table lets it poll at once."""
        def broken(life):
            life.sidecar.binary = program("broken-assignment")
            life.sidecar.configure(redis="", audit_entries=0)  # no message and no auditor mends it
        complaints, life = self.live(broken)
        question = (2, "server:1", "member.kick")  # changed behind its back
        for how in ("check", "check over the socket"):
            self.assertIn(f"{how} of {question} is allow, and only deny was true", complaints, life.log)

    def test_finds_who_keeps_others_from_writing(self):
        def locked(life):
            life.store.write = unittest.mock.Mock(side_effect=LockedOut("database is locked"))
        complaints, life = self.live(locked)
        self.assertEqual(["nobody else can write: database is locked",
                          "it keeps others from writing when it has gone: database is locked"], complaints, life.log)

    def test_finds_a_death(self):
        def deadly(life):
            script = self.folder / "permtabd"
            log = life.sidecar.log_path
            script.write_text(f"#!/bin/sh\n(until grep -q ': serving ' {log}; do sleep 0.01; done; kill -SEGV $$) &\n"
                              f"exec {program('permtabd')} \"$@\"\n")
            script.chmod(0o755)
            life.sidecar.binary = str(script)
        complaints, life = self.live(deadly)
        self.assertTrue(any("ended" in text and "-11" in text for text in complaints), complaints)


class Known(unittest.TestCase):
    """Calls that were found, and are tried every time."""

    def setUp(self):
        self.folder = temporary_folder("known")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.redis = Redis(self.folder / "redis").start()
        self.addCleanup(self.redis.kill)

    def live(self, order):
        life = DaemonLife(order, f"unix:{self.redis.socket}")
        self.addCleanup(life.clean)
        return life.live(), life

    def places(self, function, *of):
        """The calls of a function that come by way of these functions of ours."""
        complaints, life = self.live(Order(kinds=SQL))
        self.assertEqual([], complaints, life.log)
        places = life.faults.places()
        learn(program("permtabd"), places)
        places = [place for place in places if place.function == function and
                  set(of) <= {call.split(" ")[0] for call in calls(place.frames)}]
        self.assertNotEqual([], places)
        return places

    def test_a_snapshot_of_the_feed_that_cannot_be_ended(self):
        """Polls of that connection would look into it for ever, and renew the lease of answers that are long wrong."""
        for place in self.places("sqlite3_exec", "sqlite_rollback", "read_batch"):
            complaints, life = self.live(Order(kinds=SQL, place=place.place, caller=place.caller, number=1))
            self.assertEqual(1, life.notes["failed"])
            self.assertEqual([], complaints, life.log)

    def test_a_commit_that_sqlite_believes_done(self):
        """Its exec forgets the error of a step that had done nothing: the writer was told that its change was made, and
        every later write found a transaction within a transaction."""
        for place in self.places("sqlite3_step", "sqlite_commit", "policy_transaction"):
            complaints, life = self.live(Order(kinds=SQL, place=place.place, caller=place.caller, number=1, variant=1))
            self.assertEqual(1, life.notes["failed"])
            self.assertEqual([], complaints, life.log)


class Samples(unittest.TestCase):
    """What is found has an order by which faults.py repeats it."""

    def sample(self, name, quick, full):
        script = pathlib.Path(__file__).with_name("faults.py")
        done = subprocess.run([sys.executable, str(script), "--program", name, "--seed", str(SEED), "--lives",
                               str(quick if QUICK else full)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=800)
        found = re.search(r"^(\d+) faults at (\d+) places, (\d+) not reached, 0 sites", done.stdout, re.MULTILINE)
        self.assertTrue(found and done.returncode == 0, done.stdout)
        self.assertGreaterEqual(int(found[1]), quick)
        self.assertLess(int(found[3]), int(found[1]) / 4, "most calls were not reached")
        print(f"    {name}, seed {SEED}: {found[0]}", flush=True)

    def test_daemon(self):
        self.sample("daemon", 6, 120)

    def test_client(self):
        self.sample("client", 15, 150)

    def test_permtabctl(self):
        self.sample("permtabctl", 20, 300)

    @full_only
    def test_daemon_on_mariadb(self):
        self.sample("mariadb", 20, 30)


if __name__ == "__main__":
    main()
