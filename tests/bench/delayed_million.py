#!/usr/bin/env python3
"""Adds a million delayed invalidations through a sidecar, removes them in every way there is (by user, by scope, by
reason, carried out, expired, all), and shows that Redis holds nothing of them afterwards, and what another client of
Redis noticed meanwhile.

    tests/bench/delayed_million.py [--build FOLDER] [--tasks N]

Exits 1 when a key is left. Ten minutes and more; a million tasks take about 800 MB of Redis."""

import argparse
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

CONNECTIONS, IN_FLIGHT = 8, 60
ALIVE_MS = 1000


class Latency(threading.Thread):
    """Another client that asks 500 times a second whatever the answers take, so what waits behind a slow one counts
    as slow. It shares this process: while tasks are added its figures say more about Python than about Redis."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.samples, self.ended, self.again = [], False, True

    def run(self):
        due = time.monotonic()
        while not self.ended:
            if self.again:  # what it missed before is not of this stage
                due, self.again = time.monotonic(), False
            due += 0.002
            time.sleep(max(0, due - time.monotonic()))
            try:
                self.socket.sendall(b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n")
                self.socket.recv(64)
            except OSError:  # Redis is being stopped
                return
            self.samples.append((time.monotonic() - due) * 1000)

    def take(self):
        samples, self.samples, self.again = sorted(self.samples), [], True
        return f"another client's GET p50 {samples[len(samples) // 2]:.2f} ms, " \
            f"p99 {samples[len(samples) * 99 // 100]:.2f} ms" \
            if samples else ""


def add(sidecar, count, params_of):
    connections = [sidecar.rpc(timeout=60) for _ in range(CONNECTIONS)]
    done = 0
    while done < count:
        sent = []
        for connection in connections:
            batch = range(done, min(count, done + IN_FLIGHT))
            done += len(batch)
            for number in batch:
                connection.send("delay", params_of(number))
            sent.append(len(batch))
        for connection, expected in zip(connections, sent):
            for _ in range(expected):
                error = connection.receive()[2]
                assert error is None, error
    for connection in connections:
        connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=str(ROOT / "build" / "gcc"))
    parser.add_argument("--tasks", type=int, default=1000000)
    arguments = parser.parse_args()
    os.environ["PERMTAB_BUILD"] = arguments.build
    from harness import Sidecar, temporary_folder
    from harness.policies import small
    from harness.process import kill, wait_until
    from harness.servers import Redis, find

    folder = temporary_folder("million")
    redis = Redis(folder / "redis").start()
    sidecar = Sidecar(folder, f"sqlite:{folder}/permtab.db", redis=f"unix:{redis.socket}", redis_timeout="30s")
    latency = None

    def cli(*words):
        return subprocess.run([find("redis-cli"), "-s", str(redis.socket), *words], stdout=subprocess.PIPE, text=True,
                              check=True).stdout

    def keys():
        return sum(1 for _ in cli("--scan", "--pattern", "permtab:delayed:*").splitlines())

    def memory():
        return int(cli("INFO", "memory").split("used_memory:")[1].split()[0]) / 1e6

    def stage(name, begun, tasks):
        took = time.monotonic() - begun
        print(f"{name:28} {tasks:9,} tasks  {took:7.1f} s  {tasks / took:9,.0f} a second  {memory():7.1f} MB  "
              f"{latency.take()}",
              flush=True)

    def ctl(name, *words):
        begun = time.monotonic()
        done = sidecar.ctl(*words, timeout=3600)
        assert done.returncode == 0, done.stderr
        stage(name, begun, int(done.stdout.split()[0]))
        return int(done.stdout.split()[0])

    try:
        sidecar.start()
        sidecar.apply(small())
        wait_until(lambda: "redis: connected" in sidecar.log(), 10, "the sidecar is connected to Redis")
        before, total = memory(), arguments.tasks
        latency = Latency(redis.socket)
        latency.start()
        time.sleep(3)
        print(f"before: {before:.1f} MB, {latency.take()}")
        expiring = total // 200
        begun = time.monotonic()
        add(sidecar, total - expiring, lambda number: {
            "targets": [f"user:{number % 50000}", f"scope:server:{number % 100}"], "reason": f"reason {number % 10}",
            "in_ms": 86400000})
        add(sidecar, expiring, lambda number: {
            "targets": [f"pattern:user:{number % 100}?"], "if": "2 global administrator", "in_ms": 0,
            "expires_in_ms": ALIVE_MS})
        stage("added", begun, total)
        print(f"keys: {keys():,}")
        gone = ctl("cancelled by user", "delayed", "cancel", "user:42")
        for server in range(20):
            gone += ctl(f"cancelled by server:{server}", "delayed", "cancel", f"scope:server:{server}") \
                if server < 2 else \
                int(sidecar.ctl("delayed", "cancel", f"scope:server:{server}", timeout=600).stdout.split()[0])
        gone += ctl("cancelled by reason", "delayed", "cancel", "reason:reason 5")
        begun, carried = time.monotonic(), sidecar.stats()["delayed_done"]
        due = ctl("made due by server:90", "delayed", "run", "scope:server:90")
        wait_until(lambda: sidecar.stats()["delayed_done"] - carried >= due, 600, "they were carried out", 0.1)
        stage("carried out", begun, due)
        wait_until(lambda: sidecar.stats()["delayed_expired"] >= expiring, 600, "they have ended", 0.5)
        print(f"expired: {sidecar.stats()['delayed_expired']:,}")
        gone += ctl("cancelled all", "delayed", "cancel", "all")
        stats = sidecar.stats()
        left = keys()
        print(f"added {stats['delayed_added']:,}, cancelled {stats['delayed_cancelled']:,}, "
              f"done {stats['delayed_done']:,}, expired {stats['delayed_expired']:,}")
        time.sleep(1)
        cli("MEMORY", "PURGE")
        print(f"after: {left} keys, {memory():.1f} MB (before: {before:.1f} MB)")
        accounted = stats["delayed_cancelled"] + stats["delayed_done"] + stats["delayed_expired"]
        return 0 if left == 0 and accounted == total else 1
    except Exception:
        print(f"the sidecar's log: {sidecar.log()[-3000:]}", file=sys.stderr)
        raise
    finally:
        if latency:
            latency.ended = True
        kill(sidecar.process)
        redis.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
