#!/usr/bin/env python3
"""After a start, or when the table was made anew, what was asked for before is filled again, and nothing else is."""

import os
import random
import signal

from harness import MariadbCase, SqliteCase, full_only, main
from harness.policies import MODERATOR, small
from harness.process import wait_until

MEMBERS = 400
ENOUGH = MEMBERS - 8  # now and then a key that was asked for once is forgotten: frequencies are halved in turn
FIRST = 1000


def policy():
    document = small()
    document["assignments"] += [{"user": user, "role": MODERATOR, "scope": "server:1"}
                                for user in range(FIRST, FIRST + MEMBERS)]
    return document


class WarmUp:
    def serve(self, **options):
        self.serving = self.sidecar(table_entries=4000, **options)
        self.serving.apply(policy())
        wait_until(lambda: "known users: " in self.serving.log(), 20, "the users are counted", 0.05)

    def ask(self, users):
        """Over the socket, so that each of them is a miss and is noted."""
        with self.serving.rpc() as rpc:
            for user in users:
                rpc.call("check", user=user, scope="server:1", permission="message.delete")

    def lose_the_worker(self):
        """Whether the next one is there is seen by the number of it."""
        before = self.serving.stats()["worker_starts"]
        os.kill(self.serving.worker_pid, signal.SIGKILL)
        wait_until(lambda: self.served() > before, 20, "another worker serves", 0.05)

    def served(self):
        try:
            return self.serving.stats()["worker_starts"]
        except (OSError, EOFError):
            return 0

    def warmed(self, filled):
        wait_until(lambda: self.serving.stats()["warm_filled"] >= filled, 30,
                   lambda: f"the warm-up fills {filled}: {self.serving.stats()}", 0.05)
        wait_until(lambda: self.serving.stats()["warm_left"] == 0, 30, "the warm-up ends", 0.05)

    def assert_served_first(self):
        """Clients are let in before the keys are counted, which takes its time when they are many."""
        life = self.serving.log().split("permtabd: worker ")[-1]
        self.assertLess(life.index(": serving "), life.index("keys are known from before"), life)

    def peeks(self, users):
        """How many of them a fresh client finds in the table."""
        worker = self.worker(self.serving)
        return sum(worker.peek(user, "server:1", "message.delete")[0] == "allow" for user in users)

    def test_a_worker_that_dies_leaves_its_keys(self):
        self.serve()
        members = range(FIRST, FIRST + MEMBERS)
        self.ask(members)
        self.lose_the_worker()
        self.warmed(ENOUGH)
        self.assert_served_first()
        self.assertLessEqual(ENOUGH, self.peeks(members))
        stats = self.serving.stats()
        self.assertEqual(0, stats["entries_evicted"])
        self.assertEqual(0, stats["warm_failed"])
        self.assertIn(f"warm-up: {stats['warm_filled']} keys filled", self.serving.log())
        self.lose_the_worker()  # and again, though nobody has asked since
        self.warmed(ENOUGH)
        self.assertLessEqual(ENOUGH, self.peeks(members))

    def test_strangers_and_places_that_are_not_there_stay_away(self):
        self.serve()
        self.ask(range(FIRST, FIRST + 50))
        self.ask(random.getrandbits(60) + 10 ** 6 for _ in range(300))
        with self.serving.rpc() as rpc:
            for place in range(300):
                rpc.call("check", user=FIRST, scope=f"channel:{place + 5000}", permission="message.send")
        self.lose_the_worker()
        self.warmed(50)
        self.assertEqual(50, self.serving.stats()["warm_filled"])
        self.assertLessEqual(self.serving.stats()["entries"], 60)

    def test_hits_in_shared_memory_count(self):
        """A client that only hits tells by its samples; they are of what is in the table alone."""
        self.serve()
        worker = self.worker(self.serving)
        self.assertEqual("allow", worker.check(FIRST, "server:1", "message.delete"))
        wait_until(lambda: worker.spin(FIRST, "server:1", "message.delete", 50) or worker.spun()
                   and self.serving.stats()["samples"] > 0, 20, "samples are taken", 0.05)
        self.lose_the_worker()
        self.warmed(1)

    def test_a_table_that_is_made_anew(self):
        self.serve()
        members = range(FIRST, FIRST + MEMBERS)
        self.ask(members)
        self.assertEqual(0, self.serving.ctl("invalidate", "all").returncode)
        self.warmed(ENOUGH)
        self.assertLessEqual(ENOUGH, self.peeks(members))

    def test_it_can_be_turned_off(self):
        self.serve(warm_at_start=False)
        self.ask(range(FIRST, FIRST + 50))
        self.lose_the_worker()
        self.ask(range(FIRST, FIRST + 1))
        stats = self.serving.stats()
        self.assertEqual((0, 0), (stats["warm_filled"], stats["warm_left"]))
        self.assertLess(stats["entries"], 50)


class Sqlite(WarmUp, SqliteCase):
    pass


@full_only
class Mariadb(WarmUp, MariadbCase):
    pass


if __name__ == "__main__":
    main()
