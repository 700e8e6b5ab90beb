#!/usr/bin/env python3
"""The table finds its size: it grows out of the default under the hands of busy workers, as far as it may, and neither
strangers nor places that are not there buy anything."""

import os
import random
import re
import signal
import threading
import time

from harness import QUICK, SqliteCase, main
from harness.policies import MODERATOR, small
from harness.process import wait_until

DELETE, SEND = "message.delete", "message.send"
FIRST = 100000
# More than fit after one step, and after three. Each takes two looks at a few seconds of misses.
BUSY, STEPS = (3000, 1) if QUICK else (20000, 3)
BLOCK = 500
PATIENCE = 120


class Crowd:
    """Workers that check the same users all the time, each from a place of its own, until told to stop."""

    def __init__(self, workers, users):
        self.workers = workers
        self.failed, self.passes, self.stopping = [], 0, False
        self.threads = [threading.Thread(target=self._run, args=(worker, users, number))
                        for number, worker in enumerate(workers)]
        for thread in self.threads:
            thread.start()

    def _run(self, worker, users, number):
        blocks = range(users.start, users.stop, BLOCK)
        at = len(blocks) * number // len(self.threads)
        while not self.stopping:
            counts, others = worker.range(blocks[at], BLOCK, "channel:10", DELETE)
            if counts["allow"] != BLOCK:
                self.failed.append((counts, others))
            at = (at + 1) % len(blocks)
            self.passes += at == 0

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(60)
        return self.failed


