#!/usr/bin/env python3
"""Prometheus' own tool has nothing to say of the metrics, and they are the same figures as elsewhere."""

import json
import re
import subprocess

from harness import SqliteCase, main
from harness.policies import small
from harness.process import wait_until


class Metrics(SqliteCase):
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar()
        self.serving.apply(small())
        wait_until(lambda: self.serving.stats()["propagation_count"] > 0, 10, "the change was measured")

    def test_promtool(self):
        text = self.serving.ops("stats prometheus")
        self.assertGreater(text.count("# TYPE permtab_"), 90)
        # Its lint is silent; with a name that ends in _us it is not, which is how we know that it looks.
        for metrics, said in ((text, ""), (text + "# HELP a_us b\n# TYPE a_us gauge\na_us 1\n", "a_us")):
            done = subprocess.run(["promtool", "check", "metrics"], input=metrics.strip() + "\n", text=True, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(said != "", done.returncode != 0, done.stdout)
            self.assertIn(said, done.stdout)
            self.assertEqual(said == "", done.stdout == "", done.stdout)

    def test_base_units_and_suffixes(self):
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", self.serving.ops("stats prometheus"), re.M))
        for name, kind in kinds.items():
            self.assertEqual(kind == "counter", name.endswith("_total"), name)
            self.assertNotRegex(name, r"_(us|ms|ns|s|sec|kb|mb|b)(_|$)")
        self.assertEqual("histogram", kinds["permtab_propagation_seconds"])
        self.assertEqual("gauge", kinds["permtab_clock_offset_seconds"])

    def test_the_same_figures_everywhere(self):
        """Each name of the other forms is there, times in seconds."""
        figures = json.loads(self.serving.ops("stats json"))
        text = self.serving.ops("stats prometheus")
        names = set(re.findall(r"^permtab_(\S+) ", text, re.M))
        for name, value in figures.items():
            if isinstance(value, dict):
                self.assertIn(f"{name}_seconds_count", names)
            else:
                base = re.sub("_us$", "_seconds", name)
                self.assertTrue({base, f"{base}_total"} & names, name)
        figures.pop("propagation")
        self.assertGreater(figures.pop("turns")["count"], 0)
        self.assertLessEqual(set(figures), set(self.serving.stats()))
        buckets = re.findall(r'^permtab_propagation_seconds_bucket\{le="[^"]+"\} (\d+)$', text, re.M)
        self.assertEqual(sorted(buckets, key=int), buckets)


if __name__ == "__main__":
    main()
