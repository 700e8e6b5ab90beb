#!/usr/bin/env bash
# The soak: two hosts at full rate while everything changes, half of the time over SQLite and half over MariaDB, each
# with a Redis; memory, descriptors, threads and tables stay as they were, and counters are equal to what was done.
# Builds in build/gcc.
#
#     ./tests/long/soak.sh [MINUTES [SEED]]      60 minutes and any seed without an argument
#
# Ends with what was found wrong, if anything; the logs are in build/soak then.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
minutes="${1:-60}" seed="${2:-}"
case "$minutes$seed" in
    *[!0-9.]* | "") echo "usage: tests/long/soak.sh [MINUTES [SEED]]" >&2; exit 64 ;;
esac
mkdir -p build
if ! { cmake -S . -B build/gcc -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPERMTAB_TESTS=ON &&
    cmake --build build/gcc; } >build/gcc.log 2>&1; then
    tail -n 40 build/gcc.log >&2
    exit 1
fi
PERMTAB_BUILD="$PWD/build/gcc" exec /usr/bin/python3 tests/e2e/soak.py --minutes "$minutes" ${seed:+--seed "$seed"}
