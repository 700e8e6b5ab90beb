#!/usr/bin/env python3
"""The scripts of L2, run as they are in a Redis: what each refuses, and what each leaves behind."""

import shutil
import unittest

from harness import ROOT, main, temporary_folder
from harness.servers import Redis

SCRIPTS = ROOT / "conf" / "redis"
MARKER, BASE, CHANNEL = "t:l2:1:marker", "t:l2:1:", "t:invalidate"
STORE, EPOCH = "000000000000abcd", "00000000000000ee"


def revision(number):
    """Writes a revision as they are compared: by their digits."""
    return f"{number:020d}"


class Scripts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = temporary_folder("scripts")
        cls.redis = Redis(cls.folder / "r").start()
        cls.texts = {path.stem: path.read_text() for path in SCRIPTS.glob("*.lua")}

    @classmethod
    def tearDownClass(cls):
        cls.redis.kill()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        self.redis.command("CONFIG", "SET", "maxmemory", "0")
        self.redis.command("FLUSHALL")

    def run_script(self, name, *arguments):
        return self.redis.command("EVAL", self.texts[name], 1, MARKER, *arguments)

    def set_marker(self, at=10, nonce="5", store=STORE, epoch=EPOCH):
        self.redis.command("HSET", MARKER, "store", store, "revision", revision(at), "nonce", nonce, "epoch", epoch)

    def marker(self):
        return tuple(self.redis.command("HMGET", MARKER, "store", "revision", "nonce", "epoch"))

    def as_marker(self, at=10, nonce="5", store=STORE, epoch=EPOCH):
        return [word.encode() for word in (store, revision(at), nonce, epoch)]

    def user_key(self, user=42):
        return f"{BASE}{EPOCH}:{{user:{user}}}"

    def scope_key(self, scope):
        return f"{BASE}{EPOCH}:{{scope:{scope}}}"

    CHAIN = ("channel:9", "server:1", "1", "v-channel", "r-channel", "server:1", "global", "0", "v-server", "r-server",
             "global", "", "0", "v-global", "r-global")

    def put(self, at=10, nonce="5", store=STORE, user_ms=5000, scope_ms=6000, token="me", refresh="0", user=42,
            chain=CHAIN, epoch=EPOCH):
        return self.run_script("l2_put", BASE, store, revision(at), nonce, epoch, user_ms, scope_ms, token, refresh,
                               user, *chain)

    def read(self, *pairs, largest=1000, lock_ms=0, token="me"):
        words = [word for pair in pairs or [(42, "channel:9")] for word in pair]
        return self.run_script("l2_read", BASE, largest, lock_ms, token, *words)

    def advance(self, start, end, *changes, nonce="5", store=STORE, end_nonce="6", message="said"):
        return self.run_script("l2_advance", BASE, store, revision(start), nonce, revision(end), end_nonce, CHANNEL,
                               message, *changes)

    def erase(self, seen):
        return self.run_script("l2_begin", seen)

    def begin(self, seen, at=20, nonce="9", epoch="00000000000000ff"):
        return self.run_script("l2_begin", seen, STORE, revision(at), nonce, epoch, CHANNEL, "poke")


