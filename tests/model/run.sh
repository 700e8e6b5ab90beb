#!/bin/sh
# Runs every case of cases.txt through spin: the order of shm/reader.h must hold, each mutation of it must fail.
# Prints a table; exits 1 when any expectation is broken, 77 when spin or a C compiler is missing.
#     tests/model/run.sh [SCENARIO [DEFINITIONS]]      one scenario only ('': all), what matches the expression only
here=$(cd "$(dirname "$0")" && pwd)
only=${1:-}
defined=${2:-}
compiler=${CC:-cc}
if ! command -v spin >/dev/null || ! command -v "$compiler" >/dev/null; then
    echo "model: skipped, because spin or $compiler is not installed"
    exit 77
fi
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM

# One case in a folder of its own: writes "holds", "fails" or "broken" and the number of states to FOLDER/outcome.
cat >"$work/one.sh" <<'ONE'
folder=$1 scenario=$2 definitions=$3 expected=$4 here=$5 compiler=$6
mkdir -p "$folder" && cp "$here"/*.pml "$folder" && cd "$folder" || exit 2
set --
optimize=-O1 table=24 # -O2 takes longer to compile than it saves in the search
if [ "$expected" = fails ]; then # found soon, so compiling is what takes time, and clearing a large table
    optimize=-O0 table=18
    definitions="$definitions ONE_READER"
fi
for name in $definitions; do set -- "$@" "-D$name"; done
outcome=broken
if spin -a "$@" "$scenario.pml" >spin.out 2>&1 &&
    "$compiler" "$optimize" -w -DSAFETY -DMEMLIM=4096 -o pan pan.c >cc.out 2>&1; then
    # -E: processes may wait for ever. -b: a search that is too deep is an error, not a pass.
    ./pan -E -n -b -m20000 "-w$table" >pan.out 2>&1
    if grep -q 'assertion violated (memory\[' pan.out; then
        : # the scenario's MESSAGES are too few: that says nothing
    elif grep -q 'assertion violated' pan.out; then
        outcome=fails
    elif grep -q 'errors: 0' pan.out && ! grep -q 'Search not completed' pan.out; then
        outcome=holds
    fi
fi
states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.out 2>/dev/null)
echo "$outcome ${states:-0}" >outcome
rm -f pan pan.* ./*.pml
ONE

grep -v '^#' "$here/cases.txt" | grep -v '^ *$' | sed 's/ *| */|/g' >"$work/cases"
if [ -n "$only" ]; then
    grep "^$only|" "$work/cases" >"$work/chosen"
    mv "$work/chosen" "$work/cases"
fi
if [ -n "$defined" ]; then
    grep -E "^[^|]*\|[^|]*($defined)" "$work/cases" >"$work/chosen"
    mv "$work/chosen" "$work/cases"
fi
number=0
while IFS='|' read -r scenario definitions expected what; do
    number=$((number + 1))
    printf '%s\0' "$work/$number" "$scenario" "$definitions" "$expected" "$here" "$compiler"
done <"$work/cases" | xargs -0 -n 6 -P "$(nproc 2>/dev/null || echo 2)" sh "$work/one.sh"

broken=0
number=0
printf '%-8s %-34s %-8s %-8s %9s  %s\n' scenario mutation expected found states what
while IFS='|' read -r scenario definitions expected what; do
    number=$((number + 1))
    read -r found states <"$work/$number/outcome" || found=broken
    mark=''
    if [ "$found" != "$expected" ]; then
        broken=$((broken + 1))
        mark='   <-- WRONG'
        cat "$work/$number"/*.out 2>/dev/null | head -20
    fi
    printf '%-8s %-34s %-8s %-8s %9s  %s%s\n' \
        "$scenario" "${definitions:--}" "$expected" "$found" "$states" "$what" "$mark"
done <"$work/cases"
echo "$number cases, $broken not as expected"
[ "$number" -gt 0 ] && [ "$broken" -eq 0 ]
