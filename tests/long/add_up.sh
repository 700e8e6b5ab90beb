# Counts the lines `ok …` and `FAILED …` of what runs on another machine. Sourced by tests/long/unit.sh and
# tests/long/oom.sh.
# shellcheck shell=bash

passed=0 failed=0

# add_up LOG COMMAND...: shows the command's lines `ok …` and `FAILED …` as they come, and counts them. A command
# without any, or with an exit code, is a failure itself.
add_up() {
    local log="$1" code ok bad
    shift
    "$@" 2>&1 </dev/null | tee "$log" | grep --line-buffered -E '^(ok|FAILED) '
    code="${PIPESTATUS[0]}"
    ok="$(grep -c '^ok ' "$log")" bad="$(grep -c '^FAILED ' "$log")"
    if [ "$code" -ne 0 ] || [ $((ok + bad)) -eq 0 ]; then bad=$((bad + 1)); fi
    passed=$((passed + ok)) failed=$((failed + bad))
    [ "$bad" -eq 0 ] || { tail -n 60 "$log"; echo "all of it: $log"; }
}
