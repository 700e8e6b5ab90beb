#!/usr/bin/env python3
"""Real access-control data: users and permissions that HP Labs published for role mining (Ene et al., SACMAT 2008),
one role for each distinct permission set; and a community with Discord's permissions, against the algorithm Discord
publishes.

PERMTAB_TEST_DATA names the folder with hp-rbac/; without it ../shared/data beside the checkout is tried, then a
generator of the same shape stands in."""

import collections
import gzip
import os
import pathlib
import random

from harness import QUICK, ROOT, MariadbCase, SqliteCase, full_only, main

PERMISSIONS_MAX = 2048
SAMPLE = 1_000_000


def hp_file():
    named = os.environ.get("PERMTAB_TEST_DATA")
    folders = [pathlib.Path(named)] if named else [ROOT.parent / "shared" / "data",
                                                   ROOT.parent.parent / "shared" / "data"]
    for folder in folders:
        path = folder / "hp-rbac" / "americas_small.txt.gz"
        if path.exists():
            return path
    return None


def read_pairs(path):
    """{user: set of permissions} of a file of `user permission` lines."""
    held = collections.defaultdict(set)
    with gzip.open(path, "rt") as lines:
        for line in lines:
            user, permission = line.split()
            held[int(user)].add(int(permission))
    return dict(held)


def generate_pairs():
    """The same shape: 3,477 users, 1,587 permissions, about 105,000 pairs, a few hundred distinct sets, the largest
    with some hundreds of permissions."""
    chance = random.Random(2008)
    bundles = [chance.sample(range(1, 1588), min(300, int(chance.paretovariate(1.1) * 3))) for _ in range(200)]
    combinations = [sorted(chance.sample(range(200), chance.randint(1, 5))) for _ in range(260)]
    held = {}
    for user in range(1, 3478):
        held[user] = {permission for bundle in chance.choice(combinations) for permission in bundles[bundle]}
    return held


def document_of(held):
    """One role for each distinct permission set, assigned globally."""
    permissions = sorted({permission for of_user in held.values() for permission in of_user})
    roles = {}
    for of_user in held.values():
        roles.setdefault(frozenset(of_user), len(roles) + 1)
    return {
        "permissions": [{"name": f"hp.p{permission}"} for permission in permissions],
        "roles": [{"id": number, "name": f"set {number}", "scope": "global",
                   "allow": [f"hp.p{permission}" for permission in sorted(of_role)]}
                  for of_role, number in roles.items()],
        "assignments": [{"user": user, "role": roles[frozenset(of_user)], "scope": "global"}
                        for user, of_user in held.items()],
    }, permissions


