#!/usr/bin/env python3
"""No split fleet: while Redis is down and changes stream in, no host is behind another by more than the poll
interval, plus what polls take on this machine."""

import os
import shutil
import statistics
import unittest
import threading
import time

from harness import checker, full_only, main
from harness.fleet import Fleet
from harness.paths import temporary_folder
from harness.writers import Prompt, RpcWriter, SqlWriter

HOSTS = int(os.environ.get("PERMTAB_FLEET_HOSTS", "8"))
SECONDS = float(os.environ.get("PERMTAB_FLEET_SECONDS", "20"))  # the full promise is a minute
POLL_MS = 100
WORK_MS = 20  # to apply what a poll brings, and for the reader to look


class Probe(threading.Thread):
    """Asks the store as much as a poll does that finds something, through a link like the sidecars', again and again
    beside them. A host polls an interval after its last poll has ended, so it may be behind another by the interval
    and two polls."""

    def __init__(self, fleet):
        super().__init__(daemon=True)
        self.prompt = Prompt(fleet.proxy.add("probe", fleet.mariadb.port, "raw"), fleet.database)
        self.ending = threading.Event()
        self.took_ms = []

    def run(self):
        poll = "".join(f"SELECT nonce FROM permtab_change WHERE revision = {revision};\n" for revision in range(1, 13))
        while not self.ending.wait(0.005):
            begun = time.monotonic_ns()
            self.prompt.run(poll, 10)
            self.took_ms.append((time.monotonic_ns() - begun) / 1e6)

    def stop(self):
        self.ending.set()
        self.join()
        self.prompt.close()
        return max(self.took_ms)


def applied_times(path):
    """[(revision, when a reader of the table first saw it or a later one)], in order."""
    seen = []
    for span in checker.spans_of(path):
        if span[9] == checker.REVISION and (not seen or span[3] > seen[-1][0]):
            seen.append((span[3], span[0]))
    return seen


def spreads(hosts, revisions):
    """Returns for each revision the milliseconds between the first host that had it and the last."""
    found, at = [], {name: 0 for name in hosts}
    for revision in revisions:
        times = []
        for name, seen in hosts.items():
            while at[name] < len(seen) and seen[at[name]][0] < revision:
                at[name] += 1
            if at[name] < len(seen):
                times.append(seen[at[name]][1])
        if len(times) == len(hosts):
            found.append((max(times) - min(times)) / 1e6)
    return found


@full_only
class SplitFleet(unittest.TestCase):
    def setUp(self):
        self.folder = temporary_folder("split")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def stream(self, fleet, seconds):
        writers = [SqlWriter(fleet, 1, 15), RpcWriter(fleet, 2, 15)]
        for writer in writers:
            writer.start()
        time.sleep(seconds)
        for writer in writers:
            writer.stop()
        return [write for writer in writers for write in writer.writes]

    def test_redis_down(self):
        with Fleet(self.folder, HOSTS, poll_ms=POLL_MS) as fleet:
            fleet.start()
            fleet.start_readers(sweep_us=1000, ask_us=20000, questions=[(1, "server:1", "message.send")])
            self.stream(fleet, 2)
            fleet.redis.kill()
            time.sleep(1)
            begun, probe = fleet.revision(), Probe(fleet)
            probe.start()
            writes = self.stream(fleet, SECONDS)
            ended = fleet.revision()
            fleet.wait_for(ended)
            worst = probe.stop()
            fleet.stop_readers()
            hosts = {host.name: applied_times(host.reader.path) for host in fleet.hosts}
        self.assertEqual([], [write for write in writes if write.ended_ns is None], "a write failed without Redis")
        self.judge(spreads(hosts, range(begun + 1, ended + 1)), worst, ended - begun)

    def judge(self, found, worst, revisions):
        found.sort()
        self.assertGreater(len(found), 0.9 * revisions, "hosts did not see the changes")
        allowance = WORK_MS + 2 * worst
        print(f"    {revisions} revisions in {SECONDS:.0f} s without Redis, {HOSTS} hosts, poll {POLL_MS} ms: "
              f"the last host was "
              f"behind the first by p50 {statistics.median(found):.0f} ms, p99 {found[int(len(found) * 0.99)]:.0f} ms, "
              f"at most "
              f"{found[-1]:.0f} ms (allowed {POLL_MS} + {WORK_MS} + 2 times {worst:.0f} that a poll's queries take)")
        self.assertLessEqual(found[-1], POLL_MS + allowance)


if __name__ == "__main__":
    main()
