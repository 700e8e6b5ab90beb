#!/usr/bin/env python3
"""Text that is none, or that a terminal would obey: refused where it is written, named where it stands, and never
passed on."""

import json
import socket
import subprocess
import threading
import unittest

import msgpack

from harness import RpcError, SqliteCase, main, program, temporary_folder
from harness.policies import MODERATOR, small

LATIN1 = "CAST(x'4d6f64e9' AS TEXT)"  # "Modé" in ISO 8859-1
CSI, OVERRIDE, ISOLATE = "\u009b", "\u202e", "\u2066"
OBEYED = ["\u0007", "\u001b", "\u007f", "\u0085", CSI, "\u061c", "\u200e", "\u2028", OVERRIDE, ISOLATE, "\u2069"]


def obeyed_in(text):
    return [character for character in text if character in OBEYED or (ord(character) < 32 and character != "\n")]


class TextInTheStore(SqliteCase):
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar(log_level="debug")
        self.serving.apply(small())
        self.rpc = self.serving.rpc()
        self.addCleanup(self.rpc.close)

    def name(self, expression):
        self.sql(f"UPDATE permtab_role SET name = {expression} WHERE id = {MODERATOR}")

    def ctl(self, *words, code=0, **options):
        """Output that is not UTF-8 is an error of the decoder here."""
        done = self.serving.ctl(*words, **options)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        self.assertEqual([], obeyed_in(done.stdout + done.stderr))
        return done

    def test_no_utf8(self):
        self.name(LATIN1)
        lines = self.rpc.call("explain", user=1, scope="channel:10", permission="message.delete")["lines"]
        self.assertIn("101 (Mod\ufffd)", lines[0] + lines[1])
        self.assertIn("101 (Mod\ufffd)", self.ctl("explain", 1, "channel:10", "message.delete").stdout)
        self.assertIn("permtab_role, id 101: name is not UTF-8", self.ctl("export", code=1).stderr)
        self.serving.log_path.read_bytes().decode()
        document = small()
        document["roles"] = [role for role in document["roles"] if role["id"] == MODERATOR]
        self.serving.apply({"roles": document["roles"]})
        self.assertIn("moderator", self.ctl("export").stdout)

    def test_a_description_that_is_no_utf8(self):
        self.sql(f"UPDATE permtab_permission SET description = {LATIN1} WHERE name = 'member.kick'")
        self.assertIn("permtab_permission, name member.kick: description is not UTF-8",
                      self.ctl("export", code=1).stderr)

    def test_a_nul(self):
        """C ends there: what is behind it must not be lost in an export without a word."""
        self.name("'mod' || char(0) || 'erator'")
        self.assertIn("permtab_role, id 101: name has a NUL in it", self.ctl("export", code=1).stderr)
        self.name("'moderator'")
        self.sql("UPDATE permtab_permission SET description = 'a' || char(0) WHERE name = 'member.kick'")
        self.assertIn("permtab_permission, name member.kick: description has a NUL in it",
                      self.ctl("export", code=1).stderr)

    def test_what_a_terminal_obeys(self):
        for character in OBEYED:
            with self.subTest(character=hex(ord(character))):
                self.name(f"'a' || char({ord(character)}) || 'é'")
                lines = self.rpc.call("explain", user=1, scope="channel:10", permission="message.delete")["lines"]
                self.assertEqual([], obeyed_in("".join(lines)))
                self.assertTrue(any("(a\ufffdé)" in line for line in lines), lines)
                self.assertIn("(a\ufffdé)", self.ctl("explain", 1, "channel:10", "message.delete").stdout)
                exported = self.ctl("export")
                self.assertIn(f"warning: role 101: the name has U+{ord(character):04X} in it", exported.stderr)
                names = [role["name"] for role in json.loads(exported.stdout)["roles"] if role["id"] == MODERATOR]
                self.assertEqual([f"a{character}é"], names)
                refused = self.ctl("apply", "-", input=exported.stdout, code=1)
                self.assertRegex(refused.stderr, rf"roles\[\d\]\.name: has U\+{ord(character):04X} in it")
        self.assertEqual([], obeyed_in(self.serving.log_path.read_bytes().decode()))

    def test_documents_are_refused(self):
        for character in OBEYED + ["\n", "\t"]:
            for place, document in [
                    (r"roles\[0\]\.name", {"roles": [{"id": 5, "name": f"x{character}"}]}),
                    (r"permissions\[0\]\.description",
                     {"permissions": [{"name": "a.b", "description": f"x{character}"}]})]:
                with self.subTest(character=hex(ord(character)), place=place):
                    text = json.dumps(document)
                    if character in "\n\t" and "description" in place:
                        self.rpc.apply(text, dry_run=True)
                        continue
                    with self.assertRaisesRegex(RpcError, place + r": has U\+" + f"{ord(character):04X}"):
                        self.rpc.apply(text)
        with self.assertRaisesRegex(RpcError, r"roles\[0\]\.name: has U\+202E"):
            self.rpc.apply('roles:\n  - {id: 5, name: "x\\u202E"}\n', format="yaml")
        for good in ("модератор", "版主", "مشرف", "👩\u200d💻 é", "नि\u200dर"):
            self.rpc.apply(json.dumps({"roles": [{"id": 5, "name": good}]}))

    def test_errors_pass_nothing_on(self):
        for params in ({"user": 1, "scope": "channel:10", "permission": f"a{OVERRIDE}{CSI}b"},
                       {"user": 1, "scope": f"cha{OVERRIDE}nnel:10", "permission": "a.b"},
                       {"user": 1, "scope": "channel:10", "permission": b"a\xffb".decode("latin-1") + "\x9b"}):
            with self.assertRaises(RpcError) as raised:
                self.rpc.call("check", params)
            self.assertEqual([], obeyed_in(raised.exception.text))
        with self.assertRaises(RpcError) as raised:
            self.rpc.call(f"frob{OVERRIDE}", {})
        self.assertEqual([], obeyed_in(raised.exception.text))
        for words in ([f"frob{CSI}"], ["check", 1, f"chan{OVERRIDE}nel:1", "a.b"],
                      ["check", f"1{CSI}", "global", "a.b"],
                      ["apply", f"/nonexistent/{CSI}"], ["explain", 1, "channel:10", f"a{OVERRIDE}b"]):
            done = self.serving.ctl(*words)
            self.assertNotEqual(0, done.returncode)
            self.assertEqual([], obeyed_in(done.stdout + done.stderr), words)


