"""Who holds a sidecar's sockets and what it gives to be kept, as systemd does for permtabd.socket."""

import os
import socket
import subprocess

from .process import spawn

KEYS = "permtab-keys"


def hold(path, backlog=4096):
    """A listening socket that somebody else will serve."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    held.bind(str(path))
    held.listen(backlog)
    return held


def launch_with(sidecar, descriptors, names="", binary=None):
    """Starts the sidecar with these descriptors as 3, 4 …; the shell's process id becomes the daemon's."""
    high = [os.dup2(descriptor, 40 + number) for number, descriptor in enumerate(descriptors)]
    moves = " ".join(f"{number}<&{descriptor}" for number, descriptor in enumerate(high, 3))
    script = f'exec {moves}; export LISTEN_PID=$$; exec "$@"'
    with open(sidecar.log_path, "a") as log:
        sidecar.process = spawn(
            ["bash", "-c", script, "-", binary or sidecar.binary, "-c", str(sidecar.configuration)],
            pass_fds=high, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env={**sidecar.environment, "LISTEN_FDS": str(len(high)), "LISTEN_FDNAMES": names})
    for descriptor in high:
        os.close(descriptor)


class Supervisor:
    """Starts the sidecar again and again with the same sockets and the keys of the last life."""

    def __init__(self, sidecar):
        self.sidecar = sidecar
        self.keys = None
        self.sockets = [hold(sidecar.socket), hold(sidecar.ops_socket)]
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind(str(sidecar.folder / "notify.sock"))
        self.ear.setblocking(False)
        sidecar.environment["NOTIFY_SOCKET"] = str(sidecar.folder / "notify.sock")

    def _hear(self):
        """Reads what the sidecar has told; the keys are kept."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.ear, 4096, 4)
            except BlockingIOError:
                return
            for descriptor in descriptors:
                if f"FDNAME={KEYS}".encode() in data.split(b"\n") and self.keys is None:
                    self.keys = descriptor
                else:
                    os.close(descriptor)

    def launch(self, binary=None):
        self._hear()
        descriptors = [one.fileno() for one in self.sockets] + ([] if self.keys is None else [self.keys])
        names = ":".join(["clients", "ops"] + ([] if self.keys is None else [KEYS]))
        launch_with(self.sidecar, descriptors, names, binary)

    def close(self):
        self._hear()
        for one in (*self.sockets, self.ear):
            one.close()
        if self.keys is not None:
            os.close(self.keys)