class Put(Scripts):
    def test_kept_and_found(self):
        self.set_marker()
        self.assertEqual([1], self.put())
        marker, hit = self.read()
        self.assertEqual(self.as_marker(), marker)
        self.assertEqual(b"hit", hit[0])
        self.assertTrue(4000 < hit[1] <= 5000)
        self.assertEqual([b"channel:9", b"v-channel", b"r-channel", b"server:1", b"v-server", b"r-server", b"global",
                          b"v-global", b"r-global"], hit[2:])

    def test_refused(self):
        """Anywhere but where the marker stands; and it says where that is."""
        self.assertEqual([0], self.put()[:1])
        self.set_marker()
        for wrong in ({"at": 9}, {"at": 11}, {"nonce": "6"}, {"nonce": ""}, {"store": "000000000000abce"},
                      {"epoch": "00000000000000ef"}, {"epoch": "0" * 16}):
            self.assertEqual([0, *self.as_marker()], self.put(**wrong), wrong)
        self.assertEqual([MARKER.encode()], self.redis.command("KEYS", "*"))

    def test_revisions_beyond_what_a_float_holds(self):
        self.set_marker(at=2 ** 53)
        self.assertEqual(0, self.put(at=2 ** 53 + 1)[0])
        self.set_marker(at=2 ** 64 - 1, nonce=str(2 ** 64 - 1))
        self.assertEqual(0, self.put(at=2 ** 64 - 1, nonce=str(2 ** 64 - 2))[0])
        self.assertEqual([1], self.put(at=2 ** 64 - 1, nonce=str(2 ** 64 - 1)))

    def test_life_is_not_lengthened(self):
        self.set_marker()
        self.put(user_ms=3000, scope_ms=3000)
        self.put(user_ms=60000, scope_ms=60000, chain=("channel:8", "server:1", "1", "v", "r") + self.CHAIN[5:])
        self.assertLessEqual(self.redis.command("PTTL", self.user_key()), 3000)
        for scope in ("channel:9", "server:1", "global"):
            self.assertTrue(0 < self.redis.command("PTTL", self.scope_key(scope)) <= 3000)
        self.assertGreater(self.redis.command("PTTL", self.scope_key("channel:8")), 50000)

    def test_every_key_ends(self):
        self.set_marker()
        self.put()
        self.put(user=43, chain=("channel:7", "-", "0", "v", "r"))
        for key in self.redis.command("KEYS", f"{BASE}{EPOCH}*"):
            self.assertGreater(self.redis.command("PTTL", key), 0, key)

    def test_refresh_begins_afresh(self):
        self.set_marker()
        self.put(user_ms=3000)
        self.redis.command("HSET", self.user_key(), "channel:8", "old")
        self.put(user_ms=60000, refresh="1")
        self.assertGreater(self.redis.command("PTTL", self.user_key()), 50000)
        self.assertIsNone(self.redis.command("HGET", self.user_key(), "channel:8"))

    def test_lock_is_given_back_by_its_holder_alone(self):
        lock = BASE + "lock:42:channel:9"
        for holder, gone in (("me", 1), ("other", 0)):
            for known in (True, False):  # also when the put itself is refused
                self.redis.command("FLUSHALL")
                if known:
                    self.set_marker()
                self.redis.command("SET", lock, holder)
                self.put(token="me")
                self.assertEqual(1 - gone, self.redis.command("EXISTS", lock), (holder, known))


