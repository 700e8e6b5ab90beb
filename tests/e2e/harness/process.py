"""Child processes that do not outlive the test: each is kept by its id and dies with its parent."""

import ctypes
import os
import signal
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


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


def end(process, patience=10):
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
    """Returns the condition's first true value. AssertionError with `what` after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(pause)
