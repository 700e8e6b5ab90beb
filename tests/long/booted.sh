#!/usr/bin/env bash
# booted.sh prepare: installs permtab as README says, on a machine that is not booted yet.
# booted.sh check: the shipped unit under the real systemd, on that machine when it is.
# tests/long/unit.sh runs it, on a machine that is thrown away: it installs into the system and breaks the
# configuration.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/long/installed_unit.sh

# ---- the checks ----

runs_as_its_user() {
    local uid
    uid="$(id -u permtab)" || return 1
    [ "$uid" -ne 0 ] || { echo "permtab is root"; return 1; }
    is Type "$(of_unit Type)" notify && is_active &&
        is "the uid" "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$(of_unit MainPID)/status")" "$uid $uid $uid $uid"
}

# Each kind of hardening, seen from outside, for systemd goes on without what it cannot do.
is_hardened() {
    local process inside folder
    process="/proc/$(of_unit MainPID)" inside="/proc/$(of_unit MainPID)/root"
    is NoNewPrivs "$(awk '/^NoNewPrivs:/ { print $2 }' "$process/status")" 1 &&
        is CapBnd "$(awk '/^CapBnd:/ { print $2 }' "$process/status")" 0000000000000000 &&
        is Seccomp "$(awk '/^Seccomp:/ { print $2 }' "$process/status")" 2 || return 1
    for folder in /tmp /home /root /dev; do
        touch "$folder/of-the-machine" || return 1
        [ ! -e "$inside$folder/of-the-machine" ] || { echo "$folder is the machine's"; return 1; }
    done
    ! touch "$inside/usr/local/touched" 2>/dev/null || { echo "/usr can be written"; return 1; }
    # These two are open, and are the machine's: so what could not be touched above is closed, and not out of sight.
    touch "$inside/var/lib/permtab/touched" "$inside/run/permtab/touched" &&
        rm /var/lib/permtab/touched /run/permtab/touched
}

nothing_was_ignored() {
    local lines
    lines="$(journalctl -b --no-pager -u "$unit" | grep -i ignoring)"
    [ -z "$lines" ] || { echo "$lines"; return 1; }
}

readmes_worker_is_allowed() { is "what README's worker says" "$(as one app)" allowed; }

# sidecar_of_two SOCKET: another user's, which systemd starts for him.
sidecar_of_two() {
    systemd-run --quiet --unit impostor --uid two --property Type=notify --setenv "PERMTAB_SOCKET=$1" \
        --setenv PERMTAB_OPS_SOCKET= --setenv PERMTAB_STORE=sqlite:/tmp/impostor/permtab.db /usr/local/sbin/permtabd
}

answer_of_two() { as "$1" worker /tmp/impostor/permtab.sock 2000 <<<"check 8 channel:10 message.delete" | tail -n 1; }

# The user's sidecar is in a folder that he made himself where everybody may. His own worker is served, so others
# are refused for who he is.
impostor_is_refused() {
    as two mkdir /tmp/impostor && sidecar_of_two /tmp/impostor/permtab.sock || return 1
    as two permtabctl --socket /tmp/impostor/permtab.sock apply /usr/local/share/permtab/policies/community.json &&
        is "the answer to his own worker" "$(answer_of_two two)" "allow 0" &&
        is "the answer to another one" "$(answer_of_two one | cut -d ' ' -f 1,2)" "error -10" && systemctl stop impostor
}

impostor_cannot_take_the_place() {
    ! sidecar_of_two /run/permtab/other.sock || { echo "it serves"; return 1; }
    [ ! -e /run/permtab/other.sock ] || { echo "a socket is there"; return 1; }
}

restart_is_bridged() {
    local before
    before="$(of_unit MainPID)"
    systemctl restart "$unit" && starts_afresh "$before" && ask_worker
}

# The worker alone: its master replaces it, and systemd has nothing to do.
worker_is_replaced() {
    local main before
    main="$(of_unit MainPID)" before="$(worker_of_unit)"
    kill -9 "$before"
    wait_for 30 has_another_worker "$before" && ask_worker || return 1
    is MainPID "$(of_unit MainPID)" "$main" && is NRestarts "$(of_unit NRestarts)" 0 &&
        took_from "worker $before died: signal 9"
}

reload_is_followed() {
    local main before
    main="$(of_unit MainPID)" before="$(worker_of_unit)"
    systemctl reload "$unit" || return 1
    wait_for 30 has_another_worker "$before" && ask_worker && is MainPID "$(of_unit MainPID)" "$main"
}

# With the socket unit: a worker that asks while nobody serves waits.
sockets_are_kept() {
    local inode
    systemctl stop "$unit" && systemctl start permtabd.socket && systemctl start "$unit" || return 1
    inode="$(stat -c %i "$socket")"
    ask_worker && systemctl restart "$unit" && ask_worker && is "the socket" "$(stat -c %i "$socket")" "$inode" &&
        systemctl stop "$unit" && [ -S "$socket" ] && systemctl stop permtabd.socket && systemctl start "$unit" &&
        ask_worker
}

kill_is_mended() {
    local before
    before="$(of_unit MainPID)"
    kill -9 "$before"
    wait_for 30 starts_afresh "$before" && is Restart "$(of_unit NRestarts)" 1 && ask_worker &&
        took_from "Main process exited"
}

# The group that counts the unit's memory. podman gives systemd no memory to control with cgroup v1, so limit_memory
# makes one there.
memory_of_unit() {
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        echo "/sys/fs/cgroup$(of_unit ControlGroup)"
    else
        echo /sys/fs/cgroup/memory/permtabd
    fi
}

