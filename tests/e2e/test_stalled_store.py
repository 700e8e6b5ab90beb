#!/usr/bin/env python3
"""A store that takes a question and does not answer: what clients send meanwhile does not fill the sidecar, and
stopping it takes two seconds and no more."""

import signal
import socket
import subprocess
import time

import msgpack

from harness import MariadbCase, full_only, main
from harness.policies import small
from harness.process import Stopwatch, kill, spawn
from harness.servers import find
from test_hostile import HELLO, memory_kb

STOP_S = 2


def flood(path, frames):
    """A connection that was sent as much of it as was taken within a while."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(0.5)
    connection.connect(str(path))
    try:
        connection.sendall(HELLO)
        for frame in frames:
            connection.sendall(frame)
    except (socket.timeout, BrokenPipeError, ConnectionResetError):
        pass
    return connection


class Stalled(MariadbCase):
    def make_server(self):
        return self.own_server()

    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(store_timeout="20s", request_timeout="60s", max_staleness="10s", strangers_max=0)
        self.serving.apply(small())
        self.addCleanup(self.server.resume)

    def stall(self):
        self.server.pause()
        time.sleep(0.3)  # the next poll is under way

    @full_only
    def test_requests_that_name_what_is_not_there(self):
        """They wait for a poll, with their messages of a mebibyte."""
        before = memory_kb(self.serving.worker_pid)
        frame = [msgpack.packb([0, number, "check", [{"user": 1, "scope": "channel:10", "permission": "no.such",
                                                      "padding": "x" * 1000000}]]) for number in range(1, 61)]
        self.stall()
        for _ in range(2):
            self.addCleanup(flood(self.serving.socket, frame).close)
        self.assertLess(memory_kb(self.serving.worker_pid) - before, 32 * 1024)
        self.assertTrue(self.serving.health()["ok"])

    def test_batches_of_one_client(self):
        """One client asks as many checks as would be under way with client_requests_max batches; all
        are answered in the end."""
        before = memory_kb(self.serving.worker_pid)
        frames = [msgpack.packb([0, number, "check_many", [{"queries": [
            [(number << 32) + user, "channel:10", "message.send"] for user in range(10000)]}]])
            for number in range(1, 61)]
        self.stall()
        connection = flood(self.serving.socket, frames[:50])
        self.addCleanup(connection.close)
        self.assertLess(memory_kb(self.serving.worker_pid) - before, 12 * 1024)
        self.assertTrue(self.serving.health()["ok"])

    def hold_the_counter(self):
        """A client with a transaction that every writer waits for."""
        client = spawn([find("mariadb", "mysql"), "--no-defaults", f"--socket={self.server.socket}", "--user=root",
                        "--batch",
                        "--unbuffered", self.database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(client.stdout.close)
        self.addCleanup(client.stdin.close)
        self.addCleanup(kill, client)
        client.stdin.write("BEGIN; SELECT revision FROM permtab_counter FOR UPDATE;\n")
        client.stdin.flush()
        self.assertEqual("revision", client.stdout.readline().strip())
        return client

    def assert_stops_in_time(self):
        watch = Stopwatch(self.serving.process)
        self.serving.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.serving.process.wait(60), self.serving.log())
        self.assertLess(watch.seconds(), STOP_S + 0.8)
        self.assertFalse(self.serving.socket.exists())
        self.assertFalse(self.serving.ops_socket.exists())

    def test_stopping_while_a_poll_is_under_way(self):
        self.stall()
        self.assert_stops_in_time()
        self.assertIn("left to it", self.serving.log())

    @full_only
    def test_stopping_while_a_write_is_under_way(self):
        """It was never acknowledged, and it never happened; the next one does."""
        blocking = self.hold_the_counter()
        with self.serving.rpc() as rpc:
            rpc.send("assign", {"user": 4242, "role": 101, "scope": "server:1"})
            time.sleep(0.3)
            self.assert_stops_in_time()
        kill(blocking)
        self.serving.start()
        time.sleep(0.5)
        self.assertEqual([["0"]], self.rows("SELECT count(*) FROM permtab_assignment WHERE user_id = 4242;"))
        with self.serving.rpc() as rpc:
            rpc.call("assign", user=4242, role=101, scope="server:1")
        self.assertEqual([["1"]], self.rows("SELECT count(*) FROM permtab_assignment WHERE user_id = 4242;"))

    @full_only
    def test_stopping_is_as_quick_as_ever_when_it_answers(self):
        watch = Stopwatch(self.serving.process)
        self.assertEqual(0, self.serving.stop())
        self.assertLess(watch.seconds(), 1)


if __name__ == "__main__":
    main()
