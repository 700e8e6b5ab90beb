#!/usr/bin/env python3
"""Fills from a replica: it is read as long as that helps, and however far it lags behind, whatever was written to it,
and whether it answers at all, no answer is older than the table."""

import time

from harness import MariadbCase, full_only, main
from harness.policies import MODERATOR, small
from harness.process import Stopwatch, wait_until
from harness.servers import primary, replica

DELETE = "message.delete"
USERS = range(1000, 1400)


class _Pair(MariadbCase):
    """A primary and a replica of it."""

    binlog_format = "ROW"

    def make_server(self):
        server = primary(self.folder / "primary", self.binlog_format)
        self.addCleanup(server.kill)
        self.replica = replica(self.folder / "replica", server)
        self.addCleanup(self.replica.kill)
        return server

    def serve(self, **options):
        """Known users alone: strangers would need no read at all."""
        serving = self.sidecar(store_replica=self.replica.url(self.database), strangers_max=0, **options)
        serving.apply(small())
        self.assign(USERS)
        self.follow(serving)
        return serving

    def assign(self, users):
        values = ", ".join(f"({user}, {MODERATOR}, 1, 1)" for user in users)
        self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {values};")

    def unassign(self, first, last):
        self.sql(f"DELETE FROM permtab_assignment WHERE user_id BETWEEN {first} AND {last};")

    def revision_of(self, server):
        return int(server.client(self.database, "SELECT revision FROM permtab_counter;").stdout)

    def follow(self, serving):
        """Waits until replica and table are where the primary is."""
        wanted = self.revision_of(self.server)
        wait_until(lambda: self.revision_of(self.replica) >= wanted, 20, "the replica follows")
        wait_until(lambda: serving.health()["revision"] >= wanted, 20, "the table follows")

    def applied(self, serving):
        wanted = self.revision_of(self.server)
        wait_until(lambda: serving.health()["revision"] >= wanted, 20, "the table follows")

    def figures(self, serving):
        stats = serving.stats()
        return stats["fills_replica"], stats["fills_replica_outdated"], stats["fills_replica_failed"]

    def served(self, serving):
        """Nothing was outdated. On a busy computer some reads come late."""
        good, outdated, failed = self.figures(serving)
        self.assertEqual(0, outdated)
        self.assertGreater(good, 20, f"{failed} came late")
        return good

    def asked(self, worker, users, expected):
        for user in users:
            self.assertEqual(expected, worker.check(user, "channel:10", DELETE), f"user {user}")


