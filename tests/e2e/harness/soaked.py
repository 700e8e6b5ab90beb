"""Two hosts over one store and one Redis, for the soak: `h0` is left to live its life, the worker of `h1` dies, is
replaced and grows its table again and again. Clients, writers and what is true of them."""

import dataclasses
import os
import re
import signal
import sqlite3
import time

from . import checker, model, moves
from .fleet import SETTLE_S, Fleet
from .process import end, kill, wait_until
from .reader import Reader
from .servers import Mariadb, Redis, free_port
from .sidecar import Sidecar
from .visitor import Visitor
from .writers import RpcWriter, SqlWriter

READ_THREADS, WRITE_THREADS = 2, 2       # with a connection to the store each
OTHERS = 3                               # the feed's, the auditor's, and one that is made anew
RETENTION_S, RETENTION_ROWS = 60, 1000   # the least that may be configured
OPTIONS = {"poll_interval": "100ms", "max_staleness": "2s", "store_threads": READ_THREADS,
           "store_write_threads": WRITE_THREADS, "table_entries": 2000, "table_memory_max": "64MB",
           "strangers_max": 10000, "invalidation_history": 20,
           "change_retention": f"{RETENTION_S}s", "change_retention_rows": RETENTION_ROWS}
# With an arena a thread, each keeps what was freed in it, and which thread builds a table is chance: steps of 1.5 MB.
PLAIN_MALLOC = {"MALLOC_ARENA_MAX": "1"}
GROWING = {"table_entries": 8, "hit_rate_target": "1.0"}  # as in the nemesis: 84 entries are asked for


class SqliteWriter(SqlWriter):
    """Through a connection of its own, as another program would have one."""

    keys = staticmethod(moves.keys)
    connection = None

    def write(self, keys, present):
        if self.connection is None:
            self.connection = sqlite3.connect(self.fleet.store.path, timeout=20, isolation_level=None,
                                              check_same_thread=False)
        run = self.connection.execute
        begun = time.monotonic_ns()
        run("BEGIN IMMEDIATE")
        before = run("SELECT revision FROM permtab_counter").fetchone()[0]
        for key, there in zip(keys, present):
            run(re.sub("ON DUPLICATE KEY UPDATE .*;", "ON CONFLICT DO NOTHING;", moves.statement(key, there)))
        after = run("SELECT revision FROM permtab_counter").fetchone()[0]
        run("COMMIT")
        self.note(checker.Write(begun, time.monotonic_ns(), before, after, keys, present, "sql"))
        return after

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class SqliteStore:
    name, Writer, port, database = "SQLite", SqliteWriter, None, None

    def __init__(self, folder):
        self.path = folder / "permtab.db"
        self.url = f"sqlite:{self.path}"
        connections = READ_THREADS + WRITE_THREADS + OTHERS
        self.lazy = {f"permtab.db{kind}": connections for kind in ("", "-wal", "-shm")}

    def start(self):
        return self

    def rows(self, text):
        connection = sqlite3.connect(self.path, timeout=20)
        try:
            return [["NULL" if cell is None else str(cell) for cell in row] for row in connection.execute(text)]
        finally:
            connection.close()

    def bytes(self):
        """Of the files: they are to stay as large as they are, once the log is as long as it may be."""
        return sum(os.stat(f"{self.path}{kind}").st_size for kind in ("", "-wal"))

    def close(self):
        pass


class MariadbWriter(SqlWriter):
    keys = staticmethod(moves.keys)
    statement = staticmethod(moves.statement)


class MariadbStore:
    name, Writer = "MariaDB", MariadbWriter

    def __init__(self, folder):
        self.port = free_port()
        self.server = Mariadb(folder / "mariadb", port=self.port)
        self.lazy = {"socket:": READ_THREADS + WRITE_THREADS + OTHERS}

    def start(self):
        self.server.start()
        self.database = self.server.database()
        self.url = f"mysql://permtab@127.0.0.1:{self.port}/{self.database}"
        return self

    def rows(self, text):
        return [line.split("\t") for line in self.server.client(self.database, text).stdout.splitlines()]

    def bytes(self):
        """MariaDB's files are its own affair."""
        return 0

    def close(self):
        self.server.kill()


class CountedSidecar(Sidecar):
    """Knows how many connections the test itself has made to it."""

    connections = 0

    def rpc(self, **options):
        self.connections += 1
        return super().rpc(**options)

    def _healthy(self):
        self.connections += 1
        return super()._healthy()


