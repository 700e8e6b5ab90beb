"""The sidecar's socket, spoken with a MessagePack library that has nothing to do with ours (docs/PROTOCOL.md)."""

import array
import os
import socket

import msgpack

LAYOUT = 1


class RpcError(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def _utf8(value):
    return value.decode() if isinstance(value, bytes) else value


class Rpc:
    """One connection. `hello` is said at once unless told otherwise."""

    def __init__(self, path, hello=True, timeout=120):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.descriptors = []
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        self._id = 0
        if hello:
            self.welcome = self.call("hello", protocol=1, layout=LAYOUT, client="e2e")

    def close(self):
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, method, params, descriptor=None):
        """Sends a request without waiting; returns its id."""
        self._id += 1
        data = msgpack.packb([0, self._id, method, [params]])
        if descriptor is None:
            self.socket.sendall(data)
        else:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            sent = self.socket.sendmsg([data], ancillary)
            self.socket.sendall(data[sent:])
        return self._id

    def receive(self):
        """The next message; EOFError when the sidecar closed the session. Descriptors are kept in order."""
        while True:
            for message in self._unpacker:
                return message
            data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(16 * 4))
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    received = array.array("i")
                    received.frombytes(payload[:len(payload) - len(payload) % received.itemsize])
                    self.descriptors.extend(received)
            if not data:
                raise EOFError("the sidecar closed the session")
            self._unpacker.feed(data)

    def call(self, method, params=None, descriptor=None, **named):
        """One request and its reply. RpcError for [code, text]."""
        wanted = self.send(method, {**(params or {}), **named}, descriptor)
        while True:
            message = self.receive()
            if message[0] == 1 and message[1] == wanted:
                if message[2] is not None:
                    raise RpcError(message[2][0], _utf8(message[2][1]))
                return message[3]

    def attach(self):
        """Returns the reply and the two descriptors: segment, feedback."""
        reply = self.call("attach")
        return reply, self.descriptors[-2], self.descriptors[-1]

    def apply(self, text, format="json", dry_run=False, prune=False):
        descriptor = os.memfd_create("policy")
        try:
            os.write(descriptor, text if isinstance(text, bytes) else text.encode())
            return self.call("apply", dry_run=dry_run, prune=prune, format=format, descriptor=descriptor)
        finally:
            os.close(descriptor)
