#!/usr/bin/env python3
"""Bad configurations, policies, commands and messages: each gets one clear error that names the place, and none of
them changes anything. The tables below are the documentation."""

import json
import os
import subprocess

import msgpack

from harness import RpcError, SqliteCase, main, program
from harness.policies import small

BASE = '''store = "sqlite:{folder}/permtab.db"
socket = "{folder}/permtab.sock"
ops_socket = "{folder}/ops.sock"
'''

# Text of a configuration (after the three lines above), what the error says. permtabd -t exits 2 for each.
CONFIGURATIONS = [
    ("an unknown option", 'colour = "red"\n', r":4: .*colour"),
    ("an option given twice", 'poll_interval = "100ms"\npoll_interval = "200ms"\n',
     r":5: poll_interval: .*second time"),
    ("no closing quote", 'redis_prefix = "permtab:\n', r"permtab\.conf:\d+: "),
    ("a list that does not end", 'scope_types = {"global", "server"\n', r"permtab\.conf:\d+: "),
    ("a password in the URL of Redis", 'redis = "redis://:secret@127.0.0.1:6379/0"\n',
     r":4: redis: .*redis_password_file"),
    ("a duration without unit", 'poll_interval = "100"\n', r":4: poll_interval: .*duration"),
    ("a negative duration", 'poll_interval = "-100ms"\n', r":4: poll_interval: .*duration"),
    ("a line end in a value", 'poll_interval = "100\nms"\n', r": poll_interval: .*duration"),
    ("a duration of nothing", 'poll_interval = "0ms"\n', r":4: poll_interval: .*not within"),
    ("a duration too large for 64 bits", 'max_staleness = "99999999999999999999s"\n', r":4: max_staleness: "),
    ("a staleness below the poll interval", 'poll_interval = "1s"\nmax_staleness = "500ms"\n',
     r":5: max_staleness: .*poll_interval"),
    ("permissions_max that is no multiple of 64", "permissions_max = 100\n", r":4: permissions_max: .*multiple of 64"),
    ("permissions_max above the limit", "permissions_max = 65536\n", r":4: permissions_max: .*not within"),
    ("no table entries", "table_entries = 0\n", r":4: table_entries: .*not within"),
    ("a table larger than its memory", 'table_entries = 100000000\ntable_memory_max = "1MB"\n',
     r":5: table_memory_max: .*fewer"),
    ("a size without number", 'table_memory_max = "GB"\n', r":4: table_memory_max: .*size"),
    ("scope types without global", 'scope_types = {"server", "channel"}\n', r":4: scope_types: .*first.*global"),
    ("a scope type twice", 'scope_types = {"global", "server", "server"}\n', r":4: scope_types: .*twice"),
    ("a scope type with a blank", 'scope_types = {"global", "my server"}\n',
     r":4: scope_types: .*name of a scope type"),
    ("sixteen scope types", "scope_types = {" + ", ".join(f'"{name}"' for name in ["global", *"abcdefghijklmno"]) +
     "}\n", r":4: scope_types: more than 15"),
    ("a store that is neither", 'store = "postgres://localhost/x"\n', r"store: "),
    ("a log level nobody knows", 'log_level = "chatty"\n', r":4: log_level: .*chatty"),
    ("a mode that is not octal", 'socket_mode = "0999"\n', r":4: socket_mode: .*octal"),
    ("a boolean that is none", "store_migrate = perhaps\n", r":4: store_migrate: "),
    ("a password file that is not there", 'store_password_file = "/nonexistent/password"\n',
     r":4: store_password_file: .*No such file"),
    ("a socket path that is too long", 'ops_socket = "/' + "x" * 120 + '"\n', r"ops_socket: .*(107|given a second)"),
]

P = {"permissions": [{"name": "message.send"}]}

