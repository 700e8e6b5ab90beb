#!/usr/bin/env bash
# Each allocation, system call, SQL statement and Redis command of the daemon, of the client library and of permtabctl
# fails in turn, once with each of its errors and for good: every stack of our own functions from which it is called.
# Then a sample under the sanitizers, which also look for leaks. Builds in build/gcc and build/asan.
#
#     ./tests/long/faults.sh [SANITIZED]      how many of each program under the sanitizers; 1000 without an argument
#
# About two hours with two processors. Ends with `N passed, N failed`; the logs of what was found are in build/faults.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
sanitized="${1:-1000}"
passed=0 failed=0
case "$sanitized" in
    *[!0-9]* | "") echo "usage: tests/long/faults.sh [SANITIZED]" >&2; exit 64 ;;
esac

build() {
    local name="$1"
    shift
    mkdir -p build
    cmake -S . -B "build/$name" -G Ninja -DPERMTAB_TESTS=ON "$@" >"build/$name.log" 2>&1 &&
        cmake --build "build/$name" >>"build/$name.log" 2>&1 && return
    tail -n 40 "build/$name.log" >&2
    exit 1
}

# try BUILD PROGRAM ARGUMENTS...
try() {
    local name="$1"
    shift
    if PERMTAB_BUILD="$PWD/build/$name" /usr/bin/python3 tests/e2e/faults.py --keep "build/faults/$name" \
        --program "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
}

build gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo
for program in permtabctl client daemon; do
    try gcc "$program"
done
try gcc mariadb --every site
build asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPERMTAB_ASAN=ON
for program in permtabctl client daemon; do
    try asan "$program" --lives "$sanitized"
done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
