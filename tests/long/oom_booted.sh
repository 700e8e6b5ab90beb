#!/usr/bin/env bash
# oom_booted.sh prepare: installs permtab as README says, and a kernel, on a machine that is not booted yet.
# oom_booted.sh check: has the kernel end permtab for want of memory, on that machine when it is.
# tests/long/oom.sh runs it, on a machine that is thrown away.
#
# Each time the table is full of users who are asked for, and clients hold it. The limit of the cgroup (memory.max) is a
# little more than it holds, and a process in it that the kernel may not end takes more than that for a moment. So the
# kernel has to end somebody else. Who that is, and that it was the kernel, is read in the kernel's log and in
# memory.events. A role that somebody has is taken away after that, by SQL; processes that ask for him without a pause
# must not be told the old answer for longer than max_staleness.
#
#   shipped unit   OOMPolicy=continue: the worker is ended, and its master has another one
#                  the same with a master that is stopped, so that nobody comes after
#                  the limit is lowered to less than clients hold of the table: the master is ended, too
#   OOMPolicy=stop systemd's default: it stops what is left, and starts the unit again
#   OOMPolicy=kill systemd's word for memory.oom.group=1: the kernel ends both
#   a container    kubelet's default, memory.oom.group=1, on a cgroup made by hand in which permtabd is process 1 of its
#                  own; a loop that starts it again stands for kubelet, at once and after ten seconds
#
# Times are from when the kernel ended somebody, by its own log.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/long/installed_unit.sh
store=/var/lib/permtab/permtab.db
users=50000 first=1000000 # so many from the first one on may all do the same
staleness_ms=2000 # max_staleness
folder=/tmp/oom
pod=/sys/fs/cgroup/pod
slack=12000000 # what the limit is above what is held
revoked_users=()

# ---- before it is booted ----

prepare_oom() {
    prepare || return 1
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends linux-image-cloud-amd64 sqlite3
}

# ---- time, memory and the kernel's word ----

