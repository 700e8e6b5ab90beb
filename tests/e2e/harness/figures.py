"""What a process holds: memory, descriptors, threads, mapped tables."""

import pathlib
from typing import NamedTuple

from .descriptors import descriptors, without_life

TABLE, FEEDBACK, SOCKET = "memfd:permtab (deleted)", "memfd:permtab-feedback (deleted)", "socket:"


class Figures(NamedTuple):
    """Of one process at one moment."""
    pid: int
    memory_kb: int     # resident and not of a file: its own, and of tables what it has touched
    threads: int
    descriptors: dict  # by what they are
    tables: int        # segments that it has mapped


def _status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def figures(pid):
    status = _status(pid)
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    tables = {line.split()[4] for line in maps if line.endswith(f"/{TABLE}")}  # by inode
    named = {}
    for name, count in descriptors(pid).items():
        name = without_life(name).lstrip("/")
        named[name] = named.get(name, 0) + count
    return Figures(pid, int(status["RssAnon"][0]) + int(status["RssShmem"][0]), int(status["Threads"][0]), named,
                   len(tables))
