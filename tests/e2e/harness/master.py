"""What tests of the master and its worker need."""

import pathlib

from .case import SqliteCase
from .policies import small
from .process import is_there, wait_until

QUESTION = (1, "channel:10", "message.delete")
UNKNOWN_ONES = (4242, "channel:20", "message.delete")


class MasterCase(SqliteCase):
    def serve(self, **options):
        self.serving = self.sidecar(**options)
        self.serving.apply(small())
        return self.serving

    def new_worker(self, before):
        """Waits until another worker than `before` serves, and returns its process id."""
        wait_until(lambda: self.serving.worker_pid not in (None, before), 20, "there is another worker")
        self.serving.wait_healthy()
        return self.serving.worker_pid

    def said(self, text):
        wait_until(lambda: text in self.serving.log(), 20, lambda: f"the log says {text!r}")

    def assert_nothing_is_left(self):
        """No process that was started with this configuration, and no file of it."""
        path = str(self.serving.configuration).encode()

        def users():
            found = []
            for line in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if path in line.read_bytes() and is_there(int(line.parent.name)):
                        found.append(line.parent.name)
                except OSError:
                    pass
            return found
        wait_until(lambda: users() == [], 20, lambda: f"all have ended: {users()}")
