#!/usr/bin/env bash
# Types README's commands on a machine that has only what README told to install. It installs into the system:
# tests/fresh.sh runs it on a machine that is thrown away, and nobody runs it elsewhere.
#
# `run` has each command as README has it, in its order; tests/e2e/test_readme.py compares the two.
set -euo pipefail

fail() { echo "readme: $1" >&2; exit 1; }

# Root makes the machine of somebody who may sudo, with systemd's programs as every Debian that was not made for a
# container has.
if [ "${1:-}" = prepare ]; then
    apt-get -q -y update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends sudo systemd
    useradd --shell /bin/bash reader
    chown -R reader: ~reader
    echo 'reader ALL = (ALL) NOPASSWD: ALL' >/etc/sudoers.d/reader
    # systemd runs nowhere here, and its systemctl will not start what it enables: `start_unit` does.
    printf '#!/bin/sh\n[ "$1 $2" = "enable --now" ] && exec /usr/bin/systemctl enable "$3"\nexit 64\n' \
        >/usr/local/sbin/systemctl
    chmod 755 /usr/local/sbin/systemctl
    exec su - reader -c 'umask 077 && cd permtab && ./tests/fresh/readme.sh type'
fi
[ "${1:-}" = type ] || fail "tests/fresh.sh runs this"
. tests/fresh/app.sh

run() {
    printf '\n$ %s\n' "$1"
    eval "$1"
}

# Commands that README names and that are tried elsewhere: by tests/fresh.sh on another machine of the same kind, say.
elsewhere() { :; }

# The value of NAME in the installed unit.
of_unit() { sed -n "s/^$1=//p" /usr/local/lib/systemd/system/permtabd.service; }

# Does what systemd would do at `enable --now`, were it running here.
start_unit() {
    local user
    user="$(of_unit User)"
    sudo install -d -o "$user" -g "$user" -m "$(of_unit RuntimeDirectoryMode)" "/run/$(of_unit RuntimeDirectory)"
    sudo install -d -o "$user" -g "$user" -m "$(of_unit StateDirectoryMode)" "/var/lib/$(of_unit StateDirectory)"
    # shellcheck disable=SC2046
    sudo -u "$user" $(of_unit ExecStart) &
    for _ in $(seq 600); do
        if permtabctl health >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "the sidecar does not serve"
}

run './deploy/demo.sh'
run './deploy/demo.sh --keep' | tee ../keep.out
kill "$(sed -n 's/.*still running (process \([0-9]*\)).*/\1/p' ../keep.out)"

run './deploy/install-packages.sh build'
run 'cmake -S . -B build -G Ninja && ninja -C build'
run 'sudo cmake --install build && sudo ldconfig'
run 'sudo systemd-sysusers'
run 'sudo permtabd -t -c /usr/local/etc/permtab/permtab.conf'
run 'sudo systemctl enable --now permtabd'
[ -L /etc/systemd/system/multi-user.target.wants/permtabd.service ] || fail "the unit is not enabled"
start_unit
run 'sudo permtabctl apply conf/policies/community.json'
[ "$(run 'permtabctl check 8 channel:10 message.delete' | tail -n 1)" = allow ] || fail "user 8 may not delete messages"

write_app
run 'cc app.c $(pkg-config --cflags --libs permtab)'
[ "$(./a.out)" = allowed ] || fail "README's worker was not allowed"

elsewhere './tests/run.sh'
elsewhere 'cmake --install build --prefix /usr' # tests/e2e/test_install.py has other prefixes
echo "every command of README did what it says"
