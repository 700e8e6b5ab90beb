#!/usr/bin/env python3
"""A hostile client, under the sidecar's own unprivileged uid: cannot change the table with what it was given, cannot
stall or fill the sidecar with bytes, cannot make others wait much longer."""

import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import time

import msgpack

from harness import Rpc, RpcError, SqliteCase, full_only, harness_for_others, main, program_for_others
from harness.descriptors import descriptors
from harness.policies import small
from harness.process import Stopwatch, end, spawn, wait_until
from harness.servers import Redis

NOBODY = 65534
QUESTION = (1, "channel:10", "message.delete")


def memory_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class HostileCase(SqliteCase):
    """The sidecar runs as nobody where the tests run as root; else as whoever runs them: an unprivileged uid too."""

    options = {}

    def setUp(self):
        super().setUp()
        self.uid = NOBODY if os.getuid() == 0 else None
        if self.uid is not None:
            os.chown(self.folder, self.uid, self.uid)
        self.serving = self.sidecar(start=False, uid=self.uid, client_idle="1s", table_entries=200000,
                                    log_level="warning", **self.options)
        self.copy_programs()
        self.serving.start()
        self.serving.apply(small())

    def copy_programs(self):
        self.programs = {name: program_for_others(name, self.folder) for name in ("permtabd", "hostile")}
        self.serving.binary = self.programs["permtabd"]

    def assert_serves_others(self):
        watch = Stopwatch(self.serving.process)
        with self.serving.rpc(timeout=120) as rpc:
            self.assertEqual(1, rpc.call("check", user=1, scope="channel:10", permission="message.delete")["decision"])
        self.assertLess(watch.seconds(), 1)
        self.assertIsNone(self.serving.process.poll())