# A policy document (an object, or text as it is), what the error says. permtabctl apply exits 1 for each.
POLICIES = [
    ("no JSON", "{", r"line \d+"),
    ("empty", "", r"line 1|empty"),
    ("a list", "[]", r"object"),
    ("trailing text", "{} {}", r"line 1"),
    ("a key twice", '{"permissions": [], "permissions": []}', r"permissions|line 1"),
    ("an unknown list", {"permisions": []}, r"permisions"),
    ("an unknown key of a role", {"roles": [{"id": 1, "name": "a", "scope": "global", "alow": []}]},
     r"roles\[0\].*alow"),
    ("a role without id", {"roles": [{"name": "a", "scope": "global"}]}, r"roles\[0\].*id"),
    ("a role whose name is a number", {"roles": [{"id": 1, "name": 5, "scope": "global"}]}, r"roles\[0\]\.name"),
    ("a role twice", {"roles": [{"id": 1, "name": "a", "scope": "global"}, {"id": 1, "name": "b", "scope": "global"}]},
     r"roles\[1\]"),
    ("a role at a scope that is not there", {"roles": [{"id": 1, "name": "a", "scope": "server:99"}]}, r"server:99"),
    ("a role that allows what is not there",
     {"roles": [{"id": 1, "name": "a", "scope": "global", "allow": ["no.such"]}]},
     r"roles\[0\]\.allow\[0\].*no\.such"),
    ("a role that inherits from nobody", {"roles": [{"id": 1, "name": "a", "scope": "global", "inherits": [77]}]},
     r"roles\[0\]\.inherits\[0\].*77"),
    ("a role that inherits from itself", {"roles": [{"id": 1, "name": "a", "scope": "global", "inherits": [1]}]},
     r"roles\[0\].*(cycle|itself)"),
    ("a cycle of two roles", {"roles": [{"id": 1, "name": "a", "scope": "global", "inherits": [2]},
                                        {"id": 2, "name": "b", "scope": "global", "inherits": [1]}]}, r"cycle"),
    ("a cycle with a role that is stored",
     {"roles": [{"id": 100, "name": "member", "scope": "server:1", "default": True,
                                                       "inherits": [101]}]}, r"cycle"),
    ("a permission that is no name", {"permissions": [{"name": "Message Send"}]}, r"permissions\[0\].*Message Send"),
    ("a permission of 101 bytes", {"permissions": [{"name": "a" * 101}]}, r"permissions\[0\]"),
    ("a permission twice", {"permissions": [{"name": "a.b"}, {"name": "a.b"}]}, r"permissions\[1\].*a\.b"),
    ("a permission that requires what is not there", {"permissions": [{"name": "a.b", "requires": ["c.d"]}]},
     r"permissions\[0\]\.requires\[0\].*c\.d"),
    ("more permissions than the table has room for", {"permissions": [{"name": f"p.n{n}"} for n in range(600)]},
     r"permissions.*512"),
    ("a scope type nobody configured", {"scopes": [{"scope": "planet:1", "parent": "global"}]}, r"scopes\[0\].*planet"),
    ("a scope that is no scope", {"scopes": [{"scope": "server", "parent": "global"}]}, r"scopes\[0\].*server"),
    ("a scope id that is negative", {"scopes": [{"scope": "server:-1", "parent": "global"}]},
     r"scopes\[0\].*server:-1"),
    ("a scope id above 64 bits", {"scopes": [{"scope": "server:18446744073709551616", "parent": "global"}]},
     r"scopes\[0\].*18446744073709551616"),
    ("a scope twice", {"scopes": [{"scope": "server:5", "parent": "global"}] * 2}, r"scopes\[1\]"),
    ("a scope below a narrower one", {"scopes": [{"scope": "server:5", "parent": "channel:10"}]},
     r"scopes\[0\].*parent"),
    ("a scope whose parent is not there", {"scopes": [{"scope": "channel:5", "parent": "server:99"}]},
     r"scopes\[0\].*server:99"),
    ("an overwrite for nobody", {"scopes": [{"scope": "channel:5", "parent": "server:1",
                                             "overwrites": [{"allow": ["message.send"]}]}]},
                                             r"overwrites\[0\].*(role|user)"),
    ("an assignment of no role", {"assignments": [{"user": 1, "role": 999}]}, r"assignments\[0\].*999"),
    ("an assignment beside its role", {"assignments": [{"user": 1, "role": 101, "scope": "server:2"}]},
     r"assignments\[0\].*server:2"),
    ("an assignment above its role", {"assignments": [{"user": 1, "role": 101, "scope": "global"}]},
     r"assignments\[0\].*global"),
    ("a user that is text", {"assignments": [{"user": "alice", "role": 101}]}, r"assignments\[0\]\.user.*id"),
    ("a user that is negative", {"assignments": [{"user": -1, "role": 101}]}, r"assignments\[0\]\.user.*id"),
    ("a user that is a float", {"assignments": [{"user": 1.5, "role": 101}]}, r"assignments\[0\]\.user.*id"),
    ("a time that is none", {"assignments": [{"user": 1, "role": 101, "expires_at": "tomorrow"}]},
     r"assignments\[0\]\.expires_at.*tomorrow"),
    ("a day that is none", {"assignments": [{"user": 1, "role": 101, "expires_at": "2027-02-30T00:00:00Z"}]},
     r"assignments\[0\]\.expires_at.*2027-02-30"),
    ("text that is no UTF-8", b'{"permissions": [{"name": "\xff\xfe"}]}', r"line 1|UTF-8"),
    ("a thousand lists in each other", "[" * 1000, r"line 1|depth|object"),
    ("right until its last object", {**P, "assignments": [{"user": 1, "role": 102}, {"user": 2, "role": 999}]},
     r"assignments\[1\].*999"),
]

