#!/usr/bin/env bash
# Builds with optimisation, and times starts: launch to first answer, and death of a worker to first answer, with
# stores and tables of several sizes. Needs a quiet machine. About ten minutes.
#
#     ./tests/bench/start.sh [--stores sqlite,mariadb] [--users 1,100000] [--entries 1000,1000000] [--rounds N]
#                            [--json FILE]
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
build_bench permtabd
exec "$python" "$root/tests/bench/start.py" "$@"