class TheTable(HostileCase):
    def test_cannot_be_changed_with_the_descriptor(self):
        reader = self.worker(self.serving, server_uid=-1 if self.uid is None else self.uid)
        self.assertEqual("allow", reader.check(*QUESTION))
        with self.serving.rpc() as rpc:
            _, segment, feedback = rpc.attach()

            def become():
                # The descriptors go through high numbers first: they may themselves be 3 or 4.
                os.dup2(segment, 200)
                os.dup2(feedback, 201)
                os.dup2(200, 3)
                os.dup2(201, 4)
                if self.uid is not None:
                    os.setgroups([])
                    os.setgid(self.uid)
                    os.setuid(self.uid)

            attempts = []
            for pid in (self.serving.worker_pid, self.serving.process.pid):
                done = subprocess.run([self.programs["hostile"], str(pid)], preexec_fn=become, close_fds=False,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                lines = done.stdout.splitlines()
                self.assertGreater(len(lines), 14, done.stdout)
                self.assertEqual([], [line for line in lines if not line.startswith("refused ")])
                self.assertEqual(0, done.returncode)
                attempts += lines
        self.assertEqual("allow", reader.peek(*QUESTION)[0])
        self.assert_serves_others()
        self.say(f"{len(attempts)} attempts to change the table or to reach the sidecar's memory, all refused")

    def test_lies_in_the_feedback_memory_hurt_nobody(self):
        with self.serving.rpc() as rpc:
            _, _, feedback = rpc.attach()
            os.pwrite(feedback, b"\xff" * 4096, 0)
            time.sleep(0.5)
            self.serving.stats()
            self.serving.ops("stats")
        time.sleep(0.3)
        self.assert_serves_others()

    def test_feedback_belongs_to_one_client(self):
        with self.serving.rpc() as one, self.serving.rpc() as other:
            one_id = os.fstat(one.attach()[2]).st_ino
            other_id = os.fstat(other.attach()[2]).st_ino
        self.assertNotEqual(one_id, other_id)


def packed(*message):
    return msgpack.packb(list(message))


HELLO = packed(0, 1, "hello", [{"protocol": 1, "layout": 1, "client": "hostile"}])

# Messages that are sent after hello: one error, or the session closed; never silence and never a second answer.
MESSAGES = [
    ("garbage", random.Random(1).randbytes(4096)),
    ("text", b"GET / HTTP/1.1\r\nHost: permtab\r\n\r\n"),
    ("a number", packed()[:0] + b"\x05"),
    ("nil", b"\xc0"),
    ("an empty array", b"\x90"),
    ("an array of four nils", b"\x94\xc0\xc0\xc0\xc0"),
    ("a map", packed()[:0] + b"\x81\x01\x02"),
    ("an unknown kind of message", packed(7, 1, "check", [{}])),
    ("a response to nothing", packed(1, 1, None, {})),
    ("a request id that is text", packed(0, "one", "health", [{}])),
    ("a negative request id", packed(0, -1, "health", [{}])),
    ("a request id that may have been rounded", packed(0, float(1 << 60), "health", [{}])),
    ("a method that is a number", packed(0, 2, 17, [{}])),
    ("a method of 1,000 bytes", packed(0, 2, "m" * 1000, [{}])),
    ("an unknown method", packed(0, 2, "format_disk", [{}])),
    ("a method with a zero inside", packed(0, 2, "check\0x", [{}])),
    ("params that are no array", packed(0, 2, "check", {"user": 1})),
    ("params of two maps", packed(0, 2, "check", [{}, {}])),
    ("params that are a list of text", packed(0, 2, "check", ["user"])),
    ("an array that says it has 4 billion items", b"\xdd\xff\xff\xff\xff"),
    ("a map that says it has 4 billion pairs", b"\x94\x00\x02\xa5check\x91\xdf\xff\xff\xff\xff"),
    ("text that says it has 4 GB", b"\x94\x00\x02\xdb\xff\xff\xff\xff"),
    ("binary that says it has 2 MB", b"\x94\x00\x02\xc6\x00\x20\x00\x00"),
    ("a hundred thousand arrays in each other", b"\x91" * 100000),
    ("a thousand maps in each other", b"\x94\x00\x02\xa5check\x91" + b"\x81\x01" * 1000),
    ("a reserved byte", b"\xc1" * 16),
    ("an extension type", b"\xd4\x01\x00"),
    ("a float for a user", packed(0, 2, "check", [{"user": 1.5, "scope": "global", "permission": "message.send"}])),
    ("a frame just over 1 MiB", packed(0, 2, "check", [{"user": "1" * (1 << 20)}])),
]


class Messages(HostileCase):
    def converse(self, data, seconds=4):
        """Sends hello and the bytes; returns the answers after hello's, and whether the session was closed."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        connection.connect(str(self.serving.socket))
        unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
        answers, closed = [], False
        try:
            connection.sendall(HELLO + data)
        except (BrokenPipeError, ConnectionResetError):
            closed = True
        try:
            while not closed and len(answers) < 3:
                received = connection.recv(65536)
                if not received:
                    closed = True
                unpacker.feed(received)
                answers += list(unpacker)
                if len(answers) == 2:
                    connection.settimeout(0.1)
        except ConnectionResetError:
            closed = True
        except socket.timeout:
            pass
        connection.close()
        return answers[1:], closed

    def test_each_costs_one_error_or_the_session(self):
        for name, data in MESSAGES:
            with self.subTest(name):
                answers, closed = self.converse(data)
                self.assertTrue(closed or len(answers) == 1, f"closed {closed}, answers {answers}")
                self.assertLessEqual(len(answers), 1)
                for answer in answers:
                    self.assertEqual(1, answer[0])
                    self.assertIsNotNone(answer[2], f"was answered with {answer}")
                self.assertIsNone(self.serving.process.poll(), self.serving.log())
        self.assert_serves_others()

    def test_nothing_before_hello(self):
        with self.serving.rpc(hello=False) as rpc:
            with self.assertRaises((RpcError, EOFError, ConnectionError)):
                rpc.call("check", user=1, scope="global", permission="message.send")

    def test_partial_message_is_dropped_after_a_while(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.serving.socket))
        connection.sendall(HELLO + packed(0, 2, "check", [{"user": 1}])[:-3])
        connection.settimeout(60)
        watch = Stopwatch(self.serving.process)
        while connection.recv(65536):
            pass
        self.assertLess(watch.seconds(), 5)
        connection.close()

    def test_endless_message(self):
        """Ends at the limit, not at the sender's pleasure."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(5)
        connection.connect(str(self.serving.socket))
        connection.sendall(HELLO + b"\x94\x00\x02\xa5check\x91\x81\xa4user\xdb\x7f\xff\xff\xff")
        sent = 0
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            while sent < 64 << 20:
                sent += connection.send(b"1" * 65536)
        self.assertLess(sent, 8 << 20)
        connection.close()
        self.assert_serves_others()

    def test_a_client_that_does_not_read(self):
        """Its replies pile up to a limit and no further."""
        before = memory_kb(self.serving.worker_pid)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.serving.socket))
        connection.sendall(HELLO)
        connection.settimeout(1)
        request = packed(0, 2, "permissions", [{"user": 1, "scope": "channel:10"}]) * 1000
        sent = 0
        try:
            while sent < 100 << 20:
                sent += connection.send(request)
        except (socket.timeout, BrokenPipeError, ConnectionResetError):
            pass
        self.assertLess(sent, 100 << 20)
        self.assertLess(memory_kb(self.serving.worker_pid) - before, 32 * 1024)
        self.assert_serves_others()
        connection.close()

    def held(self, name):
        """How many descriptors it has of what is called so. Connections to the store come and go beside them, and
        tables."""
        return sum(count for held, count in descriptors(self.serving.worker_pid).items() if name in held)

    def test_replies_with_descriptors_that_nobody_reads(self):
        """Descriptors for all clients together are not many, and each such reply holds two. A client that
        reads again gets all."""
        if os.getuid() != 0:
            self.skipTest("another process' descriptors are counted")
        asked, before = 2000, self.held("memfd:permtab-feedback")
        with self.serving.rpc(timeout=5) as rpc:
            rpc.socket.sendall(b"".join(packed(0, number, "attach", [{}]) for number in range(2, 2 + asked)))
            wait_until(lambda: self.held("memfd:permtab-feedback") >= before + 2, 5, "a reply waits, with one more")
            self.assert_serves_others()
            self.assertEqual(before + 2, self.held("memfd:permtab-feedback"))
            for number in range(2, 2 + asked):
                self.assertEqual([1, number, None], rpc.receive()[:3])
                while rpc.descriptors:
                    os.close(rpc.descriptors.pop())

    def test_documents_that_nobody_reads(self):
        """A client that does not read holds one of them, however many it asks for; one that reads gets as many as it
        likes."""
        with self.serving.rpc() as rpc:
            for number in range(2, 302):
                rpc.socket.sendall(packed(0, number, "export", [{}]))
                time.sleep(0.001)
            time.sleep(0.3)
            replies = [rpc.receive() for _ in range(300)]
            self.assertEqual({(-27, "export: one at a time: the last one has not been read")},
                             {tuple(reply[2]) for reply in replies if reply[2]})
            self.assertEqual(1, len(rpc.descriptors))
            for _ in range(30):
                self.assertGreater(rpc.call("export")["size"], 0)

    def test_descriptors_nobody_asked_for(self):
        """Descriptors sent with any message are closed, not collected."""
        before = self.held("/dev/null") if os.getuid() == 0 else None
        for _ in range(50):
            with self.serving.rpc() as rpc:
                try:
                    with open("/dev/null") as null:
                        rpc.call("health", {}, descriptor=null.fileno())
                except (RpcError, EOFError, ConnectionError):
                    pass
        if before is not None:
            wait_until(lambda: self.held("/dev/null") <= before, 5, "the descriptors are closed")
        self.assert_serves_others()

    def test_the_ops_socket(self):
        for name, data in [("garbage", random.Random(2).randbytes(4096)), ("an endless line", b"stats " * 200000),
                           ("a zero", b"\0\n"), ("an unknown command", b"reboot\n"), ("half a command", b"sta"),
                           ("ten thousand commands", b"help\n" * 10000)]:
            with self.subTest(name):
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.settimeout(3)
                connection.connect(str(self.serving.ops_socket))
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
                connection.close()
                self.assertIsNone(self.serving.process.poll(), self.serving.log())
                self.assertIn("clients", self.serving.ops("stats"))
        self.assert_serves_others()

    def test_writing_is_for_root_and_the_sidecar_itself(self):
        if os.getuid() != 0:
            self.skipTest("another uid is needed")
        stranger = 65533
        code = ("import sys; sys.path.insert(0, sys.argv[2]); from harness.rpc import Rpc, RpcError\n"
                "rpc = Rpc(sys.argv[1])\n"
                "for method, params in [('grant', dict(role=100, permission='member.kick', effect='allow')),"
                "('revoke', dict(role=101, permission='message.delete')), ('assign', dict(user=9, role=101)),"
                "('unassign', dict(user=1, role=101)), ('invalidate', dict(what='all'))]:\n"
                "    try: rpc.call(method, params); print('DONE', method)\n"
                "    except RpcError as error: print(error.code)\n")
        child = spawn([sys.executable, "-c", code, str(self.serving.socket), harness_for_others(self.folder)],
                      uid=stranger, stdout=subprocess.PIPE, text=True, cwd="/")
        out, _ = child.communicate(timeout=120)
        self.assertEqual(["-25"] * 5, out.split())
        self.assert_serves_others()