YAML_POLICIES = [
    ("a tab", "permissions:\n\t- name: a.b\n", r"line 2"),
    ("an alias bomb", "a: &a [x, x]\nb: &b [*a, *a]\npermissions: [*b, *b]\n", r"line \d|alias|anchor"),
    ("two documents", "permissions: []\n---\npermissions: []\n", r"line|document"),
    ("a key twice", "permissions: []\npermissions: []\n", r"permissions|line 2"),
    ("a list where an object belongs", "- permissions\n", r"object|map"),
    ("an unknown key", "permissions:\n  - nam: a.b\n", r"permissions\[0\].*nam"),
]

# A command line of permtabctl, its exit code, what stderr says.
COMMANDS = [
    ((), 64, r"command|usage"),
    (("fly",), 64, r"fly"),
    (("check",), 64, r"check"),
    (("check", "1", "channel:10"), 64, r"check"),
    (("check", "1", "channel:10", "message.send", "x"), 64, r"check"),
    (("check", "alice", "channel:10", "message.send"), 64, r"alice"),
    (("check", "-1", "channel:10", "message.send"), 64, r"-1|usage"),
    (("check", "18446744073709551616", "channel:10", "message.send"), 64, r"18446744073709551616"),
    (("check", "1", "channel", "message.send"), 64, r"channel"),
    (("check", "1", "channel:x", "message.send"), 64, r"channel:x"),
    (("check", "1", "planet:10", "message.send"), None, r"planet"),
    (("check", "1", "channel:10", "no.such"), None, r"no\.such|no such permission"),
    (("apply", "/nonexistent/policy.json"), None, r"/nonexistent/policy\.json"),
    (("apply",), 64, r"apply"),
    (("grant", "101"), 64, r"grant"),
    (("grant", "101", "no.such"), None, r"no\.such"),
    (("grant", "999", "message.send"), None, r"999"),
    (("revoke", "999", "message.send"), None, r"999"),
    (("assign", "1", "999"), None, r"999"),
    (("assign", "1", "101", "server:2"), None, r"server:2"),
    (("invalidate", "planet"), 64, r"planet"),
    (("--colour", "health"), 64, r"colour"),
    (("--socket",), 64, r"socket"),
]

