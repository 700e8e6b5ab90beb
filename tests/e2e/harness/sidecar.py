"""permtabd under test, with a configuration of its own in a folder of its own."""

import json
import os
import pathlib
import signal
import socket
import subprocess

from .paths import program
from .process import children, end, is_there, kill, spawn, wait_until
from .rpc import Rpc, RpcError

POLL_MS = 100
STALENESS_MS = 2000


class Sidecar:
    """`url` is the store's; further configuration by name: strings are quoted, True and False are written bare."""

    def __init__(self, folder, url, uid=None, environment=None, **options):
        self.folder = pathlib.Path(folder)
        self.uid = uid
        self.socket = self.folder / "permtab.sock"
        self.ops_socket = self.folder / "ops.sock"
        self.configuration = self.folder / "permtab.conf"
        self.log_path = self.folder / "permtabd.log"
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.binary = program("permtabd")
        self.options = {"store": url, "socket": str(self.socket), "ops_socket": str(self.ops_socket),
                        "store_migrate": True, **options}
        self.configure()

    def configure(self, **changes):
        """Writes the configuration file; None takes an option out."""
        self.options.update(changes)
        lines = []
        for name, value in self.options.items():
            if value is None:
                continue
            if isinstance(value, bool):
                text = "true" if value else "false"
            elif isinstance(value, int):
                text = str(value)
            elif isinstance(value, (list, tuple)):
                text = "{" + ", ".join(f'"{item}"' for item in value) + "}"
            else:
                text = f'"{value}"'
            lines.append(f"{name} = {text}\n")
        self.configuration.write_text("".join(lines))
        self.configuration.chmod(0o644)

    # ---- its life ---------------------------------------------------------------------------------------------

    def launch(self, *arguments):
        """Starts it without waiting for it to serve."""
        with open(self.log_path, "a") as log:
            self.process = spawn([self.binary, "-c", str(self.configuration), *arguments], uid=self.uid,
                                 stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment)
        return self

    def start(self, seconds=20):
        self.launch()
        self.wait_healthy(seconds)
        return self

    def wait_healthy(self, seconds=20):
        wait_until(self._healthy, seconds, lambda: f"the sidecar serves; its log says: {self.log()[-3000:]}", 0.02)

    def _healthy(self):
        assert self.process.poll() is None, f"permtabd ended with {self.process.returncode}: {self.log()[-3000:]}"
        try:
            with Rpc(self.socket, timeout=5) as rpc:
                return rpc.call("health")["ok"]
        except (OSError, EOFError, RpcError):
            return False

    def run(self, *arguments, timeout=120):
        """Runs permtabd in the foreground, for what ends by itself: -t, --version, --migrate, wrong configurations."""
        return subprocess.run([self.binary, "-c", str(self.configuration), *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout,
                              env=self.environment)

    def stop(self):
        status = end(self.process)
        self.process = None
        return status

    @property
    def worker_pid(self):
        """The process that serves: a child of `process`, its master. None while there is none."""
        pids = children(self.process.pid)
        return pids[0] if pids else None

    def kill(self):
        """Both processes, at once: the worker dies with its master."""
        pids = children(self.process.pid) if self.process is not None else []
        kill(self.process)
        self.process = None
        wait_until(lambda: not any(map(is_there, pids)), 20, "the worker is gone with its master")

    def pause(self):
        """Both processes: the master would take a worker that is stopped for one that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        self.process.send_signal(number)
        for pid in children(self.process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # ---- asking it --------------------------------------------------------------------------------------------

    def rpc(self, **options):
        return Rpc(self.socket, **options)

    def stats(self):
        with self.rpc() as rpc:
            return rpc.call("stats")

    def health(self):
        with self.rpc() as rpc:
            return rpc.call("health")

    def ctl(self, *arguments, input=None, timeout=120):
        return subprocess.run([program("permtabctl"), "--socket", str(self.socket), *map(str, arguments)],
                              input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)

    def apply(self, document, **options):
        """Applies a policy (an object, or the text of one) over the socket, waits until the table follows it, and
        returns the reply."""
        text = document if isinstance(document, str) else json.dumps(document)
        with self.rpc(timeout=120) as rpc:
            reply = rpc.apply(text, **options)
            wait_until(lambda: rpc.call("health")["revision"] >= reply["revision"], 20, "the policy is in the table")
            return reply

    def ops(self, command, seconds=60):
        """One line to the ops socket; what it answers until it is silent or closes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(self.ops_socket))
            connection.sendall(command.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while True:
                data = connection.recv(65536)
                if not data:
                    return answer.decode()
                answer += data
