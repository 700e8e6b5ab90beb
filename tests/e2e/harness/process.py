"""Child processes that do not outlive the test: each is kept by its id and dies with its parent."""

import ctypes
import os
import pathlib
import signal
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

# A time-out here ends a test that hangs. How quickly something happens on a machine that does nothing else is what
# the caller names; a machine that has much to do takes longer, and nothing is wrong with that.
PATIENCE = 12


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _as_user(uid):
    def become():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        _die_with_parent()
    return become


def spawn(arguments, uid=None, **options):
    """Like Popen; the child is killed when this process ends, however it ends. With a uid the child runs as it."""
    become = _die_with_parent if uid is None else _as_user(uid)
    return subprocess.Popen(arguments, preexec_fn=become, **options)


def children(pid):
    """Process ids of those that it has forked and that have not ended."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:  # it has ended
            continue
        if int(parent) == pid and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def is_there(pid):
    """Whether a process that is nobody's child here has not ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def end(process, patience=120):
    """SIGTERM, and SIGKILL for who does not go. Returns the exit status, or None when there is no process."""
    if process is None:
        return None
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def kill(process):
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()


def wait_until(condition, seconds, what, pause=0.01):
    """Returns the condition's first true value. AssertionError with `what` when it does not come: not for bounds that
    are promised."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds * PATIENCE} s: {what() if callable(what) else what}"
        time.sleep(pause)


def _waited_for_a_processor(pid):
    """Nanoseconds in which threads of a process could have run and had to wait for others
    (Documentation/scheduler/sched-stats.rst)."""
    total = 0
    for path in pathlib.Path("/proc").glob(f"{pid}/task/*/schedstat"):
        try:
            total += int(path.read_text().split()[1])
        except (OSError, IndexError):  # it has ended; this kernel does not count
            pass
    return total


class Stopwatch:
    """A stopwatch for bounds that are the product's own: the time since it was made, less what this process, the
    named ones and those that they have forked spent waiting for a processor. So a machine that others keep busy is no
    reason to fail."""

    def __init__(self, *processes):
        named = [process.pid for process in processes]
        self._pids = ["self", *named, *(child for pid in named for child in children(pid))]
        self._waited = self._waiting()
        self._begun = time.monotonic_ns()

    def _waiting(self):
        return sum(_waited_for_a_processor(pid) for pid in self._pids)

    def seconds(self):
        passed = time.monotonic_ns() - self._begun
        return max(0, passed - max(0, self._waiting() - self._waited)) / 1e9