class Read(Scripts):
    def test_nothing_without_a_marker(self):
        self.assertEqual([None] * 4, self.read()[0])
        self.assertEqual(1, len(self.read()))

    def test_misses(self):
        """One part missing is as good as none."""
        for gone in (self.user_key(), self.scope_key("channel:9"), self.scope_key("server:1"),
                     self.scope_key("global")):
            self.set_marker()
            self.put()
            self.assertEqual(b"hit", self.read()[1][0])
            self.redis.command("DEL", gone)
            self.assertEqual([b"miss", 1], self.read()[1], gone)
            self.redis.command("FLUSHALL")
        self.set_marker()
        self.put()
        self.redis.command("HDEL", self.user_key(), "server:1")
        self.assertEqual([b"miss", 1], self.read()[1])
        self.set_marker(epoch="00000000000000e0")
        self.assertEqual([b"miss", 1], self.read()[1])

    def test_absent(self):
        self.set_marker()
        self.put(chain=("channel:7", "-", "0", "v", "r"))
        self.assertEqual([b"absent"], self.read((42, "channel:7"))[1])
        self.assertEqual([b"absent"], self.read((43, "channel:7"))[1])
        self.assertEqual(0, self.redis.command("EXISTS", self.user_key()))

    def test_many(self):
        self.set_marker()
        self.put()
        self.put(user=43, chain=("channel:7", "-", "0", "v", "r"))
        reply = self.read((42, "channel:9"), (43, "channel:9"), (1, "channel:7"), (42, "server:1"))
        self.assertEqual([b"hit", b"miss", b"absent", b"hit"], [pair[0] for pair in reply[1:]])

    def test_locks(self):
        self.set_marker()
        first = self.read(lock_ms=2000, token="a")
        self.assertEqual([b"miss", 1], first[1])
        self.assertEqual([b"miss", 1], self.read(lock_ms=2000, token="a")[1])  # it is ours already
        self.assertEqual([b"miss", 0], self.read(lock_ms=2000, token="b")[1])
        self.assertTrue(0 < self.redis.command("PTTL", BASE + "lock:42:channel:9") <= 2000)
        self.assertEqual(0, self.redis.command("EVAL", self.texts["lock_release"], 1, BASE + "lock:42:channel:9", "b"))
        self.assertEqual(1, self.redis.command("EVAL", self.texts["lock_release"], 1, BASE + "lock:42:channel:9", "a"))
        self.assertEqual(0, self.redis.command("EVAL", self.texts["lock_release"], 1, BASE + "lock:42:channel:9", "a"))
        self.assertEqual([b"miss", 1], self.read(lock_ms=2000, token="b")[1])

    def test_too_large_goes(self):
        for key, field in ((self.user_key(), "server:1"), (self.scope_key("server:1"), "value")):
            self.set_marker()
            self.put()
            self.redis.command("HSET", key, field, "x" * 1001)
            self.assertEqual([b"large"], self.read()[1])
            self.assertEqual(0, self.redis.command("EXISTS", key))
            self.redis.command("FLUSHALL")

    def test_no_reply_is_without_end(self):
        """Each value is as large as it may be; together they would be more than a host takes."""
        self.set_marker()
        value = "v" * 1000
        for user in range(1, 31):
            self.put(user=user, chain=("channel:9", "server:1", "1", value, value, "server:1", "global", "0", value,
                                       value, "global", "", "0", value, value))
        said = self.read(*[(user, "channel:9") for user in range(1, 31)])[1:]
        self.assertEqual([b"hit"] * 10 + [b"miss"] * 20, [result[0] for result in said])
        self.assertEqual([b"miss", 1], said[-1])
        self.assertEqual(b"hit", self.read((30, "channel:9"))[1][0])

    def test_one_that_is_spoilt_does_not_keep_the_others(self):
        self.set_marker()
        for key in (self.user_key(), self.scope_key("channel:9"), self.scope_key("server:1")):
            self.put()
            self.put(user=43)
            self.put(user=43, chain=self.CHAIN[10:])
            self.redis.command("SET", key, "x")
            reply = self.read((42, "channel:9"), (43, "global"))
            self.assertEqual([[b"spoilt"], b"hit"], [reply[1], reply[2][0]], key)
            self.assertEqual(b"miss", self.read()[1][0])
        self.redis.command("HSET", BASE + "lock:42:channel:9", "x", "y")
        self.assertEqual([b"miss", 1], self.read(lock_ms=2000)[1])

    def test_a_circle_of_parents(self):
        self.set_marker()
        self.put()
        self.redis.command("HSET", self.scope_key("server:1"), "parent", "channel:9")
        self.assertEqual([b"spoilt"], self.read()[1])
        self.assertEqual(b"miss", self.read()[1][0])

    def test_full(self):
        """Values that are there are found; others are missed, without a lock."""
        self.set_marker()
        self.put()
        self.redis.command("CONFIG", "SET", "maxmemory", "1mb")
        reply = self.read((42, "channel:9"), (43, "channel:9"), lock_ms=2000)
        self.assertEqual([b"hit", [b"miss", 1]], [reply[1][0], reply[2]])


