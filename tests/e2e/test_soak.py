#!/usr/bin/env python3
"""The soak for two minutes, and its judges: each finds what it is there to find. The long one is a command:
soak.py --minutes 60."""

import subprocess
import sys
import types
import unittest

import soak
from harness import SqliteCase, full_only, judges, main, model, moves, program
from harness.figures import FEEDBACK, SOCKET, TABLE, figures
from harness.policies import small
from harness.process import kill, spawn, wait_until
from harness.visitor import Visitor

MINUTE, ROUND = 60, 6
FLAT = [700, 1000, 1010, 990, 1003, 1000, 1012, 1001]

# Takes more of everything, a line of stdin at a time.
GREEDY = """
import os, sys, threading
kept = []
for line in sys.stdin:
    if line == "memory\\n":
        kept.append(bytearray(os.urandom(1 << 20)))
    if line == "descriptor\\n":
        kept.append(os.dup(0))
    if line == "thread\\n":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    print("done", flush=True)
"""


class Greedy:
    """A process that grows when it is told to."""

    def __init__(self):
        self.process = spawn([sys.executable, "-c", GREEDY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             bufsize=1)

    def samples(self, word, count=8):
        found = []
        for _ in range(count):
            self.process.stdin.write(f"{word}\n")
            assert self.process.stdout.readline() == "done\n"
            found.append(figures(self.process.pid))
        return found

    def close(self):
        kill(self.process)
        self.process.stdin.close()
        self.process.stdout.close()


class Judges(unittest.TestCase):
    """Without a sidecar."""

    def test_memory(self):
        self.assertEqual([], judges.judge_flat("it", FLAT, 20))
        self.assertEqual([], judges.judge_flat("it", [2000, *FLAT, 900], 20), "it may shrink")
        self.assertEqual(1, len(judges.judge_flat("it", list(range(1000, 1080, 10)), 20)))
        self.assertEqual(1, len(judges.judge_flat("it", [1000, 1000, 1000, 1000, 1000, 1000, 1100, 1100], 20)))
        self.assertEqual([], judges.judge_flat("it", [5], 0))

    def test_what_stays_as_it_is(self):
        self.assertEqual([], judges.judge_same("it", [3, 3, 3]))
        self.assertEqual(1, len(judges.judge_same("it", [3, 3, 4])))
        self.assertEqual([], judges.judge_within("it", 2, 1, 2))
        self.assertEqual(1, len(judges.judge_within("it", 3, 1, 2)))

    def test_counters(self):
        self.assertEqual([], judges.judge_equal("it", 7, 7))
        self.assertEqual(["it: 6 were counted, 7 is true (-1)"], judges.judge_equal("it", 6, 7))

    def test_descriptors(self):
        """Clients have two each, the rest is the same, and some are opened when they are needed."""
        def there(clients, **more):
            return {SOCKET: 6 + clients, FEEDBACK: clients, TABLE: 1, "permtab.db": 2, "anon_inode:[eventfd]": 2} | more

        good = [(there(3), 3), (there(3) | {"permtab.db": 4}, 3), (there(2), 2)]
        lazy = {"permtab.db": 5}
        self.assertEqual([], judges.judge_descriptors("it", good, lazy))
        for more in ({FEEDBACK: 4}, {FEEDBACK: 2}, {SOCKET: 10}, {TABLE: 2}, {"permtab.db": 6}, {"pipe:": 1}):
            with self.subTest(more):
                self.assertEqual(1, len(judges.judge_descriptors("it", good + [(there(3) | more, 3)], lazy)))
        connections = [(there(3), 3), (there(3) | {SOCKET: 11}, 3)]  # to MariaDB: sockets, too
        self.assertEqual([], judges.judge_descriptors("it", connections, {SOCKET: 2} | lazy))
        self.assertEqual(1, len(judges.judge_descriptors("it", connections, {SOCKET: 1} | lazy)))

    def test_the_log(self):
        of = types.SimpleNamespace(revisions=[(1000.0, 0), (1030.0, 40000), (1095.0, 50000)])
        young = 10000 + soak.LOG_SLACK
        self.assertEqual([], soak.Soak.judge_log(of, young))
        self.assertEqual(1, len(soak.Soak.judge_log(of, young + 1)))
        self.assertEqual(1, len(soak.Soak.judge_log(of, 0)))

    def test_a_process_that_grows(self):
        greedy = Greedy()
        self.addCleanup(greedy.close)
        greedy.samples("nothing")
        idle = greedy.samples("nothing")
        self.assertEqual([], judges.judge_flat("KB", [one.memory_kb for one in idle], soak.SLACK_KB))
        self.assertEqual([], judges.judge_same("threads", [one.threads for one in idle]))
        self.assertEqual([], judges.judge_descriptors("it", [(one.descriptors, 0) for one in idle], {}))
        grown = greedy.samples("memory")
        self.assertEqual(1, len(judges.judge_flat("KB", [one.memory_kb for one in grown], soak.SLACK_KB)))
        held = greedy.samples("descriptor")
        self.assertEqual(1, len(judges.judge_descriptors("it", [(one.descriptors, 0) for one in held], {})))
        self.assertEqual(1, len(judges.judge_same("threads", [one.threads for one in greedy.samples("thread")])))

    def test_the_channel_that_moves(self):
        """The truth about it, by the keys that are there."""
        state = model.begin()
        asked = (model.USERS[0], f"channel:{moves.MOVING}", model.SEND)
        line = model.Timelines([asked, (*asked[:1], "channel:10", model.SEND)], state, moves.allowed)
        line.step(11, [moves.AWAY])
        line.step(12, [moves.AWAY])
        self.assertEqual([True, True], line.first)
        self.assertEqual([[11, 12], []], line.changes)


class Counted(SqliteCase):
    """A sidecar, and clients that do what was not to be done."""

    def setUp(self):
        super().setUp()
        self.serving = self.sidecar()
        self.serving.apply(small())

    def visitor(self):
        visitor = Visitor(self.serving.socket, "server:1", "channel.view", period_us=20000, checks=10)
        self.addCleanup(visitor.close)
        return visitor

    def visited(self, visitor):
        """What it did until it had been there three times more."""
        accepted = self.serving.stats()["clients_accepted"]
        visitor.start()
        wait_until(lambda: self.serving.stats()["clients_accepted"] >= accepted + 12, 20, "it comes and goes", 0.02)
        return visitor.stop()

    def test_what_a_visitor_says_is_what_was_counted(self):
        """And a sidecar that has counted one less is told from one that has not."""
        before = self.serving.stats()
        done = self.visited(self.visitor())
        self.assertEqual((0, 0, 0), (done["unknown"], done["wrong"], done["failed"]))
        self.assertEqual((2 * done["visits"], 30 * done["visits"]), (done["connections"], done["checks"]))

        def counted():
            after = self.serving.stats()
            return sum(after[name] - before[name] for name in ("table_hits", "table_misses"))
        wait_until(lambda: counted() == done["checks"], 3, lambda: f"{counted()} are {done['checks']}", 0.05)
        self.assertEqual([], judges.judge_equal("checks", counted(), done["checks"]))
        self.assertEqual(1, len(judges.judge_equal("checks", counted() - 1, done["checks"])))

    def test_a_client_that_keeps_descriptors(self):
        visitor = self.visitor()
        samples = []
        for turn in range(6):
            if turn == 3:
                self.assertEqual([], judges.judge_descriptors("the visitor", samples, {}))
                visitor.keep_descriptors()
            self.visited(visitor)
            samples.append((figures(visitor.process.pid).descriptors, 0))
        self.assertEqual(1, len(judges.judge_descriptors("the visitor", samples, {})))


@full_only
class Soaked(unittest.TestCase):
    """A minute over each store."""

    def soak(self, store, **options):
        lines = []
        found = soak.run(store, MINUTE, seed=options.pop("seed", 7), round_s=ROUND, say=lines.append, **options)
        print("\n" + "\n".join(f"    {line}" for line in lines))
        return found

    def test_sqlite(self):
        self.assertEqual([], self.soak("sqlite"))

    def test_mariadb(self):
        self.assertEqual([], self.soak("mariadb"))


@full_only
class Broken(unittest.TestCase):
    """Daemons of tests/e2e/broken/ that answer well and keep house badly."""

    def soak(self, name, seconds):
        return soak.run("sqlite", seconds, seed=5, round_s=4, say=lambda _: None, daemon=program(f"broken-{name}"))

    def test_one_that_hoards(self):
        found = self.soak("hoards", 50)
        self.assertTrue([one for one in found if "pages of clients that are not there" in one], found)
        self.assertTrue([one for one in found if "h0: KB of the worker grew by" in one], found)

    def test_one_that_forgets(self):
        found = self.soak("forgets", 4)
        self.assertTrue(found)
        self.assertEqual([], [one for one in found if "hits and misses: " not in one and "table_unknowns: " not in one])


if __name__ == "__main__":
    main()
