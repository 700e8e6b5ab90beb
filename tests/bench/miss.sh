#!/usr/bin/env bash
# Builds with optimisation, and times a miss over MariaDB beside a prepared SELECT by key. Needs a quiet
# machine. Half a minute.
#
#     ./tests/bench/miss.sh [--users N] [--rounds N] [--json FILE]
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
build_bench bench
exec "$python" "$root/tests/bench/miss.py" --build "$build" "$@"
