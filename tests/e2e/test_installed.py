#!/usr/bin/env python3
"""The sidecar as it is installed: under its own uid in a folder that the unit has made, workers under theirs, and an
application that names no uid. Prefork workers that never miss are seen."""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

from harness import ROOT, SqliteCase, main
from harness.paths import program
from harness.policies import small
from harness.process import spawn, wait_until
from harness.sidecar import Sidecar

SIDECAR, WORKER, IMPOSTOR = 61101, 61102, 61103
UNIT = ROOT / "deploy" / "systemd" / "permtabd.service.in"


def unit_value(name):
    return re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.M).group(1)


@unittest.skipUnless(os.getuid() == 0 and os.access("/run", os.W_OK), "needs root: there are three uids in it")
class TwoUids(SqliteCase):
    """The unit as systemd starts it, by hand: RuntimeDirectory and StateDirectory belong to User."""

    def setUp(self):
        super().setUp()
        self.assertEqual("permtab", unit_value("User"))
        # The folder stands beside the real one, which may be in use on this machine.
        self.run = pathlib.Path(f"/run/{unit_value('RuntimeDirectory')}-test-{os.getpid()}")
        self.run.mkdir()
        self.addCleanup(shutil.rmtree, self.run, True)
        self.run.chmod(int(unit_value("RuntimeDirectoryMode"), 8))
        os.chown(self.run, SIDECAR, SIDECAR)
        state = self.folder / "state"
        state.mkdir(mode=int(unit_value("StateDirectoryMode"), 8))
        os.chown(state, SIDECAR, SIDECAR)
        self.programs = {}
        for name in ("permtabd", "worker"):  # the checkout may lie where another uid cannot go
            self.programs[name] = str(shutil.copy(program(name), self.folder / name))
        self.sidecar_under_unit = Sidecar(self.folder, f"sqlite:{state}/permtab.db", uid=SIDECAR,
                                          socket=str(self.run / "permtab.sock"), ops_socket=str(self.run / "ops.sock"))
        self.addCleanup(self._end_sidecar, self.sidecar_under_unit)
        self.sidecar_under_unit.socket = self.run / "permtab.sock"
        self.sidecar_under_unit.binary = self.programs["permtabd"]

    def ask_as_worker(self):
        """Returns what the worker says when it opens with defaults."""
        process = spawn([self.programs["worker"], str(self.run / "permtab.sock"), "2000"], uid=WORKER,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return process.communicate("check 1 channel:10 message.delete\n", timeout=60)[0].splitlines()

    def test_default_call(self):
        self.sidecar_under_unit.start()
        self.sidecar_under_unit.apply(small())
        said = self.ask_as_worker()
        self.assertTrue(said[0].startswith("ready"), said)
        self.assertEqual("allow 0", said[1])

    def test_impostor(self):
        """Somebody who could write to the folder, and puts a socket there, is no sidecar."""
        self.run.chmod(0o777)
        self.sidecar_under_unit.uid = IMPOSTOR
        os.chown(self.folder / "state", IMPOSTOR, IMPOSTOR)
        self.sidecar_under_unit.start()
        said = self.ask_as_worker()
        self.assertTrue(said[0].startswith("error -10"), said)


class Prefork(SqliteCase):
    CHILDREN, CHECKS = 5, 20000

    def test_children_that_only_hit(self):
        sidecar = self.sidecar()
        sidecar.apply(small())
        worker = self.worker(sidecar)
        self.assertEqual("allow", worker.check(1, "channel:10", "message.delete"))
        wait_until(lambda: sidecar.stats()["table_misses"] == 1, 20, "the worker's own miss is counted")
        before = sidecar.stats()
        worker.begin("crowd", self.CHILDREN, self.CHECKS, 1, "channel:10", "message.delete")
        wait_until(lambda: sidecar.stats()["table_hits"] >= before["table_hits"] + self.CHILDREN * self.CHECKS, 60,
                   lambda: f"hits: {before['table_hits']}, {sidecar.stats()['table_hits']}")
        self.assertEqual(before["clients"] + self.CHILDREN, sidecar.stats()["clients"])
        self.assertEqual(before["table_misses"], sidecar.stats()["table_misses"])
        self.assertEqual([str(self.CHILDREN)], worker.ask("end"))
        wait_until(lambda: sidecar.stats()["clients"] == before["clients"], 20,
                   "the children are gone from the clients")


if __name__ == "__main__":
    main()
