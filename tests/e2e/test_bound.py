#!/usr/bin/env python3
"""The bound: whatever is stopped or killed, no reader believes the table for longer than max_staleness, and every
reader recovers by itself."""

import os
import signal
import time

from harness import MariadbCase, SqliteCase, RpcError, checker, main
from harness.policies import MODERATOR, small
from harness.process import Stopwatch, is_there, wait_until
from harness.reader import Reader
from harness.sidecar import STALENESS_MS

QUESTION = (1, "channel:10", "message.delete")
SCHEDULING_MS = 30  # the stopwatch of a worker that was not scheduled at once


class Bound:
    options = {}

    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(**self.options)
        self.serving.apply(small())
        self.workers = [self.worker(self.serving, timeout_ms=200) for _ in range(3)]
        for worker in self.workers:  # each waits for 200 ms only, and a busy machine may take longer once
            wait_until(lambda each=worker: each.check(*QUESTION) == "allow", 10, "the table has the answer")

    def interrupt(self, stop, restart, outage_s, recovery_s=3.0, modes=("peek", "peek", "check")):
        """Traces the answers over an outage. Nothing but UNKNOWN from the bound to the restart, and answers again
        after it."""
        total_ms = int((0.3 + outage_s + recovery_s) * 1000)
        for worker, mode in zip(self.workers, modes):
            worker.trace(*QUESTION, total_ms, mode)
        time.sleep(0.3)
        stopped = time.monotonic_ns()
        stop()
        time.sleep(max(0, outage_s - (time.monotonic_ns() - stopped) / 1e9))
        restarted = time.monotonic_ns()
        restart()
        worst = 0
        for worker, mode in zip(self.workers, modes):
            spans = worker.traced()
            self.assertEqual("allow", spans[0][2])
            for first, last, decision, _ in spans:
                if decision != "unknown" and first < restarted:
                    late = (min(last, restarted) - stopped) / 1e6
                    worst = max(worst, late)
                    self.assertLessEqual(late, STALENESS_MS + SCHEDULING_MS, f"{mode}: {spans}")
            self.assertIn("unknown", [decision for first, _, decision, _ in spans if first < restarted], spans)
            self.assertEqual("allow", spans[-1][2], f"{mode}: not recovered: {spans}")
            self.assertGreater(spans[-1][0], restarted)
        self.say(f"{self.id().split('.')[-1]}: believed for {worst:.0f} ms after the stop "
                 f"(max_staleness {STALENESS_MS} ms)")

    def test_sidecar_stopped(self):
        self.interrupt(self.serving.pause, self.serving.resume, 3.0)

    def test_sidecar_killed_and_restarted(self):
        """Workers attach again by themselves, and obey what was changed meanwhile."""
        def restart():
            self.serving.start()
        self.interrupt(self.serving.kill, restart, 3.0, recovery_s=4.0, modes=("check",) * 3)
        self.serving.kill()
        self.sql("DELETE FROM permtab_assignment WHERE user_id = 1;")
        self.serving.start()
        for worker in self.workers:
            worker.watch(*QUESTION, "deny")
            self.assertIsNotNone(worker.watched())

    def test_sidecar_restarted_within_the_lease(self):
        """The old table may be believed until its lease ends, never longer: then the new one answers."""
        self.serving.kill()
        self.sql("DELETE FROM permtab_assignment WHERE user_id = 1;")
        committed = time.monotonic_ns()
        for worker in self.workers:
            worker.trace(*QUESTION, 4000, "check")
        self.serving.start()
        for worker in self.workers:
            spans = worker.traced()
            self.assertEqual("deny", spans[-1][2], spans)
            late = [last for _, last, decision, _ in spans if decision == "allow"]
            if late:
                self.assertLessEqual((max(late) - committed) / 1e6, STALENESS_MS + SCHEDULING_MS)

    def read(self, name, ask_us):
        """A process that asks QUESTION over and over. With 0 it peeks alone, and stays with its table."""
        reader = Reader(self.serving.socket, self.folder / name, [QUESTION])
        self.addCleanup(reader.close)
        reader.start(sweep_us=1000, ask_us=ask_us)
        return reader

    def test_a_revoke_through_the_next_worker(self):
        """It is acknowledged while a dead worker's table answers still, and nobody allows by that table for longer than
        max_staleness: its lease ends so long after it was last renewed. Times are taken before each call, so nothing is
        allowed for a machine that is slow."""
        readers = [self.read("lazy", 0), self.read("busy", 2000)]
        for _ in range(3):
            before = self.serving.worker_pid
            self.workers[0].watch(*QUESTION, "allow")
            self.assertIsNotNone(self.workers[0].watched())
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: not is_there(before), 20, "it is dead", 0.001)
            with self.serving.rpc(timeout=60) as rpc:  # waits for the next worker in the backlog
                rpc.call("unassign", user=1, role=MODERATOR, scope="server:1")
                revoked = time.monotonic_ns()
                time.sleep(1.5 * STALENESS_MS / 1000)
                until = time.monotonic_ns()
                for reader in readers:
                    reader.stop()
                rpc.call("assign", user=1, role=MODERATOR, scope="server:1")
            for reader in readers:
                spans = [checker.Span(*span) for span in checker.spans_of(reader.path)]
                allowed = [span.last_begun for span in spans if span.decision == checker.ALLOW]
                self.assertGreater(len(allowed), 0)
                self.assertGreater(max(span.last_begun for span in spans), revoked)
                self.assertLessEqual((max(allowed) - revoked) / 1e6, STALENESS_MS, f"{reader.path}: {until - revoked}")
                self.say(f"{reader.path.name} allows until {(max(allowed) - revoked) / 1e6:.0f} ms after the revoke")
                reader.start(sweep_us=1000, ask_us=2000)  # also the lazy one, so that it comes to the next table


