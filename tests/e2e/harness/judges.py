"""The judges of a soak. Pure: figures in, sentences about what is wrong out; an empty list is good news."""

import statistics

from .figures import FEEDBACK, SOCKET


def quarter(values, number):
    """The values of that quarter of a run; at least one."""
    first, after = len(values) * (number - 1) // 4, len(values) * number // 4
    return values[first:max(after, first + 1)]


def middle(values, number):
    """The median of that quarter."""
    return statistics.median(quarter(values, number))


def growth(values):
    """From the second quarter to the last: the first one is for warming up, and single values are the scheduler's."""
    return middle(values, 4) - middle(values, 2)


def judge_flat(what, values, slack):
    """It does not grow by more than the slack."""
    grown = growth(values)
    return [f"{what} grew by {grown:.0f}, and {slack} is allowed: {values}"] if grown > slack else []


def judge_same(what, values):
    """It is what it was, in every sample."""
    return [f"{what} is not always the same: {values}"] if len(set(values)) > 1 else []


def judge_within(what, value, least, most):
    return [] if least <= value <= most else [f"{what} is {value}, and not from {least} to {most}"]


def judge_equal(what, counted, truth):
    """What the product has counted is what was done."""
    return [] if counted == truth else [f"{what}: {counted} were counted, {truth} is true ({counted - truth:+d})"]


def judge_descriptors(what, samples, lazy):
    """`samples`: [(descriptors by what they are, clients)]. Each client has a socket and a page for its counts; what
    remains is the same in every sample. `lazy`: how many there may be of what is opened when it is first needed; of
    these each number up to that is fine. "socket:": so many more than in the leanest sample."""
    found, rests = [], []
    for there, clients in samples:
        rest = dict(there)
        for name in (SOCKET, FEEDBACK):
            rest[name] = rest.get(name, 0) - clients
        rests.append(rest)
    for name in sorted({name for rest in rests for name in rest}):
        counts = [rest.get(name, 0) for rest in rests]
        if name == FEEDBACK:
            found += [f"{what} has pages of clients that are not there: {counts}"] if any(counts) else []
            continue
        most = min(counts) + lazy[name] if name == SOCKET and name in lazy else lazy.get(name, min(counts))
        if max(counts) > most:
            found.append(f"{what} has {max(counts)} descriptors of {name}, and not at most {most}: {counts}")
    return found
