#!/usr/bin/env bash
# Builds the benchmarks with optimisation, runs them and prints a table; --json FILE keeps the figures too. Needs a
# quiet machine: compare ratios of one run, never figures of two. About three minutes.
#
#     ./tests/bench/run.sh [--json FILE] [--quick] [--rounds N]
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
build="$root/build/bench"
mkdir -p "$build"
if ! { cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo &&
    cmake --build "$build" --target bench; } >"$build/build.log" 2>&1; then
    tail -n 40 "$build/build.log" >&2
    echo "the build failed; all of it: $build/build.log" >&2
    exit 1
fi
exec python3 "$root/tests/bench/bench.py" --build "$build" "$@"
