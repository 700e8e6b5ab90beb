# Sourced by the benchmarks that are run by hand: builds with optimisation what a script names.
#
#     . "$(dirname "${BASH_SOURCE[0]}")/build.sh"
#     build_bench TARGETS…          sets `root`, `build` and `python`
# shellcheck shell=bash disable=SC2034

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
build="$root/build/bench"
# The python that Debian's python3-msgpack belongs to; another one may come first in PATH.
python=/usr/bin/python3
"$python" -c 'import msgpack' 2>/dev/null || python=python3
export PERMTAB_BUILD="$build" # of the harness

build_bench() {
    mkdir -p "$build"
    if ! { cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo &&
        cmake --build "$build" --target "$@"; } >"$build/build.log" 2>&1; then
        tail -n 40 "$build/build.log" >&2
        echo "the build failed; all of it: $build/build.log" >&2
        exit 1
    fi
}
