#!/usr/bin/env python3
"""Bounds that are the product's own are not the machine's: harness.process.Stopwatch leaves out the time in which
nobody gave a process a processor, and nothing else."""

import os
import subprocess
import sys
import time
import unittest

from harness import main
from harness.process import Stopwatch, kill, spawn, wait_until

BUSY = "while True: pass"


class Patience(unittest.TestCase):
    def test_time_that_passes_counts(self):
        watch = Stopwatch()
        time.sleep(0.3)
        self.assertGreaterEqual(watch.seconds(), 0.25)

    def test_a_process_that_sleeps_or_computes_gets_no_allowance(self):
        other = spawn([sys.executable, "-c", "import time; time.sleep(600)"])
        self.addCleanup(kill, other)

        def counts():
            """The next try may say more where it waited for a processor all the time."""
            begun, watch = time.monotonic(), Stopwatch(other)
            while time.monotonic() - begun < 0.3:
                pass
            counted = watch.seconds()
            self.assertLessEqual(counted, time.monotonic() - begun)
            return counted > 0.1

        wait_until(counts, 60, "time spent computing counts")

    @unittest.skipUnless(os.path.exists("/proc/self/schedstat"), "this kernel does not count")
    def test_waiting_for_a_processor_does_not_count(self):
        """One that three others keep off the only processor that it may use."""
        [first, *_] = os.sched_getaffinity(0)
        pinned = [spawn([sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{first}])\n{BUSY}"])
                  for _ in range(4)]
        for process in pinned:
            self.addCleanup(kill, process)
        time.sleep(0.5)
        watch, begun = Stopwatch(pinned[0]), time.monotonic()
        time.sleep(1)
        passed = time.monotonic() - begun
        self.assertLess(watch.seconds(), 0.7 * passed)

    def test_a_process_that_has_ended_is_no_trouble(self):
        other = subprocess.Popen([sys.executable, "-c", ""])
        watch = Stopwatch(other)
        other.wait(60)
        self.assertGreaterEqual(watch.seconds(), 0)


if __name__ == "__main__":
    main()
