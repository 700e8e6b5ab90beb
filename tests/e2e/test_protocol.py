#!/usr/bin/env python3
"""The socket as other libraries use it: what each sends for the same request, recorded; what is wrong about a request
alone; and the client of docs/PROTOCOL.md, run as it stands there."""

import contextlib
import io
import re
import textwrap

import msgpack

from harness import ROOT, RpcError, SqliteCase, main
from harness.policies import small

QUESTION = {"user": 1, "scope": "channel:10", "permission": "message.delete"}
NO_TEXT, NOT_FOUND, INVALID = "no name", -26, -3

# The method and params that are sent after the id, the code of the error, what it says.
REQUESTS = [
    ("positional params", ["check", [1, "channel:10", "message.delete"]], INVALID, r"one map"),
    ("a list in the list", ["check", [[]]], INVALID, r"one map"),
    ("nil in the list", ["check", [None]], INVALID, r"one map"),
    ("a number in the list", ["check", [7]], INVALID, r"one map"),
    ("two maps", ["check", [QUESTION, {}]], INVALID, r"one map"),
    ("a map and no list", ["check", QUESTION], INVALID, r"one map"),
    ("nil", ["check", None], INVALID, r"one map"),
    ("text", ["check", "user"], INVALID, r"one map"),
    ("no params at all", ["check"], INVALID, r"one map"),
    ("an unknown method with positional params", ["fly", [7]], INVALID, r"one map"),
    ("a method of 32 bytes", ["m" * 32, []], NOT_FOUND, r"so long a name"),
    ("a method of 100,000 bytes", ["m" * 100000, [{}]], NOT_FOUND, r"so long a name"),
    ("a method of 31 bytes", ["m" * 31, []], NOT_FOUND, r"no method \"m{31}\""),
    ("a method with a zero inside", ["check\0x", [QUESTION]], INVALID, NO_TEXT),
    ("a method that is no UTF-8", [b"\xff\xfe", [QUESTION]], NOT_FOUND, "no method \"\ufffd\ufffd\""),
    ("a method that is a number", [17, [QUESTION]], INVALID, NO_TEXT),
    ("a method that is nil", [None, [QUESTION]], INVALID, NO_TEXT),
    ("a method that is a map", [{}, [QUESTION]], INVALID, NO_TEXT),
    ("no method", ["", []], INVALID, NO_TEXT),
]

NOTIFICATIONS = [["x", [7]], ["x", []], ["x", None], [5, {}], [None, None], ["m" * 1000, [{}, {}]],
                 ["check", [QUESTION]],
                 [b"nvim_error_event", [0, b"x"]],
                 ["nvim_set_client_info", ["python-client", {"major": 0}, "remote", {}, {}]]]

# A check of user 2^32 + 7 as each library packs it, recorded.
CHECK = bytes.fromhex("94 00 07 a5") + b"check\x91"
REST = b"\xa5scope\xaachannel:10\xaapermission\xaemessage.delete"
BINARY = (bytes.fromhex("94 00 07 c4 05") + b"check\x91\x83\xc4\x05scope\xc4\x0achannel:10" +
          b"\xc4\x0apermission\xc4\x0emessage.delete")
