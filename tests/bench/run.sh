#!/usr/bin/env bash
# Builds the benchmarks with optimisation, runs them and prints a table; --json FILE keeps the figures too. Needs a
# quiet machine: compare ratios of one run, never figures of two. About three minutes.
#
#     ./tests/bench/run.sh [--json FILE] [--quick] [--rounds N]
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
build_bench bench
exec "$python" "$root/tests/bench/bench.py" --build "$build" "$@"
