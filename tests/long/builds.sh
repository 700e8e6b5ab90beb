#!/usr/bin/env bash
# Builds permtab in every way that tests/run.sh does not: each gcc and clang that the release has, at each level of
# optimisation, with link-time optimisation, with all of Debian's hardening, and for other processors. Warnings are
# errors, and the fast tests run wherever this processor can run them.
#
#     sudo ./tests/long/builds.sh [bookworm|trixie]                  an hour or two; trixie without an argument
#     sudo ./tests/long/builds.sh RELEASE gcc-14 clang-19 arm64      some of it
#
# It needs compilers that nobody should have to install, so it makes a machine as tests/fresh.sh does (see there) and
# tries what is committed. Logs are in build/fresh/RELEASE-builds. Ends with `N passed, N failed`.
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root" || exit 1
. "$root/tests/fresh/machine.sh"
release="${1:-trixie}"
case "$release" in
    bookworm | trixie) ;;
    *) echo "usage: tests/long/builds.sh [bookworm|trixie [COMPILER|PROCESSOR…]]" >&2; exit 64 ;;
esac
passed=0 failed=0
compilers=() processors=()
for name in "${@:2}"; do
    case "$name" in
        gcc-* | clang-*) compilers+=("$name") ;;
        *) processors+=("$name") ;;
    esac
done
[ $# -gt 1 ] || processors=(arm64 riscv64)

# on NAME ARGUMENTS...: runs tests/long/NAME.sh on a new machine, shows its log as it comes, and adds up its lines `ok
# …` and `FAILED …`.
on() {
    local log="$logs/$1${2:+-$2}.log" ok bad
    new_machine "$release" "$1" && clone_for_root || give_up "no copy of $release could be made"
    "$root/tests/fresh/enter.sh" "$tree" sh -c "cd ~/permtab && ./tests/long/$1.sh ${*:2}" 2>&1 </dev/null |
        tee "$log" | grep --line-buffered -E '^(ok|FAILED) '
    [ "${PIPESTATUS[0]}" -eq 0 ] || { failed=$((failed + 1)); tail -n 40 "$log"; }
    ok="$(grep -c '^ok ' "$log")" bad="$(grep -c '^FAILED ' "$log")"
    passed=$((passed + ok)) failed=$((failed + bad))
    mkdir -p "$logs/$1" && cp -r "$tree$root_home/permtab/build/logs/." "$logs/$1" 2>/dev/null
    remove_machine
}

begin_machines
logs="$kept/$release-builds"
rm -rf "$logs" && mkdir -p "$logs"
make_pristine "$release" || give_up "$release could not be made: $kept/$release.debootstrap.log"
if [ $# -le 1 ] || [ ${#compilers[@]} -gt 0 ]; then on compilers "${compilers[@]}"; fi
for name in "${processors[@]}"; do on processors "$name"; done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
