#!/usr/bin/env python3
"""check, permissions and explain say the same, whatever has ended, will end, or ends while they are asked: through
the socket, on random policies, at one revision."""

import os
import random
import time

from harness import QUICK, SqliteCase, main
from harness.process import wait_until

PERMISSIONS = [f"thing.p{number}" for number in range(6)]
SCOPES = ["global", "server:1", "server:2", "channel:10", "channel:11", "channel:20"]
USERS = range(1, 13)
ROLES = range(100, 110)
SOON_SECONDS = 3


def rfc3339(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"


def some(dice, items, most):
    return dice.sample(list(items), dice.randint(0, most))


def random_end(dice, now):
    """Half of the assignments have an end: long ago, just now, in a moment, far away."""
    if dice.random() < 0.5:
        return {}
    end = dice.choice([now - 86400 * 400, now - 1, now + dice.uniform(0.5, SOON_SECONDS), now + 86400 * 400])
    return {"expires_at": rfc3339(end)}


def random_policy(dice, now):
    """Everything that decides: inheritance, denies, own-only grants, defaults, overwrites, owners, requirements,
    inactive roles."""
    places = {100 + number: dice.choice(["global", "server:1", "server:2"]) for number in range(len(ROLES))}
    roles = [{"id": role, "scope": scope, "default": dice.random() < 0.1, "active": dice.random() < 0.9,
              "inherits": [parent for parent in some(dice, range(100, role), min(2, role - 100))],
              "allow": some(dice, PERMISSIONS, 3), "allow_own": some(dice, PERMISSIONS, 2),
              "deny": some(dice, PERMISSIONS, 1)} for role, scope in places.items()]
    for role in roles:
        role["allow_own"] = [name for name in role["allow_own"] if name not in role["allow"] + role["deny"]]
        role["deny"] = [name for name in role["deny"] if name not in role["allow"]]
    scopes = [{"scope": scope, "parent": parent,
               "overwrites": [{"role": role, "allow": some(dice, PERMISSIONS[:3], 2),
                               "deny": some(dice, PERMISSIONS[3:], 2)}
                              for role in some(dice, ROLES, 2)]}
              for scope, parent in [("server:1", "global"), ("server:2", "global"), ("channel:10", "server:1"),
                                    ("channel:11", "server:1"), ("channel:20", "server:2")]]
    scopes[0]["owner"] = 1
    return {
        "permissions": [{"name": name, "requires": some(dice, PERMISSIONS[:number], min(1, number))}
                        for number, name in enumerate(PERMISSIONS)] + [{"name": "thing.all", "grants_all": True}],
        "scopes": scopes, "roles": roles,
        "assignments": [{"user": user, "role": role, "scope": places[role], **random_end(dice, now)}
                        for user in USERS for role in some(dice, ROLES, 3)],
    }


class Agreement(SqliteCase):
    def setUp(self):
        super().setUp()
        self.serving = self.sidecar()
        self.rpc = self.serving.rpc()
        self.addCleanup(self.rpc.close)

    def answers(self, user, scope, permission, own):
        """Returns what the three of them say, as booleans, and the revisions they say it of."""
        owner = {"owner": user} if own else {}
        check = self.rpc.call("check", user=user, scope=scope, permission=permission, **owner)
        listed = self.rpc.call("permissions", user=user, scope=scope)
        explained = self.rpc.call("explain", user=user, scope=scope, permission=permission, **owner)
        self.assertIn(check["decision"], (0, 1))
        names = listed["own"] if own else listed["any"]
        return ((check["decision"] == 1, permission in names, explained["decision"] == 1),
                (check["revision"], listed["revision"], explained["revision"]), explained["lines"])

    def agreed(self, question):
        """Whether the three agree now; they are asked one after the other, and the table follows an end within a
        poll."""
        said, revisions, _ = self.answers(*question)
        return len(set(said)) == 1 and len(set(revisions)) == 1

    def compare(self, dice, count):
        """An end at this moment may be seen before and after it: only answers that go on differing do differ."""
        for _ in range(count):
            question = (dice.choice(USERS), dice.choice(SCOPES), dice.choice(PERMISSIONS), dice.random() < 0.5)
            if not self.agreed(question):
                wait_until(lambda: self.agreed(question), 30,
                           lambda: f"check, permissions and explain agree about {question}: {self.answers(*question)}")

    def test_random_policies(self):
        seed = int(os.environ.get("PERMTAB_TEST_SEED", random.randrange(2**32)))
        print(f"    PERMTAB_TEST_SEED={seed}", flush=True)
        for round_ in range(1 if QUICK else 3):
            dice = random.Random(seed + round_)
            now = time.time()
            self.serving.apply(random_policy(dice, now), prune=True)
            while time.time() < now + SOON_SECONDS + 0.5:
                self.compare(dice, 40)

    def test_what_has_ended(self):
        """The case that was wrong: a role, and a mute, that ended long ago."""
        self.serving.apply({
            "permissions": [{"name": "message.delete"}, {"name": "message.send"}],
            "scopes": [{"scope": "server:1", "parent": "global"}],
            "roles": [{"id": 99, "scope": "server:1", "default": True, "allow": ["message.send"]},
                      {"id": 101, "scope": "server:1", "allow": ["message.delete"]},
                      {"id": 102, "scope": "server:1", "deny": ["message.send"]}],
            "assignments": [{"user": 9, "role": role, "expires_at": "2020-01-01T00:00:00Z"} for role in (101, 102)]})
        for own in (False, True):
            for permission, allowed in (("message.delete", False), ("message.send", True)):
                with self.subTest(permission=permission, own=own):
                    said, _, lines = self.answers(9, "server:1", permission, own)
                    self.assertEqual((allowed,) * 3, said, lines)
                    self.assertEqual(2, sum("ended 2020-01-01T00:00:00Z: ignored" in line for line in lines), lines)


if __name__ == "__main__":
    main()
