#!/usr/bin/env bash
# Boots a machine with the real systemd and has it start the shipped unit with the shipped configuration.
#
#     sudo ./tests/long/unit.sh                      both releases, one after the other; five minutes
#     sudo ./tests/long/unit.sh bookworm|trixie      one of them
#
# The machine is made as tests/fresh.sh makes it (see there), of what is committed, and permtab is installed as README
# says. Then podman boots it: the network is none, the processes and mounts are its own, and systemd is process 1.
# tests/long/booted.sh is what is done inside. Logs are in build/fresh/RELEASE-unit. Ends with `N passed, N failed`.
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root" || exit 1
. "$root/tests/fresh/machine.sh"
. "$root/tests/long/add_up.sh"
case "${1:-both}" in
    bookworm | trixie) releases=("$1") ;;
    both) releases=(bookworm trixie) ;;
    *) echo "usage: tests/long/unit.sh [bookworm|trixie]" >&2; exit 64 ;;
esac
container="permtab-unit-$$"

# This machine's own containers are not touched: storage, locks and state are in the temporary folder.
write_podman_configuration() {
    {
        printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nlock_type = "file"\n'
        # crun refuses the hybrid cgroups that some machines still have; runc takes both.
        ! command -v runc >/dev/null || printf 'runtime = "runc"\n'
    } >"$temporary/containers.conf"
}

podman() {
    CONTAINERS_CONF="$temporary/containers.conf" command podman --storage-driver vfs \
        --root "$temporary/podman/storage" --runroot "$temporary/podman/run" --tmpdir "$temporary/podman/state" "$@"
}

remove_container() { podman rm -f -t 10 "$container" >/dev/null 2>&1; }

# Boots `tree`. SYS_ADMIN and no filter of podman's: without them systemd leaves out ProtectSystem, PrivateTmp and all
# else that takes a mount. SYS_PTRACE: the checks look at what the sidecar sees. The limits: podman asks for more than a
# machine without CAP_SYS_RESOURCE may give.
boot() {
    local state=""
    podman run -d --name "$container" --systemd=always --network none --log-driver k8s-file \
        --cap-add SYS_ADMIN,SYS_PTRACE --security-opt seccomp=unconfined --ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" \
        --ulimit nproc=4096:4096 --rootfs "$tree" /lib/systemd/systemd || return 1
    for _ in $(seq 120); do
        state="$(podman exec "$container" systemctl is-system-running --wait 2>/dev/null)"
        case "$state" in running | degraded) echo "booted: $state"; return 0 ;; esac
        sleep 1
    done
    podman logs "$container"
    return 1
}

try_release() {
    local release="$1" logs="$kept/$1-unit"
    printf '\n## %s\n' "$release"
    rm -rf "$logs" && mkdir -p "$logs"
    make_pristine "$release" || give_up "$release could not be made: $kept/$release.debootstrap.log"
    new_machine "$release" "$release" && clone_for_root || give_up "no copy of $release could be made"
    add_up "$logs/prepare.log" "$root/tests/fresh/enter.sh" "$tree" sh -c '~/permtab/tests/long/booted.sh prepare'
    if boot >"$logs/boot.log" 2>&1; then
        add_up "$logs/check.log" podman exec "$container" sh -c '~/permtab/tests/long/booted.sh check'
        podman exec "$container" journalctl --no-pager >"$logs/journal.log" 2>&1
    else
        failed=$((failed + 1))
        tail -n 40 "$logs/boot.log"
        echo "FAILED $release does not boot: $logs/boot.log"
    fi
    remove_container
    remove_machine
}

command -v podman >/dev/null || give_up "podman is missing: apt-get install podman runc"
begin_machines
trap 'remove_container; finish' EXIT
write_podman_configuration
for one in "${releases[@]}"; do try_release "$one"; done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
