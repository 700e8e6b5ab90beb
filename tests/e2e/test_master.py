#!/usr/bin/env python3
"""The master and its worker: whoever dies, stops or hangs, there is one that serves again, and never two."""

import os
import signal

from harness import SqliteCase, main
from harness.policies import small
from harness.process import children, is_there, wait_until

QUESTION = (1, "channel:10", "message.delete")


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
            self.assertEqual("deny", worker.check(4242, "channel:20", "message.delete"))
            self.assertEqual("allow", worker.check(*QUESTION))

    def test_signals_to_the_worker_alone(self):
        """Those that a terminal or a supervisor sends to all are the master's affair."""
        self.serve()
        before = self.serving.worker_pid
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(before, number)
        self.assertTrue(self.serving.health()["ok"])
        self.assertEqual(before, self.serving.worker_pid)
        self.assertEqual(0, self.serving.stop())


class DeathOfTheMaster(MasterCase):
    def test_the_worker_goes_with_it(self):
        """kill -9: no worker, no listener and no lock is left, and the next one starts at once."""
        self.serve()
        before = self.serving.worker_pid
        os.kill(self.serving.process.pid, signal.SIGKILL)
        self.serving.process.wait(60)
        wait_until(lambda: not is_there(before), 20, "the worker is gone")
        with self.assertRaises(ConnectionRefusedError):
            self.serving.rpc()
        self.serving.start()
        self.assertTrue(self.serving.health()["ok"])

    def test_a_stopped_worker_goes_with_it(self):
        self.serve(worker_timeout="0s")
        before = self.serving.worker_pid
        os.kill(before, signal.SIGSTOP)
        self.serving.kill()
        self.assertFalse(is_there(before))
        self.serving.start()


if __name__ == "__main__":
    main()
