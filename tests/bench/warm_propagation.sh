#!/usr/bin/env bash
# Builds with optimisation, and times a change on a host that is being warmed up, beside the same at rest. Needs a quiet
# machine. Ten minutes.
#
#     ./tests/bench/warm_propagation.sh [--entries N] [--blocks N] [--rounds N] [--stores SQLite,MariaDB] [--json FILE]
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
build_bench bench
exec "$python" "$root/tests/bench/warm_propagation.py" --build "$build" "$@"
