"""The policy of the soak: that of model.py, and a channel that moves to another server and back. Nobody holds anything
there or at the other server, so in it goes what goes at the server that it is in."""

from . import model, writers

SCOPE = 3  # a kind of change rows
MOVING, HERE, THERE = 12, model.SERVER_ID, 2
AWAY = (SCOPE, 0, 0, model.CHANNEL, MOVING)  # this key is there while the channel is at the other server


def keys():
    return model.keys() + [AWAY]


def questions():
    return model.questions() + [(user, f"channel:{MOVING}", permission)
                                for user in (*model.USERS, model.PAIRED_USER)
                                for permission in (model.SEND, model.DELETE, model.MANAGE, model.KICK)]


def document():
    document = model.document()
    document["scopes"] += [{"scope": f"server:{THERE}", "parent": "global"},
                           {"scope": f"channel:{MOVING}", "parent": f"server:{HERE}"}]
    return document


def allowed(state, user, scope, permission):
    if scope != f"channel:{MOVING}":
        return model.allowed(state, user, scope, permission)
    return AWAY not in state and model.allowed(state, user, f"server:{HERE}", permission)


def statement(key, present):
    if key != AWAY:
        return writers.statement(key, present)
    return (f"UPDATE permtab_scope SET parent_id = {THERE if present else HERE}"
            f" WHERE type = {model.CHANNEL} AND id = {MOVING};")
