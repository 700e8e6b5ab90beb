/* How much of what is hot a table has, watched from its first moment: for warm.py.
 *
 *     bench_warm SOCKET USERS SAMPLE SHARE
 *
 * Commands on stdin, one answer each:
 *
 *     fill            asks about users 1 to USERS by permtab_check_many; prints how many were answered
 *     lease           prints until when the table that is attached is leased (CLOCK_MONOTONIC, ns)
 *     watch SECONDS   attaches the table that is handed out now, and peeks at SAMPLE users, again and again, until that
 *                     share of them is answered or so many seconds are over; prints when it was attached, when it had
 *                     half of the share, and when all of it (ns; 0: never), and what share it had in the end
 *
 * The answer is not looked at here; the ordeals do that. */
#include "client/permtab.h"
#include "tests/bench/measure.h"
#include "tests/support/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK 1000u

struct watcher {
    const char *socket;
    uint64_t users;
    size_t sample;
    double share;
    struct permtab *table;
    permtab_scope place;
    permtab_perm send;
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void attach(struct watcher *watcher)
{
    struct permtab_options options = {.size = sizeof options, .open_ms = 60000, .check_ms = 60000, .server_uid = -1};
    permtab_type type;
    permtab_close(watcher->table);
    watcher->table = NULL;
    int code = permtab_open(&watcher->table, watcher->socket, &options);
    if (code == 0)
        code = permtab_permission(watcher->table, "message.send", &watcher->send);
    if (code == 0)
        code = permtab_scope_type(watcher->table, "server", &type);
    if (code < 0) {
        (void)fprintf(stderr, "bench_warm: %s\n", permtab_strerror(code));
        exit(1);
    }
    watcher->place = permtab_at(type, 1);
}

static uint64_t fill(struct watcher *watcher)
{
    struct permtab_query queries[BLOCK];
    enum permtab_decision decisions[BLOCK];
    uint64_t answered = 0;
    for (uint64_t user = 1; user <= watcher->users; user += BLOCK) {
        size_t count = 0;
        for (; count < BLOCK && user + count <= watcher->users; count++)
            queries[count] =
                (struct permtab_query){.user = user + count, .scope = watcher->place, .perm = watcher->send};
        int known = permtab_check_many(watcher->table, queries, count, decisions);
        answered += known > 0 ? (uint64_t)known : 0;
    }
    return answered;
}

static double known(const struct watcher *watcher, struct random *random)
{
    size_t answered = 0;
    for (size_t i = 0; i < watcher->sample; i++)
        answered += permtab_peek(watcher->table, 1 + random_below(random, watcher->users), watcher->place,
                                 watcher->send) != PERMTAB_UNKNOWN;
    return (double)answered / (double)watcher->sample;
}

static void watch(struct watcher *watcher, double seconds)
{
    struct random random = {1};
    const struct timespec pause = {.tv_nsec = 10000000};
    uint64_t half_ns = 0, all_ns = 0;
    double share = 0;
    attach(watcher);
    uint64_t attached_ns = monotonic_ns(), until_ns = attached_ns + (uint64_t)(seconds * 1e9);
    while (all_ns == 0 && monotonic_ns() < until_ns) {
        if (permtab_refresh(watcher->table) < 0) /* it may have grown */
            continue;
        share = known(watcher, &random);
        half_ns = half_ns == 0 && share >= watcher->share / 2 ? monotonic_ns() : half_ns;
        all_ns = share >= watcher->share ? monotonic_ns() : 0;
        (void)nanosleep(&pause, NULL);
    }
    (void)printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %.4f\n", attached_ns, half_ns, all_ns, share);
}

int main(int argc, char **argv)
{
    char line[64];
    if (argc != 5)
        return 64;
    struct watcher watcher = {.socket = argv[1],
                              .users = strtoull(argv[2], NULL, 10),
                              .sample = strtoull(argv[3], NULL, 10),
                              .share = strtod(argv[4], NULL)};
    attach(&watcher);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strncmp(line, "watch ", 6) == 0)
            watch(&watcher, strtod(line + 6, NULL));
        else if (strcmp(line, "fill\n") == 0)
            (void)printf("%" PRIu64 "\n", fill(&watcher));
        else if (strcmp(line, "lease\n") == 0)
            (void)printf("%" PRIu64 "\n",
                         permtab_geometry_of_(watcher.table)->table.header->beat.lease_deadline);
        else
            return 64;
        (void)fflush(stdout);
    }
    permtab_close(watcher.table);
    return 0;
}
