#!/usr/bin/env bash
# Tries everything on a machine that has nothing: makes Debian by debootstrap, clones the commit that is checked out
# here into it, and does there what README says. Nothing is installed by hand.
#
#     sudo ./tests/fresh.sh                      both releases, one after the other; about half an hour
#     sudo ./tests/fresh.sh bookworm|trixie      one of them
#     sudo ./tests/fresh.sh [RELEASE] --full     with all of tests/run.sh instead of --quick
#
# Three machines of a release, each a fresh copy of the same tree. On the first root has cloned into /root under umask
# 077: the demo, then tests/run.sh. On the second a python3 that is no use comes first in PATH before anything is
# installed. On the third somebody who may sudo has cloned into a home that others cannot enter, and types README's
# commands (tests/fresh/readme.sh).
#
# The mirror, proxies and the like are taken from this machine's own apt; PERMTAB_FRESH_MIRROR=URL is a mirror for a
# machine without. The tree is kept in build/fresh to be copied again (remove it for a newer Debian), the logs too.
# Everything else is in a temporary folder, in namespaces of its own, and gone at the end. Ends with `N passed, N
# failed`.
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1
releases=() how=--quick
passed=0 failed=0
. "$root/tests/fresh/machine.sh"

usage() { echo "usage: tests/fresh.sh [bookworm|trixie] [--full]" >&2; exit 64; }

for argument; do
    case "$argument" in
        bookworm | trixie) releases+=("$argument") ;;
        --full) how="" ;;
        *) usage ;;
    esac
done
[ ${#releases[@]} -gt 0 ] || releases=(bookworm trixie)

# step NAME COMMAND...: runs it on the machine in `tree`, and counts.
step() {
    local name="$release: $1" log="$logs/${1// /-}.log" begun="$SECONDS"
    shift
    printf '\n## %s\n' "$name"
    if "$root/tests/fresh/enter.sh" "$tree" "$@" >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        printf 'ok, %d s: %s\n' $((SECONDS - begun)) "$(tail -n 1 "$log")"
    else
        failed=$((failed + 1))
        tail -n 60 "$log"
        printf 'FAILED, %d s; all of it: %s\n' $((SECONDS - begun)) "$log"
    fi
}

# A python3 as a user may have it, before Debian's in PATH: one that is no use. It says that it was run.
put_foreign_python() {
    printf '#!/bin/sh\necho "a foreign python3 was run: $*" >&2\nexit 97\n' >"$tree/usr/local/bin/python3"
    chmod 755 "$tree/usr/local/bin/python3"
}

try_release() {
    local release="$1" logs="$kept/$1" tree=""
    rm -rf "$logs" && mkdir -p "$logs"
    if ! make_pristine "$release"; then
        failed=$((failed + 1))
        tail -n 20 "$kept/$release.debootstrap.log"
        echo "FAILED: $release could not be made"
        return
    fi
    new_machine "$release" plain && clone_for_root || give_up "no copy of $release could be made"
    step "demo" sh -c 'cd ~/permtab && umask 077 && ./deploy/demo.sh'
    step "tests${how:+ quick}" sh -c "cd ~/permtab && umask 077 && ./tests/run.sh $how"
    remove_machine
    new_machine "$release" python && clone_for_root || give_up "no copy of $release could be made"
    put_foreign_python
    step "tests quick beside a foreign python3" sh -c 'cd ~/permtab && umask 077 && ./tests/run.sh --quick'
    remove_machine
    new_machine "$release" readme && mkdir -m 700 "$tree/home/reader" && clone_into "$tree/home/reader/permtab" ||
        give_up "no copy of $release could be made"
    cp tests/fresh/readme.sh "$tree$root_home/" || give_up "no copy of $release could be made"
    step "README" sh -c '~/readme.sh prepare'
    remove_machine
}

begin_machines
for one in "${releases[@]}"; do try_release "$one"; done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