class Place(Scripts):
    """Many users of one place."""

    SCOPES = [b"channel:9", b"v-channel", b"server:1", b"v-server", b"global", b"v-global"]
    ROWS = [b"r-channel", b"r-server", b"r-global"]

    def place(self, *users, scope="channel:9", largest=1000):
        return self.run_script("l2_place", BASE, largest, scope, *users)

    def test_found(self):
        self.set_marker()
        self.put()
        self.put(user=43, chain=self.CHAIN[5:])  # not for the channel
        self.put(user=44)
        before = sorted(self.redis.command("KEYS", "*"))
        self.assertEqual([self.as_marker(), self.SCOPES,
                          self.ROWS + [None, b"r-server", b"r-global"] + [None] * 3 + self.ROWS],
                         self.place(42, 43, 45, 44))
        self.assertEqual([self.as_marker(), self.SCOPES[4:], [b"r-global", None]], self.place(42, 45, scope="global"))
        self.assertEqual(before, sorted(self.redis.command("KEYS", "*")))  # no locks

    def test_nothing_without_a_marker(self):
        self.assertEqual([[None] * 4, [], []], self.place(42))
        self.set_marker()
        self.put()
        self.set_marker(epoch="00000000000000e0")
        self.assertEqual([self.as_marker(epoch="00000000000000e0"), [], []], self.place(42))

    def test_a_chain_that_is_not_whole(self):
        nothing = [self.as_marker(), [], []]
        for scope in ("channel:9", "server:1", "global"):
            key = self.scope_key(scope)
            for spoil in (("DEL", key), ("HDEL", key, "parent"), ("HDEL", key, "value"), ("HSET", key, "parent", "-"),
                          ("HSET", key, "parent", "channel:9"), ("HSET", key, "value", "x" * 1001), ("SET", key, "x")):
                self.redis.command("FLUSHALL")
                self.set_marker()
                self.put()
                self.redis.command(*spoil)
                self.assertEqual(nothing, self.place(42, 42), spoil)

    def test_one_that_is_spoilt_does_not_keep_the_others(self):
        """And it stays: it is for l2_read to say so."""
        for spoil, rows in ((("SET", self.user_key(), "x"), [None] * 3),
                            (("DEL", self.user_key()), [None] * 3),
                            (("HSET", self.user_key(), "server:1", "x" * 1001), [b"r-channel", None, b"r-global"]),
                            (("HDEL", self.user_key(), "server:1"), [b"r-channel", None, b"r-global"])):
            self.redis.command("FLUSHALL")
            self.set_marker()
            for user in (41, 42, 43):
                self.put(user=user)
            if spoil[0] == "SET":
                self.redis.command("DEL", self.user_key())
            self.redis.command(*spoil)
            there = self.redis.command("EXISTS", self.user_key())
            self.assertEqual(self.ROWS + rows + self.ROWS, self.place(41, 42, 43)[2], spoil)
            self.assertEqual(there, self.redis.command("EXISTS", self.user_key()))

    def test_no_reply_is_without_end(self):
        self.set_marker()
        value = "v" * 1000
        for user in range(1, 31):
            self.put(user=user, chain=("global", "", "0", value, value))
        rows = self.place(*range(1, 31), scope="global")[2]
        self.assertEqual([value.encode()] * 4 + [None] * 26, rows)
        self.assertEqual([value.encode()], self.place(30, scope="global")[2])

    def test_full(self):
        self.set_marker()
        self.put()
        self.redis.command("CONFIG", "SET", "maxmemory", "1mb")
        self.assertEqual(self.ROWS + [None] * 3, self.place(42, 43)[2])


