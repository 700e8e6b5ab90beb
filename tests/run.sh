#!/usr/bin/env bash
# Installs what is missing, builds, starts real MariaDB and Redis servers on private sockets, runs every test, counts.
#
#     ./tests/run.sh            both compilers, the sanitizers, all tests
#     ./tests/run.sh --quick    one build, without the long tests; under three minutes
#
# Builds go to build/ in the checkout and are used again. Ends with `N passed, N failed` (and `, N skipped`); exits 0
# only when something ran and nothing failed. PERMTAB_JOBS: how many jobs at a time (the number of cores); of the rest
# of the environment little comes through (tests/surroundings.sh).
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
quick=no
passed=0 failed=0 skipped=0
temporary="" servers=""

case "$#:${1:-}" in
    0:) ;;
    1:--quick) quick=yes ;;
    1:--surroundings) ;;
    *) echo "usage: tests/run.sh [--quick]" >&2; exit 64 ;;
esac
. "$root/tests/surroundings.sh"
if [ "${1:-}" = --surroundings ]; then
    surroundings_show
    exit
fi
cd "$root" || exit 1
jobs="${PERMTAB_JOBS:-$(nproc)}"
# Most tests wait for most of their time. Twice as many as there are processors is as fast as it gets; where the long
# ones run, and those that compute, it is fewer.
tests="$((2 * jobs))"
# The python that Debian's python3-msgpack belongs to. It may have to be installed first.
python=/usr/bin/python3

say() { printf '\n## %s (%d s)\n' "$1" "$SECONDS"; }

