"""Paths: the checkout, the build under test, temporary folders short enough for socket paths."""

import os
import pathlib
import shutil
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "conf" / "policies"


def _find_build():
    named = os.environ.get("PERMTAB_BUILD")
    candidates = [pathlib.Path(named)] if named else [ROOT / "build" / "gcc", ROOT / "build"]
    for folder in candidates:
        if (folder / "CMakeCache.txt").exists():
            return folder.resolve()
    raise SystemExit(f"no build in {', '.join(map(str, candidates))}: run tests/run.sh, or set PERMTAB_BUILD")


BUILD = _find_build()

_PROGRAMS = {
    "permtabd": "proxy/permtabd",
    "permtabctl": "client/permtabctl",
    "worker": "tests/e2e/e2e_worker",
    "hostile": "tests/e2e/e2e_hostile",
    "reader": "tests/e2e/e2e_reader",
    "proxy": "tests/e2e/e2e_proxy",
    "fault_shim": "tests/fault/libfault_shim.so",
    "fault_client": "tests/fault/fault_client",
    "crowd": "tests/e2e/e2e_crowd",
    "stampede": "tests/e2e/e2e_stampede",
    "visitor": "tests/e2e/e2e_visitor",
}


def program(name):
    """The path of a program of the build under test, "broken-NAME" for a daemon of tests/e2e/broken; an
    AssertionError when it was not built."""
    path = BUILD / _PROGRAMS.get(name, f"tests/e2e/permtabd-{name}")
    assert path.exists(), f"{path} was not built"
    return str(path)


def temporary_folder(name):
    """A new folder that everyone may enter, with a path short enough for Unix sockets (107 bytes)."""
    base = tempfile.gettempdir()
    if len(base) > 50:
        base = "/tmp"
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"permtab-{name}-", dir=base))
    folder.chmod(0o755)
    return folder


def _open_to_all(path):
    path.chmod(0o755)
    if path.is_dir():
        for child in path.iterdir():
            _open_to_all(child)


def program_for_others(name, folder):
    """A copy in `folder` of a program of the build, for another uid: the checkout may lie where others cannot go, and
    its files be nobody's to read but their owner's."""
    copy = pathlib.Path(folder) / name
    shutil.copy(program(name), copy)
    _open_to_all(copy)
    return str(copy)


def harness_for_others(folder):
    """A folder to be put into sys.path, from which another uid can import the modules of harness that need nothing of
    the build."""
    library = pathlib.Path(folder) / "library"
    shutil.copytree(pathlib.Path(__file__).parent, library / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    (library / "harness" / "__init__.py").write_text("")
    _open_to_all(library)
    return str(library)
