#!/usr/bin/env bash
# The kernel ends permtab for want of memory: in a virtual machine with Debian's kernel, cgroup v2 alone and systemd as
# process 1.
#
#     sudo ./tests/long/oom.sh                       Debian 12; a quarter of an hour
#     sudo ./tests/long/oom.sh bookworm|trixie       that release
#     sudo ./tests/long/oom.sh RELEASE --again       the machine of the last run, with the tests as they are here
#
# The machine is made as tests/fresh.sh makes it (see there), of what is committed, and permtab is installed as README
# says. Its tree becomes a disk's image, which qemu boots: two processors, 2 GB, no network. Where /dev/kvm does not
# work the processor is emulated, and all takes several times as long. tests/long/oom_booted.sh is what is done inside,
# and says what it is about. No cgroup of this machine is touched. Logs are in build/fresh/RELEASE-oom, and so is the
# image. Ends with `N passed, N failed`.
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root" || exit 1
. "$root/tests/fresh/machine.sh"
. "$root/tests/long/add_up.sh"
release="${1:-bookworm}" checkout="$root_home/permtab" logs="$kept/${1:-bookworm}-oom"
packages=(qemu-system-x86 e2fsprogs debootstrap)

usage() { echo "usage: tests/long/oom.sh [bookworm|trixie [--again]]" >&2; exit 64; }

case "$release" in bookworm | trixie) ;; *) usage ;; esac
case "${2:-}" in "" | --again) ;; *) usage ;; esac

install_packages() {
    local tool missing=""
    for tool in qemu-system-x86_64 mke2fs debootstrap; do command -v "$tool" >/dev/null || missing=yes; done
    [ -n "$missing" ] || return 0
    echo "installing ${packages[*]}"
    apt-get -q -y update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${packages[@]}"
}

inside() { "$root/tests/fresh/enter.sh" "$tree" "$@"; }

# What process 1 starts when it has booted. Its lines go to the second serial port; at its end the machine goes off.
write_service() {
    cat >"$tree/etc/systemd/system/oom.service" <<END
[Unit]
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
ExecStartPre=stty -F /dev/ttyS1 raw
ExecStart=$checkout/tests/long/oom_booted.sh check
ExecStopPost=sh -c 'stty -F /dev/ttyS2 raw; journalctl -b -o short-monotonic --no-pager >/dev/ttyS2'
END
}

make_image() {
    make_pristine "$release" || give_up "$release could not be made: $kept/$release.debootstrap.log"
    new_machine "$release" "$release" && clone_for_root || give_up "no copy of $release could be made"
    add_up "$logs/prepare.log" inside sh -c '~/permtab/tests/long/oom_booted.sh prepare'
    [ "$failed" -eq 0 ] && write_service || return 1
    : >"$tree/etc/fstab"
    mkdir -p "$logs/boot" && cp -L "$tree/vmlinuz" "$tree/initrd.img" "$logs/boot/" &&
        mke2fs -q -F -t ext4 -d "$tree" "$logs/image.new" 6G >/dev/null && mv "$logs/image.new" "$logs/image"
    remove_machine
}

# The scripts that are tried out, put into the image of the last run.
renew_scripts() {
    local name
    for name in installed_unit.sh oom_booted.sh; do
        debugfs -w -R "rm $checkout/tests/long/$name" "$logs/image" &&
            debugfs -w -R "write tests/long/$name $checkout/tests/long/$name" "$logs/image" &&
            debugfs -w -R "set_inode_field $checkout/tests/long/$name mode 0100755" "$logs/image" || return 1
    done >/dev/null 2>&1
}

# machine SECONDS ACCELERATION KERNEL-PARAMETERS OPTION...: ends with the machine, or after so many seconds.
machine() {
    local processor=(-accel tcg,thread=multi -cpu max)
    [ "$2" != kvm ] || processor=(-accel kvm -cpu host)
    nice -n 5 timeout "$1" qemu-system-x86_64 "${processor[@]}" -smp 2 -m 2048 -nodefaults -no-user-config \
        -display none -no-reboot -kernel "$logs/boot/vmlinuz" \
        -append "console=ttyS0 8250.nr_uarts=4 panic=-1 mitigations=off $3" "${@:4}"
}

# Some machines' /dev/kvm is for kernels of a kind of their own. So the kernel is started with nothing that it could
# boot from: it says its version, panics and is gone.
kvm_works() {
    [ -w /dev/kvm ] || return 1
    machine 15 kvm "" -serial "file:$logs/kvm.log" >/dev/null 2>&1
    grep -q 'Linux version' "$logs/kvm.log"
}

# The image stays as it is. What the machine says with its last line is not an exit code, so that line is looked for.
boot() {
    local how=tcg
    ! kvm_works || how=kvm
    echo "acceleration: $how"
    machine 3000 "$how" "root=/dev/vda rw init=/lib/systemd/systemd systemd.wants=oom.service" \
        -initrd "$logs/boot/initrd.img" -drive "file=$logs/image,format=raw,if=virtio,cache=unsafe,snapshot=on" \
        -serial "file:$logs/boot.log" -serial stdio -serial "file:$logs/journal.log" | tee "$logs/said"
    grep -q '^all was tried$' "$logs/said" || { tail -n 20 "$logs/boot.log"; return 1; }
}

install_packages || give_up "these packages are missing: ${packages[*]}"
begin_machines
if [ "${2:-}" = --again ]; then
    renew_scripts || give_up "there is no image of a last run in $logs"
else
    rm -rf "$logs" && mkdir -p "$logs"
    make_image || give_up "no machine could be made: $logs/prepare.log"
fi
add_up "$logs/check.log" boot
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