class Marker(Scripts):
    def published(self):
        text = self.redis.command("INFO", "commandstats").decode()
        return int(text.split("cmdstat_publish:calls=")[1].split(",")[0]) if "cmdstat_publish:" in text else 0

    def listen(self, act):
        """Its result, and how many messages were published."""
        before = self.published()
        reply = act()
        return reply, self.published() - before

    def test_advance(self):
        """It takes what is named, leaves the rest, and tells once."""
        self.set_marker()
        self.put()
        self.put(user=43)
        reply, told = self.listen(lambda: self.advance(10, 12, "rows", 42, "server:1", "plain", "server:1", ""))
        self.assertEqual(([1, *self.as_marker(12, "6")], 1), (reply, told))
        self.assertEqual(tuple(self.as_marker(12, "6")), self.marker())
        self.assertEqual({b"channel:9", b"global"}, set(self.redis.command("HKEYS", self.user_key())))
        self.assertEqual(3, self.redis.command("HLEN", self.user_key(43)))
        self.assertEqual(1, self.redis.command("EXISTS", self.scope_key("server:1")))  # it was not plain
        self.advance(12, 13, "plain", "channel:9", "", nonce="6")
        self.assertEqual(0, self.redis.command("EXISTS", self.scope_key("channel:9")))  # it was
        self.advance(13, 14, "scope", "server:1", "", nonce="6")
        self.assertEqual(0, self.redis.command("EXISTS", self.scope_key("server:1")))
        self.assertEqual(1, self.redis.command("EXISTS", self.scope_key("global")))

    def test_advance_over_what_is_spoilt(self):
        """A key that is no hash is of nobody: it goes, and the marker with it goes on."""
        self.set_marker()
        for key in (self.user_key(), self.scope_key("channel:9"), self.scope_key("server:1")):
            self.redis.command("SET", key, "x")
        self.assertEqual(1, self.advance(10, 12, "rows", 42, "server:1", "plain", "channel:9", "", "scope",
                                         "server:1", "")[0])
        self.assertEqual([MARKER.encode()], self.redis.command("KEYS", "*"))

    def test_advance_refused(self):
        """An advance from anywhere but where the marker stands takes nothing and tells nothing."""
        self.assertEqual(0, self.advance(10, 12)[0])
        self.set_marker()
        self.put()
        for start, wrong in ((9, {}), (11, {}), (10, {"nonce": "6"}), (10, {"store": "000000000000abce"})):
            reply, told = self.listen(lambda: self.advance(start, 12, "rows", 42, "server:1", "scope", "global", "",
                                                           **wrong))
            self.assertEqual(([0, *self.as_marker()], 0), (reply, told), (start, wrong))
        self.assertEqual(b"hit", self.read()[1][0])
        self.assertEqual(tuple(self.as_marker()), self.marker())

    def test_two_hosts_advance_once(self):
        self.set_marker()
        self.assertEqual(1, self.advance(10, 12)[0])
        reply, told = self.listen(lambda: self.advance(10, 12))
        self.assertEqual((0, 0), (reply[0], told))

    def test_a_step_of_no_length_asks(self):
        self.set_marker()
        reply, told = self.listen(lambda: self.advance(10, 10))
        self.assertEqual(([1, *self.as_marker()], 0), (reply, told))

    def test_told_although_full(self):
        """Redis lets a script go on that has written before; one that has not is stopped at the marker, and has
        told."""
        self.set_marker()
        self.put()
        self.redis.command("CONFIG", "SET", "maxmemory", "1mb")
        reply, told = self.listen(lambda: self.advance(10, 12, "rows", 42, "server:1", "scope", "channel:9", ""))
        self.assertEqual((1, 1), (reply[0], told))
        self.assertEqual(0, self.redis.command("EXISTS", self.scope_key("channel:9")))

        def act():
            with self.assertRaisesRegex(RuntimeError, "OOM"):
                self.advance(12, 13, nonce="6")
        _, told = self.listen(act)
        self.assertEqual(1, told)
        self.assertEqual(tuple(self.as_marker(12, "6")), self.marker())

    def test_begin(self):
        """The new marker comes in place of what was seen and of nothing else: of many who find that
        of no use, one begins."""
        new = [STORE.encode(), revision(20).encode(), b"9", b"00000000000000ff"]
        self.assertEqual([1, *new], self.begin("|||"))
        self.assertEqual(0, self.begin("|||", epoch="00000000000000f0")[0])
        self.assertEqual(tuple(new), self.marker())
        for seen in (f"{STORE}|{revision(20)}|9|", f"{STORE}|{revision(20)}|8|00000000000000ff", "", "|", "|||"):
            self.assertEqual([0, *new], self.begin(seen))
        self.assertEqual(1, self.begin(f"{STORE}|{revision(20)}|9|00000000000000ff", epoch="00000000000000f1")[0])
        self.assertEqual(b"00000000000000f1", self.marker()[3])

    def test_begin_in_place_of_rubbish(self):
        self.redis.command("HSET", MARKER, "store", "x", "other", "y")
        self.assertEqual(1, self.begin("x|||")[0])
        self.assertEqual(4, self.redis.command("HLEN", MARKER))
        self.redis.command("DEL", MARKER)
        self.redis.command("RPUSH", MARKER, "x")
        self.assertEqual(1, self.begin("|||")[0])

    def test_erased(self):
        """The marker is erased by a host that does not believe the store any more, if it is what that host has seen."""
        self.set_marker()
        self.assertEqual([0, *self.as_marker()], self.erase("|||"))
        self.assertEqual([0, *self.as_marker()], self.erase(f"{STORE}|{revision(11)}|5|{EPOCH}"))
        self.assertEqual(self.as_marker(), list(self.marker()))
        self.assertEqual([1], self.erase(f"{STORE}|{revision(10)}|5|{EPOCH}"))
        self.assertEqual(0, self.redis.command("EXISTS", MARKER))
        self.assertEqual([1], self.erase("|||"))

    def test_begin_forgets(self):
        self.set_marker()
        self.put()
        self.begin(f"{STORE}|{revision(10)}|5|{EPOCH}")
        self.assertEqual(b"miss", self.read()[1][0])


if __name__ == "__main__":
    main()
