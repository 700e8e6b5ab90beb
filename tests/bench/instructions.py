#!/usr/bin/env python3
"""Counts the instructions of a hit, exactly, and says which functions they are of, inlined ones too.

    tests/bench/instructions.py [--build build/bench] [--kinds check,peek,folded,view,many,hash] [--parts check,peek]

bench_hit makes hits of one kind, each in a call of a function that does nothing else; callgrind counts what that
function executes at each address, and addr2line tells which inlined function of which source an address is of. A load
or store of shm/order.h counts for the function that wants it. Needs valgrind, nm and addr2line (binutils).

callgrind runs the program without the kernel's vDSO, so the clock is read by a system call there. What the vDSO does
instead (clock_gettime's own part in the C library is counted) comes on top of the figures."""

import argparse
import collections
import os
import re
import shutil
import subprocess
import tempfile

ROUNDS = 100
KINDS = ["check", "peek", "folded", "view", "many", "hash"]
FUNCTIONS = {"folded": "hit_check"}  # of kinds whose function has another's name


class Profile:
    """What callgrind wrote: instructions by (object, function, address). Costs of calls are left out: what was called
    has lines of its own."""

    def __init__(self, path):
        self.cost = collections.Counter()
        place = {"ob": "", "fn": ""}
        skip = False
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                named = re.match(r"(ob|fn)=(.*)", line)
                if named:
                    place[named.group(1)] = named.group(2).strip()
                elif line.startswith("calls="):
                    skip = True
                elif line.startswith("0x"):
                    if not skip:
                        address, _, cost = line.split()[:3]
                        self.cost[place["ob"], place["fn"], int(address, 16)] += int(cost)
                    skip = False

    def total(self):
        return sum(self.cost.values())


def count(build, kind, folder):
    """(profile, hits)"""
    out = os.path.join(folder, kind)
    function = FUNCTIONS.get(kind, f"hit_{kind}")
    command = ["valgrind", "--tool=callgrind", "--dump-instr=yes", "--compress-pos=no", "--compress-strings=no",
               "--collect-atstart=no", f"--toggle-collect={function}", f"--callgrind-out-file={out}",
               os.path.join(build, "tests", "bench", "bench_hit"), kind, str(ROUNDS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")
    return Profile(out), int(done.stdout)


def symbol_address(program, name):
    for line in subprocess.run(["nm", program], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == name:
            return int(words[0], 16)
    raise SystemExit(f"{program} has no symbol {name}")


def inlined_in(program, addresses):
    """{address: the function it is of}: the innermost one that is not a helper of shm/order.h."""
    question = "".join(f"{address:#x}\n" for address in addresses)
    text = subprocess.run(["addr2line", "-a", "-i", "-f", "-e", program], input=question, stdout=subprocess.PIPE,
                          text=True, check=True).stdout
    found, lines, at = {}, iter(text.splitlines()), None
    for line in lines:
        if line.startswith("0x"):
            at = int(line, 16)
            continue
        source = next(lines)
        if at not in found and "/shm/order.h" not in source:
            found[at] = line
    return found


def parts(profile, program, function):
    """Instructions by function."""
    def of_program(thing):
        return os.path.exists(thing) and os.path.samefile(thing, program)

    ours = {(name, address) for (thing, name, address) in profile.cost if of_program(thing)}
    bias = min(address for name, address in ours if name == function) - symbol_address(program, function)
    functions = inlined_in(program, sorted(address - bias for _, address in ours))
    sums = collections.Counter()
    for (thing, name, address), cost in profile.cost.items():
        if of_program(thing):
            name = functions.get(address - bias, name)
        else:
            name = f"{name} ({os.path.basename(thing)})"
        sums[name] += cost
    return sums


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/bench", help="the build folder")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--parts", default="check", help="the kinds of which functions are listed")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    missing = [tool for tool in ("valgrind", "nm", "addr2line") if shutil.which(tool) is None]
    if missing or not set(kinds) <= set(KINDS):
        raise SystemExit(f"missing: {', '.join(missing)}" if missing else f"kinds are {', '.join(KINDS)}")
    program = os.path.join(arguments.build, "tests", "bench", "bench_hit")
    with tempfile.TemporaryDirectory(prefix="permtab-instructions-") as folder:
        for kind in kinds:
            profile, hits = count(arguments.build, kind, folder)
            print(f"| {kind} | {profile.total() / hits:.1f} |")
            if kind in arguments.parts.split(","):
                for name, cost in parts(profile, program, FUNCTIONS.get(kind, f"hit_{kind}")).most_common():
                    print(f"| - {name} | {cost / hits:.1f} |")


if __name__ == "__main__":
    main()