FLOAT = bytes.fromhex("cb 41 f0 00 00 00 70 00 00")
INTEGER = bytes.fromhex("cf 00 00 00 01 00 00 00 07")
TEXT = b"\xaa4294967303"
LIBRARIES = [
    ("msgpackr 2.1.4", CHECK + b"\xde\x00\x03\xa4user" + FLOAT + REST),
    ("msgpackr 2.1.4, a BigInt", CHECK + b"\xde\x00\x03\xa4user" + bytes.fromhex("d3 00 00 00 01 00 00 00 07") + REST),
    ("msgpack-lite 0.2.2", CHECK + b"\x83\xa4user" + FLOAT + REST),
    ("@msgpack/msgpack 3.1.3", CHECK + b"\x83\xa4user" + INTEGER + REST),
    ("@msgpack/msgpack 3.1.3 with useBigInt64", CHECK + b"\x83\xa4user" + FLOAT + REST),
    ("Data::MessagePack 1.02 (Perl)", BINARY + b"\xc4\x04user" + INTEGER),
    ("Data::MessagePack 1.02 (Perl), text", BINARY + b"\xc4\x04user\xc4" + TEXT.replace(b"\xaa", b"\x0a")),
    ("Data::MessagePack 1.02 (Perl), a number with a point", BINARY + b"\xc4\x04user" + FLOAT),
    ("lua-MessagePack 0.5.2, a float", CHECK + b"\x83\xa4user" + FLOAT + REST),
    ("lua-MessagePack 0.5.2, a float as id", CHECK.replace(b"\x07", bytes.fromhex("cb 40 1c 00 00 00 00 00 00")) +
     b"\x83\xa4user" + FLOAT + REST),
    ("msgpack 2.2.0 (PHP)", CHECK + b"\x83\xa4user" + INTEGER + REST),
    ("msgpack 2.2.0 (PHP), a float", CHECK + b"\x83\xa4user" + FLOAT + REST),
    ("any, text", CHECK + b"\x83\xa4user" + TEXT + REST),
]