# Sets now_ms, to ten milliseconds: CLOCK_MONOTONIC, as the tests' worker has it. The machine never sleeps.
look_at_clock() {
    local up
    read -r up _ </proc/uptime
    now_ms=$((10#${up/./} * 10))
}

# is_held NAME: bytes of that kind in the group.
is_held() { awk -v name="$1" '$1 == name { print $2 }' "$group/memory.stat"; }

event() { awk -v name="$1" '$1 == name { print $2 }' "$group/memory.events"; }

kernel_lines() { dmesg | wc -l; }

# What the kernel has said since run_short began; the second word is its time in seconds.
kernel_log() { dmesg | tail -n +"$((lines + 1))" | sed 's/^\[ *\([0-9.]*\)\]/[ \1 ]/'; }

# The times of its log are those of the clock.
clocks_agree() {
    lines="$(kernel_lines)"
    look_at_clock
    echo "what time is it" >/dev/kmsg
    kernel_log | awk -v now="$now_ms" '/what time is it/ {
        late = 1000 * $2 - now; printf "took %d ms to say so\n", late; exit !(late > -200 && late < 500) }'
}

# Whom it has ended, in its order.
ended_by_kernel() {
    kernel_log |
        sed -n 's/.*Memory cgroup out of memory: Killed process \([0-9]*\) .*/\1/p' | paste -s -d ' '
}

# For the log.
kernel_said() {
    echo "ended at $ended_ms, revoked at $revoked_ms"
    kernel_log | grep -E 'oom-kill:|Killed process|oom_reaper|oom.group'
}

# resident PROCESS: as the kernel counts it when it chooses.
resident() {
    awk '/^VmRSS:/ { printf "%.1f MB", $2 * 1.024 / 1000 }' "/proc/$1/status"
}

# ---- who asks ----

sql() { as permtab sqlite3 -cmd '.timeout 5000' "$store" "$1"; }

assign_all() {
    sql "WITH RECURSIVE n(i) AS (SELECT $first UNION ALL SELECT i + 1 FROM n WHERE i < $first + $users - 1)
        INSERT INTO permtab_assignment SELECT i, 101, 1, 1, NULL FROM n"
}

# Everybody is asked for, and exactly those are refused whose role was taken away. Meanwhile the table grows.
all_are_right() {
    local said=""
    echo "range check $first $users channel:10 message.delete" >&"${loader[1]}"
    read -r -t 120 said <&"${loader[0]}"
    is "allowed, denied, unknown, and who is not allowed" "$said" \
        "$((users - ${#revoked_users[@]})) ${#revoked_users[@]} 0${revoked_users[*]:+ ${revoked_users[*]}}"
}

table_is_full() {
    all_are_right && [ "$(permtabctl stats | awk '$1 == "entries" { print $2 }')" -ge $((users * 9 / 10)) ]
}

# A new process each time: it is answered when somebody serves.
ask_again_and_again() {
    local begun said
    while :; do
        look_at_clock
        begun="$now_ms"
        said="$(permtabctl check 8 channel:10 message.delete 2>/dev/null)"
        look_at_clock
        echo "$begun $((now_ms + 10)) $said"
    done
}

# trace MODE MS: asks for the user whose role will be taken away, without a pause.
trace() {
    as one worker "$socket" 200 <<<"trace $1 $user channel:10 message.delete $2" >"$folder/$1" &
    traces+=($!)
    wait_for 10 grep -q running "$folder/$1"
}

begin_asking() {
    user=$((first + ${#revoked_users[@]})) traces=()
    ask_again_and_again >"$folder/answers" &
    asking=$!
    trace check "$1" && trace peek "$1"
}

end_asking() {
    wait "${traces[@]}"
    kill "$asking"
    wait "$asking" 2>/dev/null
}

# By SQL, for nobody may be there to do it. Sets revoked_ms, after sqlite3 has ended.
revoke() {
    sql "DELETE FROM permtab_assignment WHERE user_id = $user"
    look_at_clock
    revoked_ms="$now_ms"
    revoked_users+=("$user")
}

# ---- what is done to it ----

# run_short COMMAND...: it leaves too little memory. Sets ended_ms: when the kernel ended the first one, by its own log.
run_short() {
    lines="$(kernel_lines)" kills="$(event oom_kill)"
    "$@"
    ended_ms="$(kernel_log | awk '/Killed process/ { printf "%d", 1000 * $2; exit }')"
    [ -n "$ended_ms" ] || { look_at_clock; ended_ms="$now_ms"; }
}

# What the group may take from now on, and whoever comes after in the unit.
set_limit() {
    local bytes=$(($(cat "$group/memory.current") + slack))
    if [ "${group#"$pod"}" != "$group" ]; then
        echo "$bytes" >"$group/memory.max"
    else
        systemctl set-property --runtime "$unit" "MemoryMax=$bytes"
    fi
}

# A process in the group that takes so much for a moment, and that the kernel may not end.
take_memory() {
    sh -c 'echo 0 >"$1/cgroup.procs" && echo -1000 >/proc/self/oom_score_adj &&
        exec dd status=none if=/dev/zero of=/dev/null bs="$2" count=1' - "$group" "$1"
}

# The pages of files can go, and 8 MB are less than the worker has.
peak() {
    set_limit
    run_short take_memory $((slack + $(is_held file) + 8000000))
}

# with_policy POLICY: the unit afresh, with this word for OOMPolicy, without a limit, and with a full table.
with_policy() {
    mkdir -p /run/systemd/system/permtabd.service.d
    printf '[Service]\nOOMPolicy=%s\n' "$1" >/run/systemd/system/permtabd.service.d/oom.conf
    systemctl set-property --runtime "$unit" MemoryMax=infinity MemorySwapMax=0
    systemctl daemon-reload && systemctl restart "$unit" && wait_for 120 table_is_full || return 1
    is OOMPolicy "$(of_unit OOMPolicy)" "$1"
}

# ---- what must have come of it ----

kernel_has_ended() { is "whom the kernel has ended" "$(ended_by_kernel)" "$1"; }

# The worker first. Its memory may not be free yet when the kernel looks again: then it ends the master, too.
kernel_has_ended_first() {
    local named
    named="$(ended_by_kernel)"
    [ "$named" != "$1 $main" ] || { echo "took both"; return 0; }
    is "whom the kernel has ended" "$named" "$1" && echo "took the worker alone"
}

# kernel_has_ended_all PROCESS...: all at once, in whatever order it says so. Of a process that is going it names a
# thread, too, so `threads` has all of them.
kernel_has_ended_all() {
    local one named
    named=" $(ended_by_kernel) "
    for one; do
        [[ "$named" = *" $one "* ]] || { echo "the kernel has ended$named and not $one"; return 1; }
    done
    for one in $named; do
        [[ " $threads " = *" $one "* ]] || { echo "the kernel has ended $one, too"; return 1; }
    done
    kernel_log | grep 'are going to be killed due to memory.oom.group set'
}

threads_of() {
    local one
    for one; do ls "/proc/$one/task"; done | paste -s -d ' '
}

events_say() { is oom_kill "$(event oom_kill)" $((kills + $1)); }

# Who goes on: the master, or systemd's next one.
master_lives_on() {
    is MainPID "$(of_unit MainPID)" "$main" && is NRestarts "$(of_unit NRestarts)" "$restarts" &&
        has_another_worker "$before"
}

is_started_again() {
    starts_afresh "$main" && is NRestarts "$(of_unit NRestarts)" $((restarts + 1))
}

ended_with() { journalctl -b --no-pager -u "$unit" | grep "Failed with result '$1'" | tail -n 1 | grep .; }

# The first process that was begun after the end and answered.
answered_since() {
    awk -v ended="$ended_ms" '
        $1 > ended && $3 == "allow" { printf "took %d ms to a first answer\n", $2 - ended; found = 1; exit }
        END { exit !found }' "$folder/answers"
}

serves_since() {
    journalctl --sync
    journalctl -b --no-pager -o short-monotonic -u "$unit" | tr -d '[]' | awk -v ended="$ended_ms" '
        1000 * $1 >= ended && index($0, ": serving ") {
            printf "took %d ms until somebody serves\n", 1000 * $1 - ended; found = 1; exit }
        END { exit !found }'
}

spans() { sed -n 's/^spans //p' "$folder/$1" | tr ' ' '\n'; }

# The old answer is not given for longer than max_staleness after the revocation, and never again after another one.
revocation_is_felt() {
    spans check | awk -F , -v revoked="$revoked_ms" -v most="$staleness_ms" '
        { decision = $3; from = $1 / 1000000; to = $2 / 1000000 }
        decision == "allow" && to - revoked > late { late = to - revoked }
        decision == "allow" && felt { again = 1 }
        decision == "unknown" { unknown += to - from }
        decision == "deny" && !felt { felt = from }
        END {
            if (late > 0) printf "took %d ms with the old answer\n", late
            if (felt) printf "took %d ms to the new one\n", felt - revoked
            printf "took %d ms of unknown in all\n", unknown
            exit !(felt && late <= most && !again) }' || { spans check; return 1; }
}

# lease_is_over MODE: whoever has but the old table is told nothing as soon as its lease has ended. That is who asks by
# peek and does not refresh, and everybody while nobody serves.
lease_is_over() {
    spans "$1" | awk -F , -v ended="$ended_ms" -v most="$staleness_ms" '
        $3 == "allow" { last = $2 / 1000000 - ended; answers++ }
        $3 == "unknown" && $2 / 1000000 > ended { unknown = 1 }
        END {
            printf "took %d ms to the last answer\n", last
            exit !(answers && unknown && last <= most) }' || { spans "$1"; return 1; }
}

keys_are_there() { [ "$(permtabctl stats | awk '$1 == "keys_known" { print $2 }')" -ge $((users / 2)) ]; }
keys_are_gone() { [ "$(permtabctl stats | awk '$1 == "keys_known" { print $2 }')" -le 100 ]; }

# ---- the unit ----

# ask_while NAME ACTION...: a full table, which clients hold; the action has somebody ended, and a revocation follows.
ask_while() {
    name="$1"
    group="/sys/fs/cgroup$(of_unit ControlGroup)" main="$(of_unit MainPID)" before="$(worker_of_unit)"
    restarts="$(of_unit NRestarts)" threads="$(threads_of "$before" "$main")"
    echo "$name: the worker has $(resident "$before"), the master $(resident "$main")"
    begin_asking 20000
    "${@:2}"
    end_asking
    kernel_said
}

# ask_until_worker_alone NAME ACTION...: the same, again when the kernel has ended the master, too.
ask_until_worker_alone() {
    for _ in 1 2 3; do
        ask_while "$@"
        [ "$(ended_by_kernel)" = "$before $main" ] || return 0
        check "$1: once more, for the kernel has ended both" with_policy continue
    done
}

peak_and_revoke() { peak && revoke; }

check_what_follows() {
    check "$name: clients are served again" serves_since
    check "$name: a new process is answered" answered_since
    check "$name: a role that was taken away after the kill" revocation_is_felt
    check "$name: unknown by peek when the lease has ended" lease_is_over peek
    check "$name: the keys have outlived it" wait_for 30 keys_are_there
    check "$name: everybody is answered as he must be" wait_for 120 all_are_right
}

shipped_unit() {
    check "OOMPolicy=continue, as shipped, with a full table" with_policy continue
    ask_until_worker_alone "as shipped" peak_and_revoke
    check "as shipped: the kernel has ended the worker" kernel_has_ended "$before"
    check "as shipped: memory.events counts it" events_say 1
    check "as shipped: the master has another one" master_lives_on
    check_what_follows
    check "as shipped: within the limit nobody else was ended" kernel_has_ended "$before"
}

# Nobody comes after, until the master goes on: longer than the lease.
peak_with_master_stopped() {
    kill -STOP "$main"
    peak && revoke
    sleep 3
    kill -CONT "$main"
}

stopped_master() {
    check "the same with a master that is stopped" with_policy continue
    ask_until_worker_alone "master stopped" peak_with_master_stopped
    check "master stopped: the kernel has ended the worker" kernel_has_ended "$before"
    check "master stopped: unknown by check when the lease has ended" lease_is_over check
    check "master stopped: when it goes on it has another worker" master_lives_on
    check "master stopped: a role that was taken away after the kill" revocation_is_felt
    check "master stopped: unknown by peek when the lease has ended" lease_is_over peek
    check "master stopped: everybody is answered as he must be" wait_for 120 all_are_right
}

# Far less than the table that clients hold. The next instance has a group of its own, and this limit no more.
lower_limit() { echo "$1" >"$group/memory.max"; }

lower_for_both() { run_short lower_limit $(($(is_held shmem) / 2)) && revoke; }

both() {
    check "the same, and what is left does not fit" with_policy continue
    ask_while "both" lower_for_both
    check "both: the kernel has ended the worker first, and then the master" kernel_has_ended "$before $main"
    check "both: systemd has started the unit again" is_started_again
    check_what_follows
}

policy_of_systemd() {
    check "OOMPolicy=stop is systemd's default" is DefaultOOMPolicy "$(systemctl show -P DefaultOOMPolicy)" stop
    check "OOMPolicy=stop, with a full table" with_policy stop
    ask_while "stop" peak_and_revoke
    check "stop: the kernel has ended the worker first" kernel_has_ended_first "$before"
    check "stop: systemd has stopped the rest for that" ended_with oom-kill
    check "stop: systemd has started the unit again" is_started_again
    check_what_follows
}

policy_of_group() {
    check "OOMPolicy=kill, with a full table" with_policy kill
    ask_while "kill" peak_and_revoke
    check "kill: the kernel has ended both at once" kernel_has_ended_all "$before" "$main"
    check "kill: systemd has started the unit again" is_started_again
    check_what_follows
}

# ---- the container ----

# kubelet PAUSE...: a container after each pause, in a group of its own in the pod's. It is unshare's only child, so
# permtabd is process 1 there.
kubelet() {
    local pause number=0 container
    for pause; do
        sleep "$pause"
        number=$((number + 1)) container="$pod/permtab-$((number))"
        mkdir "$container" && echo 1 >"$container/memory.oom.group" && echo 0 >"$container/memory.swap.max"
        unshare --pid --fork --kill-child --mount-proc sh -c '
            echo 0 >"$1/cgroup.procs" && echo 900 >/proc/self/oom_score_adj &&
                exec setpriv --reuid permtab --regid permtab --clear-groups permtabd -c "$2"' \
            - "$container" "$configuration"
    done >>"$folder/container.log" 2>&1
}

# container_is NUMBER: it serves in that group.
container_is() {
    group="$pod/permtab-$1"
    [ "$(wc -l <"$group/cgroup.procs")" -eq 2 ] && permtabctl health
}

pod_still_counts() {
    local group="$pod" shared
    shared="$(is_held shmem)"
    [ "$shared" -gt 0 ] && echo "took $((shared / 1000)) KB of shared memory are the pod's"
}

peak_of_container() {
    peak && revoke
    check "$name: what clients hold of its table is still counted" pod_still_counts
}

# container_dies NAME NUMBER MS
container_dies() {
    local processes
    check "$1: a full table" wait_for 120 table_is_full
    name="$1" group="$pod/permtab-$2" processes="$(cat "$pod/permtab-$2/cgroup.procs")"
    # shellcheck disable=SC2086
    threads="$(threads_of $processes)"
    begin_asking "$3"
    peak_of_container
    end_asking
    kernel_said
    # shellcheck disable=SC2086
    check "$name: the kernel has ended both at once" kernel_has_ended_all $processes
    check "$name: memory.events counts one end of a group" is oom_group_kill "$(event oom_group_kill)" 1
    check "$name: another one serves" wait_for 30 container_is $(($2 + 1))
    check "$name: it has no keys of the last one" keys_are_gone
    check "$name: a new process is answered" answered_since
    check "$name: a role that was taken away after the kill" revocation_is_felt
    check "$name: unknown by peek when the lease has ended" lease_is_over peek
    check "$name: everybody is answered as he must be" wait_for 120 all_are_right
}

containers() {
    local loop
    systemctl stop "$unit"
    mkdir "$pod" && echo +memory >"$pod/cgroup.subtree_control"
    kubelet 0 0 10 &
    loop=$!
    check "memory.oom.group: permtabd is process 1 of a container" wait_for 60 container_is 1
    container_dies "started at once" 1 20000
    container_dies "started after 10 s" 2 45000
    check "started after 10 s: unknown by check when the lease has ended" lease_is_over check
    kill "$loop"
    echo 1 >"$pod/cgroup.kill"
    cat "$folder/container.log"
}

# ---- all of it ----

cgroup_is_v2() {
    is "the file system of cgroups" "$(stat -f -c %T /sys/fs/cgroup)" cgroup2fs &&
        is "mounts of version 1" "$(grep -c ' - cgroup ' /proc/self/mountinfo)" 0 &&
        is "process 1" "$(cat /proc/1/comm)" systemd
}

# Sets what everybody asks, and the process that asks for all of them.
begin() {
    mkdir -m 777 "$folder"
    check "cgroup v2 alone, and systemd is process 1" cgroup_is_v2
    check "the kernel's log has the time of the clock" clocks_agree
    check "systemctl enable --now" systemctl enable --now "$unit"
    check "a policy is applied" permtabctl apply conf/policies/community.json
    check "$users users have a role" assign_all
    coproc loader { as one worker "$socket" 5000; }
    read -r -t 60 <&"${loader[0]}" # ready
}

check_all() {
    echo "kernel $(uname -r), $(systemctl --version | head -n 1)"
    begin
    shipped_unit
    stopped_master
    both
    policy_of_systemd
    policy_of_group
    containers
    echo "all was tried"
}

case "${1:-}" in
    prepare) prepare_oom && echo "ok README's commands and a kernel" ;;
    check) check_all ;;
    *) echo "tests/long/oom.sh runs this" >&2; exit 64 ;;
esac