@full_only
class Replica(_Pair):
    def test_fills_read_the_replica_and_nothing_else_does(self):
        serving = self.serve()
        worker = self.worker(serving)
        self.replica.client(None, "SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = 1;")
        # root's: not those of the thread that replicates
        logged = ("SELECT COUNT(*) FROM mysql.general_log WHERE command_type IN ('Query', 'Execute')"
                  " AND argument NOT LIKE '%general_log%' AND user_host LIKE 'root%';")
        polls = serving.stats()["polls"]
        with serving.rpc() as rpc:  # writes, and a second of polls
            for user in (1, 2, 3):
                rpc.call("assign", user=user, role=MODERATOR, scope="server:1")
                rpc.call("unassign", user=user, role=MODERATOR, scope="server:1")
        time.sleep(1.5)
        self.assertGreater(serving.stats()["polls"], polls + 5)
        self.assertEqual("0", self.replica.client(None, logged).stdout.strip())
        self.follow(serving)
        self.asked(worker, USERS[:100], "allow")
        good = self.served(serving)
        self.assertGreater(int(self.replica.client(None, logged).stdout), good)

    def test_a_lagging_replica_costs_reads_and_no_truth(self):
        serving = self.serve()
        worker = self.worker(serving)
        self.replica.client(None, "STOP SLAVE SQL_THREAD;")
        self.unassign(1000, 1199)
        self.applied(serving)
        # Users who are asked about were moderators in the replica's eyes.
        self.asked(worker, range(1000, 1200), "deny")
        good, outdated, failed = self.figures(serving)
        self.assertGreaterEqual(outdated + failed, 5)
        self.assertGreater(outdated, 0)
        self.assertLess(outdated, 50, "the breaker did not open")
        self.assertEqual(0, good)
        # And the other way round: what is there by now is not denied for the replica's sake.
        self.assign(range(3000, 3020))
        self.applied(serving)
        self.asked(worker, range(3000, 3020), "allow")
        # The replica is read again when it has caught up.
        self.replica.client(None, "START SLAVE SQL_THREAD;")
        self.follow(serving)
        users = iter(USERS[200:])
        wait_until(lambda: worker.check(next(users), "channel:10", DELETE) == "allow" and
                   self.figures(serving)[0] > 3, 30, "the replica is used again", 0.2)

    def test_unrelated_changes_do_not_outdate_a_lagging_replica(self):
        serving = self.serve()
        worker = self.worker(serving)
        self.replica.client(None, "STOP SLAVE SQL_THREAD;")
        self.unassign(1300, 1399)
        self.applied(serving)
        self.asked(worker, USERS[:100], "allow")
        self.served(serving)

    def test_tokens_are_newer_than_the_replica(self):
        """Read your own writes: the reply's revision is asked for at once."""
        serving = self.serve()
        self.replica.client(None, "STOP SLAVE SQL_THREAD;")
        with serving.rpc() as rpc:
            for user in range(4000, 4030):
                rpc.call("assign", user=user, role=MODERATOR, scope="server:1")
                reply = rpc.call("check", user=user, scope="channel:10", permission=DELETE)
                self.assertEqual(1, reply["decision"])
                rpc.call("unassign", user=user, role=MODERATOR, scope="server:1")
                reply = rpc.call("check", user=user, scope="channel:10", permission=DELETE)
                self.assertEqual(0, reply["decision"])

    def test_a_replica_that_was_written_to(self):
        """It has a history of its own now: first it looks early, then it has the number of a revision and another
        nonce."""
        serving = self.serve()
        worker = self.worker(serving)
        self.replica.client(None, "STOP SLAVE SQL_THREAD;")
        self.replica.client(self.database,
                            f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id)"
                            f" VALUES (5000, {MODERATOR}, 1, 1), (5001, {MODERATOR}, 1, 1);")
        self.asked(worker, range(5000, 5002), "deny")
        self.assertGreater(sum(self.figures(serving)[1:]), 0)
        self.assign(range(6000, 6003))
        self.applied(serving)
        for _ in range(3):
            self.asked(worker, range(5000, 5002), "deny")
            serving.ctl("invalidate", "user", 5000)
            serving.ctl("invalidate", "user", 5001)
            time.sleep(1.1)  # a trial of the breaker
        self.assertEqual(0, self.figures(serving)[0])

    def test_a_replica_that_hangs_or_is_gone_slows_a_few(self):
        serving = self.serve(store_timeout="2s")
        worker = self.worker(serving)
        self.asked(worker, USERS[:10], "allow")
        for name, stop, start in [("stopped", self.replica.pause, self.replica.resume),
                                  ("killed", self.replica.kill, self.replica.start)]:
            with self.subTest(name):
                first = 10 if name == "stopped" else 150
                stop()
                took = []
                for user in USERS[first:first + 100]:
                    watch = Stopwatch(serving.process, worker.process)
                    self.asked(worker, [user], "allow")
                    took.append(watch.seconds())
                self.say(f"100 fills with the replica {name}: {sum(took) * 1000:.0f} ms in all, "
                         f"the slowest {max(took) * 1000:.0f} ms")
                self.assertLess(max(took), 1.5)
                self.assertLess(sum(took), 8)  # at 100 ms each it would be 10 s
                start()
                good = self.figures(serving)[0]
                users = iter(list(USERS[300:]) * 10)
                def again():
                    user = next(users)
                    serving.ctl("invalidate", "user", user)
                    return worker.check(user, "channel:10", DELETE) == "allow" and self.figures(serving)[0] > good
                wait_until(again, 40, "the replica is used again", 0.3)
        self.assertGreater(self.figures(serving)[2], 5)

    @full_only
    def test_it_is_not_there_when_the_sidecar_starts(self):
        self.replica.kill()
        serving = self.sidecar(store_replica=self.replica.url(self.database), strangers_max=0)
        serving.apply(small())
        worker = self.worker(serving)
        self.asked(worker, [1], "allow")
        self.assertGreater(self.figures(serving)[2], 0)


class ReplicaOfStatements(_Pair):
    """Statements that are run again may come to other rows, under the same nonces."""

    binlog_format = "STATEMENT"

    def test_it_is_not_used(self):
        serving = self.serve()
        worker = self.worker(serving)
        self.asked(worker, USERS[:20], "allow")
        self.assertEqual((0, 0, 0), self.figures(serving))
        self.assertIn("binlog_format is STATEMENT", serving.log())


if __name__ == "__main__":
    main()
