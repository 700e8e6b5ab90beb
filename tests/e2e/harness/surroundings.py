"""The surroundings that a test finds when it is run by hand: the same as from tests/run.sh (tests/surroundings.sh), as
far as a process can settle that for itself and its children."""

import os
import signal

# Variables that steer the tests, and are set by whoever runs them.
_KEPT = ("PERMTAB_BUILD", "PERMTAB_E2E_", "PERMTAB_TEST_", "PERMTAB_FLEET_")
# Variables that permtabd and permtabctl look at besides PERMTAB_*.
_TAKEN_OUT = {"NOTIFY_SOCKET", "XDG_RUNTIME_DIR", "LANG", "LANGUAGE"}


def settle():
    """Signals as they are by default, nothing blocked, umask 022, UTC, a locale that every machine has, no PERMTAB_*
    that is meant for a sidecar."""
    for number in signal.valid_signals():
        # Python itself ignores SIGPIPE and SIGXFSZ.
        if signal.getsignal(number) == signal.SIG_IGN and number not in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o022)
    for name in list(os.environ):
        foreign = name.startswith("PERMTAB_") and not name.startswith(_KEPT)
        if foreign or name in _TAKEN_OUT or name.startswith("LC_"):
            del os.environ[name]
    os.environ.update(LC_ALL="C.UTF-8", TZ="UTC")
