#!/usr/bin/env python3
"""The log, health, and each check say at the moment when the lease ends what is waited for and since when."""

import re
import sqlite3
import subprocess
import time

from harness import MariadbCase, SqliteCase, main
from harness.policies import small
from harness.process import kill, spawn, wait_until
from harness.servers import find

HANGS = re.compile(r"the feed waits for (the store to|a connection to the store)[^,]*, "
                   r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

END = re.compile("feed: the lease has ended: (.*)")
LINES_AT_ONCE = 5  # of one trouble: proxy/base/trouble.h


class LeaseEnd:
    log_begin = 0  # of the log of the process that serves now

    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(strangers_max=0, audit_entries=0, store_timeout="20s")
        self.serving.apply(small())
        self.working = self.worker(self.serving, timeout_ms=10000)
        self.assertEqual("allow", self.working.check(1, "channel:10", "message.send"))

    def answers(self):
        """(Is everything unknown?, all that was said of it). A poll that was under way may bring the lease back for a
        moment."""
        wait_until(lambda: not self.serving.health()["ok"], 20, "the lease ends")
        with self.serving.rpc(timeout=20) as rpc:
            health = rpc.call("health")
            reply = rpc.call("check", user=1, scope="channel:10", permission="message.send")
            many = rpc.call("check_many", queries=[[1, "channel:10", "message.send", None]])
        if self.working.check(1, "channel:10", "message.send") != "unknown" or reply["decision"] != -1:
            return False, []
        said = [self.working.why(), health["trouble"], reply["trouble"], many.get("trouble", ""),
                self.serving.ops("health"),
                self.serving.ctl("health").stdout, self.serving.ctl("check", 1, "channel:10", "message.send").stderr]
        return not self.serving.health()["ok"], said

    def assert_said(self, pattern):
        """Checks that all of them say it."""
        unknown, said = wait_until(lambda: (answers := self.answers())[0] and answers, 60, "everything is unknown")
        self.assertTrue(unknown)
        for sentence in said:
            self.assertRegex(sentence, pattern)
        text = pattern if isinstance(pattern, str) else pattern.pattern
        self.assertRegex(self.serving.log(), "feed: the lease has ended: .*" + text)
        self.assert_each_end_told_once()

    def assert_each_end_told_once(self):
        """Each end has one line, and another only when it has another reason. Only of what comes and goes more often
        than the log is told of are ends counted without a line."""
        ended, told = wait_until(self.ends, 20, "the lease stays as it is for the time of a look")
        for reasons in told:
            self.assertEqual(len(set(reasons)), len(reasons), reasons)
        if sum(map(len, told)) < LINES_AT_ONCE:
            self.assertEqual(ended, len(told), self.serving.log())

    def ends(self):
        """(How many were counted, the reasons given for each in the log), or None when another came meanwhile."""
        ended = self.serving.stats()["leases_ended"]
        log = self.serving.log()[self.log_begin:]
        told = [END.findall(part) for part in log.split("feed: the lease is renewed again")]
        return (ended, [reasons for reasons in told if reasons]) \
            if self.serving.stats()["leases_ended"] == ended else None

    def assert_recovers(self):
        wait_until(lambda: self.serving.health()["ok"], 40, "the lease is back")
        wait_until(lambda: "renewed again" in self.serving.log(), 10, "the log says so")
        self.assert_each_end_told_once()
        self.assertNotIn("very many entries", self.serving.log())
        self.assertEqual("", self.serving.health()["trouble"])

    def test_the_sidecar_itself_was_stopped(self):
        """Nobody else is blamed."""
        polls = self.serving.stats()["polls"]
        wait_until(lambda: self.serving.stats()["polls"] > polls + 2, 20, "what was applied is done with")
        self.serving.pause()
        time.sleep(5)
        self.serving.resume()
        wait_until(lambda: "the lease has ended" in self.serving.log(), 20, "it says that it had ended")
        self.assertRegex(self.serving.log(),
                         "the lease has ended: the sidecar itself was stopped, or had no processor, for [0-9.]+ s")
        self.assert_recovers()


class OverMariadb(LeaseEnd, MariadbCase):
    quick = ("test_locked_tables",)

    def make_server(self):
        return self.own_server()

    def test_locked_tables(self):
        locker = spawn([find("mariadb", "mysql"), "--no-defaults", f"--socket={self.server.socket}", "--user=root",
                        "--batch",
                        "--unbuffered", "--skip-column-names", self.database], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, text=True)
        for thing in (locker.stdout.close, locker.stdin.close):
            self.addCleanup(thing)
        self.addCleanup(kill, locker)
        locker.stdin.write("LOCK TABLES permtab_change WRITE, permtab_counter WRITE; SELECT 'done';\n")
        locker.stdin.flush()
        self.assertEqual("done", locker.stdout.readline().strip())
        self.assert_said(HANGS)
        locker.stdin.write("UNLOCK TABLES; SELECT 'done';\n")
        locker.stdin.flush()
        self.assert_recovers()

    def test_a_server_that_is_stopped(self):
        self.server.pause()
        self.addCleanup(self.server.resume)
        self.assert_said(HANGS)
        self.server.resume()
        self.assert_recovers()

    def test_a_server_that_is_away(self):
        self.server.kill()
        self.assert_said("store .*(gone away|Can't connect|Lost connection|111|2002)")
        self.server.start()
        self.assert_recovers()


class OverSqlite(LeaseEnd, SqliteCase):
    quick = ("test_a_file_that_somebody_keeps_to_himself",)

    def test_a_file_that_somebody_keeps_to_himself(self):
        """A checkpoint that will have no reader, as VACUUM or a change of the journal's mode takes it."""
        self.serving.stop()
        with sqlite3.connect(self.path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        holder = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(holder.close)
        self.log_begin = len(self.serving.log())
        self.serving.start()
        # Recovery's lock, byte 122 of the -shm file (sqlite.org/walformat.html), and those of all readers.
        locks = spawn(["/usr/bin/python3", "-c", """
import fcntl, struct, sys, time
shm = open(sys.argv[1], 'r+b')
while True:
    try:
        fcntl.fcntl(shm, fcntl.F_SETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 123, 5, 0))
        break
    except OSError:
        time.sleep(0.0005)
print('held', flush=True)
sys.stdin.read()
""", str(self.path) + "-shm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(locks.stdout.close)
        self.addCleanup(kill, locks)
        self.assertEqual("held", locks.stdout.readline().strip())
        self.assert_said(HANGS)
        locks.stdin.close()
        locks.wait(10)
        self.assert_recovers()


if __name__ == "__main__":
    main()
