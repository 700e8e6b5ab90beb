#!/usr/bin/env python3
"""A limit on descriptors that is too small for all who come: clients are refused, and never the store, Redis or
files."""

import os
import re
import resource
import socket
import subprocess
import time

from harness import MariadbCase, RpcError, SqliteCase, main, program
from harness.policies import small
from harness.process import spawn, wait_until
from harness.sidecar import Sidecar

LIMIT = 80
IDLE = 90


class Limited(Sidecar):
    """A sidecar under `ulimit -n`: soft and hard, so that it cannot be raised."""

    limit = LIMIT

    def launch(self, *arguments):
        with open(self.log_path, "a") as log:
            self.process = spawn(["bash", "-c", f'ulimit -n {self.limit}; exec "$@"', "-", self.binary, "-c",
                                  str(self.configuration),
                                  *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment)
        return self


class Few:
    def begin(self, **options):
        self.serving = Limited(self.folder, self.url, strangers_max=0, client_idle="10m", **options)
        self.addCleanup(self._end_sidecar, self.serving)
        self.serving.start()
        self.serving.apply(small())
        self.steady = self.serving.rpc(timeout=30)  # one that was there before
        self.addCleanup(self.steady.close)

    def come(self):
        """Opens IDLE connections that stay as long as they are let, and returns how many were."""
        idle = []
        for _ in range(IDLE):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.addCleanup(connection.close)
            connection.connect(str(self.serving.socket))
            idle.append(connection)
        wait_until(lambda: "clients are refused: RLIMIT_NOFILE" in self.serving.log(), 20, "some are refused")
        wait_until(lambda: self.steady.call("stats")["clients_refused"] + self.steady.call("stats")["clients"] > IDLE,
                   20, "all have been seen to")
        stats = self.steady.call("stats")
        self.assertGreaterEqual(stats["clients"], 4)
        self.assertGreaterEqual(stats["clients_refused"], IDLE - LIMIT // 2)
        return idle

    def assert_serves(self):
        for user in range(5000, 5020):
            self.assertIn(self.steady.call("check", user=user, scope="channel:10",
                                           permission="message.send")["decision"], (0, 1))
        self.assertIn(self.steady.call("assign", user=6, role=101, scope="server:1")["rows_written"], (0, 1))
        self.assertTrue(self.steady.call("health")["ok"])
        self.assertIn("ok", self.serving.ops("health"))  # operators come in

    def assert_takes_clients_again(self, idle):
        for connection in idle:
            connection.close()

        def comes():
            try:
                with self.serving.rpc(timeout=5) as rpc:
                    return rpc.call("health")["ok"]
            except (OSError, EOFError, RpcError):
                return False
        wait_until(comes, 20, "clients come in again")
        self.assertIn("server: clients are accepted again", self.serving.log())
        self.assertLessEqual(self.serving.log().count("clients are refused"), 2)
        self.assertNotIn("Too many open files", self.serving.log())

    def test_what_t_says(self):
        serving = self.sidecar(start=False, clients_max=100)
        said = serving.run("-t")
        self.assertEqual(0, said.returncode, said.stderr)
        found = re.search(r"# RLIMIT_NOFILE must be (\d+) for clients_max = 100, and (\d+) at the least", said.stdout)
        wanted, least = map(int, found.groups())
        self.assertGreater(wanted, least)
        self.assertGreaterEqual(wanted, 200)
        self.assertRegex(said.stdout, r"# Tables take up to 1000000000 bytes of shared memory, .*\n# 2000000000 bytes")

        def under(limit, *arguments):
            return subprocess.run(["bash", "-c", f'ulimit -n {limit}; exec "$@"', "-", program("permtabd"), "-c",
                                   str(serving.configuration), *arguments], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True,
                                  timeout=30)
        enough = under(wanted, "-t")
        self.assertEqual(0, enough.returncode)
        self.assertIn("which is enough", enough.stdout)
        some = under(wanted - 1, "-t")
        self.assertEqual(0, some.returncode)
        self.assertIn("others are refused", some.stdout)
        for arguments in (["-t"], []):
            few = under(least - 1, *arguments)
            self.assertEqual(2, few.returncode, few.stderr)
            self.assertRegex(few.stderr,
                             rf"RLIMIT_NOFILE is {least - 1}, and this configuration needs {least} at the least")

    def test_a_soft_limit_is_raised(self):
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.assertGreater(soft, 1000)
        serving = self.sidecar(start=False, clients_max=100)
        with open(serving.log_path, "a") as log:
            serving.process = spawn(["bash", "-c", 'ulimit -Sn 60; exec "$@"', "-", serving.binary, "-c",
                                     str(serving.configuration)],
                                    stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        serving.wait_healthy()
        self.assertNotIn("RLIMIT_NOFILE", serving.log())

    def test_descriptors_that_are_passed(self):
        """They are a client's as well."""
        self.begin()
        idle = self.come()
        reading, writing = os.pipe()
        try:
            for connection in idle:
                try:
                    socket.send_fds(connection, [b"\x94"], [reading, writing, reading, writing])
                except OSError:
                    pass
            time.sleep(0.5)
            self.assert_serves()
        finally:
            os.close(reading)
            os.close(writing)


class OverSqlite(Few, SqliteCase):
    quick = ("test_what_t_says", "test_idle_clients")

    def test_idle_clients(self):
        self.begin()
        idle = self.come()
        self.assert_serves()
        self.assert_takes_clients_again(idle)


class OverMariadb(Few, MariadbCase):
    quick = ("test_the_store_is_reached_again",)

    def make_server(self):
        return self.own_server()

    def test_the_store_is_reached_again(self):
        self.begin(max_staleness="60s")
        for _ in range(8):  # connections are made when they are needed: most of them come after the clients
            self.steady.call("check", user=1, scope="channel:10", permission="message.send")
        idle = self.come()
        self.assert_serves()
        self.server.process.terminate()
        self.server.process.wait(60)
        self.server.start()
        wait_until(lambda: "renewed again" in self.serving.log(), 30, "the feed has reached the store")
        self.assert_serves()
        self.assert_takes_clients_again(idle)


if __name__ == "__main__":
    main()
