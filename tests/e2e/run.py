#!/usr/bin/env python3
"""Runs tests/e2e/test_*.py, each as a script of its own with a time limit, and counts.

    run.py [--quick] [--jobs N] [NAME…]        NAME: a file's name without test_ and .py

Ends with `N passed, N failed` (and `, N skipped`); exits 0 only when something ran and nothing failed."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from harness.surroundings import settle

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_SECONDS = 900
# They compare times, or keep both processors busy: nothing runs beside them. Their quick tests do neither, but for one.
ALONE = {"test_faults.py", "test_hostile.py", "test_nemesis.py", "test_nemesis_broken.py", "test_soak.py",
         "test_split_fleet.py"}
ALONE_QUICK = {"test_faults.py"}


def run_file(path, quick, shared):
    """Runs one file; returns its counts and what it printed. A file that ends without counts, or never, is one
    failure."""
    begun = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".json") as counts, tempfile.TemporaryFile("w+") as output:
        environment = {**os.environ, "PERMTAB_E2E_COUNTS": counts.name, "PERMTAB_TEST_QUICK": "1" if quick else "0",
                       "PERMTAB_E2E_MARIADB": shared, "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen([sys.executable, str(path)], env=environment, start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        result, note = {"passed": 0, "failed": 1, "skipped": 0}, ""
        try:
            process.wait(LIMIT_SECONDS)
            text = pathlib.Path(counts.name).read_text()
            if text:
                result = json.loads(text)
            else:
                note = f"{path.name}: ended with {process.returncode} before it could count\n"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            note = f"{path.name}: not done after {LIMIT_SECONDS} s\n"
        output.seek(0)
        line = ", ".join(f"{result[name]} {name}" for name in result)
        return result, f"== {path.name}\n{output.read()}{note}== {path.name}: {line}, {time.monotonic() - begun:.1f} s"


def main():
    parser = argparse.ArgumentParser(description="Runs the end-to-end tests.")
    parser.add_argument("--quick", action="store_true", help="leave the long tests out")
    parser.add_argument("--jobs", type=int, default=1, help="files at a time, but for those that want to be alone")
    parser.add_argument("names", nargs="*", help="files to run: life for test_life.py")
    arguments = parser.parse_args()
    settle()
    paths = sorted(HERE.glob("test_*.py"))
    if arguments.names:
        wanted = {f"test_{name.removeprefix('test_').removesuffix('.py')}.py" for name in arguments.names}
        missing = wanted - {path.name for path in paths}
        if missing:
            raise SystemExit(f"no such test: {', '.join(sorted(missing))}")
        paths = [path for path in paths if path.name in wanted]
    total = {"passed": 0, "failed": 0, "skipped": 0}
    alone = ALONE_QUICK if arguments.quick else ALONE
    together = [path for path in paths if path.name not in alone]
    with tempfile.TemporaryDirectory(prefix="permtab-shared-") as shared:
        for jobs, some in ((arguments.jobs, together), (1, [path for path in paths if path.name in alone])):
            with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
                for counts, text in pool.map(lambda path: run_file(path, arguments.quick, shared), some):
                    print(text, flush=True)
                    for name in total:
                        total[name] += counts[name]
    line = f"{total['passed']} passed, {total['failed']} failed"
    print(line + (f", {total['skipped']} skipped" if total["skipped"] else ""))
    sys.exit(0 if total["failed"] == 0 and total["passed"] > 0 else 1)


if __name__ == "__main__":
    main()
