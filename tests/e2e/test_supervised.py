#!/usr/bin/env python3
"""The daemon under supervisors: what systemd is told, sockets and keys that it holds, process 1 of a container."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

from harness import full_only, main
from harness.master import QUESTION, UNKNOWN_ONES, MasterCase
from harness.paths import program
from harness.policies import small
from harness.process import children, kill, spawn, wait_until
from harness.supervisor import hold, launch_with


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

    @full_only
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

    def test_the_table_is_true_for_as_long_as_its_lease_says(self):
        """Somebody else will serve, so readers are answered until then, as they are when a worker dies."""
        self.serving.configure(max_staleness="60s")
        clients = self.hold(self.serving.socket)
        self.launch(clients.fileno())
        self.serving.wait_healthy()
        self.serving.apply(small())
        worker = self.worker(self.serving)
        self.assertEqual("allow", worker.check(*QUESTION))
        self.assertEqual(("allow", 0), worker.peek(*QUESTION))
        self.assertEqual(0, self.serving.stop())
        self.assertEqual(("allow", 0), worker.peek(*QUESTION))

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
