#!/usr/bin/env python3
"""Writes that wait for a lock of the store: reads go on, each asker is told in its time, and what was given up is
never done later."""

import sqlite3
import subprocess
import time

from harness import MariadbCase, RpcError, SqliteCase, main
from harness.policies import small
from harness.process import kill, spawn, wait_until
from harness.servers import find

TIMEOUT, UNSURE = -6, -22
STUCK = 7  # more than there are threads for writes, and for reads


def outcome(rpc):
    """The result of the one request that was sent; RpcError for an error."""
    _, _, error, result = rpc.receive()
    if error is not None:
        raise RpcError(error[0], error[1])
    return result


class Waiting:
    """hold() has a writer of somebody else keep the store's lock until release()."""

    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(strangers_max=0, **self.options)
        self.serving.apply(small())
        with self.serving.rpc() as rpc:  # a deletion of nothing would not take MariaDB's lock
            rpc.call("assign", user=8, role=101, scope="server:1")

    options = {}

    def stick(self, count=STUCK, timeout_ms=60000):
        """Sends so many assignments that wait, each on a connection of its own."""
        waiting = []
        for number in range(count):
            rpc = self.serving.rpc(timeout=90)
            self.addCleanup(rpc.close)
            rpc.send("assign", {"user": 800 + number, "role": 101, "scope": "server:1", "timeout_ms": timeout_ms})
            waiting.append(rpc)
        wait_until(lambda: self.serving.stats()["writes_waiting"] == count, 10, "the writes are under way")
        return waiting

    def written(self):
        return sorted(int(row[0]) for row in self.rows("SELECT user_id FROM permtab_assignment WHERE user_id >= 800;"))

    def write_another(self):
        """Writes once more: whatever was to be committed before has been by then, for the lock is one for all."""
        with self.serving.rpc(timeout=60) as rpc:
            rpc.call("assign", user=799, role=101, scope="server:1", timeout_ms=30000)

    def assert_error(self, rpc, code, *words):
        with self.assertRaises(RpcError) as caught:
            outcome(rpc)
        self.assertEqual(code, caught.exception.code, str(caught.exception))
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_reads_go_on(self):
        self.hold()
        self.stick()
        with self.serving.rpc(timeout=60) as rpc:
            for user in range(3000, 3040):  # each is a miss, and read from the store
                reply = rpc.call("check", user=user, scope="channel:10", permission="message.send")
                self.assertIn(reply["decision"], (0, 1))
            explained = rpc.call("explain", user=3000, scope="channel:10", permission="message.send")
            self.assertIn(explained["decision"], (0, 1))
        self.assertEqual(STUCK, self.serving.stats()["writes_waiting"])
        self.release()

    def test_each_asker_is_told_in_time_and_nothing_happens_later(self):
        self.hold()
        waiting = self.stick(timeout_ms=1500)
        for rpc in waiting:
            self.assert_error(rpc, TIMEOUT, "nothing was changed and nothing will be")
        self.assertTrue(self.held())
        self.release()
        self.write_another()
        self.assertEqual([], self.written())
        stats = self.serving.stats()
        self.assertEqual((STUCK, 0), (stats["writes_timed_out"], stats["writes_waiting"]))

    def test_what_its_asker_left_is_not_done(self):
        self.hold()
        waiting = self.stick()
        for rpc in waiting:
            rpc.close()
        wait_until(lambda: self.serving.stats()["writes_waiting"] == 0, 10, "they are given up")
        self.release()
        self.write_another()
        self.assertEqual([], self.written())
        self.assertEqual(STUCK, self.serving.stats()["writes_abandoned"])

    def test_those_who_wait_long_enough_are_served(self):
        self.hold()
        waiting = self.stick()
        self.release()
        for rpc in waiting:
            self.assertEqual(1, outcome(rpc)["rows_written"])
        self.assertEqual(list(range(800, 800 + STUCK)), self.written())

    def test_health_and_the_log_say_so(self):
        self.hold()
        waiting = self.stick()
        said = wait_until(lambda: self.serving.health()["writes"], 10, "health says that writes wait")
        self.assertIn(f"{STUCK} writes wait, the oldest (assign) for ", said)
        self.assertIn("the store's write lock", said)
        self.assertTrue(self.serving.health()["ok"])
        self.assertIn("writes: " + str(STUCK) + " writes wait", self.serving.ctl("health").stdout)
        self.assertIn(f"writes {STUCK} writes wait", self.serving.ops("health"))
        wait_until(lambda: "the oldest (assign)" in self.serving.log(), 10, "the log says so")
        self.release()
        for rpc in waiting:
            outcome(rpc)
        wait_until(lambda: "writes: none waits for long any more" in self.serving.log(), 10, "and that it is over")
        self.assertEqual("", self.serving.health()["writes"])
        self.assertEqual(1, self.serving.log().count("the oldest (assign)"))

    def test_permtabctl_says_what_became_of_it(self):
        self.hold()
        done = self.serving.ctl("assign", 805, 101, "server:1", "--timeout", "1500ms")
        self.assertEqual(1, done.returncode, done.stderr)
        self.assertIn("permtabctl: assign: given up after ", done.stderr)
        self.assertIn("nothing was changed and nothing will be: it waited for the store's write lock", done.stderr)
        dry = self.serving.ctl("apply", "--dry-run", "-", "--timeout", "1500ms",
                               input='{"permissions": [{"name": "new.one"}]}')
        self.assertEqual(1, dry.returncode, dry.stderr)
        self.assertIn("given up after ", dry.stderr)
        self.release()
        self.write_another()
        self.assertEqual([], self.written())
        self.assertEqual(0, self.serving.ctl("assign", 805, 101, "server:1", "--timeout", "30s").returncode)

    def test_permtabctl_when_the_sidecar_does_not_answer(self):
        """It cannot know; and what it sent is not done when the sidecar goes on."""
        self.serving.pause()
        try:
            done = self.serving.ctl("unassign", 8, 101, "--timeout", "1ms")
        finally:
            self.serving.resume()
        self.assertEqual(1, done.returncode, done.stderr)  # it was not even greeted
        with self.serving.rpc(timeout=30) as rpc:
            self.serving.pause()
            rpc.send("assign", {"user": 806, "role": 101, "scope": "server:1"})
        self.serving.resume()
        self.write_another()
        self.assertEqual([], self.written())

    def test_a_deadline_that_is_over(self):
        with self.serving.rpc() as rpc:
            rpc.send("assign", {"user": 807, "role": 101, "scope": "server:1", "deadline": time.monotonic_ns() - 1})
            self.assert_error(rpc, TIMEOUT, "nothing was changed", "deadline was over")
            rpc.call("assign", user=808, role=101, scope="server:1", deadline=time.monotonic_ns() + 60 * 10 ** 9)
            for wrong in (0, 3600001, -1, "soon"):
                rpc.send("assign", {"user": 807, "role": 101, "scope": "server:1", "timeout_ms": wrong})
                self.assert_error(rpc, -3, "timeout_ms")
        self.assertEqual([808], self.written())


