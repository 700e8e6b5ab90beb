/* Misses, as many as it is told: a line "FIRST COUNT" on standard input is answered by the nanoseconds of each of COUNT
 * checks of users from FIRST on, who are not in the table. So a driver can change the world between two lines, and
 * compare what is asked in turns (tests/bench/stuck_writers.py). */
#include "client/permtab.h"
#include "tests/bench/measure.h"

#include <inttypes.h>
#include <stdio.h>

int main(int count, char **arguments)
{
    const struct permtab_options options = {.size = sizeof options, .check_ms = 10000, .server_uid = -1};
    struct permtab *table;
    permtab_perm perm;
    permtab_type type;
    uint64_t first, checks;
    if (count != 2)
        bench_die("usage: bench_questions SOCKET");
    int code = permtab_open(&table, arguments[1], &options);
    if (code == 0)
        code = permtab_permission(table, "message.send", &perm);
    if (code == 0)
        code = permtab_scope_type(table, "server", &type);
    if (code < 0)
        bench_die("%s: %s", arguments[1], permtab_strerror(code));
    while (scanf("%" SCNu64 " %" SCNu64, &first, &checks) == 2) {
        for (uint64_t user = first; user < first + checks; user++) {
            uint64_t begun = measure_now_ns();
            enum permtab_decision decision = permtab_check(table, user, permtab_at(type, 1), perm);
            uint64_t took = measure_now_ns() - begun;
            if (decision != PERMTAB_ALLOW)
                bench_die("user %" PRIu64 " is not allowed: %s", user, permtab_strerror(permtab_why(table)));
            (void)printf("%" PRIu64 "%s", took, user + 1 < first + checks ? " " : "\n");
        }
        (void)fflush(stdout);
    }
    permtab_close(table);
    return 0;
}
