"""The writers, which change the policy while the fleet is being hurt: acknowledged writes through random sidecars, and
plain SQL. Each attempt is written down with its times, whatever became of it."""

import os
import random
import select
import subprocess
import threading
import time

from . import model
from .checker import Write
from .process import kill, spawn
from .rpc import Rpc, RpcError
from .servers import find

PATIENCE_S = 4.0


def statement(key, present):
    """The SQL that makes a key be there, or not; doing it twice changes nothing."""
    kind, user, role, scope_type, scope = key
    if kind == model.ROLE:
        return f"UPDATE permtab_role SET active = {int(present)} WHERE id = {role};"
    if kind == model.GRANT:
        permission, deny = model.GRANTS[role]
        row = {"role_id": role, "permission": f"'{permission}'", "effect": "'deny'" if deny else "'allow'"}
        table = "permtab_role_permission"
    elif kind == model.PARENT:
        row, table = {"role_id": role, "parent_id": model.DELETER}, "permtab_role_parent"
    elif kind == model.ASSIGNMENT:
        row = {"user_id": user, "role_id": role, "scope_type": scope_type, "scope_id": scope}
        table = "permtab_assignment"
    else:
        subject = "user" if user else "role"
        permission, effect = model.OVERWRITES[scope, subject]
        row = {"scope_type": scope_type, "scope_id": scope, "subject": f"'{subject}'", "subject_id": user or role,
               "permission": f"'{permission}'", "effect": f"'{effect}'"}
        table = "permtab_overwrite"
    if present:
        same = next(iter(row))
        return (f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(str, row.values()))})"
                f" ON DUPLICATE KEY UPDATE {same} = {table}.{same};")
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = {value}' for name, value in row.items())};"


class Prompt:
    """The command-line client on a pipe. It ends at the first error, so a transaction is whole or not there."""

    def __init__(self, port, database):
        self.process = spawn(
            [find("mariadb", "mysql"), "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", f"--port={port}",
             "--user=permtab", "--batch", "--skip-column-names", "--unbuffered", "--skip-reconnect",
             "--connect-timeout=2",
             "--init-command=SET SESSION innodb_lock_wait_timeout = 3, max_statement_time = 3", database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._buffer = b""

    def run(self, sql, seconds):
        """The lines it printed, up to one that says "done"; what there is when it ended or took too long."""
        lines, deadline = [], time.monotonic() + seconds
        try:
            self.process.stdin.write(sql.encode() + b"\nSELECT 'done';\n")
            self.process.stdin.flush()
        except OSError:
            return lines
        while not lines or lines[-1] != "done":
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                lines.append(line.decode())
            if lines and lines[-1] == "done":
                break
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not data:
                break
            self._buffer += data
        return lines

    def close(self):
        kill(self.process)
        self.process.stdin = None
        self.process.stdout.close()


class Writer(threading.Thread):
    """One thread of writes, `rate` a second, until stop(). `wrote` is told of each acknowledged one."""

    def __init__(self, fleet, seed, rate, wrote=None):
        super().__init__(daemon=True)
        self.fleet = fleet
        self.random = random.Random(seed)
        self.pause = 1 / rate
        self.wrote = wrote
        self.writes = []
        self.ending = threading.Event()
        self.trouble = None

    def stop(self):
        self.ending.set()
        self.join(60)
        assert not self.is_alive(), "a writer hangs"
        if self.trouble:
            raise self.trouble

    def run(self):
        try:
            while not self.ending.wait(self.random.uniform(0, 2 * self.pause)):
                self.write_one()
        except Exception as trouble:  # told to whoever stops it: a thread has nobody to raise to
            self.trouble = trouble
        self.close()

    def close(self):
        pass

    def note(self, write):
        self.writes.append(write)
        if write.ended_ns is not None and self.wrote:
            self.wrote(write)


class SqlWriter(Writer):
    """One to three keys a transaction, or the pair. `keys` and `statement` are those of the policy."""

    prompt = None
    keys = staticmethod(model.keys)
    statement = staticmethod(statement)

    def choose(self):
        if self.random.random() < 0.15:
            flip = self.random.random() < 0.5
            return model.PAIR, (flip, not flip)
        chosen = tuple(self.random.sample(self.keys(), self.random.choice((1, 1, 2, 3))))
        return chosen, tuple(self.random.random() < 0.5 for _ in chosen)

    def write_one(self):
        self.write(*self.choose())

    def write(self, keys, present):
        if self.prompt is None:
            self.prompt = Prompt(self.fleet.mariadb.port, self.fleet.database)
        number = "FROM permtab_counter WHERE one = 1"
        sql = "\n".join(["START TRANSACTION;", f"SELECT CONCAT('before ', revision) {number} FOR UPDATE;",
                         *map(self.statement, keys, present), f"SELECT CONCAT('after ', revision) {number};",
                         "COMMIT;"])
        begun = time.monotonic_ns()
        lines = self.prompt.run(sql, PATIENCE_S)
        ended = time.monotonic_ns()
        told = dict(line.split(" ") for line in lines if " " in line)
        before, after = (int(told[word]) if word in told else None for word in ("before", "after"))
        done = lines[-1:] == ["done"]
        if not done:
            self.close()
        # The client commits nothing before it has said "after": then the attempt is not worth remembering.
        if after is not None:
            self.note(Write(begun, ended if done else None, before, after, keys, present, "sql"))
        return after if done else None

    def close(self):
        if self.prompt:
            self.prompt.close()
        self.prompt = None


class RpcWriter(Writer):
    """assign, unassign, grant and revoke through random hosts."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.keys = [key for key in model.keys() if key[0] in (model.GRANT, model.ASSIGNMENT)]
        self.connections = {}

    def write_one(self):
        self.write(self.random.choice(self.fleet.hosts), self.random.choice(self.keys), self.random.random() < 0.5)

    def write(self, host, key, present):
        """The revision, or None."""
        kind, user, role, scope_type, scope = key
        if kind == model.GRANT:
            permission, deny = model.GRANTS[role]
            method, params = ("grant", {"effect": "deny" if deny else "allow"}) if present else ("revoke", {})
            params.update(role=role, permission=permission)
        else:
            place = f"{'server' if scope_type == model.SERVER else 'channel'}:{scope}"
            method, params = "assign" if present else "unassign", {"user": user, "role": role, "scope": place}
        begun = time.monotonic_ns()
        try:
            if host.name not in self.connections:
                self.connections[host.name] = Rpc(host.sidecar.socket, timeout=PATIENCE_S)
            reply = self.connections[host.name].call(method, params)
        except (OSError, EOFError, RpcError) as trouble:
            if not isinstance(trouble, RpcError) and host.name in self.connections:
                self.connections.pop(host.name).close()
            self.note(Write(begun, None, None, None, (key,), (present,), host.name))
            return None
        ended, revision = time.monotonic_ns(), reply["revision"]
        self.note(Write(begun, ended, revision - reply["rows_written"], revision, (key,), (present,), host.name))
        return revision

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}
