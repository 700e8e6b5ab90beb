"""The policy most tests start from: two servers with channels, roles with an inheritance, an owner."""

GLOBAL, SERVER, CHANNEL = 0, 1, 2  # numbers of the scope types

MEMBER, MODERATOR, HELPER, OTHER_MEMBER = 100, 101, 102, 200
OWNER = 900

PERMISSIONS = ["channel.view", "message.send", "message.delete", "channel.manage", "member.kick", "administrator"]


def small():
    """user 1 is a moderator and user 2 a helper of server:1; everyone is a member of both servers by default."""
    return {
        "permissions": [
            {"name": "channel.view", "description": "see a channel"},
            {"name": "message.send", "requires": ["channel.view"]},
            {"name": "message.delete", "requires": ["channel.view"]},
            {"name": "channel.manage"},
            {"name": "member.kick"},
            {"name": "administrator", "grants_all": True},
        ],
        "scopes": [
            {"scope": "server:1", "parent": "global", "owner": OWNER},
            {"scope": "server:2", "parent": "global"},
            {"scope": "channel:10", "parent": "server:1"},
            {"scope": "channel:11", "parent": "server:1",
             "overwrites": [{"role": MEMBER, "allow": [], "deny": ["message.send"]}]},
            {"scope": "channel:20", "parent": "server:2"},
        ],
        "roles": [
            {"id": MEMBER, "name": "member", "scope": "server:1", "default": True,
             "allow": ["channel.view", "message.send"], "allow_own": ["message.delete"]},
            {"id": MODERATOR, "name": "moderator", "scope": "server:1", "inherits": [MEMBER],
             "allow": ["message.delete"]},
            {"id": HELPER, "name": "helper", "scope": "server:1", "allow": ["member.kick"]},
            {"id": OTHER_MEMBER, "name": "member", "scope": "server:2", "default": True,
             "allow": ["channel.view", "message.send"]},
        ],
        "assignments": [
            {"user": 1, "role": MODERATOR, "scope": "server:1"},
            {"user": 2, "role": HELPER, "scope": "server:1"},
        ],
    }
