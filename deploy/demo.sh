#!/usr/bin/env bash
# Shows permtab at work in about a minute: a sidecar over SQLite, a community, four worker processes that check a
# million times each, a role taken away with plain SQL while they run, and a role edit that reaches 100,000 holders.
#
#     ./deploy/demo.sh           cleans up after itself
#     ./deploy/demo.sh --keep    leaves the sidecar running and says what to try next
#
# Needs root or sudo only when Debian packages are missing. Builds in build/demo of the checkout; everything else is in
# a temporary folder.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
keep=no
workers=4 checks=1000000 holders=100000 first=1000001
sidecar="" folder="" succeeded=no

case "${1:-}" in
    "") ;;
    --keep) keep=yes ;;
    *) echo "usage: deploy/demo.sh [--keep]" >&2; exit 64 ;;
esac

if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; else bold="" plain=""; fi
step() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
fail() { echo "demo: $1" >&2; exit 1; }
now() { date +%s%N; }
milliseconds() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.0f", (to - from) / 1e6 }'; }

clean_up() {
    local pid
    for pid in $(jobs -p); do
        if [ "$pid" != "$sidecar" ] || [ "$keep" = no ] || [ "$succeeded" = no ]; then
            kill "$pid" 2>/dev/null || true
            wait "$pid" 2>/dev/null || true
        fi
    done
    if [ -n "$folder" ] && { [ "$keep" = no ] || [ "$succeeded" = no ]; }; then
        [ "$succeeded" = yes ] || [ ! -s "$folder/permtabd.log" ] || tail -n 20 "$folder/permtabd.log" >&2
        rm -rf "$folder"
    fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

build() {
    mkdir -p build
    if ! { cmake -S . -B build/demo -G Ninja -DPERMTAB_TESTS=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo &&
        cmake --build build/demo &&
        cmake --install build/demo --prefix "$folder/installed"; } >build/demo.log 2>&1; then
        tail -n 40 build/demo.log >&2
        fail "the build failed; all of it: build/demo.log"
    fi
    PATH="$folder/installed/bin:$folder/installed/sbin:$PATH"
    # The worker is compiled as an application would be: header and library from an installation.
    local library flags
    library="$(dirname "$(find "$folder/installed" -name libpermtab.a)")"
    export PKG_CONFIG_PATH="$library/pkgconfig"
    read -ra flags <<<"$(pkg-config --cflags --libs permtab)"
    cc -O2 -o "$folder/worker" deploy/demo/worker.c "${flags[@]}" "-Wl,-rpath,$library"
}

start_sidecar() {
    cat >"$folder/permtab.conf" <<EOF
store = "sqlite:$folder/permtab.db"
socket = "$folder/permtab.sock"
ops_socket = "$folder/ops.sock"
table_entries = 400000
EOF
    permtabd -c "$folder/permtab.conf" >"$folder/permtabd.log" 2>&1 &
    sidecar=$!
    for _ in $(seq 200); do
        if ctl health >/dev/null 2>&1; then return; fi
        kill -0 "$sidecar" 2>/dev/null || break
        sleep 0.05
    done
    fail "the sidecar does not serve"
}

ctl() { permtabctl --socket "$folder/permtab.sock" "$@"; }

# Shows what a user types, and what comes back; a "deny" is no failure here.
show() {
    printf '  $ permtabctl %s\n' "$*"
    ctl "$@" | sed 's/^/    /' || true
}

# A role that 100,000 users hold.
crowd_policy() {
    awk -v first="$first" -v holders="$holders" 'BEGIN {
        printf "{\"roles\": [{\"id\": 300, \"name\": \"subscriber\", \"scope\": \"server:2\","
        printf " \"allow\": [\"message.send\", \"file.attach\"]}],\n \"assignments\": [\n"
        for (i = 0; i < holders; i++)
            printf "  {\"user\": %d, \"role\": 300}%s\n", first + i, i + 1 < holders ? "," : ""
        printf "]}\n"
    }'
}

# wait_for WORD FILE...: until each file has a line that begins with the word.
wait_for() {
    local word="$1" file
    shift
    for file in "$@"; do
        for _ in $(seq 1200); do
            if grep -q "^$word " "$file"; then continue 2; fi
            sleep 0.05
        done
        cat "$file" >&2
        fail "a worker did not say \"$word\""
    done
}

