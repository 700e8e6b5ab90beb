"""Many sidecars over one MariaDB and one Redis, each through links of its own; readers on each, and a record of it
all."""

import dataclasses
import json
import shutil
import time

from . import checker, model
from .process import kill, wait_until
from .proxy import Proxy
from .reader import Reader
from .servers import Mariadb, Redis, free_port
from .sidecar import Sidecar

# The patience after healing: a helper thread that found the store away does not ask again within a second, each one may
# first have to find out that its connection is dead, and then all hosts fill their tables at once.
SETTLE_S = 30.0

# Small, so that twenty of them fit two cores.
SMALL = {"store_threads": 2, "store_timeout": "1s", "request_timeout": "500ms", "table_entries": 2000,
         "table_memory_max": "64MB", "redis_ping": "300ms", "strangers_max": 10000, "audit_entries": 2}


@dataclasses.dataclass
class Host:
    name: str
    sidecar: Sidecar
    store_link: str
    redis_link: str
    reader: Reader = None
    lazy: Reader = None
    signalled: list = dataclasses.field(default_factory=list)  # (pid, signal) that workers were sent by a test

    @property
    def links(self):
        return [link for link in (self.store_link, self.redis_link) if link]

    @property
    def readers(self):
        return [reader for reader in (self.reader, self.lazy) if reader]


class Fleet:
    """Starts nothing before start(). Without redis the sidecars live by polls. binary: another permtabd. in_turn:
    further options of h0, h1 and so on, which begin again when there are more hosts. warm: what is done to the fleet
    has to do with warming up, too (warming.py)."""

    def __init__(self, folder, hosts, redis=True, poll_ms=100, staleness_ms=2000, binary=None, mariadb=None,
                 in_turn=({},), warm=False, **options):
        self.folder = folder
        self.staleness_ms = staleness_ms
        self.own_mariadb = mariadb is None
        self.mariadb = mariadb or Mariadb(folder / "mariadb", port=free_port())
        self.redis = Redis(folder / "redis", port=free_port()) if redis else None
        self.proxy = None
        self.hosts = []
        self.count = hosts
        self.binary = binary
        self.in_turn = in_turn
        self.warm = warm
        self.options = {**SMALL, "poll_interval": f"{poll_ms}ms", "max_staleness": f"{staleness_ms}ms", **options}
        self.database = None
        self.store_id = self.begin_revision = self.begin_state = None

    # ---- life --------------------------------------------------------------------------------------------------------

    def start(self, document=None):
        """Servers, links and sidecars, with the policy of model.py (or another one) in all tables."""
        if self.mariadb.process is None:
            self.mariadb.start()
        self.database = self.mariadb.database()
        if self.redis:
            self.redis.start()
        self.proxy = Proxy(self.folder)
        for number in range(self.count):
            self.hosts.append(self._make_host(f"h{number}"))
        self.hosts[0].sidecar.start()
        reply = self.hosts[0].sidecar.apply(document or model.document())
        self.store_id = reply["store_id"]
        for host in self.hosts[1:]:
            host.sidecar.launch()
        for host in self.hosts:
            host.sidecar.wait_healthy(60)
        self.begin()
        return self

    def _make_host(self, name):
        store, redis = f"{name}.store", f"{name}.redis" if self.redis else None
        port = self.proxy.add(store, self.mariadb.port, "mysql")
        options = {**self.options, **self.in_turn[len(self.hosts) % len(self.in_turn)]}
        if redis:
            options["redis"] = f"redis://127.0.0.1:{self.proxy.add(redis, self.redis.port, 'redis')}/0"
        folder = self.folder / name
        folder.mkdir()
        sidecar = Sidecar(folder, f"mysql://permtab@127.0.0.1:{port}/{self.database}", **options)
        if self.binary:
            sidecar.binary = self.binary
        return Host(name, sidecar, store, redis)

    def close(self):
        for host in self.hosts:
            for reader in host.readers:
                reader.close()
        for host in self.hosts:
            kill(host.sidecar.process)
        if self.proxy:
            self.proxy.close()
        if self.redis:
            self.redis.kill()
        if self.own_mariadb:
            self.mariadb.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- asking ------------------------------------------------------------------------------------------------------

    def start_readers(self, sweep_us=10000, ask_us=20000, questions=None, lazy_us=0):
        """With lazy_us each host has a second reader, which asks so seldom: meanwhile it stays with the table that it
        has, whatever became of that."""
        for number, host in enumerate(self.hosts):
            host.reader = Reader(host.sidecar.socket, self.folder / f"{host.name}.spans",
                                 questions or model.questions(), number + 1)
            if lazy_us:
                host.lazy = Reader(host.sidecar.socket, self.folder / f"{host.name}-lazy.spans",
                                   questions or model.questions(), len(self.hosts) + number + 1)
        for host in self.hosts:
            host.reader.start(sweep_us, ask_us)
            if host.lazy:
                host.lazy.start(4 * sweep_us, lazy_us)

    def stop_readers(self):
        for host in self.hosts:
            for reader in host.readers:
                reader.stop()

    def end_readers(self):
        for host in self.hosts:
            for reader in host.readers:
                reader.close()
            host.reader = host.lazy = None

    def sql(self, text):
        return self.mariadb.client(self.database, text)

    def rows(self, text):
        return [line.split("\t") for line in self.sql(text).stdout.splitlines()]

    def revision(self):
        return int(self.rows("SELECT revision FROM permtab_counter;")[0][0])

    def wait_for(self, revision, seconds=30):
        """Waits until every host has applied it."""
        for host in self.hosts:
            wait_until(lambda: host.sidecar.health()["revision"] >= revision, seconds,
                       lambda: f"{host.name} applies revision {revision}; its log says: {host.sidecar.log()[-2000:]}",
                       0.02)

    def heal(self, seconds=40):
        """Mends whatever is broken, and waits until everybody has what the store has."""
        for host in self.hosts:
            for link in host.links:
                self.proxy.reset(link)
        self._heal_server(self.mariadb)
        if self.redis:
            self._heal_server(self.redis)
        for host in self.hosts:
            if host.sidecar.process is None or host.sidecar.process.poll() is not None:
                host.sidecar.launch()
            host.sidecar.resume()
        for host in self.hosts:
            host.sidecar.wait_healthy(seconds)
        self.wait_for(self.revision(), seconds)

    @staticmethod
    def _heal_server(server):
        if server.process is None:
            server.start()
        server.resume()

    def messages(self):
        """Counts what has become of the messages that Redis has sent to the hosts, in all."""
        found = dict.fromkeys(("messages", "dropped", "duplicated", "reordered", "held", "garbled", "corrupted"), 0)
        for host in self.hosts:
            stats = self.proxy.stats(host.redis_link)
            found = {name: count + stats[name] for name, count in found.items()}
        return found

    # ---- the record --------------------------------------------------------------------------------------------------

    def begin(self):
        """A record begins here: nobody writes, and everybody has what the store has."""
        self.begin_revision, self.begin_state = self.revision(), self.present()
        self.wait_for(self.begin_revision)

    def log(self):
        """[(revision, key)] after the beginning, and the time when it had been read."""
        rows = self.rows("SELECT revision, kind, user_id, role_id, scope_type, scope_id FROM permtab_change"
                         f" WHERE revision > {self.begin_revision} ORDER BY revision;")
        return [(int(row[0]), tuple(map(int, row[1:]))) for row in rows], time.monotonic_ns()

    def present(self):
        """The keys that are there, read from the tables."""
        found = {model.grant(int(role)) for [role] in self.rows(
            f"SELECT role_id FROM permtab_role_permission WHERE role_id <> {model.MEMBER};")}
        if self.rows(f"SELECT 1 FROM permtab_role WHERE id = {model.MANAGER} AND active = 1;"):
            found.add(model.ACTIVE)
        if self.rows("SELECT 1 FROM permtab_role_parent;"):
            found.add(model.INHERITS)
        for row in self.rows("SELECT user_id, role_id, scope_type, scope_id FROM permtab_assignment;"):
            found.add((model.ASSIGNMENT, *map(int, row)))
        for subject, number, channel in self.rows("SELECT subject, subject_id, scope_id FROM permtab_overwrite;"):
            found.add(model.overwrite(int(channel), **{subject: int(number)}))
        return found

    def record(self, writes, final=True):
        """Everything for the checker. After heal(), with readers that have stopped."""
        log, read_ns = self.log()
        deadline = time.monotonic() + SETTLE_S
        finals = {host.name: self._final(host, deadline) for host in self.hosts} if final else {}
        return self._kept(log, read_ns, list(writes), finals)

    @staticmethod
    def _final(host, deadline):
        letters = host.reader.final()
        while "U" in letters and time.monotonic() < deadline:
            time.sleep(0.1)
            letters = host.reader.final()
        return letters

    def unfinished(self):
        """Returns what can be said when a round did not come to its end."""
        return self._kept([], 0, [], {})

    def _kept(self, log, read_ns, writes, finals):
        names = [name for host in self.hosts for name in (host.name, f"{host.name}-lazy")]
        paths = {name: self.folder / f"{name}.spans" for name in names}
        return Kept(self.staleness_ms * 1000000, self.begin_revision, sorted(self.begin_state), log, read_ns, writes,
                    finals, {name: path for name, path in paths.items() if path.exists()})


