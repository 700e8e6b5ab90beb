#!/usr/bin/env python3
"""The proxy of the fleet's tests does what its rules say, and nothing when there are none."""

import shutil
import socket
import threading
import time
import unittest

from harness import main
from harness.paths import temporary_folder
from harness.process import wait_until
from harness.proxy import Proxy
from harness.servers import Redis, free_port


class Echo(threading.Thread):
    """Sends back what it gets."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass
        connection.close()


class Links(unittest.TestCase):
    def setUp(self):
        self.folder = temporary_folder("proxy")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.proxy = Proxy(self.folder)
        self.addCleanup(self.proxy.close)
        echo = Echo()
        self.addCleanup(echo.listener.close)
        echo.start()
        self.port = self.proxy.add("link", echo.port, "raw")

    def connect(self, port=None):
        connection = socket.create_connection(("127.0.0.1", port or self.port), timeout=2)
        self.addCleanup(connection.close)
        return connection

    def receive(self, connection, size):
        data = b""
        while len(data) < size:
            part = connection.recv(65536)
            if not part:
                raise EOFError(f"after {len(data)} bytes")
            data += part
        return data

    def ping(self, connection, data=b"ping"):
        """Milliseconds until it is back."""
        begun = time.monotonic()
        connection.sendall(data)
        self.assertEqual(data, self.receive(connection, len(data)))
        return (time.monotonic() - begun) * 1000

    def assert_gone(self, connection):
        with self.assertRaises((EOFError, ConnectionError)):
            connection.sendall(b"x")
            self.receive(connection, 1)

    def test_much_passes_unchanged(self):
        connection = self.connect()
        data = bytes(range(256)) * 20000
        threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
        self.assertEqual(data, self.receive(connection, len(data)))

    def test_refused(self):
        connection = self.connect()
        self.ping(connection)
        self.proxy.set("link", mode="refuse")
        self.assert_gone(connection)
        with self.assertRaises((EOFError, ConnectionError)):
            self.ping(self.connect())
        self.proxy.reset("link")
        self.ping(self.connect())
        self.assertGreater(self.proxy.stats("link")["refused"], 0)

    def test_stalled_and_resumed(self):
        old = self.connect()
        self.ping(old)
        self.proxy.set("link", mode="stall")
        new = self.connect()
        for connection in (old, new):
            connection.settimeout(0.15)
            connection.sendall(b"late")
            with self.assertRaises(TimeoutError):
                connection.recv(1)
        self.proxy.reset("link")
        for connection in (old, new):
            connection.settimeout(2)
            self.assertEqual(b"late", self.receive(connection, 4))

    def test_cut(self):
        connection = self.connect()
        self.ping(connection)
        self.proxy.cut("link")
        self.assert_gone(connection)
        self.ping(self.connect())

    def test_delayed_each_way(self):
        connection = self.connect()
        self.assertLess(min(self.ping(connection) for _ in range(50)), 40)
        self.proxy.set("link", delay_up=50, delay_down=60)
        self.assertGreaterEqual(self.ping(connection), 109)
        self.proxy.set("link", delay_up=0, jitter_down=40)
        took = [self.ping(connection) for _ in range(10)]
        self.assertGreaterEqual(min(took), 19)
        self.assertGreater(max(took) - min(took), 10)

    def test_throttled(self):
        connection = self.connect()
        self.proxy.set("link", rate_up=20000)
        self.assertGreaterEqual(self.ping(connection, b"x" * 6000), 280)

    def test_what_is_queued_arrives_before_the_end(self):
        """The echo's side ends; what it had sent is late, and not lost."""
        server = socket.create_server(("127.0.0.1", 0))
        port = self.proxy.add("end", server.getsockname()[1], "raw")
        self.proxy.set("end", delay_down=80)
        connection = self.connect(port)
        accepted, _ = server.accept()
        accepted.sendall(b"last words")
        accepted.close()
        server.close()
        self.assertEqual(b"last words", self.receive(connection, 10))
        self.assertEqual(b"", connection.recv(1))

    def test_what_is_wrong_is_refused(self):
        for words in (("set", "link", "all", "speed=3"), ("set", "nobody", "all"), ("add", "link", "1", "raw"),
                      ("add", "x", "1", "http"), ("jump",), ("set", "link", "all", "drop=-1")):
            with self.subTest(words), self.assertRaises(AssertionError):
                self.proxy.command(*words)


