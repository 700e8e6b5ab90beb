#!/usr/bin/env bash
# Builds the fuzzers of tests/fuzz/ with clang, and runs each, one after the other, until it finds nothing new.
#
#     ./tests/long/fuzz.sh [SECONDS [QUIET [NAMES...]]]
#
# SECONDS: of each, at most; 600 without it. QUIET: a fuzzer that has reached no new edge for so long is done; 180
# without it. NAMES: wire, policy, …; without them all. Paths that were found are kept in build/fuzz, and the next run
# begins with them. An input that is found wrong is kept there, too, and its path is printed. Ends with a table, and
# `N passed, N failed`.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
seconds="${1:-600}" quiet="${2:-180}"
shift $(($# < 2 ? $# : 2))
folder=build/fuzz
passed=0 failed=0
table=()
case "$seconds$quiet" in
    *[!0-9]*) echo "usage: tests/long/fuzz.sh [SECONDS [QUIET [NAMES...]]]" >&2; exit 64 ;;
esac
mkdir -p "$folder"
if ! { cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang \
    -DCMAKE_CXX_COMPILER=clang++ -DPERMTAB_TESTS=ON -DPERMTAB_FUZZ=ON &&
    cmake --build "$folder" --target fuzzers; } >"$folder/build.log" 2>&1; then
    tail -n 40 "$folder/build.log" >&2
    echo "the fuzzers cannot be built; all of it: $folder/build.log" >&2
    exit 1
fi

# edges LOG: how many were reached up to now.
edges() { grep -ao 'cov: [0-9]*' "$1" | tail -n 1 | cut -d ' ' -f 2; }

# watch PID LOG: waits for the fuzzer's end, and ends it (SIGUSR1) when it has been quiet for so long. Sets `last`.
watch() {
    local seen=0 now begin="$SECONDS"
    last=0
    while kill -0 "$1" 2>/dev/null; do
        sleep 1
        now="$(edges "$2")"
        if [ "${now:-0}" != "$seen" ]; then
            seen="${now:-0}" last=$((SECONDS - begin))
        elif [ $((SECONDS - begin - last)) -ge "$quiet" ]; then
            kill -USR1 "$1" 2>/dev/null
        fi
    done
}

# row NAME LOG SECONDS LAST
row() {
    local executions corpus
    executions="$(grep -a 'stat::number_of_executed_units' "$2" | tr -dc '0-9')"
    corpus="$(grep -ao 'corp: [0-9]*' "$2" | tail -n 1 | cut -d ' ' -f 2)"
    printf '| %-12s | %12s | %6s | %6s | %7s | %13s |' "$1" "${executions:-?}" "$(edges "$2")" "${corpus:-?}" "$3" "$4"
}

if [ $# -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        name="$(basename "$source" .c)"
        set -- "$@" "${name#fuzz_}"
    done
fi
for name in "$@"; do
    log="$folder/$name.log" begin="$SECONDS"
    tests/fuzz/run.sh "$folder/tests/fuzz/fuzz_$name" "$seconds" >"$log" 2>&1 &
    pid=$!
    watch "$pid" "$log"
    if wait "$pid"; then
        passed=$((passed + 1))
        echo "ok $name"
    else
        failed=$((failed + 1))
        grep -av '^#' "$log" | tail -n 40
        echo "FAILED $name; all of it: $log"
    fi
    table+=("$(row "$name" "$log" $((SECONDS - begin)) "$last")")
done
echo
echo "| fuzzer       |   executions |  edges | corpus | seconds | last new edge |"
echo "|--------------|-------------:|-------:|-------:|--------:|--------------:|"
printf '%s\n' "${table[@]}"
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
