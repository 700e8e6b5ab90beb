#!/usr/bin/env bash
# Builds with optimisation, and times misses beside four writers that wait for the store's lock. Needs a quiet
# machine. A minute.
#
#     ./tests/bench/stuck_writers.sh [--rounds N] [--checks N] [--json FILE]
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
build_bench bench
exec "$python" "$root/tests/bench/stuck_writers.py" --build "$build" "$@"
