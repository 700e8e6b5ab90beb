#!/usr/bin/env bash
# Builds with optimisation, and times starts: launch to first answer, and death of a worker to first answer, with
# stores and tables of several sizes. Needs a quiet machine. About ten minutes.
#
#     ./tests/bench/start.sh [--stores sqlite,mariadb] [--users 1,100000] [--entries 1000,1000000] [--rounds N]
#                            [--json FILE]
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
build="$root/build/bench"
mkdir -p "$build"
if ! { cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo &&
    cmake --build "$build" --target permtabd; } >"$build/build.log" 2>&1; then
    tail -n 40 "$build/build.log" >&2
    echo "the build failed; all of it: $build/build.log" >&2
    exit 1
fi
# The python that Debian's python3-msgpack belongs to; another one may come first in PATH.
python=/usr/bin/python3
"$python" -c 'import msgpack' 2>/dev/null || python=python3
export PERMTAB_BUILD="$build" # of the harness
exec "$python" "$root/tests/bench/start.py" "$@"
