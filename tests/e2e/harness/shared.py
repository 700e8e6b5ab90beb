"""Hosts that share a store and a Redis: what the tests of L2 and of messages begin with."""

import contextlib
import subprocess
import time

from .policies import MODERATOR, small
from .process import wait_until
from .servers import Redis, find

PREFIX = "permtab:"
MARKER = PREFIX + "l2:1:marker"
CHANNEL = PREFIX + "invalidate"
MODERATES = "message.delete"  # what a moderator may do in server:1 and others may not


class Shared:
    """A mixin for MariadbCase and SqliteCase. hosts() starts sidecars; users from 1000 on are moderators of
    server:1."""

    moderators = 200
    redis_timeout = "5s"  # a value that came too late is not put, and is no matter of most tests; None: as by default

    def redis_server(self):
        self.redis = Redis(self.folder / "redis").start()
        self.addCleanup(lambda: self.redis.kill())
        return self.redis

    def policy(self):
        document = small()
        document["assignments"] += [{"user": 1000 + number, "role": MODERATOR, "scope": "server:1"}
                                    for number in range(self.moderators)]
        return document

    def host(self, number, **options):
        # The bound is for other tests; on a machine that has much to do it must not end these.
        options = {"redis": f"unix:{self.redis.socket}", "max_staleness": "10s", "redis_timeout": self.redis_timeout,
                   **options}
        return self.sidecar(folder=self.folder / f"h{number}", **options)

    def hosts(self, count, warm=True, **options):
        """The policy is in all tables, the marker stands where they do, and all know its roles."""
        if not hasattr(self, "redis"):
            self.redis_server()
        self.all = []
        for number in range(count):
            self.all.append(self.host(number, **options))
            if number == 0:
                self.all[0].apply(self.policy())
        revision = self.all[0].health()["revision"]
        for host in self.all:
            wait_until(lambda: host.health()["revision"] >= revision, 10, "the policy is everywhere", 0.005)
        self.wait_marker()
        if warm:
            for number, host in enumerate(self.all):
                self.wait_check(host, 1, 1000 + self.moderators - 1 - number)
        return self.all

    def wait_marker(self, hosts=None, seconds=10):
        for host in hosts or self.all:
            wait_until(lambda: self._follows(host.stats()), seconds, lambda: f"the marker is known: {host.stats()}",
                       0.005)

    @staticmethod
    def _follows(stats):
        return stats["l2_marker_known"] == 1 and stats["l2_marker_revision"] == stats["applied_revision"]

    # ---- asking -----------------------------------------------------------------------------------------------------

    @staticmethod
    def check(host, user, scope="channel:10", permission=MODERATES):
        """1, 0 or -1, over the socket; the table is asked first."""
        with host.rpc() as rpc:
            return rpc.call("check", user=user, scope=scope, permission=permission)["decision"]

    def wait_check(self, host, wanted, user, seconds=3, **question):
        wait_until(lambda: self.check(host, user, **question) == wanted, seconds, f"{user} gets {wanted}", 0.005)

    @contextlib.contextmanager
    def counted(self, host):
        """with self.counted(host) as grown: … ; then grown["l2_hits"] is by how much it grew."""
        before, grown = host.stats(), {}
        yield grown
        grown.update({name: value - before[name] for name, value in host.stats().items() if name in before})

    def fill(self, host, *users, **question):
        """They ask there, and what was read is in L2 then."""
        before = host.stats()
        for user in users:
            self.check(host, user, **question)
        wait_until(lambda: self._has_put(host, before), 3, lambda: f"all is put: {host.stats()}", 0.002)

    def put_again(self, host, first, seconds=20):
        """Users from `first` on ask there until what was read for one is put into L2; that one."""
        before = host.stats()["l2_puts"]
        users = iter(range(first, first + 10000))

        def put():
            self.user = next(users)
            self.check(host, self.user)
            time.sleep(0.02)
            return host.stats()["l2_puts"] > before
        wait_until(put, seconds, lambda: f"values are put: {host.stats()}", 0.1)
        return self.user

    @staticmethod
    def _has_put(host, before):
        after = host.stats()
        grown = {name: after[name] - before[name] for name in ("l2_misses", "l2_puts", "l2_puts_refused")}
        return grown["l2_puts"] + grown["l2_puts_refused"] >= grown["l2_misses"]

    # ---- Redis ------------------------------------------------------------------------------------------------------

    def cli(self, *words):
        """Runs a command as somebody at a prompt would: through redis-cli."""
        done = subprocess.run([find("redis-cli"), "-s", str(self.redis.socket), *map(str, words)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def keys(self, pattern="*"):
        return sorted(key.decode() for key in self.redis.command("KEYS", PREFIX + "l2:1:" + pattern))

    def marker(self):
        flat = self.redis.command("HGETALL", MARKER)
        return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2])}

    def key_of(self, words):
        """The key of "user:42" or "scope:channel:9" in the present epoch."""
        return f"{PREFIX}l2:1:{self.marker()['epoch']}:{{{words}}}"

    # ---- changing ---------------------------------------------------------------------------------------------------

    def demote(self, *users):
        """Demotes users in plain SQL. Returns when it was committed (CLOCK_MONOTONIC, seconds)."""
        self.sql(f"DELETE FROM permtab_assignment WHERE role_id = {MODERATOR} AND user_id IN"
                 f" ({', '.join(map(str, users))});")
        return time.monotonic()

    def promote(self, *users):
        rows = ", ".join(f"({user}, {MODERATOR}, 1, 1)" for user in users)
        self.sql(f"INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id) VALUES {rows};")
        return time.monotonic()

    def revision(self):
        return int(self.rows("SELECT revision FROM permtab_counter;")[0][0])

    def follow(self, hosts=None, seconds=5):
        """Waits until all have what the store has."""
        revision = self.revision()
        for host in hosts or self.all:
            wait_until(lambda: host.health()["revision"] >= revision, seconds, "the change is applied", 0.005)
        return revision