# A request, the code of its error, what it says.
REQUESTS = [
    ("fly", {}, -26, r"fly"),
    ("check", {}, -3, r"user"),
    ("check", {"user": "alice", "scope": "global", "permission": "message.send"}, -3, r"user"),
    ("check", {"user": "18446744073709551616", "scope": "global", "permission": "message.send"}, -3, r"user"),
    ("check", {"user": "+1", "scope": "global", "permission": "message.send"}, -3, r"user"),
    ("check", {"user": 1, "permission": "message.send"}, -3, r"scope"),
    ("check", {"user": 1, "scope": 7, "permission": "message.send"}, -3, r"scope"),
    ("check", {"user": 1, "scope": "server", "permission": "message.send"}, -13, r"server"),
    ("check", {"user": 1, "scope": "planet:1", "permission": "message.send"}, -12, r"planet"),
    ("check", {"user": 1, "scope": "global", "permission": "no.such"}, -11, r"no\.such"),
    ("check", {"user": 1, "scope": "global", "permission": 7}, -3, r"permission"),
    ("check", {"user": 1, "scope": "global", "permission": "message.send", "token": {"store_id": 1}}, -3, r"revision"),
    ("check_many", {}, -3, r"queries"),
    ("check_many", {"queries": [[1, "global"]]}, -3, r"queries"),
    ("check_many", {"queries": [[1, "global", "message.send", None]] * 10001}, -4, r"10,?000|10001"),
    ("check_many", {"queries": [[1, "global", "no.such", None]]}, -11, r"queries\[0\]"),
    ("permissions", {"user": 1}, -3, r"scope"),
    ("explain", {"user": 1, "scope": "global"}, -3, r"permission"),
    ("apply", {"format": "json"}, -3, r"descriptor"),
    ("apply", {"format": "xml"}, -3, r"format"),
    ("grant", {"role": 100, "permission": "message.send", "effect": "maybe"}, -3, r"effect"),
    ("grant", {"role": "x", "permission": "message.send", "effect": "allow"}, -3, r"role"),
    ("assign", {"user": 1, "role": 101, "expires_at": "tomorrow"}, -3, r"expires_at"),
    ("invalidate", {"what": "planet:1"}, -3, r"planet:1"),
    ("hello", {}, -3, r"protocol"),
    ("hello", {"protocol": 99, "layout": 1, "client": "x"}, -7, r"99"),
]


