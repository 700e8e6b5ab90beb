"""Faults by the shim of tests/fault/: which call fails, what it was, and where it came from."""

import dataclasses
import mmap
import os
import pathlib
import struct
import subprocess

from .paths import program

MEMORY, SYSTEM, SQL, REDIS = 1, 2, 4, 8
KINDS = {"memory": MEMORY, "system": SYSTEM, "sql": SQL, "redis": REDIS}
ONCE, PLACE, FUNCTION, KIND = range(4)
REACHES = ["once", "place", "function", "kind"]
ANY_PROCESS = 0xffffffff

# struct fault_state of tests/fault/state.h
_ORDER = struct.Struct("=IIQQQII")
_FIGURES = struct.Struct("=QQQQ")
_MODULE = struct.Struct("=QQ240s")
_PLACE = struct.Struct("=QQII32s40Q")
_MODULES_MAX, _PLACES_MAX = 64, 65536
_FIGURES_AT = _ORDER.size
_MODULES_AT = _FIGURES_AT + _FIGURES.size
_FIRST_AT = _MODULES_AT + _MODULES_MAX * _MODULE.size
_PLACES_AT = _FIRST_AT + _PLACE.size
_SIZE = _PLACES_AT + _PLACES_MAX * _PLACE.size


@dataclasses.dataclass(frozen=True)
class Order:
    """Which call fails: the `number`-th of `kinds` at `place` and `caller` (0: anywhere), with the `variant`-th error
    of its function, and what fails from then on (`reach`). Number 0: nothing fails, everything is counted."""

    kinds: int = MEMORY | SYSTEM | SQL | REDIS
    number: int = 0
    place: int = 0
    caller: int = 0
    reach: int = ONCE
    variant: int = 0
    process: int = ANY_PROCESS

    def __str__(self):
        kinds = "+".join(name for name, bit in KINDS.items() if self.kinds & bit)
        return f"{kinds}:{self.place:x}:{self.caller:x}:{self.number}:{REACHES[self.reach]}:{self.variant}"

    @staticmethod
    def parse(text, process=ANY_PROCESS):
        kinds, place, caller, number, reach, variant = text.split(":")
        return Order(sum(KINDS[kind] for kind in kinds.split("+")), int(number), int(place, 16), int(caller, 16),
                     REACHES.index(reach), int(variant), process)


@dataclasses.dataclass
class Place:
    """Where a call came from. `frames`: (path of a program or library, offset), the innermost first."""

    place: int
    caller: int
    calls: int
    kind: int
    function: str
    frames: list

    def __str__(self):
        return f"{self.function} in {describe(self.frames)}"


class Faults:
    """The file that the shim and we share; a program that is started with environment() is under its order."""

    def __init__(self, path, order):
        self.path = pathlib.Path(path)
        with open(self.path, "wb") as file:
            file.truncate(_SIZE)
            file.write(_ORDER.pack(order.kinds, order.process, order.place, order.caller, order.number, order.reach,
                                   order.variant))

    def environment(self):
        preload = str(pathlib.Path(program("fault_shim")))
        # The shim stands in front of the address sanitizer, if there is one, and calls it. A process that ends because
        # of a sanitizer's report ends by SIGABRT, and so is not mistaken for one that gave up.
        return {"LD_PRELOAD": preload, "PERMTAB_FAULT_STATE": str(self.path),
                "ASAN_OPTIONS": "verify_asan_link_order=0:abort_on_error=1:allocator_may_return_null=1:"
                                "detect_leaks=" + os.environ.get("PERMTAB_FAULT_LEAKS", "1"),
                "UBSAN_OPTIONS": "abort_on_error=1:print_stacktrace=1"}

    def _read(self):
        with open(self.path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    def _modules(self, data, count):
        modules = [_MODULE.unpack_from(data, _MODULES_AT + i * _MODULE.size)[2] for i in range(count)]
        return [module.split(b"\0", 1)[0].decode() for module in modules]

    def _place(self, data, at, modules):
        place, calls, kind, count, function, *frames = _PLACE.unpack_from(data, at)
        named = [(modules[frame >> 40] if frame >> 40 < len(modules) else "?", frame & ((1 << 40) - 1))
                 for frame in frames[:count]]
        return Place(place, frames[0], calls, kind, function.split(b"\0", 1)[0].decode(), named)

    def figures(self):
        """(calls that the order is about, those that failed, places that found no room)"""
        with self._read() as data:
            return _FIGURES.unpack_from(data, _FIGURES_AT)[:3]

    def first(self):
        """The Place of the call that was made to fail first, or None."""
        with self._read() as data:
            _, failed, _, modules = _FIGURES.unpack_from(data, _FIGURES_AT)
            return self._place(data, _FIRST_AT, self._modules(data, modules)) if failed else None

    def places(self):
        """All that were seen."""
        with self._read() as data:
            modules = self._modules(data, _FIGURES.unpack_from(data, _FIGURES_AT)[3])
            starts = range(_PLACES_AT, _SIZE, _PLACE.size)
            return [self._place(data, at, modules) for at in starts if data[at:at + 8] != bytes(8)]


# ---- what addresses mean ----------------------------------------------------------------------------------------

_names = {}


def _own(path):
    """Is it the program itself (its path is empty), or a library of ours?"""
    return path == "" or "permtab" in pathlib.Path(path).name


def learn(program_path, places):
    """Looks up the functions of all frames of our own code in these places, for describe()."""
    wanted = {}
    for place in places:
        for path, offset in place.frames:
            if _own(path) and (path, offset) not in _names:
                wanted.setdefault(path, set()).add(offset)
    for path, offsets in wanted.items():
        offsets = sorted(offsets)
        # A return address is behind its call.
        text = subprocess.run(["addr2line", "-f", "-i", "-a", "-e", path or program_path],
                              input="".join(f"{offset - 1:#x}\n" for offset in offsets), check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        address = None
        for line in text.splitlines():
            if line.startswith("0x"):
                address = (path, int(line, 16) + 1)
                _names[address] = []
            else:
                _names[address].append(line)


def _call(path, offset):
    """["function (file.c:line)"], the inlined first."""
    lines = _names.get((path, offset), [])
    return [f"{name} ({pathlib.Path(line.split(' ')[0]).name})" for name, line in zip(lines[::2], lines[1::2])]


def calls(frames):
    """["function (file.c:line)"] of our own code, the innermost first."""
    return [call for path, offset in frames if _own(path) for call in _call(path, offset)]


def describe(frames, most=4):
    """The innermost functions of our own code, and the library in between."""
    library = next((pathlib.Path(path).name.split(".so")[0] for path, _ in frames[:1] if not _own(path)), "")
    text = " < ".join(calls(frames)[:most]) or "no code of ours"
    return f"{library} < {text}" if library else text


def site(place):
    """What places have in common that come from one line of ours: (function, library, function of ours and line)."""
    library = next((pathlib.Path(path).name.split(".so")[0] for path, _ in place.frames[:1] if not _own(path)), "")
    return place.function, library, (calls(place.frames) or ["?"])[0]
