#!/usr/bin/env bash
# enter.sh TREE COMMAND...: runs a command as root in a tree that is a machine of its own, as far as namespaces make
# one: its mounts and processes end with the command. The network is this machine's.
set -euo pipefail

tree="$1"
if [ "${2:-}" != --inside ]; then
    shift
    exec unshare --mount --propagation private --ipc --pid --fork --kill-child "${BASH_SOURCE[0]}" "$tree" --inside "$@"
fi
shift 2

mount -t proc proc "$tree/proc"
mount --rbind /sys "$tree/sys"
mount -t tmpfs -o mode=755 dev "$tree/dev"
for name in null zero full random urandom tty; do
    touch "$tree/dev/$name"
    mount --bind "/dev/$name" "$tree/dev/$name"
done
mkdir "$tree/dev/shm" "$tree/dev/pts"
mount -t tmpfs -o mode=1777 shm "$tree/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$tree/dev/pts"
ln -s pts/ptmx "$tree/dev/ptmx"
ln -s /proc/self/fd "$tree/dev/fd"
ln -s fd/0 "$tree/dev/stdin"
ln -s fd/1 "$tree/dev/stdout"
ln -s fd/2 "$tree/dev/stderr"
mount -t tmpfs -o mode=755 run "$tree/run"
mkdir -m 1777 "$tree/run/lock"

# The environment has nothing of the caller's but how to reach the network. The shell stays, to wait for those
# whose parents have gone.
keep=()
for name in http_proxy https_proxy no_proxy; do
    [ -z "${!name:-}" ] || keep+=("$name=${!name}")
done
chroot "$tree" /usr/bin/env -i HOME=/root \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${keep[@]}" "$@"
