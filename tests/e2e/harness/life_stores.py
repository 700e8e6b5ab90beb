"""Stores for lives (lives.py): a fresh one each, which can be changed behind the sidecar's back."""

import re
import sqlite3
import time

from . import servers

PATIENCE = 90  # seconds that a write may wait for a lock


class LockedOut(Exception):
    """The write was not done, because of a lock."""


class Sqlite:
    """A fresh store in the life's folder."""

    def __init__(self, folder):
        self.path = folder / "permtab.db"
        self.url = f"sqlite:{self.path}"

    def write(self, text, seconds=PATIENCE):
        connection = sqlite3.connect(self.path, timeout=seconds, isolation_level=None)
        try:
            connection.execute(text)
        except sqlite3.OperationalError as error:
            if not re.search("locked|locking protocol", str(error)):
                raise
            raise LockedOut(error) from error
        finally:
            connection.close()

    def troubles(self):
        if not self.path.exists():
            return []
        connection = sqlite3.connect(self.path, timeout=PATIENCE)
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        connection.close()
        return found

    def clean(self):
        pass


class Mariadb:
    """A server for many lives, each with a database of its own. store(folder) is for DaemonLife."""

    def __init__(self, folder):
        self.server = servers.Mariadb(folder).start()

    def kill(self):
        self.server.kill()

    def store(self, folder):
        return MariadbStore(self.server, folder.name.replace("-", "_"))


class MariadbStore:
    def __init__(self, server, name):
        self.server, self.name = server, server.database(name)
        self.url = server.url(self.name)

    def write(self, text, seconds=PATIENCE):
        done = self.server.client(self.name, f"SET innodb_lock_wait_timeout = {seconds}; {text}", check=False)
        if "Lock wait timeout" in done.stderr:
            raise LockedOut(done.stderr)
        assert done.returncode == 0, done.stderr

    def troubles(self):
        return []

    def clean(self):
        """The server may still be at a CREATE TABLE of a program that was killed: then the folder is not empty."""
        deadline = time.monotonic() + PATIENCE
        while self.server.client(None, f"DROP DATABASE IF EXISTS {self.name}", check=False).returncode != 0:
            assert time.monotonic() < deadline, f"the database {self.name} cannot be dropped"
            time.sleep(0.1)
