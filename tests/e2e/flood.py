#!/usr/bin/env python3
"""Floods the sidecar: `flood.py SOCKET CONNECTIONS FIRST_USER` keeps that many connections full of checks for users
nobody else asks about, reads what comes back, and prints how many answers it got when it is told to end."""

import os
import pathlib
import selectors
import signal
import socket
import sys

import msgpack

BATCH = 200  # requests a connection sends at a time


class Connection:
    def __init__(self, path, first_user, step):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.socket.sendall(msgpack.packb([0, 0, "hello", [{"protocol": 1, "layout": 1, "client": "flood"}]]))
        self.socket.setblocking(False)
        self.user, self.step = first_user, step
        self.out = memoryview(b"")
        self.answers = 0

    def write(self):
        if not self.out:
            requests = []
            for number in range(BATCH):
                self.user += self.step
                requests.append(msgpack.packb([0, number, "check", [
                    {"user": self.user, "scope": "channel:10", "permission": "message.send"}]]))
            self.out = memoryview(b"".join(requests))
        try:
            self.out = self.out[self.socket.send(self.out):]
        except BlockingIOError:
            pass

    def read(self):
        """Counts answers roughly, by the start of a response array; False when the sidecar closed."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return True
        self.answers += data.count(b"\x94\x01")
        return bool(data)


def main():
    # A flood takes some of the processor with its own work, which is the kernel's business; what is measured is what it
    # takes from others inside the sidecar.
    os.nice(19)
    path, count, first_user = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    parent = pathlib.Path("/proc/self/stat").read_text().split()[3]
    connections = [Connection(path, first_user + number, count) for number in range(count)]
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
    print("flooding", flush=True)
    closed = 0
    while not stop and selector.get_map() and pathlib.Path("/proc/self/stat").read_text().split()[3] == parent:
        for key, events in selector.select(0.2):
            if events & selectors.EVENT_READ and not key.data.read():
                selector.unregister(key.fileobj)
                closed += 1
                continue
            if events & selectors.EVENT_WRITE:
                key.data.write()
    print(sum(connection.answers for connection in connections), closed, flush=True)


if __name__ == "__main__":
    main()
