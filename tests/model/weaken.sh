#!/usr/bin/env bash
# Weakens each helper of shm/order.h in turn, and prints which model and which test notices: the table of
# docs/SHARED-MEMORY.md, "Each helper weakened".
#
#     tests/model/weaken.sh          ten minutes
#
# The models: cases.txt says of each scenario what comes of WEAK_LOAD32 and its like; run.sh tries it. The tests: the
# sources are compiled with an order.h in which the one helper is weaker, by clang with the thread sanitizer and by gcc
# without, and run. Weaker is: relaxed instead of acquire or release; a plain access, where it is relaxed already.
# PERMTAB_WEAKEN_SECONDS: how long each run of stress_mixture takes (3).
set -uo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
cd "$root" || exit 1
seconds="${PERMTAB_WEAKEN_SECONDS:-3}"
for tool in spin gcc clang pkg-config; do
    command -v "$tool" >/dev/null || { echo "weaken.sh: $tool is missing"; exit 77; }
done
work="$(mktemp -d)" || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM

helpers="load32 load64 store32 store64 load32_relaxed load64_relaxed store32_relaxed store64_relaxed
    load_pointer store_pointer ticket claim64"

# weaker_order HELPER: order.h with that helper weakened.
weaker_order() {
    awk -v name="permtab_shm_$1(" '
        /^static inline/ { ours = index($0, name) > 0 }
        ours && /__ATOMIC_ACQUIRE|__ATOMIC_RELEASE|__ATOMIC_ACQ_REL/ {
            changed += gsub(/__ATOMIC_ACQUIRE|__ATOMIC_RELEASE|__ATOMIC_ACQ_REL/, "__ATOMIC_RELAXED")
            print; next
        }
        ours && /__atomic_load_n\(from, __ATOMIC_RELAXED\)/ {
            changed += sub(/__atomic_load_n\(from, __ATOMIC_RELAXED\)/, "*from")
        }
        ours && /__atomic_store_n\(to, value, __ATOMIC_RELAXED\)/ {
            changed += sub(/__atomic_store_n\(to, value, __ATOMIC_RELAXED\)/, "*to = value")
        }
        ours && /__atomic_fetch_add\(counter, 1, __ATOMIC_RELAXED\)/ {
            changed += sub(/__atomic_fetch_add\(counter, 1, __ATOMIC_RELAXED\)/, "(*counter)++")
        }
        { print }
        END { exit changed == 0 }' shm/order.h
}

# build FOLDER COMPILER FLAGS...: the tests, with the order.h that is in FOLDER/shm. The client's only with clang: a
# relaxed access is the same instruction on x86, so what gcc makes of it is looked at in the table alone, where there is
# most of it to be reordered.
build() {
    local folder="$1" compiler="$2" test
    shift 2
    local flags=(-O2 -g -w -std=gnu11 -D_GNU_SOURCE "-DPERMTAB_VERSION=\"0\"" "-DSOURCE_DIR=\"$root\"" "$@"
        "-I$folder" "-I$root" -pthread)
    local world=(tests/stress/world.c shm/*.c) hook=-DPERMTAB_STORE_HOOK
    "$compiler" "${flags[@]}" tests/stress/stress_mixture.c "${world[@]}" -o "$folder/stress_mixture" &&
        "$compiler" "${flags[@]}" $hook tests/stress/stress_mixture.c "${world[@]}" -o "$folder/stress_mixture_slow" &&
        "$compiler" "${flags[@]}" $hook tests/stress/stress_killed.c "${world[@]}" -o "$folder/stress_killed" || return
    [ "$compiler" = clang ] || return 0
    local sources=("$root"/client/*.c "$root"/client/wire/*.c "$root"/shm/*.c "$root"/tests/support/client_bench.c
        "$root"/tests/support/fake_sidecar*.c)
    (cd "$folder" && clang "${flags[@]}" -c "${sources[@]}") || return
    for test in $client_tests; do
        # shellcheck disable=SC2046
        clang "${flags[@]}" "tests/unit/client/$test.c" "$folder"/*.o $(pkg-config --cflags --libs cmocka "$msgpack") \
            -o "$folder/$test" || return
    done
}

client_tests="test_client_attach test_client_check test_client_fork"
msgpack=msgpack-c
pkg-config --exists msgpack-c || msgpack=msgpack

# notice FOLDER MARK NAME ARGUMENTS...: adds the program to what has noticed, when it does not end well.
notice() {
    local folder="$1" mark="$2" name="$3"
    shift 3
    TSAN_OPTIONS="exitcode=66 die_after_fork=0" timeout 300 "$folder/$name" "$@" >"$folder/$name.out" 2>&1 ||
        noticed+="${noticed:+, }\`$name\`$mark"
}

# tests_that_notice HELPER
tests_that_notice() {
    local folder noticed="" test compiler mark
    for compiler in clang gcc; do
        folder="$work/$1-$compiler"
        local flags=() readers=(--threads 2 --processes 2) mark=""
        if [ "$compiler" = clang ]; then
            flags=(-fsanitize=thread) readers=(--threads 3 --processes 0) mark=" (thread sanitizer)"
        fi
        mkdir -p "$folder/shm"
        if [ "$1" = none ]; then
            cp shm/order.h "$folder/shm/"
        elif ! weaker_order "$1" >"$folder/shm/order.h"; then
            echo "not found in order.h"
            return
        fi
        if ! build "$folder" "$compiler" "${flags[@]}" >"$folder/build.out" 2>&1; then
            echo "not built"
            cat "$folder/build.out" >&2
            return
        fi
        notice "$folder" "$mark" stress_mixture --seconds "$seconds" "${readers[@]}"
        notice "$folder" "$mark" stress_mixture_slow --seconds "$seconds" "${readers[@]}"
        if [ "$compiler" = clang ]; then
            for test in $client_tests; do notice "$folder" "$mark" "$test"; done
        else
            notice "$folder" "" stress_killed --last 400 --step 7
        fi
        rm -rf "$folder"
    done
    echo "${noticed:-none}"
}

# models_that_notice HELPER: the scenarios that fail with it weakened.
models_that_notice() {
    local weak="WEAK_${1^^}"
    case "$1" in
        load32 | load64 | store32 | store64) ;;
        store32_relaxed) weak="MUTATE_NO_W1" ;;
        store64_relaxed) weak="MUTATE_NO_CLOSE" ;;
        load_pointer) weak="MUTATE_LOAD_POINTER_RELAXED" ;;
        store_pointer) weak="MUTATE_STORE_POINTER_RELAXED" ;;
        *) echo "-"; return ;;
    esac
    awk -v weak="$weak" '
        $2 ~ weak || $3 ~ weak { for (i = 2; i < NF; i++) if ($i == "fails" && $(i + 1) == "fails") print $1 }
        ' "$work/models" | sort -u | paste -sd, | sed 's/,/, /g; s/^$/none/'
}

if ! "$here/run.sh" '' 'WEAK_|MUTATE_NO_W1|MUTATE_NO_CLOSE|POINTER_RELAXED' >"$work/models"; then
    cat "$work/models"
    exit 1
fi
echo "| helper | models that notice | tests that notice |"
echo "|---|---|---|"
echo "| none | - | $(tests_that_notice none) |"
for helper in $helpers; do
    echo "| \`$helper\` | $(models_that_notice "$helper") | $(tests_that_notice "$helper") |"
done
