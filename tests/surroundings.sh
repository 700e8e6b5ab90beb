# The surroundings that tests find, whoever starts tests/run.sh and from where: sourced by it before anything else. It
# runs the script again with an environment, signals and limits that are stated here, so that no test leans on what
# its caller happened to have.
# shellcheck shell=bash

# Variables that come through: how to reach the network, what makes a build quicker and no
# different, and the number of jobs.
surroundings_kept=(PERMTAB_JOBS TERM http_proxy https_proxy no_proxy
    CMAKE_C_COMPILER_LAUNCHER CMAKE_CXX_COMPILER_LAUNCHER "${!CCACHE_@}")

# Programs are those that deploy/packages.txt installs; another python3 or cmake of the user's comes last in no case.
surroundings_path=/usr/sbin:/usr/bin:/sbin:/bin

surroundings_again() {
    local kept=() name
    for name in "${surroundings_kept[@]}"; do
        [ -z "${!name:-}" ] || kept+=("$name=${!name}")
    done
    # `nohup … &` leaves SIGINT ignored, which a shell cannot take back; env can, and unblocks what is blocked. The
    # process stays the same, by which it knows itself again.
    exec /usr/bin/env -i --default-signal "${kept[@]}" PERMTAB_SETTLED=$$ PATH="$surroundings_path" \
        LC_ALL=C.UTF-8 TZ=UTC /bin/bash "$0" "$@" </dev/null
}

# surroundings_limit FLAG VALUE: the soft limit, up or down.
surroundings_limit() {
    if ! ulimit -S "$1" "$2" 2>/dev/null; then
        echo "tests/run.sh: the tests need \`ulimit $1 $2\`, and the hard limit here is $(ulimit -H "$1")" >&2
        exit 1
    fi
}

[ "${PERMTAB_SETTLED:-}" = $$ ] || surroundings_again "$@"
unset PERMTAB_SETTLED
umask 022
surroundings_limit -c 0
surroundings_limit -n 4096
surroundings_limit -s 8192
for flag in -d -f -m -t -v; do surroundings_limit "$flag" unlimited; done
unset flag

# surroundings_show: for tests/e2e/test_surroundings.py.
surroundings_show() {
    env
    echo "umask=$(umask)"
    grep -E '^Sig(Blk|Ign)' /proc/self/status
    ulimit -S -a
}
