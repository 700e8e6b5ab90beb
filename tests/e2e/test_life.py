#!/usr/bin/env python3
"""The life of the sidecar: starting, being refused, being told to end, and what it says meanwhile."""

import json
import os
import pathlib
import re
import signal
import sqlite3
import stat
import subprocess
import time

from harness import MariadbCase, SqliteCase, full_only, main, program
from harness.policies import small
from harness.process import Stopwatch, end, spawn, wait_until
from harness.servers import Redis
from harness.sidecar import STALENESS_MS

QUESTION = (1, "channel:10", "message.delete")


class Life(SqliteCase):
    def test_version_everywhere(self):
        for name in ("permtabd", "permtabctl"):
            done = subprocess.run([program(name), "--version"], stdout=subprocess.PIPE, text=True, timeout=120)
            self.assertEqual(0, done.returncode)
            self.assertRegex(done.stdout, rf"^{name} \d+\.\d+\.\d+\n$")
        serving = self.sidecar()
        with serving.rpc() as rpc:
            self.assertRegex(rpc.welcome["server"], r"^permtabd \d+\.\d+\.\d+$")

    def test_help(self):
        for name in ("permtabd", "permtabctl"):
            done = subprocess.run([program(name), "--help"], stdout=subprocess.PIPE, text=True, timeout=120)
            self.assertEqual(0, done.returncode)
            self.assertIn(name, done.stdout)

    def test_configuration_check_touches_nothing(self):
        serving = self.sidecar(start=False)
        done = serving.run("-t")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual({"permtab.conf"}, {path.name for path in self.folder.iterdir()})

    def test_sockets_have_the_mode_that_was_asked_for(self):
        serving = self.sidecar(socket_mode="0600")
        for path in (serving.socket, serving.ops_socket):
            self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))

    @full_only
    def test_second_instance_is_refused(self):
        serving = self.sidecar()
        inode = serving.socket.stat().st_ino
        done = serving.run()
        self.assertNotEqual(0, done.returncode)
        self.assertIn(str(serving.socket), done.stderr)
        self.assertEqual(inode, serving.socket.stat().st_ino, "the socket was taken away from the first")
        self.assertTrue(serving.health()["ok"])

    def test_stale_socket_is_replaced(self):
        serving = self.sidecar()
        serving.kill()
        self.assertTrue(serving.socket.exists())
        serving.start()
        self.assertTrue(serving.health()["ok"])

    def test_a_file_that_is_no_socket_is_left_alone(self):
        serving = self.sidecar(start=False)
        serving.socket.write_text("precious")
        done = serving.run()
        self.assertNotEqual(0, done.returncode)
        self.assertIn(str(serving.socket), done.stderr)
        self.assertEqual("precious", serving.socket.read_text())

    def test_clean_shutdown(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            serving = self.sidecar()
            serving.process.send_signal(number)
            self.assertEqual(0, serving.process.wait(60), serving.log())
            self.assertFalse(serving.socket.exists())
            self.assertFalse(serving.ops_socket.exists())

    @full_only
    def test_shutdown_while_clients_are_attached(self):
        """It does not wait for them; their answers end at once or with the lease; and they come back by themselves."""
        serving = self.sidecar()
        serving.apply(small())
        workers = [self.worker(serving) for _ in range(3)]
        for worker in workers:
            self.assertEqual("allow", worker.check(*QUESTION))
            worker.spin(*QUESTION, 2500)
        watch = Stopwatch(serving.process)
        serving.process.terminate()
        self.assertEqual(0, serving.process.wait(60))
        self.assertLess(watch.seconds(), 3)
        for worker in workers:
            counts = worker.spun()
            self.assertGreater(counts["unknown"], 0)
            self.assertEqual(0, counts["deny"])
            self.assertEqual("unknown", worker.peek(*QUESTION)[0])
        serving.start()
        for worker in workers:
            self.assertEqual("allow", worker.check(*QUESTION))

    def test_shutdown_with_requests_in_flight(self):
        serving = self.sidecar()
        serving.apply(small())
        connections = [serving.rpc() for _ in range(20)]
        for connection in connections:
            self.addCleanup(connection.close)
            for user in range(50):
                connection.send("check", {"user": user, "scope": "channel:10", "permission": "message.send"})
        serving.process.terminate()
        self.assertEqual(0, serving.process.wait(60), serving.log())

    def test_shutdown_while_a_write_is_under_way(self):
        """Its thread comes back when nobody listens to anything any more. Who asked was not answered, so nothing is
        done."""
        redis = Redis(self.folder / "redis").start()
        self.addCleanup(redis.kill)
        serving = self.sidecar(redis=f"unix:{redis.socket}")
        serving.apply(small())
        wait_until(lambda: serving.stats()["l2_marker_known"] == 1, 10, "Redis is connected")
        connection = serving.rpc()
        self.addCleanup(connection.close)
        writer = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(writer.close)
        writer.execute("BEGIN IMMEDIATE")
        connection.send("assign", {"user": 4242, "role": 101, "scope": "server:1"})
        time.sleep(0.3)
        serving.process.terminate()
        time.sleep(0.3)
        writer.execute("COMMIT")
        self.assertEqual(0, serving.process.wait(60), serving.log())
        self.assertEqual([(0,)], writer.execute("SELECT count(*) FROM permtab_assignment "
                                                "WHERE user_id = 4242").fetchall())

    def test_a_store_that_cannot_be_reached_is_perhaps_transient(self):
        serving = self.sidecar(start=False)
        serving.configure(store="sqlite:/nonexistent/folder/permtab.db")
        serving.launch()
        # 1 at once, or serving nothing until the store is there: never 0, never a lease.
        try:
            status = serving.process.wait(60)
            self.assertEqual(1, status, serving.log())
        except subprocess.TimeoutExpired:
            self.assertNotEqual(0, serving.ctl("health").returncode)
        self.assertIn("/nonexistent/folder", serving.log())

    def test_migrate(self):
        serving = self.sidecar(start=False, store_migrate=False)
        done = serving.run()
        self.assertNotEqual(0, done.returncode)
        self.assertIn("--migrate", done.stderr)
        done = serving.run("--migrate")
        self.assertEqual(0, done.returncode, done.stderr)
        again = serving.run("--migrate")
        self.assertEqual(0, again.returncode, again.stderr)
        serving.start()

    def test_a_schema_that_is_too_new(self):
        serving = self.sidecar()
        serving.stop()
        self.sql("UPDATE permtab_store SET schema_version = 9999;")
        done = serving.run()
        self.assertNotEqual(0, done.returncode)
        self.assertRegex(done.stderr, "newer|9999")

    def test_a_schema_that_is_half_applied(self):
        serving = self.sidecar()
        serving.stop()
        self.sql("UPDATE permtab_store SET schema_state = 'applying 3';")
        done = serving.run()
        self.assertNotEqual(0, done.returncode)
        self.assertRegex(done.stderr, "half|applying")

    def test_demo(self):
        """--demo: everything in a temporary folder, a policy in it, and nothing left behind."""
        log = open(self.folder / "demo.log", "w+")
        self.addCleanup(log.close)
        process = spawn([program("permtabd"), "--demo"], stdout=log, stderr=log, cwd=self.folder,
                        env={**os.environ, "TMPDIR": str(self.folder)})
        self.addCleanup(end, process)

        def printed_socket():
            self.assertIsNone(process.poll(), pathlib.Path(log.name).read_text())
            words = pathlib.Path(log.name).read_text().replace("'", " ").replace('"', " ").split()
            paths = [pathlib.Path(word.rstrip(".,;")) for word in words if word.rstrip(".,;").endswith(".sock")]
            return next((path for path in paths if path.exists() and "ops" not in path.name), None)

        path = wait_until(printed_socket, 20, "the demo says where its socket is")
        done = wait_until(lambda: self.ctl_ok(path, "health"), 10, "the demo serves")
        self.assertEqual(0, done.returncode)
        exported = subprocess.run([program("permtabctl"), "--socket", str(path), "export"], stdout=subprocess.PIPE,
                                  text=True, timeout=120)
        self.assertIn('"roles"', exported.stdout)
        self.assertEqual(0, end(process))
        self.assertFalse(path.exists())

    def ctl_ok(self, path, *words):
        done = subprocess.run([program("permtabctl"), "--socket", str(path), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120)
        return done if done.returncode == 0 else None

    def test_logs_without_payloads(self):
        """Levels, nouns, ids and reasons; never what somebody asked, and never the policy's text."""
        serving = self.sidecar(log_level="debug")
        document = small()
        document["permissions"][0]["description"] = "payload-of-a-description"
        document["roles"][0]["name"] = "payload-of-a-name"
        serving.apply(document)
        with serving.rpc() as rpc:
            rpc.call("check", user=1, scope="channel:10", permission="message.send")
            rpc.socket.sendall(b"payload-of-garbage" * 10)
            time.sleep(0.2)
        serving.ops("payload-of-a-command")
        serving.stop()
        self.assertNotIn("payload", serving.log())
        self.assertGreater(len(serving.log().splitlines()), 1)
        for line in serving.log().splitlines():
            self.assertRegex(line, r"\b(error|warning|info|debug)\b", "a line without a level")

    def test_ops_socket(self):
        serving = self.sidecar()
        serving.apply(small())
        rpc = serving.rpc()
        self.addCleanup(rpc.close)
        help_text = serving.ops("help")
        for command in ("stats", "stats json", "stats prometheus", "clients", "health", "help"):
            self.assertIn(command, help_text)
            self.assertGreater(len(serving.ops(command)), 2)
        self.assertIn("e2e", serving.ops("clients"))
        self.assertIn("ok", serving.ops("health").split())
        self.assertIn("no command", serving.ops("fly"))

    def test_stats_agree_in_all_their_forms(self):
        """Counters by the same names in each; of a histogram JSON and Prometheus have the buckets, the others what
        they say."""
        serving = self.sidecar()
        as_json = json.loads(serving.ops("stats json"))
        as_text = dict(line.split()[:2] for line in serving.ops("stats").splitlines() if line.strip())
        prometheus = [line for line in serving.ops("stats prometheus").splitlines()
                      if line.strip() and not line.startswith("#")]
        self.assertEqual(set(as_text), set(serving.stats()))
        histograms = {name for name, value in as_json.items() if isinstance(value, dict)}
        self.assertEqual(histograms, {"propagation", "turns"})
        counters = {name for name in as_text if not any(name.startswith(f"{histogram}_") and name not in as_json
                                                        for histogram in histograms)}
        self.assertEqual(counters, set(as_json) - histograms)
        of_histogram = re.compile(rf"permtab_({'|'.join(histograms)})_seconds_(bucket|sum|count)")
        simple = [line for line in prometheus if not of_histogram.match(line)]
        self.assertEqual(len(simple), len(counters))
        self.assertGreater(len(prometheus), len(simple) + 10)
        for line in simple:
            self.assertRegex(line, r"^permtab_[a-z0-9_]+(\{[^}]*\})? -?\d+(\.\d{6})?$")

    def test_hits_reach_the_figures(self):
        serving = self.sidecar()
        serving.apply(small())
        worker = self.worker(serving)
        self.assertEqual("allow", worker.check(*QUESTION))
        worker.spin(*QUESTION, 200)
        counts = worker.spun()
        wait_until(lambda: serving.stats()["table_hits"] >= counts["allow"], 5, "the hits are counted", 0.1)
        self.assertGreaterEqual(serving.stats()["table_misses"], 1)

    def test_too_many_clients(self):
        serving = self.sidecar(clients_max=5)
        connections = []
        refused = 0
        for _ in range(10):
            try:
                connections.append(serving.rpc(timeout=3))
            except (OSError, EOFError):
                refused += 1
        self.assertGreaterEqual(refused, 5)
        self.assertGreaterEqual(len(connections), 4)
        for connection in connections:
            connection.close()
        wait_until(lambda: self.ctl_ok(serving.socket, "health"), 5, "there is room again")

    def test_a_full_table_still_answers(self):
        serving = self.sidecar(table_entries=100)
        serving.apply(small())
        worker = self.worker(serving, timeout_ms=5000)
        queries = [(user, "server:1", "message.send") for user in range(1000, 1500)]
        self.assertEqual("A" * 500, worker.many(queries)[0])
        self.assertEqual("A" * 500, worker.many(queries)[0])
        stats = serving.stats()
        self.assertGreater(stats["entries_evicted"], 0)
        self.assertLessEqual(stats["entries"], 200)


class OnMariadb(MariadbCase):
    @full_only
    def test_a_server_that_is_not_there_yet(self):
        """Started before its store, the sidecar ends with 1 or waits; started again it serves."""
        self.server = self.own_server()
        self.database = self.server.database()
        self.url = self.server.url(self.database)
        self.server.kill()
        serving = self.sidecar(start=False, store_timeout="1s")
        serving.launch()
        try:
            self.assertEqual(1, serving.process.wait(60), serving.log())
        except subprocess.TimeoutExpired:
            self.assertNotEqual(0, serving.ctl("health").returncode)
            serving.stop()
        self.server.start()
        serving.start()

    def test_a_second_sidecar_of_the_same_store(self):
        """Two hosts: both follow the same log, and one writes through the other's table."""
        one = self.sidecar()
        two = self.sidecar(folder=self.folder / "two")
        revision = one.apply(small())["revision"]
        wait_until(lambda: two.health()["revision"] >= revision, STALENESS_MS / 1000, "the other one follows")
        reader = self.worker(two)
        reader.watch(*QUESTION, "allow")
        self.assertIsNotNone(reader.watched())
        self.assertEqual(0, one.ctl("unassign", 1, 101).returncode)
        reader.watch(*QUESTION, "deny")
        self.assertIsNotNone(reader.watched())


if __name__ == "__main__":
    main()
