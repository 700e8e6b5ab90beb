#!/usr/bin/env bash
# processors.sh ARCHITECTURE: a cross build, for what another processor's compiler says of the sources. Nothing is run;
# tests/long/arm64.sh takes `try` from here and runs what it has built.
# tests/long/builds.sh runs it, each on a machine of its own: packages of two architectures are in each other's way.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
logs=build/logs
mkdir -p "$logs"

apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@"; }

# The libraries of [build] in deploy/packages.txt, and cmocka; uthash is headers alone.
libraries() {
    awk '/^\[/ { section = $1; next } section == "[build]" && $1 ~ /^lib.*-dev$/ && $1 != "libc6-dev" { print $1 }' \
        deploy/packages.txt
    echo libcmocka-dev
}

# try ARCHITECTURE TRIPLET PROCESSOR [CMAKE-ARGUMENTS…]
try() {
    local architecture="$1" triplet="$2" log="$PWD/$logs/$1.log" names
    mapfile -t names < <(libraries | sed "s/\$/:$architecture/")
    if dpkg --add-architecture "$architecture" &&
        { apt update || echo "going on with the lists that could be had"; } &&
        apt install --no-install-recommends cmake ninja-build pkg-config uthash-dev \
            "gcc-$triplet" "g++-$triplet" "${names[@]}" &&
        cmake -S . -B "build/$architecture" -G Ninja -DPERMTAB_TESTS=ON -DPERMTAB_WERROR=ON \
            -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$3" -DCMAKE_C_COMPILER="$triplet-gcc" \
            -DCMAKE_CXX_COMPILER="$triplet-g++" -DCMAKE_BUILD_TYPE=Release "${@:4}" &&
        cmake --build "build/$architecture"; then
        echo "ok $architecture" >&3
    else
        tail -n 30 "$log" >&3
        echo "FAILED $architecture: $log" >&3
    fi 3>&1 >"$log" 2>&1
}

export LC_ALL=C.UTF-8
umask 022
[ "${BASH_SOURCE[0]}" = "$0" ] || return 0
case "${1:-}" in
    arm64) triplet=aarch64-linux-gnu processor=aarch64 ;;
    riscv64) triplet=riscv64-linux-gnu processor=riscv64 ;;
    # Processors of 32 bits have no __int128, which the table needs.
    *) echo "usage: tests/long/processors.sh arm64|riscv64" >&2; exit 64 ;;
esac
export PKG_CONFIG_LIBDIR="/usr/lib/$triplet/pkgconfig:/usr/share/pkgconfig"
try "$1" "$triplet" "$processor"
exit 0
