#!/usr/bin/env bash
# Builds with optimisation, and times a change on a host that is being warmed up, beside the same at rest. Needs a quiet
# machine. Ten minutes.
#
#     ./tests/bench/warm_propagation.sh [--entries N] [--blocks N] [--rounds N] [--stores SQLite,MariaDB] [--json FILE]
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
# The python that Debian's python3-msgpack belongs to; another one may come first in PATH.
python=/usr/bin/python3
"$python" -c 'import msgpack' 2>/dev/null || python=python3
export PERMTAB_BUILD="$build" # of the harness
exec "$python" "$root/tests/bench/warm_propagation.py" --build "$build" "$@"