class Messages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = temporary_folder("proxy")
        cls.redis = Redis(cls.folder / "redis", port=free_port()).start()
        cls.proxy = Proxy(cls.folder)
        cls.port = cls.proxy.add("redis", cls.redis.port, "redis")

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()
        cls.redis.kill()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        self.proxy.reset("redis")
        self.proxy.seed(1)
        self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=2)
        self.addCleanup(self.connection.close)
        self.connection.sendall(b"PING\r\n*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n")
        self.data = b""
        self.read_until(b":1\r\n")
        self.before = self.proxy.stats("redis")

    def read_until(self, end, seconds=2):
        self.connection.settimeout(seconds)
        while end not in self.data:
            self.data += self.connection.recv(65536)
        got, _, self.data = self.data.partition(end)
        return got

    def arrived(self):
        self.proxy_stats = self.proxy.stats("redis")
        return self.counted("messages")

    def publish(self, count, pause=0):
        """The payloads that arrive of "000", "001", …, in order."""
        self.data = b""
        for number in range(count):
            self.redis.command("PUBLISH", "c", f"<{number:03d}>")
        wait_until(lambda: self.arrived() == count, 2, "the proxy has seen all of them")
        time.sleep(pause)
        self.proxy.reset("redis")
        self.redis.command("PUBLISH", "c", "end")
        got = self.read_until(b"end\r\n")
        return [part.partition(b">")[0].decode(errors="replace") for part in got.split(b"<")[1:]]

    def counted(self, name):
        return self.proxy_stats[name] - self.before[name]

    def test_as_they_are(self):
        self.assertEqual([f"{number:03d}" for number in range(50)], self.publish(50))
        self.assertEqual(50, self.counted("messages"))
        self.assertEqual(1, self.proxy_stats["marked"])

    def test_dropped(self):
        self.proxy.set("redis", "marked", drop=0.5)
        got = self.publish(100)
        self.assertEqual(100 - self.counted("dropped"), len(got))
        self.assertTrue(20 < len(got) < 80, got)
        self.assertEqual(sorted(got), got)

    def test_duplicated(self):
        self.proxy.set("redis", "marked", duplicate=0.5)
        got = self.publish(100)
        self.assertEqual(100, len(set(got)))
        self.assertEqual(100 + self.counted("duplicated"), len(got))
        self.assertGreater(len(got), 120)

    def test_reordered(self):
        self.proxy.set("redis", "marked", reorder=0.3)
        got = self.publish(100)
        self.assertGreaterEqual(len(got), 99)  # the last one may still wait to be overtaken
        self.assertNotEqual(sorted(got), got)
        self.assertGreater(self.counted("reordered"), 10)

    def test_the_last_one_waits_for_no_other(self):
        self.proxy.set("redis", "marked", reorder=1)
        self.redis.command("PUBLISH", "c", "<alone>")
        self.read_until(b"<alone>")

    def test_held(self):
        self.proxy.set("redis", "marked", hold=0.2, hold_ms=30)
        got = self.publish(100, pause=0.08)
        self.assertEqual(100, len(got))
        self.assertNotEqual(sorted(got), got)
        self.assertGreater(self.counted("held"), 5)

    def test_garbled(self):
        """Whole messages, with other bytes."""
        self.proxy.set("redis", "marked", garble=0.5)
        got = self.publish(100)
        right = {f"{number:03d}" for number in range(100)}
        self.assertLess(len(right & set(got)), 80)
        self.assertGreater(self.counted("garbled"), 20)

    def test_corrupted(self):
        """Something that is no value of Redis' protocol, sooner or later."""
        self.proxy.set("redis", "marked", corrupt=1)
        good = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\n<000>\r\n"
        self.redis.command("PUBLISH", "c", "<000>")
        wait_until(lambda: len(self.data) >= len(good) or self.more(), 2, "the message arrives")
        self.assertNotEqual(good, self.data)
        self.assertEqual(len(good), len(self.data))

    def more(self):
        self.data += self.connection.recv(65536)

    def test_commands_are_left_alone(self):
        """Rules of subscriptions are not for other connections."""
        self.proxy.set("redis", "marked", mode="stall")
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as other:
            other.sendall(b"PING\r\n")
            self.assertEqual(b"+PONG\r\n", other.recv(100))
        self.redis.command("PUBLISH", "c", "<000>")
        with self.assertRaises(TimeoutError):
            self.read_until(b"<000>", 0.15)
        self.proxy.reset("redis")
        self.read_until(b"<000>")

    def test_subscriptions_alone_are_refused(self):
        self.proxy.set("redis", "marked", mode="refuse")
        with self.assertRaises((ConnectionError, AssertionError)):
            self.connection.recv(1) or self.fail("gone")
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as other:
            other.sendall(b"PING\r\n")
            self.assertEqual(b"+PONG\r\n", other.recv(100))
            other.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n")
            with self.assertRaises((ConnectionError, AssertionError)):
                other.recv(100) or self.fail("gone")


if __name__ == "__main__":
    main()
