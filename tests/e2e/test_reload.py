#!/usr/bin/env python3
"""SIGHUP: what changes in place, what takes a new worker, and what is wrong and changes nothing."""

import os
import pathlib
import signal
import time

from harness import full_only, main
from harness.master import QUESTION, UNKNOWN_ONES, MasterCase
from harness.process import children, end, spawn, wait_until
from harness.sidecar import Sidecar


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

    @full_only
    def test_a_size_that_is_not_allowed_any_more(self):
        """A worker begins with the size that the table had, unless the configuration forbids it."""
        self.serve(table_entries=64000)
        time.sleep(7)  # a size counts when it was lived with for five seconds
        before = self.serving.worker_pid
        self.hup(table_entries=1000)
        self.new_worker(before)
        stats = self.serving.stats()
        self.assertEqual(64000, stats["table_capacity"])
        before = self.serving.worker_pid
        self.hup(table_memory_max=f"{stats['segment_bytes'] // 1000 - 1}KB")
        self.new_worker(before)
        self.assertEqual(1000, self.serving.stats()["table_capacity"])
        self.assertTrue(self.serving.health()["ok"])

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
        self.assertEqual("deny", worker.check(*UNKNOWN_ONES))  # the table of before does not know
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


if __name__ == "__main__":
    main()