class OverSqlite(Waiting, SqliteCase):
    quick = ("test_reads_go_on", "test_what_its_asker_left_is_not_done")

    def hold(self):
        self.other = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        self.addCleanup(self.other.close)
        self.other.execute("BEGIN IMMEDIATE")
        self.other.execute("DELETE FROM permtab_assignment WHERE user_id = 8")

    def held(self):
        return self.other.in_transaction

    def release(self):
        self.other.execute("ROLLBACK")


class OverMariadb(Waiting, MariadbCase):
    quick = ("test_reads_go_on",)
    ending = "ROLLBACK;"
    beginning = "BEGIN; DELETE FROM permtab_assignment WHERE user_id = 8;"

    def hold(self):
        self.other = spawn([find("mariadb", "mysql"), "--no-defaults", f"--socket={self.server.socket}",
                            "--user=root", "--batch",
                            "--unbuffered", "--skip-column-names", self.database], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE,
                           text=True)
        for thing in (self.other.stdout.close, self.other.stdin.close):
            self.addCleanup(thing)
        self.addCleanup(kill, self.other)
        self.tell(self.beginning)

    def tell(self, text):
        self.other.stdin.write(text + " SELECT 'done';\n")
        self.other.stdin.flush()
        self.assertEqual("done", self.other.stdout.readline().strip())

    def held(self):
        return self.other.poll() is None

    def release(self):
        self.tell(self.ending)