limit_memory() {
    local process
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        systemctl set-property --runtime "$unit" MemoryMax="$1" MemorySwapMax=0
        return
    fi
    mount -o remount,bind,rw /sys/fs/cgroup/memory && mkdir -p "$memory" &&
        echo "$1" >"$memory/memory.limit_in_bytes" || return 1
    for process in "$(of_unit MainPID)" "$(worker_of_unit)"; do
        echo "$process" >"$memory/cgroup.procs" || return 1
    done
}

oom_kills() {
    cat "$memory"/memory.events "$memory"/memory.oom_control 2>/dev/null | awk '$1 == "oom_kill" { print $2 }'
}

# A process in the unit's group takes memory until there is none, and the kernel ends who counts most: the worker.
run_out_of_memory() {
    echo 1000 >"/proc/$(worker_of_unit)/oom_score_adj"
    sh -c 'echo $$ >"$1/cgroup.procs" && exec tail /dev/zero' - "$memory"
    true
}

# systemd's default, with the unit's OOMPolicy: what the kernel has ended is replaced by its master.
oom_kill_is_mended() {
    local main before kills restarts
    main="$(of_unit MainPID)" before="$(worker_of_unit)" restarts="$(of_unit NRestarts)"
    kills="$(oom_kills)"
    run_out_of_memory
    wait_for 30 has_another_worker "$before" && ask_worker || return 1
    [ "$(oom_kills)" -gt "$kills" ] || { echo "the kernel has ended nobody"; return 1; }
    is MainPID "$(of_unit MainPID)" "$main" && is NRestarts "$(of_unit NRestarts)" "$restarts" && is_active &&
        took_from "worker $before died: signal 9"
}

# kubelet's default, memory.oom.group: the kernel ends all processes of the group. cgroup v1 does not have it, so there
# all are ended by hand.
oom_kill_of_all_is_mended() {
    local main
    main="$(of_unit MainPID)"
    if [ -e "$memory/memory.oom.group" ]; then
        echo 1 >"$memory/memory.oom.group" && run_out_of_memory
    else
        kill -9 $(cat "$memory/cgroup.procs")
    fi
    wait_for 30 starts_afresh "$main" && ask_worker && took_from "Main process exited"
}

stops_in_time() {
    systemctl stop "$unit" || return 1
    is ActiveState "$(of_unit ActiveState)" inactive && is Result "$(of_unit Result)" success &&
        exited_with 0 || return 1
    [ ! -e "$socket" ] || { echo "the socket is still there"; return 1; }
}

# with_configuration SED COMMAND...: with the shipped configuration changed so far.
with_configuration() {
    local code
    cp "$configuration" "$configuration.shipped" && sed -i "$1" "$configuration" || return 1
    "${@:2}"
    code=$?
    cp "$configuration.shipped" "$configuration"
    return "$code"
}

fails_for_good() {
    ! systemctl start "$unit" || { echo "it starts"; return 1; }
    sleep 3 # several times RestartSec
    has_failed && exited_with 2 && is NRestarts "$(of_unit NRestarts)" 0
}

was_tried_ten_times() { [ "$(of_unit NRestarts)" -ge 10 ] || has_failed; }

is_tried_again() {
    systemctl start "$unit"
    wait_for 60 was_tried_ten_times && ! has_failed
}

# The store is there later than the sidecar: here the path to it is mended, and nobody tells systemd.
late_store_is_waited_for() {
    with_configuration 's|^store = .*|store = "mysql://nobody@/nothing?socket=/run/nothing.sock"|' is_tried_again &&
        wait_for 30 is_active && ask_worker
}

check_all() {
    check "systemctl enable --now" systemctl enable --now "$unit"
    check "it is active and runs as its own user" runs_as_its_user
    check "the hardening is in force" is_hardened
    check "a policy is applied by root" permtabctl apply conf/policies/community.json
    check "README's worker is allowed under another uid" readmes_worker_is_allowed
    check "an impostor is refused" impostor_is_refused
    check "an impostor cannot serve in the unit's folder" impostor_cannot_take_the_place
    coproc worker { as one worker "$socket" 2000; }
    read -r -t 60 <&"${worker[0]}" # ready
    check "a worker is answered" ask_worker
    check "its next call after systemctl restart is answered" restart_is_bridged
    check "a worker that is killed is replaced by its master" worker_is_replaced
    check "systemctl reload takes a new worker for what needs one" \
        with_configuration 's/^audit_entries = .*/audit_entries = 9/' reload_is_followed
    check "the keys are in systemd's store" keys_are_stored
    check "kill -9 of all is followed by a start" kill_is_mended
    memory="$(memory_of_unit)"
    check "its memory can be limited" limit_memory 64M
    check "an OOM kill of the worker is mended by its master" oom_kill_is_mended
    check "an OOM kill of all is followed by a start" oom_kill_of_all_is_mended
    check "the socket unit's sockets outlive the sidecar" sockets_are_kept
    check "systemctl stop ends it in time, with 0" stops_in_time
    check "a wrong configuration is not tried again" with_configuration '$a nonsense = 1' fails_for_good
    check "one that contradicts the store is not tried again" \
        with_configuration 's/^scope_types = .*/scope_types = {"global", "guild"}/' fails_for_good
    check "a store that is away is tried again until it is there" late_store_is_waited_for
    check "systemd left out nothing of the unit" nothing_was_ignored
}

case "${1:-}" in
    prepare) prepare && echo "ok README's commands" ;;
    check) check_all ;;
    *) echo "tests/long/unit.sh runs this" >&2; exit 64 ;;
esac
