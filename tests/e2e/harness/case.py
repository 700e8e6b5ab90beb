"""The frame of a test file: stores to run it on, and a main that counts."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest

from .paths import temporary_folder
from .servers import Mariadb
from .sidecar import Sidecar
from .surroundings import settle
from .worker import Worker

QUICK = os.environ.get("PERMTAB_TEST_QUICK") == "1"


def full_only(thing):
    """Marks a test or a class of tests that --quick leaves out."""
    thing.full_only = True
    return thing


_shared = {}


def shared_mariadb():
    """One server for all tests of a file that treat it kindly."""
    if "server" not in _shared:
        _shared["folder"] = temporary_folder("mariadb")
        _shared["server"] = Mariadb(_shared["folder"] / "m").start()
    return _shared["server"]


def _end_shared():
    if "server" in _shared:
        _shared.pop("server").kill()
        shutil.rmtree(_shared.pop("folder"), ignore_errors=True)


class _StoreCase(unittest.TestCase):
    """A fresh store, and a sidecar over it with short-lived helpers that tearDown ends."""

    maxDiff = None
    store_name = ""

    def setUp(self):
        self.folder = temporary_folder("e2e")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.make_store()

    def sidecar(self, start=True, folder=None, **options):
        if folder:
            folder.mkdir(exist_ok=True)
        sidecar = Sidecar(folder or self.folder, self.url, **options)
        self.addCleanup(self._end_sidecar, sidecar)
        if start:
            sidecar.start()
        return sidecar

    def _end_sidecar(self, sidecar):
        sidecar.kill()
        if self._failed():
            print(f"---- {self.id()}: the sidecar's log\n{sidecar.log()[-4000:]}----", file=sys.stderr)

    def _failed(self):
        outcome = getattr(self, "_outcome", None)
        result = getattr(outcome, "result", None)
        return result is not None and any(test is self for test, _ in result.failures + result.errors)

    def worker(self, sidecar, **options):
        worker = Worker(sidecar.socket, **options)
        self.addCleanup(worker.close)
        return worker

    def say(self, text):
        print(f"    {self.store_name}: {text}", flush=True)


class SqliteCase(_StoreCase):
    """Tests over SQLite; sql() is the plain sqlite3 command line."""

    store_name = "SQLite"

    def make_store(self):
        self.path = self.folder / "permtab.db"
        self.url = f"sqlite:{self.path}"

    def sql(self, text, check=True, path=None):
        done = subprocess.run(["sqlite3", "-batch", "-bail", "-noheader", "-separator", "\t", str(path or self.path)],
                              input=".timeout 5000\n" + text + "\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=120)
        assert not check or done.returncode == 0, f"sqlite3: {done.stderr}\n{text[:500]}"
        return done

    def rows(self, text):
        return [line.split("\t") for line in self.sql(text).stdout.splitlines()]


class MariadbCase(_StoreCase):
    """Tests over MariaDB; sql() is the plain mariadb command line."""

    store_name = "MariaDB"

    def make_store(self):
        self.server = self.make_server()
        self.database = self.server.database()
        self.url = self.server.url(self.database)

    def make_server(self):
        return shared_mariadb()

    def own_server(self):
        """A server that the test may stop, kill or ruin."""
        server = Mariadb(self.folder / "m").start()
        self.addCleanup(server.kill)
        return server

    def sql(self, text, check=True):
        return self.server.client(self.database, text, check)

    def rows(self, text):
        return [line.split("\t") for line in self.sql(text).stdout.splitlines()]


class _Result(unittest.TextTestResult):
    """Prints a line a test, and at last those that took longest: where to look when the whole takes too long."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seconds = {}

    def getDescription(self, test):
        return test.id().split(".", 1)[-1]

    def startTest(self, test):
        self.seconds[self.getDescription(test)] = -time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        super().stopTest(test)
        self.seconds[self.getDescription(test)] += time.monotonic()

    def print_slowest(self):
        slow = sorted((name for name in self.seconds if self.seconds[name] >= 0.5), key=self.seconds.get, reverse=True)
        if slow:
            self.stream.writeln("took longest: " + ", ".join(f"{name} {self.seconds[name]:.1f} s" for name in slow[:8]))


def _is_quick(test):
    """A class may name its quick tests; else all are that are not marked."""
    names = getattr(type(test), "quick", None)
    if names is not None:
        return test._testMethodName in names
    return not (getattr(type(test), "full_only", False) or
                getattr(getattr(test, test._testMethodName), "full_only", False))


def _select(suite):
    """The suite without the tests that --quick leaves out."""
    kept = unittest.TestSuite()
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            kept.addTest(_select(test))
        elif not QUICK or _is_quick(test):
            kept.addTest(test)
    return kept


def main():
    """Runs the tests of the script that calls it; names on the command line choose some. Counts go to the file that
    PERMTAB_E2E_COUNTS names, for run.py."""
    settle()
    loader = unittest.TestLoader()
    module = sys.modules["__main__"]
    names = sys.argv[1:]
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    try:
        result = unittest.TextTestRunner(stream=sys.stdout, resultclass=_Result, verbosity=2).run(_select(suite))
        result.print_slowest()
    finally:
        _end_shared()
    failed = len({test.id() for test, _ in result.failures + result.errors}) + len(result.unexpectedSuccesses)
    counts = {"passed": max(0, result.testsRun - failed - len(result.skipped)), "failed": failed,
              "skipped": len(result.skipped)}
    path = os.environ.get("PERMTAB_E2E_COUNTS")
    if path:
        pathlib.Path(path).write_text(json.dumps(counts))
    sys.exit(0 if failed == 0 else 1)
