"""MariaDB and Redis servers of our own, on private sockets in a folder that is thrown away.

As a script, for tests/run.sh: `servers.py FOLDER` starts both, writes FOLDER/environment when they answer, and stops
them when it is told to end or its parent is gone."""

import os
import pathlib
import pwd
import shutil
import signal
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


class Mariadb:
    """One server in a folder. It keeps its data over stop, kill and start."""

    def __init__(self, folder, template=None):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.socket = self.folder / "mysql.sock"
        self.log = self.folder / "mariadb.log"
        self.process = None
        self._numbers = 0
        if template:
            self.folder.mkdir(exist_ok=True)
            shutil.copytree(template.data, self.data)
        elif not self.data.exists():
            self._install()

    def _owner(self):
        return [f"--user={pwd.getpwuid(os.getuid()).pw_name}"]

    def _install(self):
        self.folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [find("mariadb-install-db"), "--no-defaults", "--auth-root-authentication-method=normal",
             "--skip-test-db", "--skip-name-resolve", "--force", f"--datadir={self.data}", "--innodb-log-file-size=16M"] + self._owner(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PATH": _PATH})
        assert done.returncode == 0, f"mariadb-install-db: {done.stdout}"

    def start(self, *options):
        with open(self.log, "a") as log:
            # Durability against a power cut is of no use to a folder that is thrown away.
            self.process = spawn(
                [find("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}",
                 "--skip-networking", f"--pid-file={self.folder}/mariadb.pid", "--innodb-log-file-size=16M",
                 "--innodb-flush-log-at-trx-commit=2", "--max-connections=300", *options] + self._owner(),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(self._answers, 60, lambda: f"MariaDB answers; its log says: {self.log.read_text()[-2000:]}")
        return self

    def _answers(self):
        assert self.process.poll() is None, f"MariaDB ended: {self.log.read_text()[-2000:]}"
        return self.socket.exists() and self.client(None, "SELECT 1", check=False).returncode == 0

    def client(self, database, sql, check=True, timeout=60):
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
        """As a crash would. Also how a folder that is thrown away is left behind."""
        kill(self.process)
        self.process = None


class Redis:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "redis.sock"
        self.process = None

    def start(self):
        self.folder.mkdir(exist_ok=True)
        with open(self.folder / "redis.log", "w") as log:
            self.process = spawn(
                [find("redis-server"), "--port", "0", "--unixsocket", str(self.socket), "--save", "",
                 "--appendonly", "no", "--dir", str(self.folder)], stdout=log, stderr=log)
        wait_until(self.socket.exists, 20, "Redis has made its socket")
        return self

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
