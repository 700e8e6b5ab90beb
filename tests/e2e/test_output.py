#!/usr/bin/env python3
"""Output that cannot be written is a failure that can be seen: a full device, a descriptor that was closed, a reader
that has gone. And export FILE: what stands at that name stays what it is."""

import os
import pathlib
import signal
import stat
import subprocess
import threading

from harness import SqliteCase, main, program
from harness.policies import small
from harness.process import end, spawn, wait_until

ALLOWED, DENIED = (1, "channel:10", "message.delete"), (2, "channel:10", "message.delete")


def closing(*descriptors):
    def close():
        for descriptor in descriptors:
            os.close(descriptor)
    return close


class Broken:
    """The three ways in which standard output cannot be written."""

    def __init__(self):
        self.full = open("/dev/full", "wb")
        reader, self.pipe = os.pipe()
        os.close(reader)

    def close(self):
        self.full.close()
        os.close(self.pipe)

    def ways(self):
        return [("/dev/full", {"stdout": self.full}), ("a pipe that nobody reads", {"stdout": self.pipe}),
                ("closed", {"preexec_fn": closing(1)})]


class Output(SqliteCase):
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar()
        self.serving.apply(small())
        self.broken = Broken()
        self.addCleanup(self.broken.close)

    def run_program(self, words, **options):
        # Python ignores SIGPIPE, and its children would; a shell's do not.
        return subprocess.run([str(word) for word in words], stderr=subprocess.PIPE, text=True, timeout=60,
                              restore_signals=True, **options)

    def fails(self, words, code, **more):
        for name, options in self.broken.ways():
            with self.subTest(words=words, stdout=name):
                done = self.run_program(words, **options, **more)
                self.assertEqual(code, done.returncode, done.stderr)
                self.assertRegex(done.stderr, "(?i)cannot write the output|stdout: ")

    def ctl(self, *words):
        return [program("permtabctl"), "--socket", self.serving.socket, *words]

    def test_check(self):
        self.fails(self.ctl("check", *ALLOWED), 2)
        self.fails(self.ctl("check", *DENIED), 2)
        self.fails(self.ctl("check", "--batch"), 2, input="1 channel:10 message.delete\n")

    def test_other_commands(self):
        for words in (["permissions", 1, "channel:10"], ["permissions", 1, "channel:10", "--json"],
                      ["explain", *ALLOWED],
                      ["stats"], ["stats", "--json"], ["health"], ["export"], ["grant", 102, "member.kick"],
                      ["assign", 9, 101], ["invalidate", "user:1"], ["invalidations"], ["--help"], ["--version"],
                      ["check", "--help"]):
            self.fails(self.ctl(*words), 1)

    def test_apply(self):
        path = self.folder / "policy.json"
        path.write_text('{"permissions": [{"name": "thread.open"}]}')
        self.fails(self.ctl("apply", path, "--dry-run"), 1)

    def test_watch_ends_with_its_reader(self):
        """The watch ends also when there is nothing that it could tell."""
        reader, writer = os.pipe()
        watcher = spawn(self.ctl("watch"), stdout=writer, stderr=subprocess.PIPE)
        self.addCleanup(end, watcher)
        os.close(writer)
        wait_until(lambda: self.serving.stats()["subscribers"] == 1, 20, "it has subscribed")
        os.close(reader)
        self.assertEqual(1, watcher.wait(60))
        self.assertIn(b"cannot write the output", watcher.stderr.read())
        watcher.stderr.close()

    def test_daemon(self):
        configuration = self.serving.configuration
        for words in (["-c", configuration, "-t"], ["--help"], ["--version"], ["-c", configuration, "--migrate"]):
            self.fails([program("permtabd"), *words], 1)

    def test_nothing_to_write_is_no_failure(self):
        target = self.folder / "kept.json"
        for name, options in self.broken.ways():
            with self.subTest(stdout=name):
                done = self.run_program(self.ctl("export", target), **options)
                self.assertEqual((0, ""), (done.returncode, done.stderr))
                self.assertIn("administrator", target.read_text())

    def test_a_closed_stdin_is_no_empty_one(self):
        for words, code in ((["check", "--batch"], 2), (["apply", "-"], 1), (["invalidate", "-"], 1)):
            with self.subTest(words=words):
                done = self.run_program(self.ctl(*words), stdout=subprocess.DEVNULL, preexec_fn=closing(0))
                self.assertEqual(code, done.returncode, done.stderr)
                self.assertRegex(done.stderr, "Bad file descriptor|cannot read stdin")

    def test_no_connection_becomes_a_standard_descriptor(self):
        """All three closed: what is printed and complained about must not go to the sidecar, which would say so."""
        before = self.serving.stats()["protocol_errors"]
        for words in (["check", *ALLOWED], ["check", 1, "channel:10", "no.such"], ["export"], ["stats"]):
            done = subprocess.run([str(word) for word in self.ctl(*words)], preexec_fn=closing(0, 1, 2), timeout=60)
            self.assertEqual(2 if words[0] == "check" else 1, done.returncode, words)
        self.assertEqual(before, self.serving.stats()["protocol_errors"])

    def test_the_daemon_holds_them_too(self):
        self.serving.stop()
        daemon = subprocess.Popen([self.serving.binary, "-c", str(self.serving.configuration)],
                                  preexec_fn=closing(0, 1, 2))
        self.addCleanup(end, daemon)
        self.serving.process = daemon
        self.serving.wait_healthy()
        for number in range(3):
            self.assertEqual("/dev/null", os.readlink(f"/proc/{daemon.pid}/fd/{number}"))
        self.assertEqual(0, self.run_program(self.ctl("check", *ALLOWED), stdout=subprocess.DEVNULL).returncode)
        self.assertEqual(0, end(daemon))


