"""MariaDB and Redis servers of our own, on private sockets in a folder that is thrown away.

As a script, for tests/run.sh: `servers.py FOLDER` starts both, writes FOLDER/environment when they answer, and stops
them when it is told to end or its parent is gone."""

import fcntl
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

if __package__:
    from .process import kill, spawn, wait_until
else:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    from process import kill, spawn, wait_until

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"


def find(*names):
    for name in names:
        path = shutil.which(name, path=_PATH)
        if path:
            return path
    raise SystemExit(f"{names[0]} is not installed; see deploy/packages.txt")


def free_port():
    """A port on 127.0.0.1 for a server that will be killed and started again. Not one of those that the system gives to
    whoever connects: such a port may be taken meanwhile, even by the one who tries to connect to it."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Mariadb:
    """One server in a folder. It keeps its data over stop, kill and start. With a port it also listens on 127.0.0.1,
    for the user permtab, who has no password. `options` are for every start.

    To make its first tables takes a second of a processor, and dozens of servers are begun: those of run.py share them,
    in the folder that PERMTAB_E2E_MARIADB names."""

    def __init__(self, folder, port=None, options=()):
        self.options = list(options)
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.socket = self.folder / "mysql.sock"
        self.log = self.folder / "mariadb.log"
        self.port = port
        self.process = None
        self._numbers = 0
        if not self.data.exists():
            self.folder.mkdir(exist_ok=True)
            shared = os.environ.get("PERMTAB_E2E_MARIADB")
            if shared:
                shutil.copytree(self._shared(pathlib.Path(shared)), self.data)
            else:
                self._install(self.data)

    def _shared(self, folder):
        """First tables that nobody has written to, made by whoever comes first."""
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "data").exists():
                self._install(folder / "begun")
                (folder / "begun").rename(folder / "data")
        return folder / "data"

    def _owner(self):
        return [f"--user={pwd.getpwuid(os.getuid()).pw_name}"]

    def _install(self, data):
        done = subprocess.run(
            [find("mariadb-install-db"), "--no-defaults", "--auth-root-authentication-method=normal",
             "--skip-test-db", "--skip-name-resolve", "--force", f"--datadir={data}",
             "--innodb-log-file-size=16M"] + self._owner(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PATH": _PATH, "TMPDIR": str(self.folder)})
        assert done.returncode == 0, f"mariadb-install-db: {done.stdout}"

    def start(self, *options):
        network = ["--skip-networking"] if self.port is None else [f"--port={self.port}", "--bind-address=127.0.0.1"]
        with open(self.log, "a") as log:
            # A server that starts removes temporary tables from where they are kept, those of other servers too: one
            # folder each. Durability against a power cut is of no use to a folder that is thrown away.
            self.process = spawn(
                [find("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}",
                 f"--pid-file={self.folder}/mariadb.pid", f"--tmpdir={self.folder}", "--innodb-log-file-size=16M",
                 "--innodb-flush-log-at-trx-commit=2", "--max-connections=300", *network, *self.options,
                 *options] + self._owner(),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(self._answers, 60, lambda: f"MariaDB answers; its log says: {self.log.read_text()[-2000:]}")
        if self.port is not None:
            self.client(None, "CREATE USER IF NOT EXISTS permtab@'%'; GRANT ALL ON *.* TO permtab@'%';")
        return self

    def _answers(self):
        assert self.process.poll() is None, f"MariaDB ended: {self.log.read_text()[-2000:]}"
        return self.socket.exists() and self.client(None, "SELECT 1", check=False).returncode == 0

    def client(self, database, sql, check=True, timeout=120):
        """Runs SQL through the plain command-line client; its output has tabs and no headings."""
        done = subprocess.run(
            [find("mariadb", "mysql"), "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch",
             "--skip-column-names", "--default-character-set=utf8mb4"] + ([database] if database else []),
            input=sql, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"mariadb: {done.stderr}\n{sql[:500]}"
        return done

    def database(self, name=None):
        """Makes an empty database and returns its name."""
        self._numbers += 1
        name = name or f"permtab_{os.getpid()}_{self._numbers}"
        self.client(None, f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name} CHARACTER SET utf8mb4;")
        return name

    def url(self, database):
        return f"mysql://root@/{database}?socket={self.socket}"

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """Ends it as a crash would. A folder that is thrown away is left behind like this, too."""
        kill(self.process)
        self.process = None


def primary(folder, binlog_format="ROW"):
    """A started server that others can follow."""
    server = Mariadb(folder, port=free_port(),
                     options=["--server-id=1", "--log-bin=binlog", f"--binlog-format={binlog_format}",
                              "--log-bin-trust-function-creators=1"]).start()
    server.client(None, "CREATE USER replicator@'127.0.0.1' IDENTIFIED BY 'replicate';"
                        "GRANT REPLICATION SLAVE ON *.* TO replicator@'127.0.0.1';")
    return server


def replica(folder, of):
    """A started server that follows `of`, made by primary(), from its beginning; nobody but root can write to it."""
    server = Mariadb(folder, options=["--server-id=2", "--read-only=1"]).start()
    server.client(None, f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {of.port},"
                        "MASTER_USER = 'replicator', MASTER_PASSWORD = 'replicate', MASTER_CONNECT_RETRY = 1,"
                        "MASTER_LOG_FILE = 'binlog.000001', MASTER_LOG_POS = 4; START SLAVE;")
    return server


class Redis:
    """One server, on a Unix socket; with a port also on 127.0.0.1. What it holds goes with its process, but for
    dumps."""

    def __init__(self, folder, port=None):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "redis.sock"
        self.port = port
        self.process = None

    def start(self, dump=None):
        """Empty, or with what save() has kept."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "dump.rdb").unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        if dump:
            shutil.copy(dump, self.folder / "dump.rdb")
        with open(self.folder / "redis.log", "a") as log:
            self.process = spawn(
                [find("redis-server"), "--port", str(self.port or 0), "--bind", "127.0.0.1", "--unixsocket",
                 str(self.socket),
                 "--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--dir", str(self.folder)],
                 stdout=log, stderr=log)
        wait_until(self._answers, 20, "Redis answers")
        return self

    def _answers(self):
        try:
            return self.command("PING") == b"PONG"
        except (OSError, EOFError, RuntimeError):  # RuntimeError: it is loading its dump
            return False

    def command(self, *words, timeout=120):
        """One command and its reply: bytes, an int, a list or None. RuntimeError when it is refused."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self.socket))
            parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part)
                                                                  for part in parts))
            with connection.makefile("rb") as reply:
                return self._reply(reply)

    def _reply(self, file):
        line = file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._reply(file) for _ in range(int(rest))]
        return rest

    def save(self, name):
        """Keeps what it holds now; the path is for start()."""
        self.command("SAVE")
        kept = self.folder / f"{name}.kept"
        shutil.copy(self.folder / "dump.rdb", kept)
        return kept

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        kill(self.process)
        self.process = None


def _serve(folder):
    folder = pathlib.Path(folder)
    parent = os.getppid()
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.append(True))
    mariadb, redis = Mariadb(folder / "mariadb"), Redis(folder / "redis")
    try:
        mariadb.start()
        redis.start()
        url = mariadb.url(mariadb.database("permtab_test"))
        text = f"export PERMTAB_TEST_MYSQL='{url}'\nexport PERMTAB_TEST_REDIS='unix:{redis.socket}'\n"
        (folder / "environment.new").write_text(text)
        (folder / "environment.new").rename(folder / "environment")
        while not stop and os.getppid() == parent:
            time.sleep(0.2)
    finally:
        mariadb.kill()
        redis.kill()


if __name__ == "__main__":
    _serve(sys.argv[1])
