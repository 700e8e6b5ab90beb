#!/usr/bin/env python3
"""The ordeals' own parts: what is promised to whom, the moments to strike, and that nothing is left behind. The ordeals
themselves are commands: ordeal.py kills."""

import argparse
import pathlib
import shutil
import tempfile
import types
import unittest
from unittest import mock

import ordeal
from harness import main
from harness.moments import Moments
from harness.paths import temporary_folder

GOOD = {"peeks": 1000, "peek_unknown": 5, "checks": 1000, "check_unknown": 0, "wrong": 0}


def asked(**changes):
    return argparse.Namespace(**{"who": "worker", "signal": "KILL", "during": None, "worker_timeout_s": 10.0} | changes)


class Promises(unittest.TestCase):
    def broken(self, total, answers, **changes):
        of = types.SimpleNamespace(found=[])
        of.expect = lambda kept, text: kept or of.found.append(text)
        ordeal.judge(of, ordeal.promise(asked(**changes)), GOOD | total, answers, hot=50)
        return len(of.found)

    def test_killed(self):
        for signal in ("KILL", "SEGV"):
            self.assertEqual(0, self.broken({}, [100, 120], signal=signal))
            for total in ({"wrong": 1}, {"check_unknown": 1}, {"peek_unknown": 11}):
                self.assertEqual(1, self.broken(total, [100], signal=signal))
            self.assertEqual(1, self.broken({}, [301], signal=signal))

    def test_with_the_master(self):
        """It has to begin, too; a check has a second. What was hot is forgotten."""
        for who in ("master", "both"):
            self.assertEqual(0, self.broken({"peek_unknown": 30}, [400], who=who))
            self.assertEqual(1, self.broken({"peek_unknown": 60}, [400], who=who))
            self.assertEqual(1, self.broken({}, [1001], who=who))
            self.assertEqual(1, self.broken({"check_unknown": 1}, [400], who=who))

    def test_stopped(self):
        """UNKNOWN is promised when the lease has ended; after worker_timeout somebody serves again."""
        unknown = {"check_unknown": 500, "peek_unknown": 700}
        self.assertEqual(0, self.broken(unknown, [11000], signal="STOP"))
        self.assertEqual(1, self.broken(unknown, [14000], signal="STOP"))
        self.assertEqual(1, self.broken(unknown | {"wrong": 1}, [11000], signal="STOP"))
        self.assertEqual(0, self.broken(unknown, [4500], signal="STOP", who="both"))
        self.assertEqual(1, self.broken(unknown, [9000], signal="STOP", who="both"))

    def test_a_master_that_is_stopped_is_not_missed(self):
        self.assertEqual(0, self.broken({}, [5], signal="STOP", who="master"))
        self.assertEqual(2, self.broken({"check_unknown": 1, "peek_unknown": 20}, [5], signal="STOP", who="master"))

    def test_during_growth_the_table_is_too_small(self):
        self.assertEqual(0, self.broken({"peek_unknown": 400}, [100], during="growth"))
        self.assertEqual(1, self.broken({"check_unknown": 1}, [100], during="growth"))

    def test_during_a_start(self):
        """It is tried again after a tenth of a second; a start that is stopped has ten times the patience."""
        self.assertEqual(0, self.broken({}, [400], during="start"))
        self.assertEqual(1, self.broken({}, [500], during="start"))
        self.assertEqual(0, self.broken({"check_unknown": 9}, [10500], during="start", signal="STOP",
                                        worker_timeout_s=1.0))


class Striking(unittest.TestCase):
    def setUp(self):
        folder = temporary_folder("moments")
        self.addCleanup(lambda: (self.log.unlink(missing_ok=True), folder.rmdir()))
        self.log = folder / "log"
        self.say("info table: it grows from 8 to 32 entries: an old story")
        self.moments = Moments(types.SimpleNamespace(log_path=self.log))

    def say(self, line):
        with open(self.log, "a") as log:
            log.write(line + "\n")

    def test_growth(self):
        with mock.patch.object(self.moments, "skip"):
            self.assertFalse(self.moments.growth_begins(0.01), "what was before is no moment")
            self.say("info table: it grows from 1000 to 4000 entries: the hit rate is 0.41, and hit_rate_target 1.00")
            self.assertTrue(self.moments.growth_begins(1))
        self.assertTrue(self.moments.growth_goes_on())
        self.say("info table: it has room for 4000 entries now, after 12 ms; 900 were brought along")
        self.assertFalse(self.moments.growth_goes_on())

    def test_a_start(self):
        self.say("info permtabd 0.1.0: serving /tmp/permtab.sock from revision 7")
        self.assertIsNone(self.moments.worker_begins(0.01))
        self.say("info permtabd: worker 4711 begins, number 2")
        self.assertEqual(4711, self.moments.worker_begins(1))
        self.assertFalse(self.moments.somebody_serves())
        self.say("info permtabd 0.1.0: serving /tmp/permtab.sock from revision 7")
        self.assertTrue(self.moments.somebody_serves())


class NothingIsLeft(unittest.TestCase):
    def test_a_start_that_fails(self):
        there = self.folders()
        elsewhere = temporary_folder("log")
        self.addCleanup(shutil.rmtree, elsewhere, True)
        with mock.patch.object(ordeal, "LOG", elsewhere / "build" / "ordeal.log"):
            with self.assertRaises(AssertionError):
                with ordeal.Ordeal(10, table_entries=-1):
                    self.fail("such a configuration is refused")
            self.assertIn("table_entries", ordeal.LOG.read_text(), "whoever wants to know why finds the log")
        self.assertEqual(there, self.folders())

    @staticmethod
    def folders():
        return sorted(pathlib.Path(tempfile.gettempdir()).glob("permtab-ordeal-*"))


if __name__ == "__main__":
    main()