class HpRbac:
    def test_every_pair_and_a_sample_of_the_others(self):
        path = hp_file()
        held = read_pairs(path) if path else generate_pairs()
        source = path.name if path else "generated data of the same shape; hp-rbac is not there"
        document, permissions = document_of(held)
        serving = self.sidecar(permissions_max=PERMISSIONS_MAX, table_entries=8000, table_sets=4000)
        serving.apply(document)
        reader = self.worker(serving, timeout_ms=10000)
        allowed = [(user, "global", f"hp.p{permission}") for user, of_user in held.items() for permission in of_user]
        answers, _ = reader.many(allowed)
        self.assertEqual(len(allowed), answers.count("A"), "pairs that are not allowed")
        answers, ns_allowed = reader.many(allowed, "peek")
        self.assertEqual(len(allowed), answers.count("A"), "pairs that the table alone does not allow")
        chance = random.Random(1)
        users = sorted(held)
        others = []
        while len(others) < (SAMPLE // 10 if QUICK else SAMPLE):
            user, permission = chance.choice(users), chance.choice(permissions)
            if permission not in held[user]:
                others.append((user, "global", f"hp.p{permission}"))
        answers, ns_denied = reader.many(others, "peek")
        self.assertEqual(len(others), answers.count("D"), "pairs that the table alone does not deny")
        stats = serving.stats()
        self.assertEqual(len(held), stats["entries"])
        self.assertEqual(len(document["roles"]), stats["sets"])
        self.say(f"{source}: {len(held)} users, {len(permissions)} permissions, {len(document['roles'])} roles; "
                 f"{len(allowed)} pairs allowed ({ns_allowed / len(allowed):.0f} ns a check), "
                 f"{len(others)} others denied ({ns_denied / len(others):.0f} ns)")


# The names of Discord's permissions, in their order, as this project would write them.
DISCORD = """
invite.create member.kick member.ban administrator channel.manage guild.manage reaction.add audit_log.view
speaker.priority stream channel.view message.send message.send_tts message.manage link.embed file.attach
message.read_history everyone.mention emoji.use_external insights.view voice.connect voice.speak voice.mute_members
voice.deafen_members voice.move_members voice.use_vad nickname.change nickname.manage role.manage webhook.manage
expression.manage command.use stage.request_to_speak event.manage thread.manage thread.create_public
thread.create_private sticker.use_external thread.send activity.use_embedded member.moderate
monetization.view_analytics soundboard.use expression.create event.create sounds.use_external voice.send_message
clyde.use voice.set_status poll.send app.use_external message.pin
""".split()
ADMINISTRATOR = DISCORD.index("administrator")
ALL = (1 << len(DISCORD)) - 1


def snowflake(chance):
    return chance.getrandbits(41) << 22 | chance.getrandbits(22)


def names(bits):
    return [name for bit, name in enumerate(DISCORD) if bits >> bit & 1]


class Guild:
    """A guild with an @everyone role (whose id is the guild's), other roles, channels with overwrites, members."""

    def __init__(self, chance):
        bits = lambda share: sum(1 << bit for bit in range(len(DISCORD)) if chance.random() < share)  # noqa: E731
        self.id = snowflake(chance)
        self.roles = {self.id: bits(0.3) & ~(1 << ADMINISTRATOR)}
        for _ in range(8):
            self.roles[snowflake(chance)] = bits(0.15) & ~(1 << ADMINISTRATOR)
        self.roles[snowflake(chance)] = 1 << ADMINISTRATOR
        others = [role for role in self.roles if role != self.id]
        self.members = {snowflake(chance): chance.sample(others, chance.choice([0, 1, 1, 2, 3])) for _ in range(12)}
        self.owner = chance.choice(list(self.members))
        self.channels = {}
        for _ in range(6):
            overwrites = {}
            for subject in chance.sample(list(self.roles), 3) + chance.sample(list(self.members), 2):
                allow = bits(0.1)
                overwrites[subject] = (allow, bits(0.2) & ~allow)
            if chance.random() < 0.5:
                overwrites[self.id] = (bits(0.05), 0)
            self.channels[snowflake(chance)] = overwrites

    def base_permissions(self, member):
        """compute_base_permissions of Discord's documentation ("Permissions", Permission Overwrites)."""
        if member == self.owner:
            return ALL
        permissions = self.roles[self.id]
        for role in self.members[member]:
            permissions |= self.roles[role]
        return ALL if permissions >> ADMINISTRATOR & 1 else permissions

    def overwritten(self, base, member, channel):
        """compute_overwrites of the same page."""
        if base >> ADMINISTRATOR & 1:
            return ALL
        permissions, overwrites = base, self.channels[channel]
        if self.id in overwrites:
            allow, deny = overwrites[self.id]
            permissions = permissions & ~deny | allow
        allow = deny = 0
        for role in self.members[member]:
            if role in overwrites:
                allow |= overwrites[role][0]
                deny |= overwrites[role][1]
        permissions = permissions & ~deny | allow
        if member in overwrites:
            allow, deny = overwrites[member]
            permissions = permissions & ~deny | allow
        return permissions

    def document(self):
        scopes = [{"scope": f"server:{self.id}", "parent": "global", "owner": str(self.owner)}]
        for channel, overwrites in self.channels.items():
            scopes.append({"scope": f"channel:{channel}", "parent": f"server:{self.id}", "overwrites": [
                {"user" if subject in self.members else "role": str(subject), "allow": names(allow),
                 "deny": names(deny)} for subject, (allow, deny) in overwrites.items()]})
        roles = [{"id": str(role), "name": f"role {role}", "scope": f"server:{self.id}", "default": role == self.id,
                  "allow": names(bits)} for role, bits in self.roles.items()]
        assignments = [{"user": str(member), "role": str(role), "scope": f"server:{self.id}"}
                       for member, held in self.members.items() for role in held]
        return scopes, roles, assignments


class Discord:
    GUILDS = 40

    def test_the_published_algorithm(self):
        chance = random.Random(40)
        guilds = [Guild(chance) for _ in range(self.GUILDS)]
        document = {"permissions": [{"name": name, "grants_all": name == "administrator"} for name in DISCORD],
                    "scopes": [], "roles": [], "assignments": []}
        for guild in guilds:
            scopes, roles, assignments = guild.document()
            document["scopes"] += scopes
            document["roles"] += roles
            document["assignments"] += assignments
        serving = self.sidecar(table_entries=20000, table_sets=20000)
        serving.apply(document)
        reader = self.worker(serving, timeout_ms=10000)
        queries, expected = [], []
        for guild in guilds:
            for member in guild.members:
                base = guild.base_permissions(member)
                places = [(f"server:{guild.id}", base)]
                places += [(f"channel:{channel}", guild.overwritten(base, member, channel))
                           for channel in guild.channels]
                for scope, bits in places:
                    for bit, name in enumerate(DISCORD):
                        queries.append((member, scope, name))
                        expected.append("A" if bits >> bit & 1 else "D")
        for mode in ("check", "peek"):
            answers, nanoseconds = reader.many(queries, mode)
            wrong = [(query, answer, right) for query, answer, right in zip(queries, answers, expected)
                     if answer != right]
            self.assertEqual([], wrong[:5], f"{len(wrong)} of {len(queries)} differ ({mode})")
        self.say(f"{len(guilds)} guilds, {len(DISCORD)} permissions: {len(queries)} decisions "
                 f"as Discord's algorithm gives "
                 f"them ({expected.count('A')} allowed), {nanoseconds / len(queries):.0f} ns a check")


class HpRbacOnSqlite(HpRbac, SqliteCase):
    pass


@full_only
class HpRbacOnMariadb(HpRbac, MariadbCase):
    pass


class DiscordOnSqlite(Discord, SqliteCase):
    pass


@full_only
class DiscordOnMariadb(Discord, MariadbCase):
    pass


if __name__ == "__main__":
    main()
