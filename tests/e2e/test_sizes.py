#!/usr/bin/env python3
"""Documented sizes work, together: as many permissions as permissions_max allows, with the longest names, tombstones
among them; and what else has a limit, at that limit."""

import json

import msgpack

from harness import MariadbCase, RpcError, SqliteCase, full_only, main
from harness.process import wait_until

PERMISSIONS_MAX = 16384
MEMBER, HOLDER, OWN = 100, 101, 102
FRAME_MAX = 1 << 20


def names(count, length, prefix="p"):
    """Returns so many names of exactly that length."""
    return [f"{prefix}.n{number:05}.".ljust(length, "x") for number in range(count)]


def document(granted, others=(), requires=()):
    """User 1 has all that is granted, user 2 all of it on what is theirs, everybody the first."""
    permissions = [{"name": name} for name in [*granted, *others]]
    if requires:
        permissions[0]["requires"] = list(requires)
    return {
        "permissions": permissions,
        "scopes": [{"scope": "server:1", "parent": "global"}, {"scope": "channel:10", "parent": "server:1"}],
        "roles": [{"id": MEMBER, "name": "member", "scope": "server:1", "default": True, "allow": granted[-1:]},
                  {"id": HOLDER, "name": "holder", "scope": "server:1", "allow": granted},
                  {"id": OWN, "name": "owner", "scope": "server:1", "allow_own": granted}],
        "assignments": [{"user": 1, "role": HOLDER, "scope": "server:1"},
                        {"user": 2, "role": OWN, "scope": "server:1"}],
    }


def pages(rpc, method, lists, mark, **params):
    """All pages of a method: the lists put together, and how many pages there were."""
    whole, place, count, first = {name: [] for name in lists}, 0, 0, None
    while place is not None:
        page = rpc.call(method, {"from": place, **params})
        assert first is None or page[mark] == first, "it has changed in between"
        assert page["next"] is None or page["next"] > place
        first, place, count = page[mark], page["next"], count + 1
        for name in lists:
            whole[name] += page[name]
    return whole, count


