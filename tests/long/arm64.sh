#!/usr/bin/env bash
# The same sources for arm64: built by Debian's cross compilers and libraries, the unit and stress tests run under
# qemu-user.
#
#     sudo ./tests/long/arm64.sh [bookworm|trixie]       half an hour; trixie without an argument
#     sudo ./tests/long/arm64.sh RELEASE TEST…           some tests: a regular expression for ctest -R each
#
# It makes a machine as tests/fresh.sh does (see there) and tries what is committed. Logs are in
# build/fresh/RELEASE-arm64. Ends with `N passed, N failed` and `, N skipped`.
#
# What this shows: that the sources compile and run on a processor that is not x86. Alignment, 64-bit atomics as that
# processor's compiler makes them (ldar, stlr, casal), system calls by their numbers there, char without a sign.
#
# What it cannot show: the order of memory. qemu-user runs the threads of the guest as threads of this machine; on x86
# each of its loads and stores is a plain one, which x86 keeps in order, so a missing acquire or release shows nothing.
# For that there are tests/model/ and the thread sanitizer (docs/SHARED-MEMORY.md, "Each helper weakened"). Nor pages of
# 16 or 64 KB: the pages are this machine's. Nor speed.
#
# Left out, with the reason in skip_reason below: what starts programs of the build, which this machine's kernel cannot
# run without binfmt_misc, and what qemu-user itself does not do as a kernel does. Single cases find that out by trying
# and skip themselves: qemu-user ignores most advice of madvise and RLIMIT_AS, and says that it has done as told
# (tests/unit/shm/test_segment.c; the same on x86: qemu-x86_64 build/tests/test_segment).
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root" || exit 1

# skip_reason TEST: prints why the test says nothing under qemu-user; fails when it is to be run.
skip_reason() {
    case "$1" in
        bench_* | model | fuzz_*) echo "no test of this processor" ;;
        qemu_*) echo "is about qemu on x86" ;;
        *) return 1 ;;
    esac
}

# ---- on the machine --------------------------------------------------------------------------------------------

inside() {
    . ./tests/long/processors.sh
    shift
    local name reason log="$PWD/build/logs" wanted="$*"
    export PKG_CONFIG_LIBDIR="/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig"
    emulator=-DCMAKE_CROSSCOMPILING_EMULATOR=/usr/bin/qemu-aarch64
    apt update >"$log/apt.log" 2>&1
    apt install --no-install-recommends qemu-user >>"$log/apt.log" 2>&1 || { echo "FAILED qemu-user"; return; }
    try arm64 aarch64-linux-gnu aarch64 "$emulator" | tee "$log/try"
    grep -q '^ok ' "$log/try" || return
    qemu-aarch64 --version | head -n 1
    cd build/arm64 || return
    ctest -N | sed -n 's/^ *Test *#[0-9]*: //p' >"$log/names"
    while read -r name; do
        [ -z "$wanted" ] || grep -qE "${wanted// /|}" <<<"$name" || continue
        if reason="$(skip_reason "$name")"; then
            echo "skipped $name: $reason"
            continue
        fi
        # A status of 77 is the test's own word that it was skipped.
        timeout 900 ctest -R "^$name\$" --output-on-failure >"$log/$name.log" 2>&1
        if grep -q '(Skipped)' "$log/$name.log"; then
            echo "skipped $name: it says so itself"
        elif grep -q '^100% tests passed' "$log/$name.log"; then
            echo "ok $name"
        else
            echo "FAILED $name"
            tail -n 15 "$log/$name.log"
        fi
    done <"$log/names"
}

if [ "${1:-}" = --inside ]; then
    inside "$@"
    exit
fi

# ---- from here ----------------------------------------------------------------------------------------------------

. "$root/tests/fresh/machine.sh"
release="${1:-trixie}"
case "$release" in
    bookworm | trixie) ;;
    *) echo "usage: tests/long/arm64.sh [bookworm|trixie [TEST…]]" >&2; exit 64 ;;
esac
begin_machines
logs="$kept/$release-arm64"
rm -rf "$logs" && mkdir -p "$logs"
make_pristine "$release" || give_up "$release could not be made: $kept/$release.debootstrap.log"
new_machine "$release" arm64 && clone_for_root || give_up "no copy of $release could be made"
"$root/tests/fresh/enter.sh" "$tree" sh -c 'cd ~/permtab && exec ./tests/long/arm64.sh --inside "$@"' sh "${@:2}" \
    2>&1 </dev/null |
    tee "$logs/log" | grep --line-buffered -E '^(ok|FAILED|skipped|qemu)'
ended="${PIPESTATUS[0]}"
cp -r "$tree$root_home/permtab/build/logs/." "$logs" 2>/dev/null
passed="$(grep -c '^ok ' "$logs/log")" failed="$(grep -c '^FAILED ' "$logs/log")"
skipped="$(grep -c '^skipped ' "$logs/log")"
[ "$ended" -eq 0 ] || { failed=$((failed + 1)); tail -n 40 "$logs/log"; }
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
