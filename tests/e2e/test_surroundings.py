#!/usr/bin/env python3
"""tests/run.sh states its own surroundings: whoever starts it, in whatever state, the tests find the same."""

import os
import resource
import signal
import subprocess
import sys
import unittest

from harness import ROOT, main, temporary_folder


# An environment in which a test that leans on its caller's would fail.
FOREIGN = {"PATH": "/nonexistent/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "POSIX", "TZ": "Pacific/Apia",
           "CC": "false",
           "CFLAGS": "-Wrong", "PYTHONPATH": "/nonexistent", "TMPDIR": "/nonexistent",
           "NOTIFY_SOCKET": "/nonexistent", "BASH_ENV": "",
           "GIT_DIR": "/nonexistent", "PERMTAB_TABLE_ENTRIES": "5", "PERMTAB_SOCKET": "/nonexistent",
           "PERMTAB_SETTLED": "1", "PERMTAB_JOBS": "3", "CCACHE_DIR": "/nonexistent/ccache"}


def in_bad_state():
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM])
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    resource.setrlimit(resource.RLIMIT_STACK, (256 * 1024, resource.getrlimit(resource.RLIMIT_STACK)[1]))


class Surroundings(unittest.TestCase):
    def show(self, environment, prepare):
        done = subprocess.run([ROOT / "tests" / "run.sh", "--surroundings"], env=environment, preexec_fn=prepare,
                              cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return done.stdout.splitlines()

    def test_nothing_comes_through(self):
        lines = self.show(FOREIGN, in_bad_state)
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        for name in ("PWD", "OLDPWD", "SHLVL", "TERM", "_"):  # bash's own
            values.pop(name, None)
        self.assertEqual({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "umask": "0022",
                          "PERMTAB_JOBS": "3", "CCACHE_DIR": "/nonexistent/ccache"}, values)
        self.assertIn("SigIgn:\t0000000000000000", lines)
        self.assertIn("SigBlk:\t0000000000000000", lines)
        limits = " ".join(" ".join(lines).split())
        self.assertIn("(-n) 4096", limits)
        self.assertIn("(kbytes, -s) 8192", limits)

    def test_a_limit_that_cannot_be_had_is_named(self):
        def prepare():
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
        folder = temporary_folder("surroundings")
        script = folder / "run.sh"  # the checkout may lie where another uid cannot go
        (folder / "surroundings.sh").write_text((ROOT / "tests" / "surroundings.sh").read_text())
        script.write_text(f'. {folder}/surroundings.sh\necho it goes on\n')
        done = subprocess.run(["/bin/bash", script], preexec_fn=prepare, env={}, cwd="/", text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertEqual("tests/run.sh: the tests need `ulimit -n 4096`, and the hard limit here is 200\n", done.stderr)

    def test_usage(self):
        done = subprocess.run([ROOT / "tests" / "run.sh", "--quick", "--fast"], stderr=subprocess.PIPE, text=True,
                              timeout=120)
        self.assertEqual((64, "usage: tests/run.sh [--quick]\n"), (done.returncode, done.stderr))

    def test_a_file_alone_settles_too(self):
        """A process that settles itself hands the same on to its children."""
        code = "from harness.surroundings import settle; settle(); import os; os.execvp('/bin/bash', ['bash', '-c', " \
               "'env; umask; grep ^Sig[BI] /proc/self/status'])"
        done = subprocess.run([sys.executable, "-c", code], preexec_fn=in_bad_state, text=True, timeout=120,
                              stdout=subprocess.PIPE,
                              cwd=ROOT / "tests" / "e2e",
                              env={**FOREIGN, "PATH": "/usr/bin:/bin", "PYTHONPATH": ".", "PERMTAB_TEST_REDIS": "x"})
        lines = done.stdout.splitlines()
        for wanted in ("LC_ALL=C.UTF-8", "TZ=UTC", "0022", "PERMTAB_TEST_REDIS=x", "SigBlk:\t0000000000000000"):
            self.assertIn(wanted, lines)
        self.assertEqual([], [line for line in lines if line.startswith(("PERMTAB_TABLE", "PERMTAB_SOCKET",
                                                                         "NOTIFY_SOCKET"))])
        [ignored] = [line for line in lines if line.startswith("SigIgn:")]
        # those that Python ignores; subprocess gives them back
        kept = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
        self.assertEqual(0, int(ignored.split()[1], 16) & ~kept, ignored)


if __name__ == "__main__":
    main()