class Resumption(SqliteCase):
    def test_a_late_reply_takes_along_what_kept_the_session_from_being_read(self):
        """The reply of Redis is there before the client's socket has room: with it all that waited is sent, and
        reading goes on."""
        redis = Redis(self.folder / "redis").start()
        self.addCleanup(redis.kill)
        serving = self.sidecar(redis=f"unix:{redis.socket}", redis_timeout="20s", redis_ping="20s", max_staleness="20s")
        with serving.rpc(timeout=5) as rpc:
            wait_until(lambda: rpc.call("stats")["l2_marker_known"] == 1, 10, "Redis is connected")
            redis.pause()
            asked = 600
            rpc.socket.sendall(b"".join([packed(0, 100, "tag_list", [{"tag": "raid"}])] +
                                        [packed(0, 101 + number, "attach", [{}]) for number in range(asked)]))
            time.sleep(0.3)
            serving.pause()
            redis.resume()
            time.sleep(0.3)
            answered = set()
            rpc.socket.settimeout(0.3)
            with self.assertRaises(socket.timeout):
                while True:
                    answered.add(rpc.receive()[1])
                    while rpc.descriptors:
                        os.close(rpc.descriptors.pop())
            self.assertLess(len(answered), asked)
            self.assertNotIn(100, answered)
            serving.resume()
            rpc.socket.settimeout(5)
            while len(answered) <= asked:
                answered.add(rpc.receive()[1])
                while rpc.descriptors:
                    os.close(rpc.descriptors.pop())


