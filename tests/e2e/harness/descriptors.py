"""What a process has open, by what it is."""

import os
import pathlib
import re


CONNECTIONS = 5  # the feed's, and those of the threads of a life: lives.py


def descriptors(pid):
    """{what it is: how many} of a process."""
    kinds = {}
    for path in pathlib.Path(f"/proc/{pid}/fd").glob("*"):
        try:
            name = re.sub(r"\d{3,}|\[\d+\]", "", os.readlink(path))
        except OSError:
            continue
        kinds[name] = kinds.get(name, 0) + 1
    return kinds


def children(pid):
    found = set()
    for path in pathlib.Path("/proc").glob(f"{pid}/task/*/children"):
        try:
            found.update(map(int, path.read_text().split()))
        except OSError:
            pass
    return found


def without_life(name):
    """A descriptor's name without what differs from life to life."""
    return re.sub(r"^/.*/", "", name)


def usual_descriptors(lives):
    """The most that any of these lives had, by what they are. Of the store's files, as many as there are connections
    when every thread has one; and one socket more, of a connection that is made anew before the old one has gone."""
    usual = {f"permtab.db{kind}": CONNECTIONS for kind in ("", "-wal", "-shm")}
    for counts in lives:
        for name, count in counts.items():
            usual[without_life(name)] = max(count, usual.get(without_life(name), 0))
    usual["socket:"] = usual.get("socket:", 0) + 1
    return usual
