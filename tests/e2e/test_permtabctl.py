#!/usr/bin/env python3
"""permtabctl, every command: what it prints, what it exits with, and that it did it."""

import json

from harness import MariadbCase, Rpc, RpcError, SqliteCase, full_only, main
from harness.policies import small
from harness.process import wait_until
from harness.sidecar import STALENESS_MS

SEND, DELETE = "message.send", "message.delete"

YAML = """
# The same as a JSON document, for people.
permissions:
  - {name: thread.open, requires: [channel.view]}
scopes:
  - scope: channel:12
    parent: server:1
    overwrites:
      - user: "18446744073709551615"
        allow: []
        deny: [message.send]
roles:
  - id: 103
    name: opener
    scope: server:1
    allow:
      - thread.open
assignments:
  - {user: 7, role: 103, expires_at: "2027-01-01T00:00:00Z"}
  - {user: "18446744073709551615", role: 103}
"""


class Permtabctl:
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(request_timeout="1s")
        self.serving.apply(small())
        self.ctl = self.serving.ctl

    def done(self, *words, code=0, **options):
        done = self.ctl(*words, **options)
        self.assertEqual(code, done.returncode, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, document, *options):
        path = self.folder / "policy.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return self.done("apply", path, *options)

    def decision(self, user, scope, permission, code):
        """Waits for what check prints and exits with. It may lag behind a write by a poll, for
        there is no token in it."""
        words = {0: "allow\n", 1: "deny\n", 2: "unknown\n"}

        def is_so():
            done = self.ctl("check", user, scope, permission)
            return (done.returncode, done.stdout, done.stderr) == (code, words[code], "")
        wait_until(is_so, STALENESS_MS / 1000, lambda: f"check {user} {scope} {permission} exits {code}: "
                   f"{self.ctl('check', user, scope, permission)}")

    def test_check(self):
        self.decision(1, "channel:10", DELETE, 0)
        self.decision(2, "channel:10", DELETE, 1)
        self.decision(900, "channel:10", "channel.manage", 0)
        self.decision(2**64 - 1, "channel:10", SEND, 0)
        self.decision(1, "channel:404", SEND, 1)
        self.decision(1, "global", SEND, 1)

    def test_check_batch(self):
        lines = [(1, "channel:10", DELETE, "allow"), (2, "channel:10", DELETE, "deny"), (5, "channel:11", SEND, "deny"),
                 (5, "channel:20", SEND, "allow")] * 50
        printed = self.done("check", "--batch", input="".join(f"{u} {s} {p}\n" for u, s, p, _ in lines))
        self.assertEqual([decision for *_, decision in lines], printed.split())

    def test_check_batch_of_nothing(self):
        self.assertEqual("", self.done("check", "--batch", input=""))

    def test_permissions(self):
        printed = json.loads(self.done("permissions", 5, "channel:10", "--json"))
        self.assertEqual({"user", "scope", "revision", "any", "own"}, set(printed))
        self.assertEqual((5, "channel:10"), (printed["user"], printed["scope"]))
        self.assertEqual(["channel.view", SEND], printed["any"])
        self.assertEqual(["channel.view", DELETE, SEND], printed["own"])
        text = self.done("permissions", 5, "channel:10")
        self.assertIn(SEND, text)
        self.assertIn(DELETE, text)

    def test_explain(self):
        for (user, scope, permission), decision, names in [
                ((1, "channel:10", DELETE), "allow", ["101"]),
                ((5, "channel:11", SEND), "deny", ["channel:11"]),
                ((900, "channel:10", "channel.manage"), "allow", ["owner|owns"]),
                ((5, "channel:10", "member.kick"), "deny", []),
                ((1, "channel:404", SEND), "deny", ["channel:404|not exist|no such"])]:
            with self.subTest(user=user, scope=scope):
                done = self.ctl("explain", user, scope, permission)
                self.assertEqual("", done.stderr)
                self.assertIn(decision, done.stdout)
                for name in names:
                    self.assertRegex(done.stdout, name)

    def test_apply_twice_changes_nothing_and_says_so(self):
        before = self.revision()
        printed = self.apply(small())
        self.assertRegex(printed, "(?i)nothing|no change|unchanged|0 rows")
        self.assertEqual(before, self.revision())

    def test_apply_dry_run(self):
        before, document = self.export(), small()
        document["roles"][1]["allow"].append("member.kick")
        printed = self.apply(document, "--dry-run")
        self.assertRegex(printed, "(?i)dry|would")
        self.assertEqual(before, self.export())
        self.decision(1, "channel:10", "member.kick", 1)
        self.apply(document)
        self.decision(1, "channel:10", "member.kick", 0)

    def test_lists_of_a_named_object_are_replaced_and_others_stay(self):
        self.apply({"roles": [{"id": 101, "name": "moderator", "scope": "server:1", "allow": ["member.kick"]}]})
        self.decision(1, "channel:10", DELETE, 1)
        self.decision(1, "channel:10", "member.kick", 0)
        self.decision(2, "channel:10", "member.kick", 0)

    def test_prune(self):
        document = small()
        document["assignments"].pop()
        document["scopes"].pop()  # channel:20
        self.apply(document)
        self.decision(2, "channel:10", "member.kick", 0)
        self.apply(document, "--prune")
        self.decision(2, "channel:10", "member.kick", 1)
        self.decision(5, "channel:20", SEND, 1)
        self.decision(1, "channel:10", DELETE, 0)

    def test_yaml(self):
        path = self.folder / "more.yaml"
        path.write_text(YAML)
        self.done("apply", path)
        self.decision(7, "channel:10", "thread.open", 0)
        self.decision(2**64 - 1, "channel:12", "thread.open", 0)
        self.decision(2**64 - 1, "channel:12", SEND, 1)
        self.assertIn("2027-01-01T00:00:00Z", self.export())

    def test_export_round_trip(self):
        path = self.folder / "more.yaml"
        path.write_text(YAML)
        self.done("apply", path)
        exported = self.export()
        document = json.loads(exported)
        self.assertEqual({"permissions", "scopes", "roles", "assignments"}, set(document))
        before = self.revision()
        self.apply(exported)
        self.apply(exported, "--prune")
        self.assertEqual(before, self.revision(), "what was exported is not what is there")
        # Into an empty store, and out again.
        other = self.sidecar_over_another_store()
        other.apply(exported)
        self.assertEqual(document, json.loads(other.ctl("export").stdout))

    def test_small_changes(self):
        self.done("grant", 102, DELETE)
        self.decision(2, "channel:10", DELETE, 0)
        self.done("revoke", 102, DELETE)
        self.decision(2, "channel:10", DELETE, 1)
        self.done("assign", 3, 101)
        self.decision(3, "channel:10", DELETE, 0)
        self.done("unassign", 3, 101)
        self.decision(3, "channel:10", DELETE, 1)
        self.done("assign", 3, 101, "channel:11")
        self.decision(3, "channel:11", DELETE, 0)
        self.decision(3, "channel:10", DELETE, 1)
        self.done("unassign", 3, 101, "channel:11")
        self.decision(3, "channel:11", DELETE, 1)

    def test_a_small_change_twice_is_one(self):
        self.done("grant", 102, DELETE)
        revision = self.revision()
        self.done("grant", 102, DELETE)
        self.done("revoke", 102, "channel.manage")
        self.done("unassign", 77, 101)
        self.assertEqual(revision, self.revision())

    def test_invalidate(self):
        reader = self.worker(self.serving)
        for what, question in [("user:1", (1, "channel:10", DELETE)), ("role:100", (5, "channel:10", SEND)),
                               ("scope:server:1", (5, "channel:10", SEND)), ("all", (5, "channel:20", SEND))]:
            with self.subTest(what):
                reader.check(*question)
                self.assertNotEqual("unknown", reader.peek(*question)[0])
                self.done("invalidate", what)
                fills = self.serving.stats()["fills"]
                # "all" builds another table beside the old one, which takes a moment.
                wait_until(lambda: reader.peek(*question)[0] == "unknown", STALENESS_MS / 1000 if what == "all" else 0,
                           "the entry is gone")
                self.assertEqual("allow", reader.check(*question))
                self.assertGreater(self.serving.stats()["fills"], fills)

    def test_a_write_is_obeyed_when_it_has_been_answered(self):
        """The write is obeyed on this host, without a token and however fast the next question comes."""
        question = {"user": 424242, "scope": "channel:10", "permission": "message.delete"}
        with self.serving.rpc() as rpc:
            for _ in range(20):
                rpc.call("assign", user=424242, role=101)
                self.assertEqual(1, rpc.call("check", **question)["decision"])
                rpc.call("unassign", user=424242, role=101)
                self.assertEqual(0, rpc.call("check", **question)["decision"])

    def test_stats(self):
        text = self.done("stats")
        self.assertIn("applied_revision", text)
        self.assertIn("fills", text)

    def test_health(self):
        self.done("health")
        self.serving.pause()
        try:
            # Callers of health want to know soon: supervisors give up after a few seconds.
            self.assertNotEqual(0, self.ctl("health", timeout=6).returncode)
        finally:
            self.serving.resume()
        self.serving.stop()
        self.assertNotEqual(0, self.ctl("health").returncode)

    def test_tokens_read_ones_own_writes(self):
        """A write returns its revision; a check at it never answers from before."""
        with Rpc(self.serving.socket) as rpc:
            for number in range(30):
                granted = number % 2 == 0
                method = "assign" if granted else "unassign"
                token = rpc.call(method, user=3, role=101)
                self.assertGreater(token["revision"], 0)
                reply = rpc.call("check", user=3, scope="channel:10", permission=DELETE,
                                 token={"store_id": token["store_id"], "revision": token["revision"]})
                self.assertEqual(1 if granted else 0, reply["decision"])
                self.assertGreaterEqual(reply["revision"], token["revision"])

    def test_tokens_through_the_table(self):
        reader = self.worker(self.serving)
        with Rpc(self.serving.socket) as rpc:
            for number in range(30):
                granted = number % 2 == 0
                token = rpc.call("assign" if granted else "unassign", user=3, role=101)
                answer = reader.ask("at", 3, "channel:10", DELETE, token["store_id"], token["revision"])[0]
                self.assertEqual("allow" if granted else "deny", answer)

    def test_a_token_of_another_store_or_of_the_future(self):
        with Rpc(self.serving.socket, timeout=120) as rpc:
            mine = rpc.welcome["store_id"]
            for store, ahead in [(mine ^ 1, 0), (mine, 1_000_000)]:
                with self.subTest(ahead=ahead):
                    try:
                        reply = rpc.call("check", user=1, scope="channel:10", permission=DELETE,
                                         token={"store_id": store, "revision": rpc.welcome["revision"] + ahead})
                        self.assertEqual(-1, reply["decision"], "answered for a revision that it does not know")
                    except RpcError:
                        pass
            self.assertTrue(rpc.call("health")["ok"])

    def test_owned_resources(self):
        reader = self.worker(self.serving)
        self.assertEqual("allow", reader.ask("owned", 5, "channel:10", DELETE, 5)[0])
        self.assertEqual("deny", reader.ask("owned", 5, "channel:10", DELETE, 6)[0])
        self.assertEqual("deny", reader.check(5, "channel:10", DELETE))
        with Rpc(self.serving.socket) as rpc:
            for owner, decision in ((5, 1), (6, 0)):
                self.assertEqual(decision, rpc.call("check", user=5, scope="channel:10", permission=DELETE,
                                                    owner=owner)["decision"])

    def revision(self):
        return int(self.rows("SELECT revision FROM permtab_counter;")[0][0])

    def export(self):
        return self.done("export")


class OnSqlite(Permtabctl, SqliteCase):
    def sidecar_over_another_store(self):
        self.url = f"sqlite:{self.folder}/other.db"
        return self.sidecar(folder=self.folder / "other")


@full_only
class OnMariadb(Permtabctl, MariadbCase):
    def sidecar_over_another_store(self):
        self.url = self.server.url(self.server.database())
        return self.sidecar(folder=self.folder / "other")


if __name__ == "__main__":
    main()
