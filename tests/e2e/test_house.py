#!/usr/bin/env python3
"""The rules of the house that a script can check: who includes whom, one home for each third-party header, raw memory
orders in one file, headers that compile alone, links that lead somewhere."""

import fnmatch
import functools
import pathlib
import re
import subprocess
import unittest

from harness import ROOT, main
from harness.paths import BUILD

# The places where each third-party header may be included. Tests may include what they test against.
HOMES = {
    r"mysql(/mysql)?\.h|mariadb.*\.h|mysqld_error\.h": ["proxy/store/sql_mysql.c"],
    r"sqlite3\.h": ["proxy/store/sql_sqlite.c"],
    r"msgpack.*": ["client/wire/*.[ch]"],
    r"jansson\.h": ["proxy/document/*.c", "client/ctl/*.[ch]"],
    r"yaml\.h": ["proxy/document/yaml.c"],
    r"confuse\.h": ["proxy/config/*.c"],
    r"hiredis.*|hiredis/.*": ["proxy/redis/*.c"],
    r"uthash\.h": ["proxy/base/hash.h"],
    r"lmdb\.h": [],
    r"cmocka\.h": [],
}

# Pure: bytes and facts in, answers out. Nothing that they include, at whatever remove, knows a socket, an event or a
# store.
PURE = ["proxy/names/*", "proxy/rights/*", "proxy/base/histogram.*", "proxy/base/breaker.*", "proxy/base/rate.*",
        "proxy/growth/policy.*", "proxy/growth/room.*",
        "proxy/feed/propagation.*", "proxy/document/parse.c", "proxy/document/yaml.c", "proxy/redis/url.*",
        "proxy/l2/value.*", "proxy/warm/budget.*", "proxy/warm/hot_value.*",
        "proxy/l2/early_refresh.*", "proxy/delayed/task.*", "proxy/delayed/advice.*", "proxy/answer/user_filter.*",
        "client/wire/*"]
IMPURE = (r"event2?/.*|sys/socket\.h|sys/un\.h|mysql.*|sqlite3\.h|pthread\.h|proxy/base/timer\.h|"
          r"proxy/(store|table|feed/feed|serve|master|daemon)/.*")

MAY_INCLUDE = {
    "shm": ["shm/*"],
    "client": ["client/*", "client/wire/*", "shm/*"],
    "client/wire": ["client/wire/*", "shm/error.h", "shm/order.h"],
    "client/ctl": ["client/ctl/*", "client/*", "client/wire/*", "shm/error.h"],  # it speaks to it without a handle
    "proxy": ["proxy/*/*", "proxy/*/*/*", "client/wire/*", "shm/*"],
}

# The face of each room of proxy/: the headers that other rooms may include. What a room links is in
# proxy/CMakeLists.txt.
FACES = {
    "base": "array breaker clock container_of counters failure hash histogram log pause printable random rate thread "
            "timer trouble turn",
    "names": "l2_keys message scope target token",
    "rights": "catalogue change condition explain facts facts_slice resolve",
    "redis": "redis retry subscriber url",
    "config": "config",
    "master": "channel master",
    "store": "gate orphans sql store threads",
    "table": "audit batch fill grow publisher retire use workshop",
    "keys": "keys",
    "growth": "growth",
    "document": "policy",
    "cleanup": "cleanup",
    "feed": "audit feed propagation",
    "l2": "l2",
    "answer": "answer",
    "warm": "warm",
    "invalidate": "fleet history invalidate tags",
    "delayed": "delayed",
    "serve": "descriptors listener ops server subscriptions writes",
    "serve/methods": "methods",
    "daemon": "",
}
# serve/methods is serve's own upper floor.
FACES_FOR = {("serve/methods", "serve"): "parked request task"}

