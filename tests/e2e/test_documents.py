#!/usr/bin/env python3
"""Documents and times as people write them: YAML through a pipe, byte order marks, ends in the past and in the wrong
unit."""

import json
import time

from harness import MariadbCase, RpcError, SqliteCase, full_only, main
from harness.policies import MODERATOR, small

YAML = "# for people\nroles:\n  - {id: 101, name: moderator, scope: server:1, allow: [member.kick]}\n"
MARK = "\ufeff"
LONG_AGO, SECONDS = "2020-01-01T00:00:00Z", 1798761600


class Documents:
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar()
        self.serving.apply(small())
        self.rpc = self.serving.rpc()
        self.addCleanup(self.rpc.close)

    def ctl(self, *words, code=0, **options):
        done = self.serving.ctl(*words, **options)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return done

    def kicks(self, user=1):
        return self.rpc.call("permissions", user=user, scope="server:1")["any"].count("member.kick") == 1

    # ---- formats ------------------------------------------------------------------------------------------------

    def test_yaml_without_a_name_that_says_so(self):
        path = self.folder / "policy"
        path.write_text(YAML)
        self.ctl("apply", "-", input=YAML)
        self.assertTrue(self.kicks())
        for words in (["-"], [str(path)], ["/dev/stdin"], ["-", "--format", "yaml"]):
            with self.subTest(words=words):
                self.assertIn("nothing to change", self.ctl("apply", *words, input=YAML).stdout)

    def test_json_without_a_name_that_says_so(self):
        document = json.dumps({"permissions": [{"name": "thread.open"}]})
        for text in (document, MARK + document, "\n\n  " + document):
            self.ctl("apply", "-", input=text)
        self.ctl("apply", "-", "--format", "json", input=MARK + document)
        path = self.folder / "policy.json"
        path.write_text(MARK + document)
        self.ctl("apply", path)

    def test_format_is_what_is_said(self):
        path = self.folder / "policy.json"
        path.write_text(YAML)
        self.assertIn("line 1 column", self.ctl("apply", path, code=1).stderr)
        self.ctl("apply", path, "--format", "yaml")
        self.assertTrue(self.kicks())
        self.assertIn("expected json or yaml", self.ctl("apply", path, "--format", "toml", code=64).stderr)
        with self.assertRaisesRegex(RpcError, "expected json, yaml or auto"):
            self.rpc.apply(YAML, format="toml")

    def test_bad_names_are_told_what_is_good(self):
        for document, says in [({"permissions": [{"name": "Message.Send"}]},
                                "a-z, 0-9 and _ in parts with dots between"),
                               ({"permissions": [{"name": "message-send"}]},
                                "a-z, 0-9 and _ in parts with dots between"),
                               ({"scopes": [{"scope": "guild:1", "parent": "global"}]},
                                "there are global, server, channel")]:
            self.assertIn(says, self.ctl("apply", "-", input=json.dumps(document), code=1).stderr)
        with self.assertRaisesRegex(RpcError, "there are global, server, channel"):
            self.rpc.call("check", user=1, scope="guild:1", permission="message.send")

    # ---- times --------------------------------------------------------------------------------------------------

    def end(self):
        return [row for [row] in self.rows("SELECT expires_at FROM permtab_assignment WHERE user_id = 9")]

    def test_one_parser_everywhere(self):
        """The same text gives the same end through a document, the command line and a request."""
        for text, end in [("2027-01-01T00:00:00Z", 1798761600000000), ("2027-01-01t00:00:00z", 1798761600000000),
                          ("2027-01-01T01:00:00.1234567+01:00", 1798761600123456),
                          ("2016-12-31T23:59:60Z", 1483228800000000), ("1798761600000000", 1798761600000000)]:
            for way in ("document", "command", "request"):
                with self.subTest(text=text, way=way):
                    self.rpc.call("unassign", user=9, role=MODERATOR)
                    if way == "document":
                        self.rpc.apply(json.dumps({"assignments": [{"user": 9, "role": MODERATOR,
                                                                    "expires_at": text}]}))
                    elif way == "command":
                        self.ctl("assign", 9, MODERATOR, "--expires", text)
                    else:
                        self.rpc.call("assign", user=9, role=MODERATOR, expires_at=text)
                    self.assertEqual([str(end)], self.end())

    def test_implausible_ends_are_refused(self):
        for end, says in [(SECONDS, "looks like seconds; wanted are microseconds"),
                          (SECONDS * 1000, "looks like milliseconds; wanted are microseconds"),
                          (SECONDS * 10**9, "looks like nanoseconds; wanted are microseconds"),
                          (0, "is before 2000"), (-1, "is before 2000"), ("1999-12-31T23:59:59Z", "is before 2000"),
                          (253402300800000000, "after the year 9999")]:
            with self.subTest(end=end):
                for given in {end, str(end)}:
                    with self.assertRaisesRegex(RpcError, says):
                        self.rpc.call("assign", user=9, role=MODERATOR, expires_at=given)
                    with self.assertRaisesRegex(RpcError, r"assignments\[0\]\.expires_at: .*" + says):
                        self.rpc.apply(json.dumps({"assignments": [{"user": 9, "role": MODERATOR,
                                                                    "expires_at": given}]}))
                self.assertIn(says, self.ctl("assign", 9, MODERATOR, "--expires", end, code=64).stderr)
        self.assertEqual([], self.end())

    def test_past_ends_are_taken_with_a_warning(self):
        done = self.ctl("assign", 9, MODERATOR, "--expires", LONG_AGO)
        self.assertIn("1 row written", done.stdout)
        self.assertIn(f"warning: expires_at: {LONG_AGO} is past", done.stderr)
        self.assertEqual(["1577836800000000"], self.end())
        self.assertEqual("", self.ctl("assign", 9, MODERATOR, "--expires", "2999-01-01T00:00:00Z").stderr)
        reply = self.rpc.call("assign", user=9, role=MODERATOR, expires_at=int(time.time() - 60) * 10**6)
        self.assertRegex(reply["warnings"][0], "is past")
        self.assertNotIn("warnings", self.rpc.call("assign", user=9, role=MODERATOR))

    def test_past_ends_of_a_document(self):
        document = {"assignments": [{"user": 20 + number, "role": MODERATOR, "expires_at": LONG_AGO}
                                    for number in range(30)]}
        done = self.ctl("apply", "-", input=json.dumps(document))
        lines = done.stderr.splitlines()
        self.assertIn("assignments 30", done.stdout)
        self.assertEqual(11, len(lines), lines)
        self.assertIn(f"warning: assignments[0].expires_at: {LONG_AGO} is past", lines[0])
        self.assertIn("20 more", lines[-1])
        self.assertEqual([], self.rpc.apply(json.dumps(small()))["warnings"])

    def test_an_export_names_ends_that_no_document_may_have(self):
        self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id, expires_at) "
                 f"VALUES (9, {MODERATOR}, 1, 1, {SECONDS})")
        done = self.ctl("export")
        self.assertIn(f"warning: user 9, role {MODERATOR}: expires_at is {SECONDS}", done.stderr)
        self.assertIn("1970-01-01T00:29:58", done.stdout)


class DocumentsOnSqlite(Documents, SqliteCase):
    pass


@full_only
class DocumentsOnMariadb(Documents, MariadbCase):
    pass


if __name__ == "__main__":
    main()