class Protocol(SqliteCase):
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar()
        self.serving.apply(small())
        self.rpc = self.serving.rpc()
        self.addCleanup(self.rpc.close)

    def answer(self, data, wanted):
        """The response to the request with that id, on a connection that goes on."""
        self.rpc.socket.sendall(data)
        message = self.rpc.receive()
        self.assertEqual((1, wanted), (message[0], message[1]), message)
        self.assertTrue(self.rpc.call("health")["ok"], "the session is of no use after it")
        return message

    def test_a_request_is_answered_by_its_id(self):
        before = self.serving.stats()["protocol_errors"]
        for number, (name, rest, code, says) in enumerate(REQUESTS, 1000):
            with self.subTest(name):
                error = self.answer(msgpack.packb([0, number, *rest]), number)[2]
                self.assertEqual(code, error[0], error)
                self.assertRegex(error[1], says)
        self.assertEqual(before, self.serving.stats()["protocol_errors"])

    def test_before_hello_too(self):
        with self.serving.rpc(hello=False) as rpc:
            for number, (name, rest, _, _) in enumerate(REQUESTS):
                with self.subTest(name):
                    rpc.socket.sendall(msgpack.packb([0, number, *rest]))
                    message = rpc.receive()
                    self.assertEqual((1, number), (message[0], message[1]))
                    self.assertIsNotNone(message[2])
            rpc.call("hello", protocol=1, layout=1, client="late")

    def test_any_id_that_is_a_whole_number(self):
        for number in (0, 1, 0xffffffff, 1 << 32, (1 << 53) + 1, (1 << 64) - 1):
            message = self.answer(msgpack.packb([0, number, "check", [QUESTION]]), number)
            self.assertEqual(1, message[3]["decision"], message)
            message = self.answer(msgpack.packb([0, number, "fly", [QUESTION]]), number)
            self.assertEqual(NOT_FOUND, message[2][0])

    def test_notifications_are_ignored(self):
        with self.serving.rpc(hello=False) as rpc:
            for params in NOTIFICATIONS:
                rpc.socket.sendall(msgpack.packb([2, *params]))
            rpc.call("hello", protocol=1, layout=1, client="chatty")
            for number, params in enumerate(NOTIFICATIONS, 7):
                with self.subTest(params):
                    rpc.socket.sendall(msgpack.packb([2, *params]) + msgpack.packb([0, number, "check", [QUESTION]]))
                    message = rpc.receive()
                    self.assertEqual([1, number, None], message[:3])

    # ---- what libraries send ---------------------------------------------------------------------------------------

    def test_libraries(self):
        with self.serving.rpc() as rpc:
            rpc.call("assign", user=4294967303, role=101)
        for name, data in LIBRARIES:
            with self.subTest(name):
                message = self.answer(data, 7)
                self.assertIsNone(message[2], message)
                self.assertEqual(1, message[3]["decision"])

    def test_what_may_have_been_rounded_is_refused(self):
        rounded = bytes.fromhex("cb 43 40 00 00 00 00 00 00")  # 2^53, and what all but one library make of 2^53 + 1
        error = self.answer(CHECK + b"\x83\xa4user" + rounded + REST, 7)[2]
        self.assertEqual(INVALID, error[0])
        self.assertRegex(error[1], r"^check: user: .*rounded.*text")
        for place in ("user", "owner"):
            query = [float(1 << 53) if place == "user" else 1, "channel:10", "message.delete",
                     float(1 << 60) if place == "owner" else None]
            with self.assertRaisesRegex(RpcError, rf"queries\[1\].*{place}.*rounded.*text"):
                self.rpc.call("check_many", queries=[[1, "channel:10", "message.delete", None], query])
        with self.assertRaisesRegex(RpcError, r"user: .*not a fraction"):
            self.rpc.call("check", {**QUESTION, "user": 1.5})
        with self.assertRaisesRegex(RpcError, r"role: .*rounded"):
            self.rpc.call("assign", user=1, role=float(1 << 53))

    def test_numbers_of_every_method(self):
        """A float that is whole goes wherever a number goes, binary wherever text does."""
        question = {b"user": 1.0, b"scope": b"channel:10", b"permission": b"message.delete", b"owner": 2.0}
        self.assertEqual(1, self.rpc.call("check", question)["decision"])
        queries = [[1.0, b"channel:10", b"message.delete", 1.0]]
        self.assertEqual([1], self.rpc.call("check_many", {b"queries": queries})["decisions"])
        self.assertEqual(1, self.rpc.call("explain", question)["decision"])
        self.assertIn("message.delete", self.rpc.call("permissions", {"user": 1.0, "scope": b"channel:10"})["any"])
        self.rpc.call("assign", {b"user": 55.0, b"role": 101.0, b"scope": b"server:1"})
        self.rpc.call("unassign", {b"user": 55.0, b"role": 101.0, b"scope": b"server:1"})
        self.rpc.call("grant", {b"role": 102.0, b"permission": b"message.delete", b"effect": b"deny"})
        self.rpc.call("revoke", {b"role": 102.0, b"permission": b"message.delete"})
        self.rpc.call("invalidate", {b"targets": [b"user:42"], b"batch": 10.0, b"reason": b"because"})
        self.assertEqual("because", self.rpc.call("invalidations", last=1.0)["invalidations"][0]["reason"])
        self.rpc.call("subscribe", {b"kinds": [b"user"], b"prefix": b"user:4"})
        with self.serving.rpc(hello=False) as rpc:
            rpc.call("hello", {b"protocol": 1.0, b"layout": 1.0, b"client": b"perl"})

    def test_times(self):
        """The same moment in each form that a time may have."""
        moment = 1924992000123456  # 2031-01-01T00:00:00.123456Z
        forms = [moment, float(moment), str(moment), str(moment).encode(), "2031-01-01T00:00:00.123456Z",
                 "2031-01-01T01:00:00.123456+01:00", b"2031-01-01T00:00:00.123456Z"]
        for number, form in enumerate(forms, 600):
            with self.subTest(form):
                self.rpc.call("assign", user=number, role=101, expires_at=form)
                stored = self.rows(f"SELECT expires_at FROM permtab_assignment WHERE user_id = {number};")
                self.assertEqual([[str(moment)]], stored)
        for form in (1.5, float(1 << 60), "tomorrow", "", [], {}, True, "2031-02-30T00:00:00Z", str(1 << 63), b"\xff"):
            with self.subTest(form), self.assertRaisesRegex(RpcError, r"-3: assign: expires_at: "):
                self.rpc.call("assign", user=99, role=101, expires_at=form)

    # ---- tokens ----------------------------------------------------------------------------------------------------

    def test_a_token_is_one_text(self):
        """Each reply that says up to where something holds has one, and whoever takes a token takes it."""
        replies = [self.rpc.call("assign", user=61, role=101), self.rpc.call("unassign", user=61, role=101),
                   self.rpc.call("grant", role=102, permission="message.delete", effect="allow"),
                   self.rpc.call("revoke", role=102, permission="message.delete"), self.serving.apply(small()),
                   self.rpc.call("subscribe"), self.rpc.welcome]
        for reply in replies:
            for token in (reply["token"], reply["token"].encode(),
                          {"store_id": reply["store_id"], "revision": reply["revision"]},
                          {"store_id": str(reply["store_id"]), "revision": float(reply["revision"])}):
                self.assertEqual(1, self.rpc.call("check", token=token, **QUESTION)["decision"])
                self.rpc.call("permissions", user=1, scope="channel:10", token=token)
        self.assertEqual(len(replies) - 2, len({reply["token"] for reply in replies}),
                         "apply and subscribe changed nothing")
        store = replies[0]["token"].split("-")[0]
        for wrong in ("", "x", store, f"{store}-01", f"{store}-1 ", f"{store.upper()}z-1", 7, [], f"{store}-{1 << 64}"):
            with self.subTest(wrong), self.assertRaisesRegex(RpcError, r"token|store_id"):
                self.rpc.call("check", token=wrong, **QUESTION)

    def test_a_token_says_the_same_as_text_and_as_map(self):
        reply = self.rpc.call("assign", user=61, role=101)
        store, revision = reply["token"].split("-")
        self.assertEqual((reply["store_id"], reply["revision"]), (int(store, 16), int(revision)))
        for token in (f"{int(store, 16) ^ 1:016x}-{revision}",
                      {"store_id": reply["store_id"] ^ 1, "revision": reply["revision"]}):
            with self.assertRaisesRegex(RpcError, r"-18: check: the token is of another store"):
                self.rpc.call("check", token=token, **QUESTION)

    def test_notifications_bear_tokens(self):
        self.rpc.call("subscribe")
        self.sql("INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES (77, 101, 1, 1);")
        message = self.rpc.receive()
        self.assertEqual("invalidated", message[1])
        with self.serving.rpc() as rpc:
            self.assertEqual(1, rpc.call("check", token=message[2][0]["token"], user=77, scope="channel:10",
                                         permission="message.delete")["decision"])

    # ---- the document ----------------------------------------------------------------------------------------------

    def test_the_client_of_the_document(self):
        """It runs as it stands there, and notifications do not disturb it."""
        text = (ROOT / "docs" / "PROTOCOL.md").read_text().split("## In Python")[1]
        code = textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    ") or not line))
        self.assertEqual(1, len(re.findall(r'"/run/permtab/permtab\.sock"', code)))
        names, printed = {}, io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = code.replace("/run/permtab/permtab.sock", str(self.serving.socket))
            exec(compile(code, "PROTOCOL.md", "exec"), names)
        self.assertEqual("True\n['channel.view', 'message.delete', 'message.send']\n", printed.getvalue())
        client = names["sidecar"]
        self.addCleanup(client.socket.close)
        client.call("subscribe")
        for wanted in (True, False, True):
            self.assertNotEqual(wanted, client.allowed(88, "channel:10", "message.delete"))
            # Its notification comes before its answer, or behind.
            client.call("assign" if wanted else "unassign", user=88, role=101)
            self.assertEqual(wanted, client.allowed(88, "channel:10", "message.delete"))
        with self.assertRaises(RuntimeError):
            client.call("check", user="nobody")
        self.assertTrue(client.call("health")["ok"])


if __name__ == "__main__":
    main()