class Sizes:
    def serve(self, policy, **options):
        self.serving = self.sidecar(permissions_max=PERMISSIONS_MAX, request_timeout="30s", **options)
        self.serving.apply(policy)
        self.rpc = self.serving.rpc(timeout=60)
        self.addCleanup(self.rpc.close)

    def check_everything(self, granted, dead=0):
        """Checks that whatever a client may ask is answered, and right."""
        first, last = granted[0], granted[-1]
        worker = self.worker(self.serving, timeout_ms=30000)
        for name in (first, last, granted[len(granted) // 2]):
            self.assertEqual("allow", worker.check(1, "channel:10", name))
            self.assertEqual(("allow", 0), worker.peek(1, "channel:10", name))
        self.assertEqual("deny", worker.check(2, "channel:10", first))
        self.assertEqual("allow", worker.check(2, "channel:10", last))
        few = granted[:3000] * 2
        self.assertEqual("A" * len(few), worker.many([(1, "channel:10", name) for name in few])[0])
        self.check_catalogue(granted, dead)
        self.check_permissions(granted)
        explained = self.rpc.call("explain", user=1, scope="channel:10", permission=first)
        self.assertEqual(1, explained["decision"])
        room = FRAME_MAX // (len(first) + 20)
        queries = [[1, "channel:10", name, None] for name in granted[:min(10000, room)]]
        self.assertEqual([1] * len(queries), self.rpc.call("check_many", queries=queries)["decisions"])
        exported = json.loads(self.serving.ctl("export").stdout)
        holder = next(role for role in exported["roles"] if role["id"] == HOLDER)
        self.assertEqual(sorted(granted), sorted(holder["allow"]))
        self.assertGreater(self.rpc.call("stats")["fills"], 0)

    def check_catalogue(self, granted, dead):
        rows, count = pages(self.rpc, "catalogue", ["permissions"], "catalogue")
        self.assertGreater(count, 1)
        self.assertEqual(set(granted), {row[0] for row in rows["permissions"] if not row[2] & 2} & set(granted))
        self.assertEqual(dead, sum(row[2] & 2 > 0 for row in rows["permissions"]))
        self.assertEqual(list(range(len(rows["permissions"]))), sorted(row[1] for row in rows["permissions"]))
        with self.assertRaisesRegex(RpcError, r"-4: catalogue: .*pages.*from = 0"):
            self.rpc.call("catalogue")
        past = self.rpc.call("catalogue", {"from": 1 << 40})
        self.assertEqual(([], None), (past["permissions"], past["next"]))

    def check_permissions(self, granted):
        for user, any_, own in ((1, granted, granted), (2, granted[-1:], granted)):
            have, count = pages(self.rpc, "permissions", ["any", "own"], "answer", user=user, scope="channel:10")
            self.assertGreater(count, 1)
            self.assertEqual((sorted(any_), sorted(own)), (have["any"], have["own"]))
            done = self.serving.ctl("permissions", user, "channel:10", "--json")
            self.assertEqual(0, done.returncode, done.stderr)
            printed = json.loads(done.stdout)
            self.assertEqual((sorted(any_), sorted(own)), (printed["any"], printed["own"]))
        lines = self.serving.ctl("permissions", 2, "channel:10").stdout.splitlines()
        self.assertEqual([granted[-1]] + [f"{name} (own)" for name in sorted(granted[:-1])], lines)
        with self.assertRaisesRegex(RpcError, r"-4: permissions: .*pages.*from = 0"):
            self.rpc.call("permissions", user=1, scope="channel:10")

    def test_sixteen_thousand_names_of_sixty_bytes(self):
        granted = names(16000, 60)
        self.serve(document(granted))
        self.check_everything(granted)

    @full_only
    def test_eleven_thousand_names_of_a_hundred_bytes(self):
        granted = names(11000, 100)
        self.serve(document(granted))
        self.check_everything(granted)

    @full_only
    def test_as_many_as_there_may_be(self):
        granted = names(PERMISSIONS_MAX, 100)
        self.serve(document(granted, requires=granted[1:5000]))
        self.check_everything(granted)
        with self.assertRaisesRegex(RpcError, r"permissions.*16384"):
            self.rpc.apply(json.dumps({"permissions": [{"name": "one.more"}]}))

    @full_only
    def test_tombstones_count(self):
        """A store that was filled up and emptied again is of use."""
        self.serve(document(names(16000, 100)))
        granted = names(300, 100, "q")
        policy = document(granted)
        with self.serving.rpc(timeout=120) as rpc:
            reply = rpc.apply(json.dumps(policy), prune=True)
        wait_until(lambda: self.serving.health()["revision"] >= reply["revision"], 30, "the policy is in the table")
        worker = self.worker(self.serving, timeout_ms=30000)
        self.assertEqual("allow", worker.check(1, "channel:10", granted[0]))
        self.check_catalogue(granted, 16000)
        self.assertEqual((granted, granted), (self.rpc.call("permissions", user=1, scope="channel:10")["any"],
                                              self.rpc.call("permissions", user=2, scope="channel:10")["own"]))

    def test_a_catalogue_that_changes_is_resolved_again(self):
        granted = names(16000, 60)
        self.serve(document(granted))
        worker = self.worker(self.serving, timeout_ms=30000)
        self.assertEqual("allow", worker.check(1, "channel:10", granted[0]))
        first = self.rpc.call("catalogue", {"from": 0})
        self.serving.apply({"permissions": [{"name": "late"}], "roles": [
            {"id": 103, "name": "late", "scope": "server:1", "allow": ["late"]}],
            "assignments": [{"user": 1, "role": 103, "scope": "server:1"}]})
        self.assertNotEqual(first["catalogue"], self.rpc.call("catalogue", {"from": first["next"]})["catalogue"])
        self.assertEqual("allow", worker.check(1, "channel:10", "late"))
        self.assertEqual("allow", worker.check(1, "channel:10", granted[15999]))

    def test_an_older_client_of_a_small_catalogue(self):
        """A request without `from` gets one reply, as ever, without `next`."""
        granted = names(1000, 60)
        self.serve(document(granted))
        reply = self.rpc.call("catalogue")
        self.assertEqual({"catalogue", "permissions", "scope_types"}, set(reply))
        self.assertEqual(1000, len(reply["permissions"]))
        reply = self.rpc.call("permissions", user=1, scope="channel:10")
        self.assertEqual({"user", "scope", "revision", "deadline", "any", "own"}, set(reply))
        self.assertEqual((granted, granted), (reply["any"], reply["own"]))

    # ---- other limits ----------------------------------------------------------------------------------------------

    def test_many_of_everything_else(self):
        """15 types with the longest names and a chain as deep, roles and overwrites by the thousand, long names."""
        types = ["global"] + [f"type{number:02}".ljust(31, "y") for number in range(14)]
        granted = names(4000, 100)
        policy = document(granted)
        last = (1 << 64) - 1
        chain = [f"{kind}:{last}" for kind in types[1:]]
        roles = [{"id": 1000 + number, "name": "r" * 200, "scope": "global", "allow": granted[:2],
                  "inherits": [1000 + number - 1] if number else []} for number in range(2000)]
        overwrites = [{"role": 1000 + number, "allow": [granted[5]], "deny": []} for number in range(100)]
        policy["scopes"] = [{"scope": scope, "parent": parent, "overwrites": overwrites}
                            for scope, parent in zip(chain, ["global", *chain])]
        policy["roles"] = roles
        policy["assignments"] = [{"user": str(last), "role": role["id"], "scope": "global"} for role in roles]
        self.serving = self.sidecar(permissions_max=4096, scope_types=types, request_timeout="30s")
        self.serving.apply(policy)
        self.rpc = self.serving.rpc(timeout=60)
        self.addCleanup(self.rpc.close)
        question = {"user": last, "scope": chain[-1], "permission": granted[5]}
        self.assertEqual(1, self.rpc.call("check", question)["decision"])
        explained = self.rpc.call("explain", question)
        self.assertEqual(1, explained["decision"])
        self.assertLess(explained["decisive"], len(explained["lines"]))
        query = [last, chain[-1], granted[5], last]
        queries = [query] * (FRAME_MAX // (len(msgpack.packb(query)) + 1))
        self.assertEqual([1] * len(queries), self.rpc.call("check_many", queries=queries)["decisions"])
        done = self.serving.ctl("check", "--batch", input=f"{last} {chain[-1]} {granted[5]}\n" * 20000)
        self.assertEqual(["allow"] * 20000, done.stdout.splitlines(), done.stderr)
        self.rpc.call("subscribe", kinds=["user"] * 16)
        targets = [f"user:{last - number}@{chain[-1]}" for number in range(10000)]
        self.assertLess(len(msgpack.packb(targets)), FRAME_MAX)
        done = self.rpc.call("invalidate", targets=targets, reason="r" * 127)
        self.assertEqual(0, done["failed"])
        for number in range(600):
            self.rpc.call("invalidate", what=f"user:{last}@{chain[-1]}", reason="ä" * 63)
        self.assertEqual(500, len(self.rpc.call("invalidations", last=500)["invalidations"]))
        self.assertEqual(json.loads(self.serving.ctl("export").stdout)["roles"][-1]["name"], "r" * 200)


class SizesOnSqlite(Sizes, SqliteCase):
    pass


class SizesOnMariadb(Sizes, MariadbCase):
    quick = ()


if __name__ == "__main__":
    main()
