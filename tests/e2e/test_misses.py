#!/usr/bin/env python3
"""Misses: lists and bursts are read together, from either store, and nobody waits for another one's list."""

import threading

import types

from harness import MariadbCase, SqliteCase, main
from harness.policies import MODERATOR, small
from harness.process import wait_until
from harness.stampede import CALM_USERS, Stampede, assignments, broken_promises, policy, watch

SEND, DELETE = "message.send", "message.delete"
FIRST = 1000000


class Misses:
    def serve(self, **options):
        """Nobody is a stranger here, so every miss needs rows of the store."""
        self.serving = self.sidecar(max_staleness="30s", request_timeout="30s", strangers_max=0, audit_entries=0,
                                    table_entries=100000, **options)
        self.serving.apply(small())
        return self.serving

    def reads(self):
        return self.serving.stats()["store_reads"]

    @staticmethod
    def queries(first, count, scope="server:1", permission=SEND):
        return [[user, scope, permission] for user in range(first, first + count)]

    def test_a_list_takes_few_reads(self):
        with self.serve().rpc() as rpc:
            before = self.reads()
            for place in ("server:1", "channel:10", "server:2"):
                reply = rpc.call("check_many", queries=self.queries(FIRST, 100, place))
                self.assertEqual([1] * 100, reply["decisions"])
            self.assertLessEqual(self.reads() - before, 3 * 8)
            before = self.reads()
            reply = rpc.call("check_many", queries=self.queries(2 * FIRST, 5000))
            self.assertEqual([1] * 5000, reply["decisions"])
            reads = self.reads() - before
            self.say(f"a list of 5,000 misses: {reads} reads")
            self.assertLess(reads, 500)

    def test_a_burst_takes_few_reads(self):
        """A hundred clients have asked before the sidecar looks."""
        serving = self.serve()
        clients = [serving.rpc() for _ in range(100)]
        before = self.reads()
        serving.pause()
        try:
            for number, client in enumerate(clients):
                client.send("check", {"user": FIRST + number, "scope": "server:1", "permission": SEND})
        finally:
            serving.resume()
        for client in clients:
            self.assertEqual(1, client.receive()[3]["decision"])
            client.close()
        reads = self.reads() - before
        self.say(f"100 clients that miss at the same time: {reads} reads")
        self.assertLessEqual(reads, 20)

    def test_a_list_keeps_nobody_waiting(self):
        serving = self.serve()
        ended = threading.Event()

        def ask():
            with serving.rpc() as rpc:
                for part in range(3):
                    rpc.call("check_many", queries=self.queries((2 + part) * FIRST, 10000))
            ended.set()

        asker = threading.Thread(target=ask)
        asker.start()
        served = 0
        with serving.rpc() as rpc:
            while not ended.is_set():
                self.assertEqual(1, rpc.call("check", user=FIRST + served, scope="server:1",
                                             permission=SEND)["decision"])
                served += 1
        asker.join()
        self.say(f"one after the other, beside three lists of 10,000: {served}")
        self.assertGreater(served, 30)

    def test_one_with_thousands_of_rows_is_in_a_list(self):
        serving = self.serve()
        digits = "(SELECT 0 d" + "".join(f" UNION ALL SELECT {digit}" for digit in range(1, 10)) + ")"
        self.sql("INSERT INTO permtab_role SELECT 10000 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d, 'r', 1, 1, 0, 1"
                 f" FROM {digits} a, {digits} b, {digits} c, {digits} e WHERE e.d < 5;"
                 f"INSERT INTO permtab_assignment SELECT {FIRST}, id, 1, 1, NULL FROM permtab_role WHERE id >= 10000;"
                 f"INSERT INTO permtab_assignment VALUES ({FIRST}, {MODERATOR}, 1, 1, NULL);")
        revision = int(self.rows("SELECT revision FROM permtab_counter;")[0][0])
        wait_until(lambda: serving.health()["revision"] >= revision, 20, "the table follows")
        with serving.rpc() as rpc:
            reply = rpc.call("check_many", queries=self.queries(FIRST - 50, 100, "server:1", DELETE))
        self.assertEqual([0] * 50 + [1] + [0] * 49, reply["decisions"])
        self.assertNotIn("trouble", reply)

    def test_changes_race_with_lists(self):
        """Users are given a role, and lose it, while lists of them are read again and again. Who asks with the token
        of a change is told what holds since then, whatever a list was being read for; and so is the last word right."""
        serving = self.serve()
        ended = threading.Event()
        wrong = []

        def change():
            with serving.rpc() as rpc:
                for number in range(60):
                    for user in (FIRST + number % 7, FIRST + 20 + number % 5):
                        where = {"user": user, "scope": "server:1"}
                        rpc.call("assign", role=MODERATOR, **where)  # which lists read, and are late with
                        token = rpc.call("unassign", role=MODERATOR, **where)["token"]
                        told = rpc.call("check", user=user, scope="channel:10", permission=DELETE, token=token)
                        if told["decision"] != 0:
                            wrong.append((number, user, told))
                        if number % 3 == 0:
                            rpc.call("assign", role=MODERATOR, **where)

        def change_and_end():
            try:
                change()
            except Exception as error:
                wrong.append(error)
            ended.set()

        changer = threading.Thread(target=change_and_end)
        changer.start()
        with serving.rpc() as rpc:
            while not ended.is_set():
                reply = rpc.call("check_many", queries=self.queries(FIRST, 40, "channel:10", DELETE))
                self.assertEqual([0] * 13, reply["decisions"][7:20])
                self.assertNotIn(-1, reply["decisions"])
            changer.join()
            self.assertEqual([], wrong)
            holders = {int(row[0]) for row in self.rows(
                f"SELECT user_id FROM permtab_assignment WHERE role_id = {MODERATOR};")}
            reply = rpc.call("check_many", queries=self.queries(FIRST, 40, "channel:10", DELETE))
        self.assertEqual([int(FIRST + number in holders) for number in range(40)], reply["decisions"])
        self.assertEqual(0, serving.stats()["fills_failed"])

    def fresh_host(self, users, places):
        """A sidecar that knows nobody, over a store that has these."""
        serving = self.sidecar(max_staleness="30s", request_timeout="60s", table_entries=4 * users)
        serving.apply(policy(places))
        self.sql(assignments(users, places))
        return serving

    def begin_afresh(self, serving):
        serving.stop()
        serving.start()
        return types.SimpleNamespace(sidecar=serving, statements=self.questions)

    def test_a_stampede(self):
        """The same as ordeal.py stampede, on a small scale, and what holds of it however busy the machine is. All have
        asked before anybody is answered."""
        clients, questions, places = 100, 100, 2
        serving = self.fresh_host(clients * questions + CALM_USERS // 10, places)
        for how in ("single", "many"):
            host = self.begin_afresh(serving)
            with Stampede(serving.socket, clients, questions, places, how, check_ms=60000, calm_us=500000) as herd:
                opened, asked = watch(host, herd, pause=True)
            self.say(f"{clients * questions} answers, {how}: {asked['statements']} statements, {asked['store_reads']} "
                     f"reads; when a quarter was done {asked['seen']} were answered, of each client {asked['least']}")
            self.assertEqual([], broken_promises(opened, asked, how, clients * questions, questions), (opened, asked))
            self.assertGreater(asked["calm_since"], 0)

    quick = ("test_a_list_takes_few_reads", "test_a_burst_takes_few_reads")


class OnSqlite(Misses, SqliteCase):
    @staticmethod
    def questions():
        """SQLite does not count."""
        return 0


class OnMariadb(Misses, MariadbCase):
    def statements(self, what="execute"):
        return int(self.server.client(None, f"SHOW GLOBAL STATUS LIKE 'Com_stmt_{what}';").stdout.split()[1])

    def questions(self):
        return int(self.server.client(None, "SHOW GLOBAL STATUS LIKE 'Questions';").stdout.split()[1])

    def test_a_deep_hierarchy_is_prepared_once(self):
        """Each depth has texts of its own. All of them stay, so that later misses prepare nothing."""
        serving = self.serve(poll_interval="10s", store_threads=1)
        new = int(self.rows("SELECT MAX(number) FROM permtab_scope_type;")[0][0]) + 1
        kinds = range(new, 15)
        for kind in kinds:
            above = (kind - 1, 500 + kind - 1) if kind > new else (1, 1)
            self.sql(f"INSERT INTO permtab_scope_type (number, name) VALUES ({kind}, 'kind{kind}');"
                     "INSERT INTO permtab_scope (type, id, parent_type, parent_id) VALUES"
                     f" ({kind}, {500 + kind}, {above[0]}, {above[1]});")
        prepared = []
        with serving.rpc() as rpc:
            first = FIRST
            for _ in range(2):
                before = self.statements("prepare")
                for kind in kinds:
                    for count in (1, 3, 1, 40):
                        rpc.call("check_many", queries=self.queries(first, count, f"kind{kind}:{500 + kind}"))
                        first += count
                prepared.append(self.statements("prepare") - before)
        self.say(f"statements prepared by misses at {len(kinds)} depths, round by round: {prepared}")
        self.assertGreater(prepared[0], 0)
        self.assertLessEqual(prepared[-1], 4)

    def test_a_miss_at_a_known_place_takes_one_statement(self):
        """Beyond those of the polls, of which there are hardly any here."""
        with self.serve(poll_interval="10s").rpc() as rpc:
            for user in range(3):
                rpc.call("check", user=FIRST + user, scope="channel:10", permission=SEND)
            before, begun = self.statements(), self.server.client(
                None, "SHOW GLOBAL STATUS LIKE 'Com_begin';").stdout
            for user in range(100):
                rpc.call("check", user=2 * FIRST + user, scope="channel:10", permission=SEND)
            statements = self.statements() - before
            self.say(f"100 misses, one after the other: {statements} statements")
            self.assertLess(statements, 130)
            self.assertEqual(begun, self.server.client(None, "SHOW GLOBAL STATUS LIKE 'Com_begin';").stdout)


if __name__ == "__main__":
    main()