class OnSqlite(Bound, SqliteCase):
    quick = ("test_sidecar_stopped", "test_a_revoke_through_the_next_worker")


class OnMariadb(Bound, MariadbCase):
    quick = ("test_misses_fail_with_a_clear_error_while_the_store_is_down",)
    # Shorter than the outages, so that connections break and must be made again.
    options = {"store_timeout": "1s", "request_timeout": "500ms"}

    def make_server(self):
        return self.own_server()

    def test_store_stopped(self):
        self.interrupt(self.server.pause, self.server.resume, 4.0, recovery_s=5.0)

    def test_store_killed_and_restarted(self):
        self.interrupt(self.server.kill, self.server.start, 4.0, recovery_s=6.0)

    def test_misses_fail_with_a_clear_error_while_the_store_is_down(self):
        self.server.kill()
        watch = Stopwatch(self.serving.process)
        with self.serving.rpc() as rpc:
            with self.assertRaises(RpcError) as raised:
                reply = rpc.call("check", user=77, scope="channel:10", permission="message.send")
                # Unknown is an answer too, once the lease has ended.
                self.assertEqual(-1, reply["decision"])
                raise RpcError(0, "unknown")
        self.assertLess(watch.seconds(), 1.5)
        self.assertGreater(len(raised.exception.text), 5)

    def test_hits_are_served_until_the_lease_ends(self):
        self.workers[0].trace(*QUESTION, 3000, "peek")
        time.sleep(0.2)
        stopped = time.monotonic_ns()
        self.server.kill()
        spans = self.workers[0].traced()
        believed = (spans[0][1] - stopped) / 1e6
        self.assertEqual("allow", spans[0][2])
        # Less the clock's lag and the age of the last poll; but not given up at once.
        self.assertGreater(believed, STALENESS_MS * 0.7, spans)
        self.assertEqual("unknown", spans[-1][2])


if __name__ == "__main__":
    main()
