#!/usr/bin/env python3
"""After a start, or when the table was made anew, what was asked for before is filled again, and nothing else is."""

import json
import os
import pty
import random
import signal
import subprocess
import time

from harness import MariadbCase, SqliteCase, full_only, main
from harness.paths import program
from harness.policies import HELPER, MODERATOR, small
from harness.process import wait_until

MEMBERS = 400
ENOUGH = MEMBERS
FIRST = 1000
MANY = 3000  # at a budget of 1 % this takes seconds


def policy(members=MEMBERS):
    document = small()
    document["assignments"] += [{"user": user, "role": MODERATOR, "scope": "server:1"}
                                for user in range(FIRST, FIRST + members)]
    return document


class WarmUp:
    def serve(self, members=MEMBERS, **options):
        self.serving = self.sidecar(table_entries=4000, **options)
        self.serving.apply(policy(members))
        wait_until(lambda: "known users: " in self.serving.log(), 20, "the users are counted", 0.05)

    def ask(self, users):
        """Over the socket, so that each of them is a miss and is noted."""
        with self.serving.rpc() as rpc:
            for user in users:
                rpc.call("check", user=user, scope="server:1", permission="message.delete")

    def lose_the_worker(self):
        """Whether the next one is there is seen by the number of it."""
        before = self.serving.stats()["worker_starts"]
        os.kill(self.serving.worker_pid, signal.SIGKILL)
        wait_until(lambda: self.served() > before, 20, "another worker serves", 0.05)

    def served(self):
        try:
            return self.serving.stats()["worker_starts"]
        except (OSError, EOFError):
            return 0

    def warmed(self, filled):
        wait_until(lambda: self.serving.stats()["warm_filled"] >= filled, 30,
                   lambda: f"the warm-up fills {filled}: {self.serving.stats()}", 0.05)
        wait_until(lambda: self.serving.stats()["warm_left"] == 0, 30, "the warm-up ends", 0.05)

    def assert_served_first(self):
        """Clients are let in before the keys are counted, which takes its time when they are many."""
        life = self.serving.log().split("permtabd: worker ")[-1]
        self.assertLess(life.index(": serving "), life.index("(what was asked for before) has "), life)

    def peeks(self, users):
        """How many of them a fresh client finds in the table."""
        worker = self.worker(self.serving)
        return sum(worker.peek(user, "server:1", "message.delete")[0] == "allow" for user in users)

    def test_a_worker_that_dies_leaves_its_keys(self):
        self.serve()
        members = range(FIRST, FIRST + MEMBERS)
        self.ask(members)
        self.lose_the_worker()
        self.warmed(ENOUGH)
        self.assert_served_first()
        self.assertLessEqual(ENOUGH, self.peeks(members))
        stats = self.serving.stats()
        self.assertEqual(0, stats["entries_evicted"])
        self.assertEqual(0, stats["warm_failed"])
        self.assertIn(f"warm-up: job 1 (what was asked for before) done: {stats['warm_filled']} keys filled",
                      self.serving.log())
        self.lose_the_worker()  # and again, though nobody has asked since
        self.warmed(ENOUGH)
        self.assertLessEqual(ENOUGH, self.peeks(members))

    def test_strangers_and_places_that_are_not_there_stay_away(self):
        self.serve()
        self.ask(range(FIRST, FIRST + 50))
        self.ask(random.getrandbits(60) + 10 ** 6 for _ in range(300))
        with self.serving.rpc() as rpc:
            for place in range(300):
                rpc.call("check", user=FIRST, scope=f"channel:{place + 5000}", permission="message.send")
        self.lose_the_worker()
        self.warmed(50)
        self.assertEqual(50, self.serving.stats()["warm_filled"])
        self.assertLessEqual(self.serving.stats()["entries"], 60)

    def test_hits_in_shared_memory_count(self):
        """A client that only hits tells by its samples; they are of what is in the table alone."""
        self.serve()
        worker = self.worker(self.serving)
        self.assertEqual("allow", worker.check(FIRST, "server:1", "message.delete"))
        wait_until(lambda: worker.spin(FIRST, "server:1", "message.delete", 50) or worker.spun()
                   and self.serving.stats()["samples"] > 0, 20, "samples are taken", 0.05)
        self.lose_the_worker()
        self.warmed(1)

    def test_a_table_that_is_made_anew(self):
        self.serve()
        members = range(FIRST, FIRST + MEMBERS)
        self.ask(members)
        self.assertEqual(0, self.serving.ctl("invalidate", "all").returncode)
        self.warmed(ENOUGH)
        self.assertLessEqual(ENOUGH, self.peeks(members))

    def jobs(self):
        return json.loads(self.serving.ctl("jobs", "--json").stdout)

    def filling(self):
        """The job that fills the table, which takes its time."""
        try:
            jobs = self.jobs()
        except json.JSONDecodeError:  # there is no worker just now
            return None
        return jobs[0] if jobs and jobs[0]["state"] == "filling" and jobs[0]["done"] > 0 else None

    def wait_filling(self):
        wait_until(lambda: self.filling() is not None, 30, lambda: f"a job is at work: {self.jobs()}", 0.02)
        return self.filling()

    def hup(self, **changes):
        self.serving.configure(**changes)
        self.serving.process.send_signal(signal.SIGHUP)

    def take_away(self, users):
        with self.serving.rpc() as rpc:
            for user in users:
                rpc.call("unassign", user=user, role=MODERATOR, scope="server:1")

    def lose_in_the_middle(self, gone):
        """Takes these users' role away while the warm-up fills the table, and then the worker. What the job was."""
        before = self.wait_filling()
        self.take_away(gone)
        during = self.filling()
        self.assertIsNotNone(during, self.jobs())
        self.assertEqual(("start", MANY), (during["kind"], round(during["total"], -2)), during)
        self.assertLessEqual(before["done"], during["done"])
        self.assertLess(during["done"], during["total"])
        self.lose_the_worker()
        return during

    def assert_nothing_wrong(self, worker, members, gone):
        """What the table says of each is what holds; nothing is said of those that it does not have."""
        said = {user: worker.peek(user, "server:1", "message.delete")[0] for user in members}
        wrong = {user: word for user, word in said.items()
                 if word not in ("unknown", "deny" if user in gone else "allow")}
        self.assertEqual({}, wrong)
        return sum(word != "unknown" for word in said.values())

    def test_a_budget_and_a_death_in_the_middle(self):
        """A budget is kept to, and changes at once. A worker that dies in the middle of its warm-up is followed by one
        that begins again, and nothing that either fills is wrong: not for those whose role was taken away meanwhile, of
        whom the dead one's table had some."""
        self.serve(members=MANY, warm_budget="1%")
        members, gone = range(FIRST, FIRST + MANY), set()
        self.ask(members)
        self.lose_the_worker()
        for part in range(2):
            some = [user for user in members if user % 100 == 7 + part]
            self.lose_in_the_middle(some)
            gone.update(some)
            self.assert_nothing_wrong(self.worker(self.serving), members, gone)
        job = self.wait_filling()
        self.assertLess(job["done"], MANY)
        some = [user for user in members if user % 100 == 50]
        self.take_away(some)
        gone.update(some)
        self.hup(warm_budget="100%")
        wait_until(lambda: "warm_budget is 100% now" in self.serving.log(), 20, "the new budget holds", 0.05)
        self.warmed(MANY - 200)
        stats, job = self.serving.stats(), self.jobs()[0]
        self.assertEqual(("done", 0), (job["state"], job["failed"]), job)
        self.assertGreater(stats["warm_store_us"], 0)
        worker = self.worker(self.serving)
        self.assertLessEqual(MANY - 200, self.assert_nothing_wrong(worker, members, gone))
        for user in gone:
            self.assertEqual("deny", worker.check(user, "server:1", "message.delete"), user)

    def test_jobs_are_listed_and_cancelled(self):
        self.serve(members=MANY, warm_budget="1%")
        self.ask(range(FIRST, FIRST + MANY))
        self.lose_the_worker()
        job = self.wait_filling()
        line = self.serving.ctl("jobs").stdout.splitlines()[0]
        self.assertRegex(line, rf"^{job['id']} start filling \d+/{job['total']} \d+/s since \S+Z for \d+\.\d+ s: "
                               r"what was asked for before")
        self.assertRegex(self.on_a_terminal("jobs"), rf"^{job['id']} start filling \[#* *\] \d+/{job['total']} ")
        self.assertRegex(self.serving.ops("jobs"), rf"^{job['id']} start filling: \d+ of {job['total']} keys in ")
        wait_until(lambda: self.jobs()[0].get("text") == "waits for its budget", 20, self.jobs, 0.01)
        self.assertEqual(1, self.serving.ctl("jobs", "cancel", "77").returncode)
        self.assertEqual(0, self.serving.ctl("jobs", "cancel", str(job["id"])).returncode)
        job = self.jobs()[0]
        self.assertEqual("cancelled", job["state"])
        self.assertLess(job["done"], job["total"])
        stats = self.serving.stats()
        self.assertEqual((0, 0), (stats["warm_left"], stats["warm_jobs"]))
        self.assertLess(0, stats["entries"])  # what is filled stays
        self.assertEqual(1, self.serving.ctl("jobs", "cancel").returncode)
        self.assertEqual(64, self.serving.ctl("jobs", "more").returncode)

    def on_a_terminal(self, *words):
        master, slave = pty.openpty()
        subprocess.run([str(program("permtabctl")), "--socket", str(self.serving.socket), *words], stdout=slave,
                       check=True)
        os.close(slave)
        text = os.read(master, 65536).decode()
        os.close(master)
        return text

    def ended(self, count):
        """The last so many jobs, when all have ended."""
        wait_until(lambda: all(job["state"] == "done" for job in self.jobs()), 30,
                   lambda: f"the jobs end: {self.jobs()}", 0.05)
        return self.jobs()[:count]

    def test_on_demand(self):
        self.serve(warm_at_start=False)
        members = range(FIRST, FIRST + MEMBERS)
        self.assertEqual(0, self.peeks([FIRST]))
        said = self.serving.ctl("warm", f"role:{MODERATOR}", "user:1@server:1", "--priority", "7")
        self.assertEqual((0, f"job 1 role:{MODERATOR}\njob 2 user:1@server:1\n"), (said.returncode, said.stdout), said)
        exact, role = sorted(self.ended(2), key=lambda job: job["what"], reverse=True)
        self.assertEqual(("request", f"role:{MODERATOR}", 7), (role["kind"], role["what"], role["priority"]))
        self.assertEqual((role["total"], role["total"]), (role["done"], role["filled"]), role)
        self.assertEqual(("user:1@server:1", 1), (exact["what"], exact["done"]))
        self.assertEqual(MEMBERS, self.peeks(members))
        for user in (FIRST, FIRST + 1):
            self.assertEqual(0, self.serving.ctl("invalidate", f"user:{user}").returncode)
        self.assertEqual(0, self.serving.ctl("warm", f"user:{FIRST}").returncode)
        self.ended(1)
        self.assertEqual(1, self.peeks([FIRST]))
        self.assertEqual(0, self.serving.ctl("warm", "scope:server:1").returncode)
        job, = self.ended(1)
        self.assertEqual((2, MEMBERS), (job["filled"], job["resident"]), job)  # user 2 has another role there
        self.assertEqual(0, self.serving.ctl("warm", "user:987654321").returncode)
        self.assertEqual(0, self.ended(1)[0]["total"])
        before = len(self.jobs())
        for wrong in (["all"], ["tag:x"], ["user:x"], ["user:1@server"], ["hot", "role:"], ["user:2", "nonsense"]):
            said = self.serving.ctl("warm", *wrong)
            self.assertEqual(64, said.returncode, said)
            self.assertIn(f'"{wrong[-1]}" is none of hot, user:ID, user:ID@SCOPE, role:ID, scope:SCOPE', said.stderr)
        for wrong in (["hot", "--priority", "10"], ["hot", "--priority", "x"], []):
            self.assertEqual(64, self.serving.ctl("warm", *wrong).returncode, wrong)
        self.assertEqual(before, len(self.jobs()))  # not even what was right beside it is begun
        self.assertEqual(1, self.serving.ctl("warm", "scope:nowhere:1").returncode)  # what types there are it can say

    def test_many_at_one_place(self):
        """They are read in one go, but for those of whom the place says more, and each finds the answer that is right
        for him."""
        document, expected = policy(0), {}
        server = document["scopes"][0]
        server["overwrites"] = []
        for user in range(FIRST, FIRST + MANY):
            kind, row = user % 100, {"user": user, "role": MODERATOR, "scope": "server:1"}
            if kind == 0:
                server["overwrites"].append({"user": user, "deny": ["message.delete"]})
            if kind == 1:
                row["expires_at"] = "2126-01-01T00:00:00Z"
            if kind == 2:
                row["role"] = HELPER
            if kind == 3:
                document["assignments"].append({**row, "role": HELPER})
            document["assignments"].append(row)
            expected[user] = "deny" if kind in (0, 2) else "allow"
        self.serving = self.sidecar(table_entries=4000, warm_at_start=False, warm_budget="100%")
        self.serving.apply(document)
        wait_until(lambda: "known users: " in self.serving.log(), 20, "the users are counted", 0.05)
        before = self.serving.stats()["store_reads"]
        self.assertEqual(0, self.serving.ctl("warm", "scope:server:1").returncode)
        job, = self.ended(1)
        self.assertEqual((MANY + 2, 0), (job["filled"], job["failed"]), job)
        self.assertLess(self.serving.stats()["store_reads"] - before, 20)  # as fills, 64 a read, they would be 47
        worker = self.worker(self.serving)
        self.assertEqual(expected, {user: worker.peek(user, "server:1", "message.delete")[0] for user in expected})

    def test_what_was_asked_for_outlives_the_worker(self):
        self.serve(members=MANY, warm_at_start=False, warm_budget="1%")
        self.assertEqual(0, self.serving.ctl("warm", "scope:server:1").returncode)
        self.wait_filling()
        self.lose_the_worker()
        job = self.wait_filling()
        self.assertEqual(("request", "scope:server:1"), (job["kind"], job["what"]))
        self.hup(warm_budget="100%")
        job, = self.ended(1)
        self.assertGreaterEqual(job["done"], MANY)
        self.assertEqual(MANY, self.peeks(range(FIRST, FIRST + MANY)))
        self.lose_the_worker()
        self.assertEqual([], self.jobs())  # it is done

    def test_what_is_asked_for_most_is_listed(self):
        self.serve()
        for user, times in ((FIRST + 2, 6), (FIRST, 1), (FIRST + 1, 3)):
            for _ in range(times):
                self.ask([user])
                self.assertEqual(0, self.serving.ctl("invalidate", f"user:{user}").returncode)
        self.ask([FIRST + 2])
        wait_until(lambda: self.serving.stats()["keys_known"] == 3, 20, "the keys are counted", 0.05)
        time.sleep(1.1)  # a look at them is as old as that
        top = self.serving.ctl("top", "--once", "2")
        rows = [line.split() for line in top.stdout.splitlines()[-2:]]
        self.assertEqual([[str(FIRST + 2), "server:1"], [str(FIRST + 1), "server:1", "(not", "in", "the", "table)"]],
                         [row[1:] for row in rows], top)
        frequencies = [int(row[0]) for row in rows]
        self.assertGreater(frequencies[0], frequencies[1])
        top = json.loads(self.serving.ctl("top", "--once", "--json").stdout)
        self.assertEqual([True, False, False], [key["resident"] for key in top["keys"]])
        self.assertEqual(frequencies, [key["frequency"] for key in top["keys"]][:2])
        self.assertEqual(11, top["stats"]["keys_noted"])
        self.assertTrue(self.serving.ops("hot").startswith(f"{frequencies[0]} user:{FIRST + 2}@server:1\n"))
        self.assertEqual(64, self.serving.ctl("top").returncode)
        self.assertEqual(1, self.serving.ctl("top", "--once", "201").returncode)

    def test_what_is_asked_for_most_comes_back(self):
        self.serve(warm_at_start=False, warm_interval="300ms")
        members = range(FIRST, FIRST + MEMBERS)
        self.ask(members)
        self.lose_the_worker()
        self.warmed(ENOUGH)
        self.assertIn("interval", {job["kind"] for job in self.jobs()})
        self.assertEqual(0, self.serving.ctl("invalidate", "scope:server:1").returncode)
        self.warmed(2 * ENOUGH)
        self.assertLessEqual(ENOUGH, self.peeks(members))

    def test_it_can_be_turned_off(self):
        self.serve(warm_at_start=False)
        self.ask(range(FIRST, FIRST + 50))
        self.lose_the_worker()
        self.ask(range(FIRST, FIRST + 1))
        stats = self.serving.stats()
        self.assertEqual((0, 0), (stats["warm_filled"], stats["warm_left"]))
        self.assertLess(stats["entries"], 50)


class Sqlite(WarmUp, SqliteCase):
    pass


@full_only
class Mariadb(WarmUp, MariadbCase):
    pass


if __name__ == "__main__":
    main()
