#!/usr/bin/env bash
# Builds the fuzzers of tests/fuzz/ with clang, and runs each for a while on what it finds by itself.
#
#     ./tests/long/fuzz.sh [SECONDS]      of each; 600 without an argument
#
# An input that is found wrong is kept in build/fuzz, and its path is printed. Ends with `N passed, N failed`.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
seconds="${1:-600}"
folder=build/fuzz
passed=0 failed=0
case "$seconds" in
    *[!0-9]* | "") echo "usage: tests/long/fuzz.sh [SECONDS]" >&2; exit 64 ;;
esac
mkdir -p "$folder"
if ! { cmake -S . -B "$folder" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DPERMTAB_FUZZ=ON &&
    cmake --build "$folder" --target fuzzers; } >"$folder/build.log" 2>&1; then
    tail -n 40 "$folder/build.log" >&2
    echo "the fuzzers cannot be built; all of it: $folder/build.log" >&2
    exit 1
fi
for source in tests/fuzz/fuzz_*.c; do
    name="$(basename "$source" .c)"
    if "$folder/tests/fuzz/$name" -max_total_time="$seconds" -artifact_prefix="$folder/$name-" \
        >"$folder/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok $name: $(tail -n 1 "$folder/$name.log")"
    else
        failed=$((failed + 1))
        tail -n 40 "$folder/$name.log"
        echo "FAILED $name; all of it: $folder/$name.log"
    fi
done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