values() {
    local word="$1"
    shift
    awk -v word="$word" '$1 == word { print $2 }' "$@"
}

four_workers() {
    local number from outs=() pids=()
    for number in $(seq "$workers"); do
        outs+=("$folder/worker$number.out")
        "$folder/worker" "$folder/permtab.sock" work "$checks" "$first" 10000 channel:20 message.send 7 \
            >"$folder/worker$number.out" 2>&1 &
        pids+=($!)
    done
    wait_for allowed "${outs[@]}"
    awk -v checks="$checks" -v workers="$workers" -v cores="$(nproc)" '
        $1 == "nanoseconds" && $2 > slowest { slowest = $2 }
        $1 == "processor" { total += $2 }
        $1 == "allowed" { allowed += $2 }
        END { printf "  %d workers on %d cores: %.1f million checks a second in all", workers, cores,
              workers * checks / slowest * 1000
              printf ", %.0f ns of processor time a check\n", total / workers / checks
              printf "  (random users of 10,000; %d of %d allowed)\n", allowed, workers * checks }' "${outs[@]}"
    step "A role taken away with plain SQL, while the workers work"
    show check 7 channel:20 message.send
    echo "  \$ sqlite3 permtab.db \"DELETE FROM permtab_assignment WHERE user_id = 7 AND role_id = 201\""
    from="$(now)"
    sqlite3 -cmd '.timeout 5000' "$folder/permtab.db" \
        "DELETE FROM permtab_assignment WHERE user_id = 7 AND role_id = 201"
    wait_for denied "${outs[@]}"
    wait "${pids[@]}"
    echo "  every worker saw it $(milliseconds "$from" "$(values denied "${outs[@]}" | sort -n | tail -n 1)") ms" \
        "after sqlite3 was started" \
        "(the store is polled every 100 ms)"
    show check 7 channel:20 message.send
}

role_edit() {
    local from out="$folder/crowd.out" seen entries
    step "A role edit that reaches $holders holders"
    "$folder/worker" "$folder/permtab.sock" crowd "$first" "$holders" server:2 file.attach >"$out" 2>&1 &
    wait_for resident "$out"
    entries="$(values resident "$out")"
    echo "  $entries holders are in the table, each allowed file.attach"
    echo "  \$ sqlite3 permtab.db" \
        "\"DELETE FROM permtab_role_permission WHERE role_id = 300 AND permission = 'file.attach'\""
    from="$(now)"
    sqlite3 -cmd '.timeout 5000' "$folder/permtab.db" \
        "DELETE FROM permtab_role_permission WHERE role_id = 300 AND permission = 'file.attach'"
    wait_for at "$out"
    seen="$(values denied "$out")"
    echo "  $seen holders lost it, $(milliseconds "$from" "$(values at "$out")") ms after sqlite3 was started;" \
        "none of their entries was touched"
    if [ "$entries" != "$holders" ] || [ "$seen" != "$holders" ]; then
        fail "not every holder was reached"
    fi
}

./deploy/install-packages.sh build demo
folder="$(mktemp -d /tmp/permtab-demo-XXXXXX)"
step "Building"
build
step "A sidecar over SQLite, a community, and $holders holders of one role"
start_sidecar
crowd_policy >"$folder/crowd.json"
show apply conf/policies/community.json
show apply "$folder/crowd.json"
step "An allow, a deny, and why"
show check 8 channel:10 message.delete
show check 7 channel:10 message.delete
show explain 11 channel:10 message.send
step "$workers worker processes, a million checks each, out of shared memory"
four_workers
role_edit

succeeded=yes
if [ "$keep" = no ]; then
    step "Done: everything is stopped and removed again. ./deploy/demo.sh --keep leaves it running."
    exit 0
fi
step "It is still running (process $sidecar). Try:"
cat <<EOF
  cd $folder && PATH=$folder/installed/bin:\$PATH
  permtabctl --socket permtab.sock permissions 8 channel:10 --json
  permtabctl --socket permtab.sock assign 7 101
  permtabctl --socket permtab.sock explain 7 channel:10 message.delete
  sqlite3 permtab.db "UPDATE permtab_role SET active = 0 WHERE id = 101"
  permtabctl --socket permtab.sock stats
  permtabctl --socket permtab.sock export

  kill $sidecar && rm -r $folder        # when you are done
EOF
disown "$sidecar"