@full_only
class Crowd(HostileCase):
    """1,000 idle connections and 10 that flood: how long does somebody else's miss take?"""

    ROUNDS, MISSES, IDLE, FLOODING = 7, 40, 1000, 10
    # Programs that flood are awake, so whoever is told an answer gets a processor later: as much as two misses take,
    # since one takes 50 us. Floods that kept the loop or all connections busy made a miss seven times as long, or five.
    AWAKE_US = 100
    # The filter of strangers is off: each of these misses is to read the store, which is what all compete for.
    options = {"clients_max": 2000, "strangers_max": 0}

    def misses(self, rpc):
        """Times of misses, each the first question about a user, in microseconds."""
        times = []
        for _ in range(self.MISSES):
            self.user += 1
            begun = time.perf_counter_ns()
            rpc.call("check", user=self.user, scope="channel:10", permission="message.send")
            times.append((time.perf_counter_ns() - begun) / 1000)
        return times

    def test_median_miss_at_most_doubles(self):
        self.user = 1 << 40
        idle = [Rpc(self.serving.socket) for _ in range(self.IDLE)]
        for rpc in idle:
            self.addCleanup(rpc.close)
        measuring = Rpc(self.serving.socket)
        self.addCleanup(measuring.close)
        self.misses(measuring)
        quiet, crowded, answers = [], [], 0
        for number in range(self.ROUNDS):
            quiet.append(statistics.median(self.misses(measuring)))
            flooding = spawn([sys.executable, str(pathlib.Path(__file__).parent / "flood.py"), str(self.serving.socket),
                              str(self.FLOODING), str((1 << 50) + (number << 32))], stdout=subprocess.PIPE, text=True)
            self.assertEqual("flooding\n", flooding.stdout.readline())
            time.sleep(0.2)
            crowded.append(statistics.median(self.misses(measuring)))
            flooding.terminate()
            count, closed = flooding.stdout.readline().split()
            answers += int(count)
            self.assertEqual("0", closed, "flooding connections were closed, so they did not flood")
            end(flooding)
            flooding.stdout.close()
            time.sleep(0.3)
        alone, among = statistics.median(quiet), statistics.median(crowded)
        self.say(f"median miss with {self.IDLE} idle connections {alone:.0f} us, "
                 f"with {self.FLOODING} flooding ones beside them "
                 f"{among:.0f} us ({among / alone:.2f} times); they got {answers} answers meanwhile")
        self.assertGreater(answers, 1000)
        self.assertLessEqual(among, 2 * alone + self.AWAKE_US)


if __name__ == "__main__":
    main()