finish() {
    if [ -n "$servers" ]; then
        kill "$servers" 2>/dev/null
        wait "$servers" 2>/dev/null
    fi
    [ -z "$temporary" ] || rm -rf "$temporary"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

total() {
    local line="$passed passed, $failed failed"
    [ "$skipped" -eq 0 ] || line="$line, $skipped skipped"
    echo
    echo "$line"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# build NAME CMAKE-ARGUMENTS...: counts as one test. Warnings are errors. With `targets` set, these alone.
build() {
    local name="$1" folder="build/$1" log="build/$1.log"
    local only=(${targets:+--target $targets})
    shift
    say "build $name"
    mkdir -p build
    if cmake -S . -B "$folder" -G Ninja -DPERMTAB_TESTS=ON -DPERMTAB_WERROR=ON -DPython3_EXECUTABLE="$python" "$@" \
        >"$log" 2>&1 && cmake --build "$folder" -j "$jobs" "${only[@]}" >>"$log" 2>&1; then
        passed=$((passed + 1))
        echo "built"
    else
        failed=$((failed + 1))
        tail -n 60 "$log"
        echo "the build $name failed; all of it: $log"
        return 1
    fi
}

# run_ctest NAME CTEST-ARGUMENTS...: runs the tests of one build and adds up what its report says.
run_ctest() {
    local name="$1" report="$root/build/$1.junit.xml" counts
    shift
    say "tests of the build $name"
    rm -f "$report"
    (cd "build/$name" && ctest -j "$tests" --output-on-failure --no-tests=ignore --output-junit "$report" "$@")
    counts="$("$python" - "$report" <<'EOF'
import sys, xml.etree.ElementTree as tree
cases = tree.parse(sys.argv[1]).getroot().findall("testcase")
status = [case.get("status") for case in cases]
print(status.count("run"), status.count("fail"), len(status) - status.count("run") - status.count("fail"))
EOF
)" || counts="0 1 0"
    read -r p f s <<<"$counts"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# Begins to start the servers, which takes some of the time of the first build.
begin_servers() {
    "$python" tests/e2e/harness/servers.py "$temporary" &
    servers=$!
}

# Waits until the servers are there, and takes over PERMTAB_TEST_MYSQL and PERMTAB_TEST_REDIS.
await_servers() {
    say "servers"
    for _ in $(seq 600); do
        if [ -e "$temporary/environment" ]; then
            # shellcheck disable=SC1091
            . "$temporary/environment"
            return 0
        fi
        kill -0 "$servers" 2>/dev/null || break
        sleep 0.1
    done
    echo "the servers did not start; see the messages above"
    failed=$((failed + 1))
    return 1
}

run_e2e() {
    say "end to end"
    local line
    PERMTAB_BUILD="$root/build/gcc" "$python" tests/e2e/run.py "$@" 2>&1 | tee build/e2e.log
    line="$(tail -n 1 build/e2e.log)"
    if [[ "$line" =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
    else
        failed=$((failed + 1))
        echo "the end-to-end tests ended without counting"
    fi
}

gcc=(-DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++)
clang=(-DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++)

# The flags that Debian builds packages with; _FORTIFY_SOURCE and the like find what nothing else does.
find_hardening() {
    local c cxx cpp link
    c="$(dpkg-buildflags --get CFLAGS)" && cxx="$(dpkg-buildflags --get CXXFLAGS)" &&
        cpp="$(dpkg-buildflags --get CPPFLAGS)" &&
        link="$(dpkg-buildflags --get LDFLAGS)" || return
    hardened=("-DCMAKE_C_FLAGS=$c $cpp" "-DCMAKE_CXX_FLAGS=$cxx $cpp"
        "-DCMAKE_EXE_LINKER_FLAGS=$link" "-DCMAKE_SHARED_LINKER_FLAGS=$link")
}

# The same sources, each way that they are packaged: the fast tests alone. Other ways of building are
# tests/long/builds.sh.
other_builds() {
    build release -DCMAKE_BUILD_TYPE=Release "${gcc[@]}" "${hardened[@]}" && run_ctest release -LE "$slow"
    build clang -DCMAKE_BUILD_TYPE=RelWithDebInfo "${clang[@]}" "${hardened[@]}" && run_ctest clang -LE "$slow"
    build clang-release -DCMAKE_BUILD_TYPE=Release "${clang[@]}" "${hardened[@]}" && run_ctest clang-release -LE "$slow"
}

# The address sanitizer runs all but the rest of the long histories (`again`), whose first ones it has run. The thread
# sanitizer is clang's, which follows every atomic; it runs what has threads.
full() {
    build gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo "${gcc[@]}" "${hardened[@]}" || return
    await_servers || return
    run_ctest gcc
    run_e2e --jobs "$((jobs + jobs / 2))"
    other_builds
    build asan -DCMAKE_BUILD_TYPE=Debug "${gcc[@]}" -DPERMTAB_ASAN=ON &&
        run_ctest asan -j "$jobs" -LE 'bench|model|again'
    local threaded="stress_mixture stress_mixture_slow test_threads test_store_sqlite test_client_check"
    threaded+=" test_client_attach test_client_fork test_client_identity test_client_trouble"
    targets=fuzzers build fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo "${clang[@]}" -DPERMTAB_FUZZ=ON &&
        run_ctest fuzz -j "$jobs" -L '^fuzz$' # each for five seconds; tests/long/fuzz.sh runs them for longer
    targets="$threaded" build tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo "${clang[@]}" -DPERMTAB_TSAN=ON &&
        run_ctest tsan -j "$jobs" -R "^(${threaded// /|})\$"
}

# Left out are the long tests, and those that write thousands of rows to MariaDB, labelled `full`: the end-to-end
# tests use it too.
quick() {
    build gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo "${gcc[@]}" "${hardened[@]}" || return
    await_servers || return
    run_ctest gcc -LE 'full|model'
    run_e2e --quick --jobs "$tests"
}

slow='full|model|bench|stress'
temporary="$(mktemp -d /tmp/permtab-tests-XXXXXX)"
export HOME="$temporary/home"
mkdir "$HOME"
if ! ./deploy/install-packages.sh; then
    echo "the packages of deploy/packages.txt could not be installed"
    failed=1
elif ! "$python" -c 'import msgpack'; then
    echo "$python has no msgpack, though python3-msgpack is installed"
    failed=1
elif ! find_hardening; then
    echo "dpkg-buildflags does not say how Debian builds packages"
    failed=1
else
    begin_servers
    if [ "$quick" = yes ]; then
        quick
    else
        full
    fi
fi
total