class BehindPrepared(OverMariadb):
    """A transaction of two phases that is prepared keeps its locks without a connection, and over a restart."""
    quick = ()
    beginning = "XA START 'waits'; DELETE FROM permtab_assignment WHERE user_id = 8; " \
        "XA END 'waits'; XA PREPARE 'waits';"
    ending = "XA ROLLBACK 'waits';"

    def hold(self):
        self.addCleanup(self.server.client, None, "XA ROLLBACK 'waits';", False)  # once its connection has gone
        super().hold()

    test_permtabctl_when_the_sidecar_does_not_answer = test_a_deadline_that_is_over = None
    test_health_and_the_log_say_so = None


class BehindRows(OverMariadb):
    """The counter is free, and a row of the write itself is not."""
    quick = ()
    beginning = "BEGIN; DELETE FROM permtab_assignment WHERE user_id > 500;"  # of which there is none

    test_permtabctl_when_the_sidecar_does_not_answer = test_a_deadline_that_is_over = None
    test_health_and_the_log_say_so = test_permtabctl_says_what_became_of_it = None


class LostCommit(MariadbCase):
    """The server takes a COMMIT and does not answer in time."""
    quick = ()

    def make_server(self):
        return self.own_server()

    def test_the_outcome_is_unknown_and_can_be_found_out(self):
        serving = self.sidecar(max_staleness="60s", audit_entries=0)
        serving.apply(small())
        # The log's flush waits for this lock, and a commit for the flush; statements before it do not.
        locker = spawn([find("mariadb", "mysql"), "--no-defaults", f"--socket={self.server.socket}", "--user=root",
                        "--batch",
                        "--unbuffered", "--skip-column-names", self.database], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, text=True)
        for thing in (locker.stdout.close, locker.stdin.close):
            self.addCleanup(thing)
        self.addCleanup(kill, locker)
        locker.stdin.write("BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT; SELECT 'done';\n")
        locker.stdin.flush()
        self.assertEqual("done", locker.stdout.readline().strip())
        with serving.rpc(timeout=60) as rpc:
            rpc.send("assign", {"user": 900, "role": 101, "scope": "server:1", "timeout_ms": 2000})
            with self.assertRaises(RpcError) as caught:
                outcome(rpc)
        self.assertEqual(UNSURE, caught.exception.code, str(caught.exception))
        words = str(caught.exception).replace(";", " ").split()
        revision, nonce = words[words.index("revision") + 1], words[words.index("nonce") + 1]
        locker.stdin.write("BACKUP STAGE END; SELECT 'done';\n")
        locker.stdin.flush()
        self.assertEqual("done", locker.stdout.readline().strip())
        wait_until(lambda: "whose outcome was unknown to its asker" in serving.log(), 30,
                   "the log says what became of it")
        there = self.rows(f"SELECT 1 FROM permtab_change WHERE revision = {revision} AND nonce = {nonce};")
        row = self.rows("SELECT 1 FROM permtab_assignment WHERE user_id = 900;")
        self.assertEqual(there, row)
        self.assertEqual(bool(row), "to its asker was done" in serving.log())
        again = serving.ctl("assign", 900, 101, "server:1")
        self.assertEqual(0, again.returncode, again.stderr)
        self.assertEqual(bool(row), "nothing to change" in again.stdout)


if __name__ == "__main__":
    main()
