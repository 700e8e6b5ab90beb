#!/usr/bin/env python3
"""Connections that rest between jobs and are ended meanwhile, by a restart, by KILL or by wait_timeout: nobody gets
an error for it."""

import time

from harness import MariadbCase, main
from harness.policies import small
from harness.process import wait_until

SMALL_WAIT_S = 1


class Resting(MariadbCase):
    quick = ("test_restart",)

    def make_server(self):
        return self.own_server()

    def begin(self, **options):
        self.serving = self.sidecar(strangers_max=0, audit_entries=0, **options)
        self.serving.apply(small())
        self.next_user = 3000
        self.warm()

    def miss(self, rpc):
        self.next_user += 1
        return rpc.call("check", user=self.next_user, scope="channel:10", permission="message.send")["decision"]

    def warm(self):
        """All threads have a connection that rests. A thread takes the next job when it is free, so many at once."""
        with self.serving.rpc(timeout=30) as rpc:
            for _ in range(5):
                ids = []
                for _ in range(40):
                    self.next_user += 1
                    ids.append(rpc.send("check",
                                        {"user": self.next_user, "scope": "channel:10", "permission": "message.send"}))
                for _ in ids:
                    self.assertIsNone(rpc.receive()[2])
            rpc.call("assign", user=5, role=101, scope="server:1")

    def assert_no_miss_fails(self, count=12):
        """Several at once, so that every thread has one."""
        connections = [self.serving.rpc(timeout=30) for _ in range(count)]
        try:
            for rpc in connections:
                self.next_user += 1
                rpc.send("check", {"user": self.next_user, "scope": "channel:10", "permission": "message.send"})
            for rpc in connections:
                _, _, error, reply = rpc.receive()
                self.assertIsNone(error)
                self.assertIn(reply["decision"], (0, 1))
        finally:
            for rpc in connections:
                rpc.close()
        with self.serving.rpc(timeout=30) as rpc:
            for user in (6, 7, 8):
                self.assertIn(rpc.call("assign", user=user, role=101, scope="server:1")["rows_written"], (0, 1))
                self.assertIn(rpc.call("unassign", user=user, role=101, scope="server:1")["rows_written"], (0, 1))
            self.assertIn(rpc.call("explain", user=1, scope="channel:10", permission="message.send")["decision"],
                          (0, 1))

    def connections(self):
        return [row[0] for row in self.rows("SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
                                            " AND id <> CONNECTION_ID();")]

    def test_restart(self):
        self.begin()
        self.server.process.terminate()
        self.server.process.wait(60)
        self.server.start()
        wait_until(lambda: self.serving.health()["ok"], 30, "the sidecar follows the store again")
        self.assert_no_miss_fails()

    def test_restart_within_the_lease(self):
        """Health was ok all the time."""
        self.begin(max_staleness="60s")
        self.server.kill()
        self.server.start()
        self.assertTrue(self.serving.health()["ok"])
        wait_until(lambda: "renewed again" in self.serving.log(), 30, "the sidecar follows the store again")
        self.assert_no_miss_fails()

    def test_killed_one_by_one(self):
        self.begin(poll_interval="5s", max_staleness="20s")
        before = self.serving.stats()["polls_failed"]
        for _ in range(3):
            ids = self.connections()
            self.assertGreater(len(ids), 4)
            self.server.client(None, " ".join(f"KILL {number};" for number in ids), check=False)
            self.assert_no_miss_fails()  # at once: none has rested for long enough to be tried first
            self.warm()
        time.sleep(6)  # the feed's own connection, too
        self.assertEqual(before, self.serving.stats()["polls_failed"])
        self.assertTrue(self.serving.health()["ok"])
        self.assertNotIn("not renewed", self.serving.log())

    def test_wait_timeout(self):
        """Polls that are further apart than the server waits: each finds its connection gone."""
        self.sql(f"SET GLOBAL wait_timeout = {SMALL_WAIT_S};")
        self.begin(poll_interval="3s", max_staleness="15s")
        before = self.serving.stats()
        for _ in range(2):
            wait_until(lambda: not self.connections(), 20, "the server has ended all that rest")
            self.assert_no_miss_fails()
        polls = before["polls"] + 3
        wait_until(lambda: self.serving.stats()["polls"] >= polls, 30, "some polls")
        self.assertEqual(before["polls_failed"], self.serving.stats()["polls_failed"])
        self.assertNotIn("not renewed", self.serving.log())
        self.assertTrue(self.serving.health()["ok"])

    def test_a_store_that_is_away_is_said_to_be(self):
        """Running again is for connections that rested, not for a store that is not there."""
        self.begin(max_staleness="60s")
        self.server.kill()
        with self.serving.rpc(timeout=30) as rpc:
            self.next_user += 1
            rpc.send("check", {"user": self.next_user, "scope": "channel:10", "permission": "message.send"})
            error = rpc.receive()[2]
        self.assertEqual(-20, error[0], error)
        self.server.start()


if __name__ == "__main__":
    main()
