#!/usr/bin/env bash
# Builds with optimisation, and times how long a change takes to be felt on another host, and misses from L2 and from
# the store, with two hosts and with twenty. Needs a quiet machine. About three minutes.
#
#     ./tests/bench/coherence.sh [--hosts 2,20] [--rounds N] [--json FILE]
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
build_bench bench
exec "$python" "$root/tests/bench/coherence.py" --build "$build" "$@"