class Export(SqliteCase):
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar()
        self.serving.apply(small())
        self.document = self.serving.ctl("export").stdout
        self.target = self.folder / "kept.json"

    def export(self, target, code=0, **options):
        done = subprocess.run([program("permtabctl"), "--socket", str(self.serving.socket), "export", str(target)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **options)
        self.assertEqual(code, done.returncode, done.stderr)
        return done

    def holds(self, path):
        self.assertEqual(self.document, pathlib.Path(path).read_text())
        self.assertEqual([], [name for name in os.listdir(pathlib.Path(path).parent) if "kept.json." in name])

    def test_a_new_file(self):
        self.export(self.target, umask=0o027)
        self.holds(self.target)
        self.assertEqual(0o640, stat.S_IMODE(self.target.stat().st_mode))

    def test_mode_and_owner_stay(self):
        for mode in (0o600, 0o666, 0o640):
            self.target.write_text("old")
            self.target.chmod(mode)
            if os.getuid() == 0:
                os.chown(self.target, 12345, 23456)
            before = self.target.stat()
            self.export(self.target)
            after = self.target.stat()
            self.holds(self.target)
            self.assertEqual((before.st_mode, before.st_uid, before.st_gid),
                             (after.st_mode, after.st_uid, after.st_gid))

    def test_other_names_of_the_file_stay_its_names(self):
        other = self.folder / "other.json"
        self.target.write_text("old" * 10000)
        os.link(self.target, other)
        self.export(self.target)
        self.holds(other)

    def test_links_lead_to_their_targets(self):
        real = self.folder / "real"
        real.mkdir()
        (real / "kept.json").write_text("old")
        (real / "kept.json").chmod(0o600)
        first, second, dangling = (self.folder / name for name in ("first", "second", "dangling"))
        first.symlink_to("real/kept.json")
        second.symlink_to(first)
        dangling.symlink_to("real/new.json")
        for link in (first, second, dangling):
            self.export(link)
            self.assertTrue(link.is_symlink())
        self.holds(real / "kept.json")
        self.holds(real / "new.json")
        self.assertEqual(0o600, stat.S_IMODE((real / "kept.json").stat().st_mode))

    def test_a_fifo_is_written_to(self):
        os.mkfifo(self.target)
        read = []
        reader = threading.Thread(target=lambda: read.append(self.target.read_text()), daemon=True)
        reader.start()
        self.export(self.target)
        reader.join(60)
        self.assertEqual([self.document], read)
        self.assertTrue(stat.S_ISFIFO(self.target.stat().st_mode))

    def test_devices_stay_devices(self):
        """Made here, so that a failure does not cost the machine its /dev/null."""
        if os.getuid() != 0:
            self.skipTest("only root makes devices")
        for name, minor, code in (("null", 3, 0), ("full", 7, 1)):
            device = self.folder / name
            try:
                os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
                os.close(os.open(device, os.O_WRONLY))
            except OSError as error:
                self.skipTest(f"no devices here: {error}")
            done = self.export(device, code)
            self.assertTrue(stat.S_ISCHR(device.stat().st_mode))
            if code:
                self.assertIn("No space left", done.stderr)

    def test_standard_output_by_name(self):
        """The name is a link of the test's own: /dev/stdout is one like it, and the machine's."""
        link = self.folder / "stdout"
        link.symlink_to("/proc/self/fd/1")
        self.assertEqual(self.document, self.export(link).stdout)
        with open(self.target, "w") as output:
            output.write("before\n")
            output.flush()
            subprocess.run([program("permtabctl"), "--socket", str(self.serving.socket), "export", str(link)],
                           stdout=output, check=True, timeout=60)
        self.assertEqual("before\n" + self.document, self.target.read_text())

    def test_nothing_is_half_written(self):
        """A file that may not be larger than a block: the old text stays, and nothing else is left."""
        self.target.write_text("old")
        self.target.chmod(0o600)
        link = self.folder / "twice"
        big = {"permissions": [{"name": f"thing.p{number:03}"} for number in range(200)]}
        self.serving.apply(big)
        limit = ["prlimit", "--fsize=1024", program("permtabctl"), "--socket", str(self.serving.socket), "export"]

        def ignoring():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        for prepare in (lambda: None, lambda: os.link(self.target, link)):  # beside, and in place
            prepare()
            done = subprocess.run([*limit, str(self.target)], stderr=subprocess.PIPE, text=True, timeout=60,
                                  restore_signals=False, preexec_fn=ignoring)
            self.assertEqual(1, done.returncode, done.stderr)
            self.assertIn("kept.json", done.stderr)
            self.assertEqual("old", self.target.read_text())
            self.assertEqual([], [name for name in os.listdir(self.folder) if "kept.json." in name])

    def test_a_folder_is_refused(self):
        self.assertIn("Is a directory", self.export(self.folder, 1).stderr)
        self.assertIn("No such file", self.export(self.folder / "none" / "kept.json", 1).stderr)


if __name__ == "__main__":
    main()
