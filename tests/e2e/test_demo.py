#!/usr/bin/env python3
"""deploy/demo.sh does what it says, cleans up after itself, and leaves a sidecar running when it is told to keep it."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import unittest

from harness import ROOT, full_only, main
from harness.process import wait_until

BOUND_MS = 2000


@full_only
class Demo(unittest.TestCase):
    def run_demo(self, *arguments):
        done = subprocess.run([str(ROOT / "deploy" / "demo.sh"), *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=200, cwd="/")
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return done.stdout

    @staticmethod
    def ended(pid):
        """It is nobody's child here, so that perhaps nobody has waited for it."""
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    def folders(self):
        return set(pathlib.Path("/tmp").glob("permtab-demo-*"))

    def test_it_shows_what_it_promises_and_cleans_up(self):
        before = self.folders()
        text = self.run_demo()
        self.assertEqual(before, self.folders())
        self.assertRegex(text, r"\d\.\d million checks a second in all, \d+ ns of processor time a check")
        self.assertIn("4000000 of 4000000 allowed", text)
        self.assertRegex(text, r"check 8 channel:10 message\.delete\n    allow\n")
        self.assertRegex(text, r"check 7 channel:10 message\.delete\n    deny\n")
        self.assertRegex(text, r"explain 11 channel:10 message\.send\n    deny\n(.*\n)*    \* .*muted")
        [seen] = re.findall(r"every worker saw it (\d+) ms", text)
        self.assertLess(int(seen), BOUND_MS)
        [(holders, reached)] = re.findall(r"(\d+) holders lost it, (\d+) ms", text)
        self.assertEqual("100000", holders)
        self.assertLess(int(reached), BOUND_MS)

    def test_keep(self):
        text = self.run_demo("--keep")
        [pid] = re.findall(r"still running \(process (\d+)\)", text)
        [folder] = re.findall(r"cd (/tmp/permtab-demo-\w+) ", text)
        try:
            ctl = [f"{folder}/installed/bin/permtabctl", "--socket", f"{folder}/permtab.sock"]
            self.assertEqual(0, subprocess.run([*ctl, "health"], stdout=subprocess.DEVNULL, timeout=120).returncode)
            self.assertEqual(0, subprocess.run([*ctl, "assign", "7", "101"], stdout=subprocess.DEVNULL,
                                               timeout=120).returncode)
        finally:
            os.kill(int(pid), signal.SIGTERM)
            wait_until(lambda: self.ended(pid), 10, "the sidecar is gone")
            shutil.rmtree(folder)

    def test_usage(self):
        done = subprocess.run([str(ROOT / "deploy" / "demo.sh"), "--fast"], stderr=subprocess.PIPE, text=True,
                              timeout=120)
        self.assertEqual(64, done.returncode)
        self.assertIn("usage", done.stderr)


if __name__ == "__main__":
    main()
