#!/usr/bin/env bash
# Runs one fuzzer from its seeds for a while. What it finds is kept beside it, and what is found wrong is named.
#
#     tests/fuzz/run.sh PROGRAM SECONDS [ARGUMENTS...]
#
# PROGRAM is build/…/fuzz_NAME. Paths that it found go to fuzz_NAME.corpus, which the next run begins with; an input
# that is found wrong goes to fuzz_NAME-crash-… .
set -uo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
program="$1" seconds="$2"
shift 2
name="$(basename "$program")"
name="${name#fuzz_}"
arguments=(-max_total_time="$seconds" -timeout=120
     -rss_limit_mb=4096 -max_len=32768 -artifact_prefix="$program-" -print_final_stats=1)
mkdir -p "$program.corpus"
folders=("$program.corpus")
[ ! -d "$here/seeds/$name" ] || folders+=("$here/seeds/$name")
[ "$name" != policy ] || folders+=("$here/../../conf/policies")
[ ! -f "$here/dictionaries/$name" ] || arguments+=(-dict="$here/dictionaries/$name")
export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1:${ASAN_OPTIONS:-}"
# Sources are said by PERMTAB_… alone, and configurations must not find one that is set here.
for variable in "${!PERMTAB_@}"; do
    [ "$variable" = PERMTAB_FUZZ_COST ] || unset "$variable"
done
exec "$program" "${arguments[@]}" "$@" "${folders[@]}" </dev/null