class BadInput(SqliteCase):
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar()
        self.serving.apply(small())
        self.before = self.contents()
        self.addCleanup(self.nothing_changed)

    def contents(self):
        return self.sql("SELECT revision FROM permtab_counter;").stdout, self.serving.ctl("export").stdout

    def nothing_changed(self):
        self.assertEqual(self.before, self.contents())
        self.assertIsNone(self.serving.process.poll())

    def one_line(self, text):
        self.assertEqual(1, text.count("\n"), f"not one line: {text!r}")
        self.assertTrue(text.endswith("\n"))
        self.assertLess(len(text), 700)

    def test_policies(self):
        self.assertGreaterEqual(len(POLICIES), 40)
        for name, document, says in POLICIES:
            with self.subTest(name):
                self.refused(document, says, "policy.json")

    def test_yaml_policies(self):
        for name, document, says in YAML_POLICIES:
            with self.subTest(name):
                self.refused(document, says, "policy.yaml")

    def refused(self, document, says, file_name):
        path = self.folder / file_name
        if isinstance(document, bytes):
            path.write_bytes(document)
        else:
            path.write_text(document if isinstance(document, str) else json.dumps(document))
        done = self.serving.ctl("apply", path)
        self.assertNotEqual(0, done.returncode, f"was applied: {done.stdout}")
        self.one_line(done.stderr)
        self.assertRegex(done.stderr, says)
        self.assertEqual("", done.stdout)
        self.assertEqual(self.before[0], self.contents()[0], "the revision moved")

    def test_commands(self):
        for words, code, says in COMMANDS:
            with self.subTest(" ".join(words)):
                done = self.serving.ctl(*words)
                self.one_line(done.stderr)
                self.assertRegex(done.stderr, says)
                if code is None:
                    self.assertNotIn(done.returncode, (0, 64) if words[0] != "check" else (0, 1))
                else:
                    self.assertEqual(code, done.returncode)

    def test_batch(self):
        for name, lines in [("a word is missing", "1 channel:10\n"),
                            ("a user that is none", "x channel:10 message.send\n"),
                            ("no such permission", "1 channel:10 no.such\n"),
                            ("no such type", "1 planet:1 message.send\n"),
                            ("the third of three", "1 channel:10 message.send\n" * 2 + "1 channel:10\n")]:
            with self.subTest(name):
                done = self.serving.ctl("check", "--batch", input=lines)
                self.assertNotEqual(0, done.returncode)
                self.assertRegex(done.stderr, rf"line {lines.count(chr(10))}\b")

    def test_requests(self):
        for method, params, code, says in REQUESTS:
            with self.subTest(method=method, params=str(params)[:80]), self.serving.rpc() as rpc:
                with self.assertRaises(RpcError) as raised:
                    self.fail(f"was answered with {rpc.call(method, params)}")
                self.assertEqual(code, raised.exception.code, raised.exception.text)
                self.assertRegex(raised.exception.text, says)
                self.assertTrue(rpc.call("health")["ok"], "the session is of no use after it")

    def test_what_is_no_text_is_not_echoed(self):
        """An error is one line of UTF-8 whatever was sent: any library reads it."""
        for sent, echoed in [(b"\xff\xfe", "\ufffd" * 2), (b"a\x1b[31m\nb", "a\ufffd[31m b"), ("é€😀".encode(), "é€😀"),
                             (b"\xc0\xaf", "\ufffd" * 2), (b"\xe2\x82", "\ufffd" * 2), (b"\xed\xa0\x80", "\ufffd" * 3),
                             (b"\xf4\x90\x80\x80", "\ufffd" * 4), (b"\xe0\x80\x80", "\ufffd" * 3)]:
            with self.subTest(sent), self.serving.rpc() as rpc:
                rpc.socket.sendall(msgpack.packb([0, 9, b"permissions", [{b"user": 1, b"scope": sent}]],
                                                 use_bin_type=False))
                self.assertEqual([1, 9, [-13, f'permissions: scope: "{echoed}" is neither global nor type:id'], None],
                                 rpc.receive())

    def test_sockets_that_are_no_sidecar(self):
        ctl = program("permtabctl")
        for path, says in [("/nonexistent/permtab.sock", "/nonexistent/permtab.sock"),
                           (str(self.folder), str(self.folder))]:
            done = subprocess.run([ctl, "--socket", path, "health"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, timeout=120)
            self.assertNotIn(done.returncode, (0, 64))
            self.one_line(done.stderr)
            self.assertIn(says, done.stderr)


class Configurations(SqliteCase):
    def check(self, text, *arguments, environment=None):
        path = self.folder / "permtab.conf"
        path.write_text(text)
        return subprocess.run([program("permtabd"), "-c", str(path), *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120, env={**os.environ, **(environment or {})})

    def test_configurations(self):
        base = BASE.format(folder=self.folder)
        self.assertEqual(0, self.check(base, "-t").returncode)
        for name, text, says in CONFIGURATIONS:
            with self.subTest(name):
                for arguments in (["-t"], []):
                    done = self.check(base + text, *arguments)
                    self.assertEqual(2, done.returncode, done.stderr)
                    self.assertRegex(done.stderr, says)
                    self.assertRegex(done.stderr, r"\Apermtabd: .*\n\Z")
        self.assertEqual({"permtab.conf"}, {path.name for path in self.folder.iterdir()}, "something was made")

    def test_environment(self):
        done = self.check(BASE.format(folder=self.folder), "-t", environment={"PERMTAB_POLL_INTERVAL": "soon"})
        self.assertEqual(2, done.returncode)
        self.assertRegex(done.stderr, r"PERMTAB_POLL_INTERVAL.*soon")

    def test_no_such_file(self):
        done = subprocess.run([program("permtabd"), "-c", "/nonexistent/permtab.conf", "-t"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual(2, done.returncode)
        self.assertIn("/nonexistent/permtab.conf", done.stderr)

    def test_arguments(self):
        for arguments in (["--colour"], ["-c"], ["surplus"], ["-t", "--demo", "x"]):
            with self.subTest(arguments):
                done = subprocess.run([program("permtabd"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True, timeout=120)
                self.assertIn(done.returncode, (2, 64))
                self.assertRegex(done.stderr, r"\Apermtabd: .*\n\Z")

    def test_a_password_in_the_url_is_refused_and_not_printed(self):
        done = self.check(BASE.format(folder=self.folder).replace(f"sqlite:{self.folder}/permtab.db",
                                                                  "mysql://root:secret@host/permtab"), "-t")
        self.assertEqual(2, done.returncode)
        self.assertNotIn("secret", done.stderr + done.stdout)


if __name__ == "__main__":
    main()
