#!/usr/bin/env bash
# Builds with optimisation, and times the warm-up of all users of one place: on demand, after the death of a worker,
# and on a fresh host of a fleet. Needs a quiet machine. About ten minutes.
#
#     ./tests/bench/warm.sh [--what demand,death,fleet] [--stores sqlite,mariadb] [--users N] [--rounds N]
#                           [--json FILE]
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
build="$root/build/bench"
mkdir -p "$build"
if ! { cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo &&
    cmake --build "$build" --target permtabd permtabctl bench_warm; } >"$build/build.log" 2>&1; then
    tail -n 40 "$build/build.log" >&2
    echo "the build failed; all of it: $build/build.log" >&2
    exit 1
fi
# The python that Debian's python3-msgpack belongs to; another one may come first in PATH.
python=/usr/bin/python3
"$python" -c 'import msgpack' 2>/dev/null || python=python3
export PERMTAB_BUILD="$build" # of the harness
exec "$python" "$root/tests/bench/warm.py" "$@"