class TextOfASidecar(unittest.TestCase):
    """permtabctl does not count on a sidecar that is kind to terminals: here is one that is not."""

    def setUp(self):
        self.folder = temporary_folder("text")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.folder / "s"))
        self.listener.listen()
        self.addCleanup(self.listener.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        bad = f"a{CSI}{OVERRIDE}\u001b[2Jb"
        replies = {"hello": {}, "explain": {"decision": 1, "lines": [bad], "decisive": 0},
                   "permissions": {"any": [bad], "own": [bad]},
                   "health": {"ok": True, "trouble": bad, "alarm": bad}, "stats": {bad: 1},
                   "invalidations": {"invalidations": [{"source": bad, "what": bad, "reason": bad}], "rates": []}}
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            unpacker = msgpack.Unpacker()
            with connection:
                while data := connection.recv(65536):
                    unpacker.feed(data)
                    for _, number, method, _ in unpacker:
                        error = None if method in replies else [-3, bad]
                        connection.sendall(msgpack.packb([1, number, error, replies.get(method)]))

    def test_every_command(self):
        for words in (["explain", "1", "global", "a.b"], ["permissions", "1", "global"],
                      ["permissions", "1", "global", "--json"],
                      ["health"], ["stats"], ["stats", "--json"], ["invalidations"], ["invalidations", "--json"],
                      ["grant", "1", "a.b"], ["tag", "names"]):
            with self.subTest(words=words):
                done = subprocess.run([program("permtabctl"), "--socket", str(self.folder / "s"), *words],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
                text = (done.stdout + done.stderr).decode()
                self.assertEqual([], obeyed_in(text))
                self.assertIn("\\u009b\\u202e" if "--json" in words else "a\ufffd\ufffd\ufffd[2Jb", text)


if __name__ == "__main__":
    main()