@dataclasses.dataclass
class SoakHost:
    name: str
    sidecar: CountedSidecar
    readers: list = dataclasses.field(default_factory=list)
    read: dict = dataclasses.field(default_factory=dict)  # path of answers → bytes that were read
    visitor: Visitor = None
    signalled: list = dataclasses.field(default_factory=list)
    begun: int = 1  # workers, by what the test did

    def answers(self):
        """{path: the records of answers since the last call}; they are dropped from the files."""
        found = {}
        for reader in self.readers:
            with open(reader.path, "rb") as file:
                file.seek(self.read.get(reader.path, 0))
                data = file.read()
            self.read[reader.path] = self.read.get(reader.path, 0) + len(data)
            os.truncate(reader.path, 0)  # the reader goes on where it was: before that there is a hole
            found[reader.path.stem] = list(checker.RECORD.iter_unpack(data))
        return found

    def new_worker(self, before):
        """Waits until another worker than that serves."""
        self.begun += 1
        wait_until(lambda: self.sidecar.worker_pid not in (None, before), 20,
                   lambda: f"{self.name} has another worker: {self.sidecar.log()[-2000:]}")
        self.sidecar.wait_healthy()

    def kill_worker(self):
        before = self.sidecar.worker_pid
        self.signalled.append((before, signal.SIGKILL))
        os.kill(before, signal.SIGKILL)
        self.new_worker(before)

    def reload(self, **changes):
        """SIGHUP with a changed configuration; the same worker serves on unless another one is needed."""
        self.sidecar.configure(**changes)
        self.sidecar.process.send_signal(signal.SIGHUP)


class World(Fleet):
    """The hosts, all that asks and changes, and what is true. Needs no links: nobody is cut off here."""

    def __init__(self, folder, store, staleness_ms=2000, binary=None):
        self.binary = binary
        self.folder = folder
        self.store = store(folder)
        self.redis = Redis(folder / "redis")
        self.staleness_ms = staleness_ms
        self.hosts = []
        self.store_id = self.begin_revision = self.begin_state = None

    @property
    def database(self):
        return self.store.database

    @property
    def mariadb(self):
        """SqlWriter asks it for its port."""
        return self.store

    def start(self, document=None):
        self.store.start()
        self.redis.start()
        for number, more in enumerate(({}, GROWING)):
            folder = self.folder / f"h{number}"
            folder.mkdir()
            sidecar = CountedSidecar(folder, self.store.url, environment=PLAIN_MALLOC,
                                     redis=f"unix:{self.redis.socket}", **OPTIONS | more)
            sidecar.binary = self.binary or sidecar.binary
            self.hosts.append(SoakHost(f"h{number}", sidecar))
            sidecar.start()
            if number == 0:
                self.store_id = sidecar.apply(document or moves.document())["store_id"]
        self.begin()
        return self

    def start_clients(self, readers=2):
        """On the first host as many readers, one on the second; a visitor each."""
        for host, count in zip(self.hosts, (readers, 1)):
            for number in range(count):
                host.readers.append(Reader(host.sidecar.socket, self.folder / f"{host.name}-{number}.spans",
                                           moves.questions(), number + 1))
            host.visitor = Visitor(host.sidecar.socket, "server:1", model.VIEW)

    def end_clients(self):
        for host in self.hosts:
            for reader in host.readers:
                reader.close()
            if host.visitor:
                host.visitor.close()
            host.readers, host.visitor = [], None

    def close(self):
        self.end_clients()
        for host in self.hosts:
            kill(host.sidecar.process)
        self.redis.kill()
        self.store.close()

    def end(self):
        """Orderly. {name: exit status}"""
        self.end_clients()
        return {host.name: end(host.sidecar.process) for host in self.hosts}

    def writers(self, seed, rate):
        kinds = (self.store.Writer, RpcWriter)
        return [kind(self, seed + number, rate / len(kinds), self.tell) for number, kind in enumerate(kinds)]

    def tell(self, write):
        for host in self.hosts:
            host.readers[0].token(self.store_id, write.revision)

    def rows(self, text):
        return self.store.rows(text)

    def present(self):
        away = self.rows(f"SELECT 1 FROM permtab_scope WHERE type = {model.CHANNEL} AND id = {moves.MOVING}"
                         f" AND parent_id = {moves.THERE};")
        return super().present() | ({moves.AWAY} if away else set())

    def finals(self):
        """{reader: a letter a question}, when nobody is in doubt any more, and how many were asked and how many were
        unknown on each host."""
        letters, asked = {}, {}
        deadline = time.monotonic() + SETTLE_S
        for host in self.hosts:
            calls = unknown = 0
            for reader in host.readers:
                told = "U"
                while "U" in told and time.monotonic() < deadline:
                    told = reader.final()
                    calls, unknown = calls + len(told), unknown + told.count("U")
                letters[reader.path.stem] = told
            asked[host.name] = (calls, unknown)
        return letters, asked

    def record(self, writes, answers, finals):
        """For the checker, of what was since begin()."""
        log, read_ns = self.log()
        timelines = model.Timelines(moves.questions(), self.begin_state, moves.allowed)
        return checker.Record(self.staleness_ms * 1000000, self.begin_revision, log, read_ns, writes, timelines,
                              answers, finals)

    def clean_up(self):
        """Removes from Redis what nobody will read any more, and waits until that is done."""
        host = self.hosts[0].sidecar
        with host.rpc() as rpc:
            number = rpc.call("cleanup", action="start", kind="epochs")["id"]
            wait_until(lambda: all(job["state"] in ("done", "failed", "cancelled")
                                   for job in rpc.call("cleanup", action="status")["jobs"] if job["id"] == number),
                       20, lambda: f"the clean-up is done: {rpc.call('cleanup', action='status')}")

    def redis_holds(self):
        """Keys, and bytes of memory."""
        info = self.redis.command("INFO", "memory").decode()
        return self.redis.command("DBSIZE"), int(re.search(r"used_memory:(\d+)", info).group(1))