COMPILER_FLAGS = ["-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", '-DPERMTAB_VERSION="0"', f"-I{ROOT}"]
# As a user's code may wrap the checks.
WRAPPERS = """#include "client/permtab.h"
#define ASKED struct permtab *table, uint64_t user, permtab_scope scope, permtab_perm perm
bool allowed(ASKED) { return permtab_allowed(table, user, scope, perm); }
int check(ASKED) { return permtab_check(table, user, scope, perm); }
int peek(ASKED) { return permtab_peek(table, user, scope, perm); }
int owned(ASKED) { return permtab_check_owned(table, user, scope, perm, user); }
int at(ASKED, struct permtab_token token) { return permtab_check_at(table, user, scope, perm, token); }
int has(const struct permtab_view *view, permtab_perm perm) { return permtab_view_has(view, perm, true); }
"""


@functools.cache
def all_files():
    """Paths in the checkout, relative; builds and hidden folders are left out, and not looked into."""
    tops = [path for path in ROOT.iterdir() if not path.name.startswith((".", "build"))]
    paths = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths if path.is_file())


def files(*patterns):
    return [name for name in all_files() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


@functools.cache
def read(name):
    return (ROOT / name).read_text()


@functools.cache
def includes(name):
    """[(line number, what is included)] of each #include."""
    return list(_includes(name))


def _includes(name):
    for number, line in enumerate(read(name).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def allowed(name, patterns):
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


SOURCES = ["shm/*.[ch]", "client/*.[ch]", "proxy/*.[ch]"]


def room_of(name):
    """The room of a file of proxy/, or None."""
    folder, _, rest = name.partition("/")
    return rest.rpartition("/")[0] if folder == "proxy" else None


def rooms():
    """room(FOLDER LINKS...) of proxy/CMakeLists.txt: {room: the rooms that it links}, in the order of the file."""
    declared = re.findall(r"^room\(([^)]*)\)", read("proxy/CMakeLists.txt"), re.MULTILINE)
    names = [words.split()[0] for words in declared]
    return {words.split()[0]: [word for word in words.split()[1:] if word in names] for words in declared}


def reached(name, seen=None):
    """All that a file includes, at whatever remove: {header: the file that includes it}."""
    seen = {} if seen is None else seen
    for _, header in includes(name):
        if header not in seen:
            seen[header] = name
            if (ROOT / header).is_file():
                reached(header, seen)
    return seen


def symbols(library):
    """(defined, undefined) external names of a static library."""
    text = subprocess.run(["nm", "--extern-only", "--format=posix", str(library)], check=True, stdout=subprocess.PIPE,
                          text=True).stdout
    found = [line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2 and not line.endswith(":")]
    return {name for name, kind in found if kind != "U"}, {name for name, kind in found if kind == "U"}


class House(unittest.TestCase):
    maxDiff = None

    def test_there_is_a_house(self):
        for folder in MAY_INCLUDE:
            self.assertGreater(len(list(files(f"{folder}/*.[ch]"))), 3, folder)

    def test_third_party_headers_have_one_home(self):
        wrong = []
        for name in files(*SOURCES, "deploy/*.[ch]"):
            for number, header in includes(name):
                for pattern, homes in HOMES.items():
                    if re.fullmatch(pattern, header) and not allowed(name, homes):
                        wrong.append(f"{name}:{number} includes {header}")
        self.assertEqual([], wrong)

    def test_dependencies_point_one_way(self):
        wrong = []
        for name in files(*SOURCES):
            folder = next(folder for folder in sorted(MAY_INCLUDE, reverse=True) if name.startswith(folder + "/"))
            for number, header in includes(name):
                if header.split("/")[0] in ("shm", "client", "proxy", "tests", "deploy"):
                    if not any(pathlib.PurePosixPath(header).match(pattern) for pattern in MAY_INCLUDE[folder]):
                        wrong.append(f"{name}:{number} includes {header}")
        self.assertEqual([], wrong)

    def test_rooms_stand_on_what_is_below_them(self):
        """Rooms link in the order of proxy/CMakeLists.txt, so there is no cycle. And every folder is a room."""
        declared, below = rooms(), []
        for room, links in declared.items():
            self.assertEqual([], [link for link in links if link not in below], f"{room} links what is not below it")
            below.append(room)
        self.assertEqual({room_of(name) for name in files("proxy/*.[ch]")}, set(declared))
        self.assertEqual(set(declared), set(FACES))

    def test_rooms_include_what_they_link(self):
        declared, wrong = rooms(), []
        for name in files("proxy/*.[ch]"):
            room = room_of(name)
            for number, header in includes(name):
                other = room_of(header)
                if other not in (None, room):
                    faces = FACES[other] + " " + FACES_FOR.get((room, other), "")
                    if other not in declared[room]:
                        wrong.append(f"{name}:{number} includes {header}, and {room} does not link {other}")
                    elif header[len(f"proxy/{other}/"):-2] not in faces.split():
                        wrong.append(f"{name}:{number} includes {header}, which is no face of {other}")
        self.assertEqual([], wrong)

    def test_rooms_reach_what_is_below_them(self):
        """Includes of includes of includes, too."""
        declared, below, wrong = rooms(), {}, []
        for room, links in declared.items():
            below[room] = {room}.union(*(below[link] for link in links))
        for name in files("proxy/*.[ch]"):
            wrong += [f"{name} reaches {header} by {by}" for header, by in reached(name).items()
                      if room_of(header) and room_of(header) not in below[room_of(name)]]
        self.assertEqual([], wrong)

    def test_rooms_call_what_they_link(self):
        """The symbols of their libraries tell: a prototype that is written down again is no way round."""
        declared, wrong = rooms(), []
        found = {room: symbols(BUILD / "proxy" / f"libpermtab_{room.replace('/', '_')}.a") for room in declared}
        home = {symbol: room for room, (defined, _) in found.items() for symbol in defined}
        self.assertGreater(len(home), 500)
        for room, (defined, undefined) in found.items():
            wrong += [f"{room} uses {symbol} of {home[symbol]}" for symbol in sorted(undefined - defined)
                      if symbol in home and home[symbol] not in declared[room]]
        self.assertEqual([], wrong)

    def test_pure_files_stay_pure(self):
        wrong = []
        for name in files(*SOURCES):
            if allowed(name, PURE):
                wrong += [f"{name} reaches {header} by {by}" for header, by in reached(name).items()
                          if re.fullmatch(IMPURE, header)]
        self.assertEqual([], wrong)

    def test_the_table_needs_libc_alone(self):
        libc = re.compile(r"(linux|sys)/[a-z_]+\.h|[a-z_]+\.h")
        wrong = [f"{name}:{number} includes {header}" for name in files("shm/*.[ch]")
                 for number, header in includes(name) if not header.startswith("shm/") and not libc.fullmatch(header)]
        self.assertEqual([], wrong)

    def test_raw_memory_orders_have_one_home(self):
        raw = re.compile(r"__atomic_|__ATOMIC_|__sync_|memory_order_|stdatomic\.h|\batomic_(load|store|fetch|thread)")
        wrong = []
        for name in files(*SOURCES):
            if name != "shm/order.h":
                wrong += [f"{name}:{number}: {line.strip()}" for number, line in enumerate(read(name).splitlines(), 1)
                          if raw.search(re.sub(r"/\*.*?\*/|^\s*\*.*", "", line))]
        self.assertEqual([], wrong)

    def test_permtabctl_prints_in_one_file(self):
        """It is the one that escapes what a terminal obeys, and sees what could not be written."""
        prints = re.compile(r"(?<![a-z_])(v?printf|puts|putchar|fputs|fwrite|json_dumpf)\s*\(|\bstdout\b")
        wrong = [f"{name}:{number}: {line.strip()}" for name in files("client/ctl/*.c")
                 if name != "client/ctl/print.c" for number, line in enumerate(read(name).splitlines(), 1)
                 if prints.search(re.sub(r"/\*.*?\*/|^\s*/?\*.*|(fflush|ferror)\(stdout\)|\"[^\"]*\"", "", line))]
        self.assertEqual([], wrong)

    def test_walks_of_the_tour(self):
        """Every function is in its file, and a call goes to the same room or down, or is marked as one that goes up."""
        below, wrong, files_walked = {}, [], set()
        for room, links in rooms().items():
            below[room] = {room}.union(*(below[link] for link in links))
        walks = re.findall(r"```walk\n(.*?)```", read("docs/TOUR.md"), re.DOTALL)
        for walk in walks:
            above = []
            for line in walk.splitlines():
                up, name, functions = re.fullmatch(r"(▲?) *([\w/]+\.c) +([\w, ]+)", line).groups()
                depth, room = line.index(name), name.rpartition("/")[0]
                files_walked.add(name)
                above = [(at, other) for at, other in above if at < depth]
                source = read(f"proxy/{name}")
                wrong += [f"{name}: {function}" for function in functions.split(", ")
                          if not re.search(rf"^\w[^\n;]*\b{function}\(", source, re.MULTILINE)]
                if above and (room not in below[above[-1][1]]) != bool(up):
                    wrong.append(f"{line.strip()}: from {above[-1][1]} to {room}")
                above.append((depth, room))
        self.assertEqual([], wrong)
        self.assertEqual(5, len(walks))
        self.assertGreater(len(files_walked), 30)

    def test_promises_name_tests_that_exist(self):
        wrong, named = [], 0
        for name, tests in re.findall(r"`(test_\w+\.(?:py|c)): ([\w, ]+)`", read("docs/COHERENCE.md")):
            found = list(files(f"tests/e2e/{name}", f"tests/unit/*/{name}"))
            text = read(found[0]) if found else ""
            for test in tests.split(", "):
                named += 1
                if not re.search(rf"def {test}\(|\b(cmocka_unit_test|\w*TEST|T)\({test}\)", text):
                    wrong.append(f"{name}: {test}")
        self.assertEqual([], wrong)
        self.assertGreater(named, 30)

    def compile_alone(self, name, language):
        standard = "-std=gnu11" if language == "c" else "-std=c++11"
        done = subprocess.run(["gcc" if language == "c" else "g++", "-x", language, standard, "-fsyntax-only",
                               *COMPILER_FLAGS, "-include", str(ROOT / name), "/dev/null"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return "" if done.returncode == 0 else done.stdout

    def test_headers_compile_alone(self):
        for name in files("shm/*.h", "client/*.h", "proxy/*.h"):
            with self.subTest(name):
                self.assertEqual("", self.compile_alone(name, "c"))

    def test_client_headers_compile_as_cplusplus(self):
        for name in ["client/permtab.h", "shm/reader.h", "shm/order.h", "shm/layout.h", "shm/error.h"]:
            with self.subTest(name):
                self.assertEqual("", self.compile_alone(name, "c++"))

    def test_checks_compile_without_warnings(self):
        """In users' code, which is compiled in other ways than ours: gcc's warnings depend on how much it optimizes."""
        for options in [["-Og"], ["-O1", "-fsanitize=address"], ["-O2", "-fsanitize=undefined"], ["-O3"]]:
            with self.subTest(options):
                done = subprocess.run(["gcc", "-x", "c", *options, *COMPILER_FLAGS, "-c", "-o", "/dev/null", "-"],
                                      input=WRAPPERS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                self.assertEqual((0, ""), (done.returncode, done.stdout))

    def test_headers_are_guarded(self):
        wrong = [name for name in files("shm/*.h", "client/*.h", "proxy/*.h")
                 if not re.search(r"^#ifndef (\w+_H)\n#define \1\n", read(name), re.MULTILINE)]
        self.assertEqual([], wrong)

    def test_each_source_says_what_it_is(self):
        wrong = [name for name in files("*.c", "*.h", "*.cpp") if not read(name).startswith(("/*", "//"))]
        self.assertEqual([], wrong)

    def test_each_source_includes_its_own_header_first(self):
        wrong = []
        for name in files("shm/*.c", "client/*.c", "proxy/*.c"):
            own = name[:-2] + ".h"
            listed = [header for _, header in includes(name)]
            if (ROOT / own).exists() and listed[:1] != [own]:
                wrong.append(f"{name} includes {listed[:1]} first")
        self.assertEqual([], wrong)

    def test_nothing_can_be_freed_everywhere(self):
        """Each X_free of a header is called with NULL by a test."""
        tried = read("tests/unit/daemon/test_free.c")
        freed = [(name, function) for name in files("shm/*.h", "client/*.h", "proxy/*.h")
                 for function in re.findall(r"^(?:PERMTAB_API )?void (\w+_free)\(", read(name), re.MULTILINE)]
        self.assertGreater(len(freed), 25)
        self.assertEqual([], [f"{name}: {function}" for name, function in freed if f" {function}(NULL" not in tried])

    def test_no_mutable_globals(self):
        """File scope holds constants, tables and functions. The exceptions: the client's thread-local slot, the log's
        level."""
        pattern = re.compile(r"^(static )?(struct \w+|u?int\d*(_t)?|bool|size_t|char|pid_t|long|unsigned)( \w+)* \**\w+"
                             r"(\[\w*\])*( = [^;]*)?;")
        wrong = [f"{name}:{number}: {line}" for name in files("shm/*.c", "client/*.c", "proxy/*.c")
                 for number, line in enumerate(read(name).splitlines(), 1)
                 if pattern.match(line) and "const" not in line and "(" not in line and "__thread" not in line
                 and not (name == "proxy/base/log.c" and "level_now" in line)]
        self.assertEqual([], wrong)

    def test_lines_end_before_column_121(self):
        """Characters, not bytes. SQL and data are left out, and documents' tables."""
        wrong = [f"{name}:{number}: {len(line)} columns"
                 for name in files("*.c", "*.h", "*.cpp", "*.py", "*.cmake", "*CMakeLists.txt", "*.sh", "*.lua",
                                   "*.conf", "*.md")
                 for number, line in enumerate(read(name).splitlines(), 1)
                 if len(line) > 120 and not (name.endswith(".md") and line.startswith("|"))]
        self.assertEqual([], wrong)

    def test_no_paths_of_a_machine(self):
        path = re.compile(r"(?<![\w.}])/(work|root|home/\w+)/")
        wrong = []
        for name in files("*"):
            try:
                text = read(name)
            except UnicodeDecodeError:
                continue
            wrong += [f"{name}:{number}: {line.strip()[:80]}" for number, line in enumerate(text.splitlines(), 1)
                      if path.search(line)]
        self.assertEqual([], wrong)

    def test_links_in_documents_resolve(self):
        wrong = []
        for name in files("*.md"):
            text = re.sub(r"```.*?```", "", read(name), flags=re.DOTALL)
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                linked = (ROOT / name).parent / path if path else ROOT / name
                if not linked.exists():
                    wrong.append(f"{name}: {target}")
                elif anchor and anchor not in self.anchors(linked):
                    wrong.append(f"{name}: {target} (no such heading)")
        self.assertEqual([], wrong)

    @staticmethod
    def anchors(path):
        """The names a forge gives to headings."""
        if pathlib.Path(path).suffix != ".md":
            return set()
        headings = re.findall(r"^#+ (.*)$", pathlib.Path(path).read_text(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}

    def test_files_named_in_documents_exist(self):
        """`shm/order.h` in a document is a promise."""
        named = re.compile(r"`((?:shm|client|proxy|conf|deploy|docs|tests|cmake)/[\w./-]*\w)`")
        wrong = []
        for name in files("*.md"):
            for path in named.findall(read(name)):
                if not (ROOT / path).exists() and not path.endswith("/test_x.c"):
                    wrong.append(f"{name}: {path}")
        self.assertEqual([], wrong)


if __name__ == "__main__":
    main()
