"""Many processes that ask for different users at the same moment (tests/e2e/stampede.c), and the store that they ask
about."""

import contextlib
import os
import pathlib
import shutil
import sqlite3
import subprocess
import time

from .paths import program, temporary_folder
from .process import children, spawn, wait_until
from .servers import Mariadb, Redis
from .sidecar import Sidecar

SENDER, SILENT = 1000, 2000  # and the number of the place
SERVER = 1                   # the number of that scope type
CALM_USERS = 20000           # whom the calm client may ask for
# Of its answers each client has this when a quarter of them have all. Of single questions less, for who is to ask the
# next one the machine decides, too.
FAIR_SHARE = {"many": 0.5, "single": 0.1}


def policy(places):
    """Channel N is in server N; there a sender may send, and a silent one may not."""
    numbers = range(1, places + 1)
    return {
        "permissions": [{"name": "message.send"}],
        "scopes": [{"scope": f"server:{number}", "parent": "global"} for number in numbers] +
                  [{"scope": f"channel:{number}", "parent": f"server:{number}",
                    "overwrites": [{"role": SILENT + number, "deny": ["message.send"]}]} for number in numbers],
        "roles": [{"id": SENDER + number, "name": "sender", "scope": f"server:{number}", "allow": ["message.send"]}
                  for number in numbers] +
                 [{"id": SILENT + number, "name": "silent", "scope": f"server:{number}"} for number in numbers],
    }


def _rows(users, places):
    """Whoever is to be a sender, and who silent, is said in tests/e2e/stampede.c."""
    for user in range(1, users + 1):
        place = 1 + user % places
        yield user, (SILENT if user // places % 2 else SENDER) + place, place


def assignments(users, places):
    """SQL for either store; the sidecar applies the policy first."""
    rows = ",".join(f"({user},{role},{SERVER},{place})" for user, role, place in _rows(users, places))
    return f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {rows};"


def _sleeps(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


class Stampede:
    """`clients` processes that ask each for `questions` users, at `places` places, and one that asks calmly."""

    def __init__(self, socket, clients, questions, places, how, check_ms=1000, calm_us=20000):
        self.process = spawn([program("stampede"), *map(str, (socket, clients, questions, places, how, check_ms,
                                                              calm_us))],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        first = self.process.stdout.readline()
        assert first == "waiting\n", f"the stampede said {first!r}"

    def _order(self, line):
        self.process.stdin.write(line + "\n")

    def _hear(self):
        line = self.process.stdout.readline().strip()
        assert line and not line.startswith("error"), f"the stampede said {line!r}"
        return line

    def _figures(self):
        return {name: int(number) for name, number in (word.split("=") for word in self._hear().split())}

    def open(self):
        """All open the table at once. The figures, by name."""
        self._order("open")
        return self._figures()

    def begin_to_ask(self):
        """All ask at once."""
        self._order("ask")
        line = self._hear()
        assert line == "asking", line

    def wait_sent(self):
        """Until all wait who can ask nothing more before somebody answers. To be called while nobody does."""
        wait_until(lambda: all(map(_sleeps, children(self.process.pid))), 20, "all wait for an answer")

    def answers(self):
        """The figures, by name, when all are done."""
        return self._figures()

    def close(self):
        self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class FreshHost:
    """with FreshHost(…) as host: a store of so many users at so many places, and a sidecar over it that knows nobody
    yet: its table is empty, nobody has asked it for anything, and so is Redis."""

    def __init__(self, store, redis, users, places, **options):
        self.store, self.with_redis = store, redis
        self.users, self.places, self.options = users, places, options
        self.server = self.redis = self.sidecar = None

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.folder = temporary_folder("stampede")
            stack.callback(shutil.rmtree, self.folder, True)
            if self.store == "mariadb":
                self.server = Mariadb(self.folder / "m").start()
                stack.callback(self.server.kill)
                self.database = self.server.database()
            if self.with_redis:
                self.redis = Redis(self.folder / "r").start()
                stack.callback(self.redis.kill)
                self.options["redis"] = f"unix:{self.redis.socket}"
            url = self.server.url(self.database) if self.server else f"sqlite:{self.folder}/permtab.db"
            self.sidecar = Sidecar(self.folder, url, **self.options)
            stack.callback(lambda: self.sidecar.process and self.sidecar.kill())
            self._fill()
            self.close = stack.pop_all().close
        return self

    def __exit__(self, *_):
        self.close()

    def _fill(self):
        self.sidecar.start()
        self.sidecar.apply(policy(self.places))
        self.sidecar.stop()
        if self.server:
            self.server.client(self.database, assignments(self.users, self.places))
        else:
            store = sqlite3.connect(self.folder / "permtab.db")
            store.executescript(f"BEGIN; {assignments(self.users, self.places)} COMMIT;")
            store.close()

    def begin(self):
        """A sidecar that knows nobody. The one before goes, with its master, who has the keys."""
        if self.sidecar.process:
            self.sidecar.stop()
        if self.redis:
            self.redis.command("FLUSHALL")
        self.sidecar.start(120)

    def statements(self):
        """What the server has been asked so far; 0 with SQLite."""
        if not self.server:
            return 0
        return int(self.server.client(None, "SHOW GLOBAL STATUS LIKE 'Questions';").stdout.split()[1])


def _cpu_ms(pid):
    """Of all its threads."""
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return 1000 * (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def watch(host, herd, calm_s=0, pause=False):
    """All open, and then all ask. The figures of both, and what the sidecar and the server counted meanwhile. In
    `calm_s` between them one is calm and nobody else asks. `pause`: the sidecar is stopped until all have asked."""
    opened = herd.open()
    time.sleep(calm_s)
    before, statements, cpu_ms = host.sidecar.stats(), host.statements(), _cpu_ms(host.sidecar.worker_pid)
    if pause:
        host.sidecar.pause()
    try:
        herd.begin_to_ask()
        if pause:
            herd.wait_sent()
    finally:
        if pause:
            host.sidecar.resume()
    asked = herd.answers()
    asked.update(cpu_ms=_cpu_ms(host.sidecar.worker_pid) - cpu_ms, statements=host.statements() - statements)
    after = host.sidecar.stats()
    for name in ("store_reads", "fills", "fills_failed", "requests_failed", "clients_refused"):
        asked[name] = after[name] - before[name]
    asked["turns_max_us"] = after["turns_max_us"]
    return opened, asked


def broken_promises(opened, asked, how, answers, questions):
    """What was not kept of what holds however fast the machine is.

    A list is there as a whole, so its users are read together. Single questions are read together as far as they have
    to wait for the store: how far that is depends on how fast it is."""
    kept = {
        f"{opened['failed']} could not open the table: {opened['why']}": opened["failed"] == 0,
        "somebody was not answered": asked["unknown"] + asked["calm_unknown"] == 0,
        "an answer was wrong": asked["wrong"] + asked["calm_wrong"] == 0,
        "somebody was refused": asked["clients_refused"] + asked["requests_failed"] == 0,
        "the server was asked too often": (1 if how == "single" else 10) * asked["statements"] <= answers,
        "the store was read too often": how == "single" or 10 * asked["store_reads"] <= answers,
        "somebody had to wait while others had their answers": asked["least"] >= FAIR_SHARE[how] * questions,
    }
    return [text for text, good in kept.items() if not good]