class Growth(SqliteCase):
    def serve(self, users=BUSY, **options):
        """Nothing here is about time, so there is plenty of it, also on a busy computer."""
        self.serving = self.sidecar(max_staleness="10s", request_timeout="20s", **options)
        self.serving.apply(small())
        for first in range(FIRST, FIRST + users, 5000):
            block = range(first, min(first + 5000, FIRST + users))
            values = ", ".join(f"({user}, {MODERATOR}, 1, 1)" for user in block)
            self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {values};")
        wanted = int(self.rows("SELECT revision FROM permtab_counter;")[0][0])
        wait_until(lambda: self.serving.health()["revision"] >= wanted, 20, "the table follows")

    def patient_worker(self):
        return self.worker(self.serving, timeout_ms=20000)

    def crowd(self, users=BUSY):
        crowd = Crowd([self.patient_worker(), self.patient_worker()], range(FIRST, FIRST + users))
        self.addCleanup(crowd.stop)
        return crowd

    def shared(self):
        """Bytes of shared memory: tables, and retired ones that are still held."""
        text = self.serving.ops("table")
        return (int(re.search(r"of which shared (\d+)", text).group(1)) +
                int(re.search(r"retired \d+ tables of (\d+) bytes", text).group(1)))

    def test_a_busy_host_grows_out_of_the_default(self):
        """Without a failed check; changes are obeyed all the time, also those of the table that is being left."""
        self.serve()
        self.assertEqual(1000, self.serving.stats()["table_capacity"])
        begun = time.monotonic()
        crowd = self.crowd()
        watcher, user = self.patient_worker(), 31337
        with self.serving.rpc(timeout=60) as rpc:
            while self.serving.stats()["table_capacity"] < BUSY and time.monotonic() - begun < PATIENCE:
                rpc.call("assign", user=user, role=MODERATOR, scope="server:1")
                self.assertEqual("allow", watcher.check(user, "channel:10", DELETE))
                rpc.call("unassign", user=user, role=MODERATOR, scope="server:1")
                self.assertEqual("deny", watcher.check(user, "channel:10", DELETE))
                user += 1
        seconds = time.monotonic() - begun
        # Passes end at the last user and may have begun anywhere: with one more than there are workers, one of them has
        # asked for everybody since.
        wanted = crowd.passes + len(crowd.workers) + 1
        wait_until(lambda: crowd.passes >= wanted, PATIENCE, "everybody is in the table")
        self.assertEqual([], crowd.stop())
        stats = self.serving.stats()
        self.say(f"{stats['table_capacity']} entries after {seconds:.1f} s, {stats['growths']} growths")
        self.assertGreaterEqual(stats["table_capacity"], BUSY)
        self.assertLessEqual(stats["table_capacity"], 4 * BUSY)
        self.assertGreaterEqual(stats["entries"], BUSY)
        self.assertEqual(STEPS, stats["growths"])
        self.assertEqual(stats["growths"], stats["growths_hit_rate"] + stats["growths_returned"])
        counts, _ = self.patient_worker().range(FIRST, BUSY, "channel:10", DELETE, "peek")
        self.assertGreater(counts["allow"], BUSY * 0.99)
        self.assertRegex(self.serving.ops("table"),
                         rf"grown {STEPS} times, \d+ s ago because (the hit rate is|about \d+ of)")
        self.assertIn("table: it grows from 1000 to 4000 entries: ", self.serving.log())
        def left():
            """A worker that does nothing keeps the table that it has."""
            for worker in (watcher, *crowd.workers):
                self.assertEqual("allow", worker.check(FIRST, "channel:10", DELETE))
            return self.serving.stats()["retired_bytes"] == 0 and "growth none" in self.serving.ops("table")

        wait_until(left, PATIENCE, "the tables before are gone", 0.2)
        self.assertEqual(self.serving.stats()["segment_bytes"], self.shared())
        # A size that has been lived with for five seconds is that of the next worker's first table.
        wait_until(lambda: int(re.search(r"grown \d+ times, (\d+) s ago", self.serving.ops("table")).group(1)) > 6, 20,
                   "it has been lived with", 0.2)
        capacity = self.serving.stats()["table_capacity"]
        self.lose_the_worker()
        self.assertEqual(capacity, self.serving.stats()["table_capacity"])

    def lose_the_worker(self):
        os.kill(self.serving.worker_pid, signal.SIGKILL)
        wait_until(lambda: self.served() == 2, PATIENCE, "another worker serves", 0.05)

    def served(self):
        try:
            return self.serving.stats()["worker_starts"]
        except (OSError, EOFError):
            return 0

    def test_table_memory_max(self):
        """Both segments count while there are two, so the last step is a smaller one."""
        limit = 3300000
        self.serve(table_memory_max=f"{limit // 1000}KB")
        crowd, most = self.crowd(), 0

        def held():
            nonlocal most
            most = max(most, self.shared())
            return self.serving.stats()["growth_held_memory_max"] and "it stays at" in self.serving.log()

        wait_until(held, PATIENCE, "it is held", 0.02)
        time.sleep(3)
        held()
        self.assertEqual([], crowd.stop())
        self.assertLessEqual(most, limit)
        self.assertGreater(most, limit * 3 // 4)
        capacity = self.serving.stats()["table_capacity"]
        self.assertGreater(capacity, 4000)
        self.assertLess(capacity, BUSY)
        self.assertEqual(1, self.serving.log().count("table: it stays at"))
        self.assertRegex(self.serving.log(),
                         rf"it stays at {capacity} entries, because of table_memory_max; (the hit rate is|about)")
        self.assertIn("held by table_memory_max\n", self.serving.ops("table"))

    def test_a_flood_of_strangers_buys_nothing(self):
        """Nor do places that are not there. Those who are known keep their entries."""
        self.serve(users=600)
        worker = self.patient_worker()
        counts, _ = worker.range(FIRST, 600, "channel:10", DELETE)
        self.assertEqual(600, counts["allow"])
        wait_until(lambda: "known users: " in self.serving.log(), 20, "the users are counted", 0.05)
        begun, asked = time.monotonic(), 0
        while time.monotonic() - begun < 12:
            places = ["channel:10", "channel:20", "server:1", f"channel:{random.getrandbits(60)}"]
            answers, _ = worker.many([(random.getrandbits(64), random.choice(places), SEND) for _ in range(BLOCK)])
            self.assertNotIn("U", answers)
            asked += BLOCK
        stats = self.serving.stats()
        self.say(f"{asked} questions about strangers: {stats['entries']} entries, {stats['table_misses']} misses")
        self.assertGreater(stats["table_misses"], 2000)
        self.assertGreater(stats["entries_evicted"], 1000)
        self.assertEqual((1000, 0), (stats["table_capacity"], stats["growths"]))
        counts, _ = worker.range(FIRST, 600, "channel:10", DELETE, "peek")
        self.assertEqual(600, counts["allow"])

    def test_what_fits_does_not_grow(self):
        """However busy it is."""
        self.serve(users=900)
        crowd = Crowd([self.patient_worker(), self.patient_worker()], range(FIRST, FIRST + 500))
        time.sleep(8)
        self.assertEqual([], crowd.stop())
        stats = self.serving.stats()
        self.assertGreater(crowd.passes, 10)
        self.assertEqual((1000, 0), (stats["table_capacity"], stats["growths"]))

    def test_flushed_while_it_grows(self):
        """`invalidate all` throws both tables away, in the middle of whatever growth is at; nobody's check fails."""
        self.serve()
        crowd, begun, flushes = self.crowd(), time.monotonic(), 0
        while time.monotonic() - begun < 30:
            time.sleep(random.random() * 3)
            self.assertEqual(0, self.serving.ctl("invalidate", "all").returncode)
            flushes += 1
        wait_until(lambda: self.serving.stats()["table_capacity"] >= BUSY, PATIENCE, "it grows all the same")
        self.assertEqual([], crowd.stop())
        stats = self.serving.stats()
        self.say(f"{flushes} flushes, {stats['growths']} growths, {stats['growths_given_up']} given up")
        # Between two is a rest, and those that come while one waits are one with it.
        self.assertLessEqual(stats["rebuilds"], flushes)
        self.assertGreater(stats["rebuilds"], flushes / 2)

    quick = ("test_a_busy_host_grows_out_of_the_default",)


if __name__ == "__main__":
    main()
