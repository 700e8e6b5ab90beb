#!/usr/bin/env bash
# Builds with optimisation, and times the warm-up of all users of one place: on demand, after the death of a worker,
# and on a fresh host of a fleet. Needs a quiet machine. About ten minutes.
#
#     ./tests/bench/warm.sh [--what demand,death,fleet] [--stores sqlite,mariadb] [--users N] [--rounds N]
#                           [--json FILE]
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
build_bench permtabd permtabctl bench_warm
exec "$python" "$root/tests/bench/warm.py" "$@"
