# The installed unit: what the checks of tests/long/booted.sh and tests/long/oom_booted.sh are made of, and how permtab
# comes onto their machine. They source this and stand in the checkout.
# shellcheck shell=bash

export LC_ALL=C.UTF-8 HOME=/root
unit=permtabd.service
configuration=/usr/local/etc/permtab/permtab.conf
socket=/run/permtab/permtab.sock

# check NAME COMMAND...: one line, with the times that the command measured, and what it said if it failed.
check() {
    local name="$1" said times
    shift
    if said="$("$@" 2>&1)"; then
        times="$(grep '^took ' <<<"$said" | sed 's/^took //' | paste -s -d ,)"
        echo "ok $name${times:+ ($times)}"
    else
        printf 'FAILED %s\n%s\n' "$name" "$said"
    fi
}

as() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }

of_unit() { systemctl show -P "$1" "$unit"; }

is() { [ "$2" = "$3" ] || { echo "$1 is '$2', not '$3'"; return 1; }; }

wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "not within its time: $*"; systemctl status --no-pager "$unit"; return 1; }
        sleep 0.1
    done
}

is_active() { is ActiveState "$(of_unit ActiveState)" active; }
has_failed() { is ActiveState "$(of_unit ActiveState)" failed; }
exited_with() { is "CLD_EXITED and the exit code" "$(of_unit ExecMainCode) $(of_unit ExecMainStatus)" "1 $1"; }
starts_afresh() { is_active && [ "$(of_unit MainPID)" != "$1" ]; }

# A worker that lives through all of it: asks once, and must be answered with the next line.
ask_worker() {
    local said=""
    echo "check 8 channel:10 message.delete" >&"${worker[1]}"
    read -r -t 60 said <&"${worker[0]}"
    is "the answer" "$said" "allow 0"
}

has_another_worker() { is_active && [ -n "$(worker_of_unit)" ] && [ "$(worker_of_unit)" != "$1" ]; }

worker_of_unit() {
    grep -sl "^PPid:[[:space:]]*$(of_unit MainPID)\$" /proc/[0-9]*/status | cut -d / -f 3 | head -n 1
}

keys_are_stored() { is NFileDescriptorStore "$(of_unit NFileDescriptorStore)" 1; }

# served_since TEXT: how long it took from the journal's last line with that text to the next at which clients are
# served.
served_since() {
    journalctl --sync
    journalctl -b --no-pager -o short-unix -u "$unit" | awk -v text="$1" '
        index($0, text) { from = $1; to = 0 }
        index($0, ": serving ") && from && !to { to = $1 }
        END { if (!to) exit 1; printf "took %.0f ms\n", 1000 * (to - from) }'
}

# Workers are answered out of the old table for a while, so an answer does not say that somebody serves.
took_from() { wait_for 30 served_since "$1" && served_since "$1"; }

# ---- before it is booted ----

# README's commands as root, README's worker and the tests' own.
prepare() {
    . tests/fresh/app.sh
    apt-get -q -y update || return 1
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends systemd || return 1
    ./deploy/install-packages.sh build && cmake -S . -B build -G Ninja && ninja -C build || return 1
    cmake --install build && ldconfig && systemd-sysusers || return 1
    permtabd -t -c "$configuration" || return 1
    write_app
    # shellcheck disable=SC2046
    cc -o /usr/local/bin/app app.c $(pkg-config --cflags --libs permtab) || return 1
    # shellcheck disable=SC2046
    cc -I. -o /usr/local/bin/worker tests/e2e/worker.c $(pkg-config --libs permtab) || return 1
    chmod 755 /usr/local/bin/app /usr/local/bin/worker
    useradd one && useradd two
}
