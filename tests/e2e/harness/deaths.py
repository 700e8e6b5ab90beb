"""How workers died, by what their masters say in their logs (proxy/master/workers.c). Pure."""

import re
from collections import Counter

_DEATH = re.compile(r"worker(?: (\d+))? died( while it was to \w+)?: (signal|code) (\d+)([^\n;]*)")
_BY_MASTER = " of its master"
_GROWTH = re.compile(r"table: it has room for \d+ entries now")


def unexplained(log, signalled):
    """Texts of deaths by a signal that nobody sent, and of workers that gave up what they had been serving.
    `signalled` is [(pid, signal)]. A death in a row of them is logged without the worker's id, so there only their
    number counts. Whom the master killed did hang, or was stopped; that is not looked at here."""
    sent, nameless, found = set(signalled), Counter(number for _, number in signalled), []
    for pid, told, how, number, text in _DEATH.findall(log):
        number = int(number)
        if how == "code":
            fine = bool(told) or ", before it served" in text
        elif _BY_MASTER in text:
            fine = True
        elif pid:
            fine = (int(pid), number) in sent
        else:
            nameless[number] -= 1
            fine = nameless[number] >= 0
        if not fine:
            found.append(f"worker {pid or '?'} died{told}: {how} {number}{text}")
    return found


def deaths(log):
    """How many workers died by a signal, and how many of these by their masters'."""
    texts = [text for _, _, how, _, text in _DEATH.findall(log) if how == "signal"]
    return len(texts), sum(_BY_MASTER in text for text in texts)


def growths(log):
    """How often a table grew. Workers count that, too, but their counters die with them."""
    return len(_GROWTH.findall(log))
