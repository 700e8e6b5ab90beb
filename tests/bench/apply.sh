#!/usr/bin/env bash
# Times `permtabctl apply` of 100,000 assignments, in one transaction, with triggers; and a second time, when nothing is
# to be changed. On SQLite, and on MariaDB when PERMTAB_TEST_MYSQL names a database (which is dropped and made anew).
#
#     tests/bench/apply.sh [ROUNDS]          builds in build/bench; prints medians of wall seconds
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
rounds="${1:-5}"
assignments=100000
folder="$(mktemp -d /tmp/permtab-apply-XXXXXX)"
sidecar=""
finish() {
    [ -z "$sidecar" ] || kill "$sidecar" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

build_bench permtabd permtabctl

awk -v count="$assignments" 'BEGIN {
    printf "{\"permissions\": [{\"name\": \"message.send\"}],\n"
    printf " \"scopes\": [{\"scope\": \"server:2\", \"parent\": \"global\"}],\n"
    printf " \"roles\": [{\"id\": 300, \"scope\": \"server:2\", \"allow\": [\"message.send\"]}],\n \"assignments\": [\n"
    for (i = 0; i < count; i++)
        printf "  {\"user\": %d, \"role\": 300}%s\n", 1000001 + i, i + 1 < count ? "," : ""
    printf "]}\n"
}' >"$folder/policy.json"

ctl() { "$build"/client/permtabctl --socket "$folder/permtab.sock" "$@"; }

seconds_of_apply() {
    local from
    from="$(date +%s%N)"
    ctl apply "$folder/policy.json" >/dev/null
    awk -v from="$from" -v to="$(date +%s%N)" 'BEGIN { printf "%.2f\n", (to - from) / 1e9 }'
}

# one_round NAME URL: on an empty store.
one_round() {
    printf 'store = "%s"\nstore_migrate = true\nsocket = "%s/permtab.sock"\nops_socket = "%s/ops.sock"\n' \
        "$2" "$folder" "$folder" >"$folder/permtab.conf"
    "$build"/proxy/permtabd -c "$folder/permtab.conf" 2>"$folder/log" &
    sidecar=$!
    for _ in $(seq 200); do
        ! ctl health >/dev/null 2>&1 || break
        sleep 0.05
    done
    seconds_of_apply >>"$folder/$1.first"
    seconds_of_apply >>"$folder/$1.second"
    kill "$sidecar"
    wait "$sidecar" || true
    sidecar=""
}

empty_mysql() {
    local rest="${PERMTAB_TEST_MYSQL#mysql://}" user database
    user="${rest%%@*}" database="${rest#*/}"
    mariadb --no-defaults --user="$user" --socket="${rest#*socket=}" \
        -e "DROP DATABASE IF EXISTS \`${database%%\?*}\`; CREATE DATABASE \`${database%%\?*}\`"
}

median() { sort -n "$1" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

for _ in $(seq "$rounds"); do
    rm -f "$folder"/permtab.db*
    one_round sqlite "sqlite:$folder/permtab.db"
    if [ -n "${PERMTAB_TEST_MYSQL:-}" ]; then
        empty_mysql
        one_round mariadb "$PERMTAB_TEST_MYSQL"
    fi
done
for name in sqlite mariadb; do
    [ ! -e "$folder/$name.first" ] ||
        printf '%-8s apply of %d assignments: %s s; again, nothing to change: %s s (medians of %d)\n' \
        "$name" "$assignments" "$(median "$folder/$name.first")" "$(median "$folder/$name.second")" "$rounds"
done
