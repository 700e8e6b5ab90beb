# README's fragment of a worker, in a program: its user is 8, whom the sample policy makes a moderator. Sourced by
# tests/fresh/readme.sh and tests/long/booted.sh, which stand in the checkout.
# shellcheck shell=bash

write_app() {
    awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md | awk '
        /^#include/ { print; next }
        !begun { print "#include <stdio.h>\nint main(void)\n{\n    uint64_t user = 8;"; begun = 1 }
        /^ *\.\.\.$/ { sub(/\.\.\./, "puts(\"allowed\");") }
        { print }
        END { print "    return 0;\n}" }' >app.c
}
