"""A small policy, and what it decides: the checker's own idea of permtab, short enough to be believed.

Everything that changes in the fleet's tests is there or is not there: an assignment, what a role grants, whether it
is active, an overwrite. Each such thing is named by what its change rows say, and each change row means that it came
or went. So the log of the store alone tells the state at every revision, whatever the writers knew of their writes.
One thing a key: a role has one grant that changes, a scope and a subject have one overwrite."""

ROLE, GRANT, PARENT, ASSIGNMENT, OVERWRITE = 4, 5, 6, 7, 8  # kinds of change rows
SERVER, CHANNEL = 1, 2
SERVER_ID, CHANNELS = 1, (10, 11)

VIEW, SEND, DELETE, MANAGE, KICK = "channel.view", "message.send", "message.delete", "channel.manage", "member.kick"
MEMBER, SENDER, DELETER, MANAGER, MUTED, HEIR, PAIRED = 100, 101, 102, 103, 104, 105, 109
# Each role's grant while its key is there, and whether it is a deny.
GRANTS = {SENDER: (SEND, False), DELETER: (DELETE, False), MANAGER: (MANAGE, False), MUTED: (SEND, True),
          PAIRED: (KICK, False)}
USERS = tuple(range(1, 21))
PAIRED_USER = 21  # holds the paired role exactly while it grants nothing: never allowed


def grant(role):
    return (GRANT, 0, role, 0, 0)


def assignment(user, role, scope=(SERVER, SERVER_ID)):
    return (ASSIGNMENT, user, role, *scope)


def overwrite(channel, user=0, role=0):
    return (OVERWRITE, user, role, CHANNEL, channel)


ACTIVE = (ROLE, 0, MANAGER, SERVER, SERVER_ID)  # the manager's role is active
INHERITS = (PARENT, 0, HEIR, 0, 0)              # the heir is a deleter
# (channel, for a user or for the role of senders) → permission, allow or deny
OVERWRITES = {(10, "user"): (SEND, "deny"), (11, "user"): (DELETE, "allow"), (11, "role"): (SEND, "deny")}
PAIR = (grant(PAIRED), assignment(PAIRED_USER, PAIRED))  # one of the two, changed together in one transaction


def keys():
    """Everything that writers may change, each by itself."""
    found = [grant(role) for role in (SENDER, DELETER, MANAGER, MUTED)] + [ACTIVE, INHERITS]
    for user in USERS:
        found += [assignment(user, role) for role in (SENDER, DELETER, MANAGER, MUTED, HEIR)]
        found += [assignment(user, SENDER, (CHANNEL, 10)), overwrite(10, user=user), overwrite(11, user=user)]
    return found + [overwrite(11, role=SENDER)]


def questions():
    """[(user, scope, permission)]"""
    scopes = [f"server:{SERVER_ID}"] + [f"channel:{channel}" for channel in CHANNELS]
    return [(user, scope, permission) for user in (*USERS, PAIRED_USER) for scope in scopes
            for permission in (SEND, DELETE, MANAGE, KICK)]


def document():
    """The policy as it is applied at the beginning, and begin(): what of keys() is there then."""
    roles = [{"id": MEMBER, "name": "member", "scope": "server:1", "default": True, "allow": [VIEW]}]
    for role, (permission, deny) in GRANTS.items():
        granted = [permission] if role != PAIRED else []
        roles.append({"id": role, "name": f"role {role}", "scope": "server:1", "deny" if deny else "allow": granted})
    roles.append({"id": HEIR, "name": "heir", "scope": "server:1", "inherits": [DELETER]})
    held = [{"user": user, "role": SENDER, "scope": "server:1"} for user in USERS if user % 2]
    return {"permissions": [{"name": name} for name in (VIEW, SEND, DELETE, MANAGE, KICK)],
            "scopes": [{"scope": "server:1", "parent": "global"}] +
                      [{"scope": f"channel:{channel}", "parent": "server:1"} for channel in CHANNELS],
            "roles": roles, "assignments": held + [{"user": PAIRED_USER, "role": PAIRED, "scope": "server:1"}]}


def begin():
    return ({grant(role) for role in (SENDER, DELETER, MANAGER, MUTED)} | {ACTIVE, INHERITS, PAIR[1]} |
            {assignment(user, SENDER) for user in USERS if user % 2})


def allowed(state, user, scope, permission):
    """DESIGN section 2, for this policy: `state` is the set of keys that are there."""
    kind, _, number = scope.partition(":")
    chain = [(SERVER, SERVER_ID)] + ([(CHANNEL, int(number))] if kind == "channel" else [])
    held = {role for role in (*GRANTS, HEIR) if any(assignment(user, role, place) in state for place in chain)}
    if HEIR in held and INHERITS in state:
        held.add(DELETER)
    if ACTIVE not in state:
        held.discard(MANAGER)
    live = {role for role in held if role in GRANTS and grant(role) in state and GRANTS[role][0] == permission}
    answer = bool(live) and not any(GRANTS[role][1] for role in live)
    if kind != "channel":
        return answer
    channel = int(number)
    subjects = [("role", SENDER in held and overwrite(channel, role=SENDER) in state),
                ("user", overwrite(channel, user=user) in state)]
    for subject, there in subjects:
        named, effect = OVERWRITES.get((channel, subject), (None, None))
        if there and named == permission:
            answer = effect == "allow"
    return answer


def concerned(key, asked):
    """Indices of the questions whose answer the key can change."""
    user = key[1]
    return [index for index, question in enumerate(asked) if user in (0, question[0])]


class Timelines:
    """The revisions at which each question's answer changed. answers[i] holds before changes[question][i], the
    last one from the last change on; they alternate. `decides`: what a state decides; allowed() of another policy."""

    def __init__(self, asked, state, decides=allowed):
        self.asked = asked
        self.state = set(state)
        self.decides = decides
        self.changes = [[] for _ in asked]
        self.first = [decides(self.state, *question) for question in asked]
        self._last = list(self.first)
        self._concerned = {}

    def step(self, revision, changed):
        """One transaction: each key of `changed` came or went; it ended at this revision."""
        touched = set()
        for key in changed:
            self.state ^= {key}
            if key not in self._concerned:
                self._concerned[key] = concerned(key, self.asked)
            touched.update(self._concerned[key])
        for index in touched:
            answer = self.decides(self.state, *self.asked[index])
            if answer != self._last[index]:
                self._last[index] = answer
                self.changes[index].append(revision)

    def last(self):
        """Returns what every question is to be answered with now."""
        return "".join("A" if answer else "D" for answer in self._last)