@dataclasses.dataclass
class Kept:
    """A record that can be kept in a folder: record.json and a file of answers a host."""
    staleness_ns: int
    begin_revision: int
    begin_state: list
    log: list
    read_ns: int
    writes: list
    finals: dict
    spans: dict

    def open(self):
        """A fresh record for the checker."""
        return checker.Record(self.staleness_ns, self.begin_revision, self.log, self.read_ns, self.writes,
                              model.Timelines(model.questions(), self.begin_state),
                              {name: Spans(path) for name, path in self.spans.items()}, self.finals)

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in self.spans.items():
            if path.parent != folder:
                shutil.copy(path, folder / f"{name}.spans")
        kept = dataclasses.asdict(self)
        kept["spans"] = sorted(self.spans)
        (folder / "record.json").write_text(json.dumps(kept))

    @classmethod
    def load(cls, folder):
        kept = json.loads((folder / "record.json").read_text())
        kept["begin_state"] = [tuple(key) for key in kept["begin_state"]]
        kept["log"] = [(revision, tuple(key)) for revision, key in kept["log"]]
        kept["writes"] = [checker.Write(*write[:4], tuple(map(tuple, write[4])), tuple(write[5]), write[6])
                          for write in kept["writes"]]
        kept["spans"] = {name: folder / f"{name}.spans" for name in kept["spans"]}
        return cls(**kept)


class Spans:
    """The answers of a file, as often as they are asked for."""

    def __init__(self, path):
        self.path = path

    def __iter__(self):
        return checker.spans_of(self.path)
