#!/usr/bin/env python3
"""After SIGTERM everything goes on for stop_grace, so that workers that drain are answered; a second signal ends it."""

import os
import signal
import socket
import time

from harness import SqliteCase, full_only, main
from harness.policies import small
from harness.process import wait_until

QUESTION = (1, "channel:10", "message.delete")
GOES_ON = "everything goes on for stop_grace"


class StopGrace(SqliteCase):
    def serve(self, **options):
        self.serving = self.sidecar(**options)
        self.serving.apply(small())
        return self.serving

    def tell(self, number=signal.SIGTERM):
        """Sends the signal, and waits until it was heard."""
        self.serving.process.send_signal(number)
        wait_until(lambda: GOES_ON in self.serving.log(), 20, "the sidecar has heard it", 0.01)

    def test_everything_goes_on(self):
        """Long after max_staleness the table follows the store, and misses, writes and new clients are served."""
        self.serve(stop_grace="10m", max_staleness="1s")
        worker = self.worker(self.serving)
        self.assertEqual("allow", worker.check(*QUESTION))
        self.tell()
        time.sleep(1.5)  # the lease that was has ended by now
        wait_until(lambda: worker.peek(*QUESTION)[0] == "allow", 20, "the lease is renewed")
        self.assertEqual("deny", worker.check(4242, "channel:20", "message.delete"), "a miss")
        self.sql("DELETE FROM permtab_assignment WHERE user_id = 1;")
        wait_until(lambda: worker.check(*QUESTION) == "deny", 20, "plain SQL is followed")
        late = self.worker(self.serving)
        self.assertEqual("allow", late.check(1, "channel:10", "message.send"))
        with self.serving.rpc() as rpc:
            token = rpc.call("assign", user=1, role=101)["token"]
            question = dict(zip(("user", "scope", "permission"), QUESTION))
            self.assertEqual(1, rpc.call("check", token=token, **question)["decision"])
            left = rpc.call("health")["stopping_ms"]
            self.assertTrue(0 < left <= 600000, left)
        self.assertRegex(self.serving.ops("health"), r"\nstopping_ms \d+\n")
        self.assertRegex(self.serving.ctl("health").stdout, r"\nstopping in \d+ ms\n")
        self.assertEqual("allow", worker.check(*QUESTION))
        self.assertIsNone(self.serving.process.poll())
        self.ends_at_once(worker)

    def ends_at_once(self, worker):
        """The second signal: as without grace."""
        self.serving.process.terminate()
        self.assertEqual(0, self.serving.process.wait(60), self.serving.log())
        self.assertFalse(self.serving.socket.exists())
        self.assertFalse(self.serving.ops_socket.exists())
        self.assertEqual("unknown", worker.peek(*QUESTION)[0])

    def test_it_ends_by_itself(self):
        self.serve(stop_grace="1200ms")
        worker = self.worker(self.serving)
        self.assertEqual("allow", worker.check(*QUESTION))
        begun = time.monotonic()
        self.tell(signal.SIGINT)
        self.assertEqual(0, self.serving.process.wait(60), self.serving.log())
        self.assertGreater(time.monotonic() - begun, 1.1)
        self.assertIn("stop_grace is over", self.serving.log())
        self.assertFalse(self.serving.socket.exists())
        self.assertEqual("unknown", worker.peek(*QUESTION)[0])

    def test_without_one_it_ends_at_once(self):
        self.serve()
        self.assertIn("stop_grace = \"0s\"\n", self.serving.run("-t").stdout)
        with self.serving.rpc() as rpc:
            self.assertNotIn("stopping_ms", rpc.call("health"))
        self.serving.process.terminate()
        self.assertEqual(0, self.serving.process.wait(60))
        self.assertNotIn(GOES_ON, self.serving.log())

    @full_only
    def test_the_next_instance_waits_for_the_socket(self):
        self.serve(stop_grace="10m")
        self.tell()
        done = self.serving.run()
        self.assertEqual(1, done.returncode)
        self.assertIn("another instance is serving it", done.stderr)
        self.assertTrue(self.serving.health()["ok"])

    def test_sighup_reads_it_again(self):
        self.serve(stop_grace="0s")
        self.serving.configure(stop_grace="9m")
        self.serving.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "stop_grace is 9m now" in self.serving.log(), 20, "it was read again")
        self.tell()
        self.assertGreater(self.serving.health()["stopping_ms"], 0)
        self.serving.configure(stop_grace="0s")
        self.serving.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "stop_grace is 0s now" in self.serving.log(), 20, "it was read again")
        self.assertTrue(self.serving.health()["ok"], "the grace that runs goes on")
        self.serving.process.terminate()
        self.assertEqual(0, self.serving.process.wait(60))

    def test_systemd_is_told_to_wait(self):
        path = self.folder / "notify.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(str(path))
            supervisor.settimeout(20)
            self.serve(stop_grace="90s", environment={**os.environ, "NOTIFY_SOCKET": str(path)})
            self.assertEqual(["FDSTORE=1", "READY=1"],
                             [supervisor.recv(1000).decode().split("\n")[0] for _ in range(2)])
            self.tell()
            lines = supervisor.recv(1000).decode().split("\n")
            self.assertEqual("STOPPING=1", lines[0])
            name, _, microseconds = lines[1].partition("=")
            self.assertEqual("EXTEND_TIMEOUT_USEC", name)
            self.assertGreaterEqual(int(microseconds), 92000000)
            self.serving.process.terminate()
            self.assertEqual(0, self.serving.process.wait(60))


if __name__ == "__main__":
    main()
