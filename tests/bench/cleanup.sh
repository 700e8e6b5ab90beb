#!/usr/bin/env bash
# Measures what another client of Redis feels while a million L2 keys are cleaned up. An open loop of 1,000 GETs a
# second before, during and after; the goal is a p99 during the clean-up of at most twice the p99 before. Redis, the
# sidecar and the load are its own.
#
#     tests/bench/cleanup.sh [--keys N] [--seconds N] [--budget PERCENT] [--build FOLDER] [--real-time yes]
#
# Needs a quiet machine: look at "late p99 us", which is how late the load itself was, and at the phase after.
# --real-time yes runs Redis, the sidecar and the load before everything else on the machine (SCHED_RR, takes root).
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/build.sh"
keys=1000000 seconds=20 budget=10 built="" first=""
while [ $# -gt 1 ]; do
    case "$1" in
    --keys) keys="$2" ;;
    --seconds) seconds="$2" ;;
    --budget) budget="$2" ;;
    --build) build="$2" built=yes ;;
    --real-time) first="chrt --rr 10" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -eq 0 ] || {
    echo "usage: cleanup.sh [--keys N] [--seconds N] [--budget PERCENT] [--build FOLDER] [--real-time yes]" >&2
    exit 64
}

[ -n "$built" ] || build_bench permtabd permtabctl bench_cleanup

folder="$(mktemp -d /tmp/permtab-cleanup-XXXXXX)"
redis="" sidecar="" load=""
finish() {
    for process in $load $sidecar $redis; do kill "$process" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

ctl() { "$build/client/permtabctl" --socket "$folder/permtab.sock" "$@"; }
ask() { redis-cli -s "$folder/redis.sock" "$@"; }
wait_for() {
    for _ in $(seq 200); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    echo "it does not answer: $*" >&2
    exit 1
}

$first redis-server --port 0 --unixsocket "$folder/redis.sock" --save "" --appendonly no \
    --dir "$folder" >"$folder/redis.log" &
redis=$!
wait_for ask PING

cat >"$folder/permtab.conf" <<CONFIGURATION
store = "sqlite:$folder/permtab.db"
store_migrate = true
socket = "$folder/permtab.sock"
ops_socket = "$folder/ops.sock"
redis = "unix:$folder/redis.sock"
l2 = false
cleanup_budget = $budget
CONFIGURATION
$first "$build/proxy/permtabd" -c "$folder/permtab.conf" 2>"$folder/log" &
sidecar=$!
wait_for ctl health

# Hashes as L2 has them, all of an old epoch. After the sidecar's start, which is a new epoch and a clean-up of its own.
wait_for sh -c "redis-cli -s '$folder/redis.sock' HGET permtab:l2:1:marker epoch | grep -q ."
sleep 1
awk -v count="$keys" 'BEGIN {
    value = sprintf("%90s", ""); gsub(/ /, "v", value)
    for (i = 0; i < count; i++) {
        key = "permtab:l2:1:00000000000000bb:{user:" i "}"
        printf "*4\r\n$4\r\nHSET\r\n$%d\r\n%s\r\n$9\r\nchannel:7\r\n$90\r\n%s\r\n", length(key), key, value
    }
}' | ask --pipe >"$folder/pipe.log"

mkfifo "$folder/words"
$first "$build/tests/bench/bench_cleanup" "$folder/redis.sock" 1000 <"$folder/words" >"$folder/table" &
load=$!
exec 9>"$folder/words"

# The same looks once a second in every phase, so that they do not make a difference.
state() { ctl cleanup status --json | awk -F'"' '/"state"/ { print $4; exit }'; }
rest() {
    for _ in $(seq "$seconds"); do
        state >/dev/null
        sleep 1
    done
}

before="$(ask DBSIZE)"
rest # the machine calms down after loading; not counted
echo before >&9
rest
echo during >&9
ctl cleanup start epochs >/dev/null
until [ "$(state)" = "done" ]; do
    kill -0 "$sidecar" || { cat "$folder/log" >&2; exit 1; }
    sleep 1
done
echo after >&9
rest
exec 9>&-
wait "$load"
load=""

cat "$folder/table"
echo
ctl cleanup status
printf 'keys in Redis: %s before, %s after; %s processors, load average %s\n' \
    "$before" "$(ask DBSIZE)" "$(nproc)" "$(cut -d' ' -f1-3 /proc/loadavg)"
awk '$1 == "during" { printf "p99 during / before: %s (goal: at most 2)\n", $NF }' "$folder/table"
