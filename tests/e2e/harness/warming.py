"""Warming up in a fleet that is being hurt: tables are warmed without a pause, hosts are asked to warm this and that at
random moments, some have room for a fraction of what is asked for, and what is hot stands in Redis, also spoilt."""

import random
import re
import subprocess
import threading
import time
from typing import NamedTuple

import msgpack

from . import model
from .paths import program
from .process import kill, spawn

CROWD = range(1000, 1300)  # they hold a role and nobody asks about them: reads of the warm-up are of many users
OPTIONS = {"warm_at_start": True, "warm_interval": "300ms", "warm_budget": "100%"}
# A quarter of the keys of the questions has room, and there is no memory to grow into.
CRAMPED = {"table_entries": 16, "table_sets": 256, "table_folds": 64, "table_memory_max": "200KB"}
TARGETS = (["hot", "scope:server:1", "scope:channel:10", "scope:channel:11"] +
           [f"role:{role}" for role in (*model.GRANTS, model.HEIR)] + [f"user:{user}" for user in model.USERS] +
           [f"user:{user}@channel:10" for user in model.USERS])
PATIENCE_S = 5.0
HOT = "permtab:hot:1"

_ENDED = re.compile(r"warm-up: job \d+ \(.*\) (done|cancelled|failed): (\d+) keys filled in [\d.]+ s; (\d+) were there "
                    r"already, (\d+) of strangers")


def document():
    """The policy of model.py and a crowd."""
    found = model.document()
    found["assignments"] += [{"user": user, "role": model.SENDER, "scope": "server:1"} for user in CROWD]
    return found


# ---- what is hot, in Redis -------------------------------------------------------------------------------------------

def _value(store_id, keys):
    words = [word for key in keys for word in key]
    return msgpack.packb([2, "hot.keys", [{"v": 1, "store": store_id, "keys": words}]])


def hot_keys(store_id, dice):
    """What Redis says is hot: field → value. Keys that are asked for, of the crowd, of nobody and nowhere; and more
    often than not one of the pieces is another store's, cut, or rubbish."""
    keys = [(user, model.SERVER, model.SERVER_ID, dice.randrange(1, 4000)) for user in (*model.USERS, *CROWD)]
    keys += [(user, model.CHANNEL, channel, dice.randrange(1, 4000)) for user in model.USERS
             for channel in model.CHANNELS]
    keys += [(dice.getrandbits(60), model.SERVER, model.SERVER_ID, 4000),
             (1, model.CHANNEL, dice.getrandbits(60), 4000)]
    dice.shuffle(keys)
    half = len(keys) // 2
    values = [_value(store_id, keys[:half]), _value(store_id, keys[half:])]
    values.insert(dice.randrange(3), dice.choice((
        _value(store_id ^ 1, keys), _value(store_id, keys)[:dice.randrange(2000)], dice.randbytes(200),
        _value(store_id, keys), _value(store_id, [(1, 99, 1, 1)]))))
    return {str(field): value for field, value in enumerate(values)}


def hot_keys_named(fleet, dice, _):
    """A fault like those of faults.py."""
    fleet.redis.command("DEL", HOT)
    for field, value in hot_keys(fleet.store_id, dice).items():
        fleet.redis.command("HSET", HOT, field, value)


# ---- who asks for it -------------------------------------------------------------------------------------------------

class Warmer(threading.Thread):
    """Asks random hosts to warm this and that, and cancels some of it, `rate` times a second until stop(). Whether a
    host hears of it is nobody's concern."""

    def __init__(self, fleet, seed, rate):
        super().__init__(daemon=True)
        self.fleet = fleet
        self.random = random.Random(seed)
        self.pause = 1 / rate
        self.ending = threading.Event()
        self.begun = []  # (process, since, what it counts as)
        self.counts = {"asked for": 0, "cancelled": 0, "unheard": 0}

    def run(self):
        while not self.ending.wait(self.random.uniform(0, 2 * self.pause)):
            self.look()
            self.begin(*self.choose())

    def choose(self):
        if self.random.random() < 0.25:
            one = [self.random.randrange(1, 40)] if self.random.random() < 0.5 else []
            return "cancelled", ["jobs", "cancel", *one]
        targets = self.random.sample(TARGETS, self.random.choice((1, 1, 2, 4)))
        return "asked for", ["warm", *targets, "--priority", self.random.randrange(10)]

    def begin(self, what, words):
        host = self.random.choice(self.fleet.hosts)
        process = spawn([program("permtabctl"), "--socket", str(host.sidecar.socket), *map(str, words)],
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.begun.append((process, time.monotonic(), what))

    def look(self, all_of_them=False):
        """Counts those that have ended, and has no patience with the others."""
        for one in list(self.begun):
            process, since, what = one
            if process.poll() is None and (all_of_them or time.monotonic() - since > PATIENCE_S):
                kill(process)
                process.wait()
            if process.poll() is not None:
                self.begun.remove(one)
                self.counts[what if process.returncode == 0 else "unheard"] += 1

    def stop(self):
        self.ending.set()
        self.join(60)
        assert not self.is_alive(), "who warms hangs"
        self.look(all_of_them=True)


# ---- what came of it -------------------------------------------------------------------------------------------------

class Warmed(NamedTuple):
    done: int
    cancelled: int
    failed: int
    filled: int
    strangers: int


def warmed(log):
    """Of the jobs that have ended, by what workers say: their counters die with them."""
    states, filled, strangers = {}, 0, 0
    for state, keys, _, skipped in _ENDED.findall(log):
        states[state] = states.get(state, 0) + 1
        filled += int(keys)
        strangers += int(skipped)
    return Warmed(*(states.get(state, 0) for state in ("done", "cancelled", "failed")), filled, strangers)
