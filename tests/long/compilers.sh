#!/usr/bin/env bash
# compilers.sh [NAME…]: each compiler that apt knows, or those named (gcc-14 clang-19), each way of optimising.
# tests/long/builds.sh runs it on a machine of its own, for it installs them all.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
logs=build/logs
mkdir -p "$logs"

apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@"; }

# The numbers of the versions of a compiler that can be installed, the oldest first.
versions_of() { apt-cache pkgnames "$1-" | sed -n "s/^$1-\([0-9]*\)\$/\1/p" | sort -n; }

run_fast_tests() {
    (cd "$1" && ctest -j "$(nproc)" --output-on-failure --no-tests=error -LE 'full|model|bench|stress')
}
say_version() { "$1/proxy/permtabd" --version && "$1/client/permtabctl" --version; }

# try NAME C C++ CHECK CMAKE-ARGUMENTS...: builds everything, runs CHECK with the folder of the build, says one line.
try() {
    local name="$1" log="$logs/$1.log" folder="build/try" check="$4"
    local compilers=(-DCMAKE_C_COMPILER="$2" -DCMAKE_CXX_COMPILER="$3")
    shift 4
    rm -rf "$folder"
    if cmake -S . -B "$folder" -G Ninja -DPERMTAB_WERROR=ON -DPython3_EXECUTABLE=/usr/bin/python3 \
        "${compilers[@]}" "$@" >"$log" 2>&1 && cmake --build "$folder" >>"$log" 2>&1 &&
        "$check" "$folder" >>"$log" 2>&1; then
        echo "ok $name"
    else
        echo "FAILED $name: $log"
        tail -n 30 "$log"
    fi
}

# try_all NAME C C++ LTO-FLAGS: the levels of optimisation, with their warnings, and Debian's flags with all
# hardening. The tests replace functions by the linker's --wrap, which link-time optimisation does not respect: it
# builds what users get.
try_all() {
    local name="$1" c="$2" cxx="$3" level flags link
    for level in 0 1 2 3 s; do
        try "$name-O$level" "$c" "$cxx" run_fast_tests -DPERMTAB_TESTS=ON -DCMAKE_BUILD_TYPE=None \
            -DCMAKE_C_FLAGS="-O$level -g" -DCMAKE_CXX_FLAGS="-O$level -g"
    done
    flags="$(DEB_BUILD_MAINT_OPTIONS=hardening=+all dpkg-buildflags --get CFLAGS) $(dpkg-buildflags --get CPPFLAGS)"
    link="$(DEB_BUILD_MAINT_OPTIONS=hardening=+all dpkg-buildflags --get LDFLAGS)"
    try "$name-hardening" "$c" "$cxx" run_fast_tests -DPERMTAB_TESTS=ON -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" \
        -DCMAKE_EXE_LINKER_FLAGS="$link" -DCMAKE_SHARED_LINKER_FLAGS="$link"
    try "$name-lto" "$c" "$cxx" say_version -DPERMTAB_TESTS=OFF -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON -DCMAKE_POLICY_DEFAULT_CMP0069=NEW \
        -DCMAKE_EXE_LINKER_FLAGS="$4" -DCMAKE_SHARED_LINKER_FLAGS="$4"
}

export LC_ALL=C.UTF-8
umask 022
wanted=" $* "
is_wanted() { [ "$wanted" = "  " ] || [[ "$wanted" = *" $1 "* ]]; }
./deploy/install-packages.sh >"$logs/packages.log" 2>&1 || exit 1
for version in $(versions_of gcc); do
    if is_wanted "gcc-$version" &&
        apt install --no-install-recommends "gcc-$version" "g++-$version" >>"$logs/packages.log" 2>&1; then
        try_all "gcc-$version" "gcc-$version" "g++-$version" ""
    fi
done
# Link-time optimisation wants the linker of the same clang.
for version in $(versions_of clang); do
    if is_wanted "clang-$version" &&
        apt install --no-install-recommends "clang-$version" "lld-$version" "llvm-$version" \
            >>"$logs/packages.log" 2>&1; then
        try_all "clang-$version" "clang-$version" "clang++-$version" -fuse-ld=lld
    fi
done
exit 0
