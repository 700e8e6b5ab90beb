#!/usr/bin/env python3
"""A short run of the nemesis. The long one is a command: nemesis.py --hosts 20 --minutes 30."""

import re
import unittest

import nemesis
from harness import full_only, main

SEEDS = (101, 202, 303)
SECONDS = 11
POLL_MS, STALENESS_MS = 50, 1000


@full_only
class Short(unittest.TestCase):
    def run_nemesis(self, seed, **options):
        lines = []
        good = nemesis.run(hosts=5, seconds=SECONDS, round_s=SECONDS, seed=seed, poll_ms=POLL_MS,
                           staleness_ms=STALENESS_MS, ask_us=4000, say=lines.append, **options)
        print("\n" + "\n".join(f"    {line}" for line in lines))
        self.assertTrue(good, f"seed {seed}: see above")
        return "\n".join(lines)

    def test_seeds(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                self.run_nemesis(seed)

    def test_without_redis(self):
        self.run_nemesis(404, redis=False)

    def test_warm(self):
        """Fills of the warm-up, and tables that are far too small."""
        said = self.run_nemesis(505, warm=True)
        for count in re.search(r"(\d+) keys filled.* (\d+) entries evicted", said).groups():
            self.assertGreater(int(count), 50, said)


if __name__ == "__main__":
    main()
