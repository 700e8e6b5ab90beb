"""Moments of a worker's life, by what the sidecar's log says, for whoever wants to hurt it just then."""

import re
import time

_GROWS = re.compile(r"table: it grows from (\d+) to (\d+) entries")
_GREW = re.compile(r"table: (it has room for \d+ entries now|growth to \d+ entries was given up)")
_BEGINS = re.compile(r"permtabd: worker (\d+) begins, number")
_SERVES = re.compile(r": serving \S+ from revision")
LOOK_S = 0.0002


class Moments:
    """Reads the log as it grows."""

    def __init__(self, sidecar):
        self.path = sidecar.log_path
        self.at = 0
        self.skip()

    def skip(self):
        """What was said up to now is of no interest any more."""
        self.at = self.path.stat().st_size if self.path.exists() else 0

    def said(self):
        """Since skip()."""
        with open(self.path, "rb") as log:
            log.seek(self.at)
            return log.read().decode(errors="replace")

    def wait(self, line, seconds):
        """The first match, or None."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            match = line.search(self.said())
            if match:
                return match
            time.sleep(LOOK_S)
        return None

    def growth_begins(self, seconds):
        """Waits for the next one; True when it came."""
        self.skip()
        return self.wait(_GROWS, seconds) is not None

    def growth_goes_on(self):
        """Whether the growth that was seen begins has not ended yet, in either way: to be asked at once."""
        text = self.said()
        return _GREW.search(text, _GROWS.search(text).end()) is None

    def worker_begins(self, seconds):
        """Waits for the next one that the master begins, not the first of all; its process id, or None."""
        match = self.wait(_BEGINS, seconds)
        if match:
            self.at += len(self.said()[:match.end()].encode())
        return int(match.group(1)) if match else None

    def somebody_serves(self):
        """Since then, or since skip()."""
        return _SERVES.search(self.said()) is not None
