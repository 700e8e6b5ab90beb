/* Clients that come, fork and go, for the soak: tests/e2e/soak.py counts what they did and compares it with what the
 * sidecar has counted. tests/e2e/harness/visitor.py is the other end.
 *
 *     e2e_visitor SOCKET PERIOD_US CHECKS USERS SCOPE PERMISSION      "ready"
 *
 * One visit a PERIOD_US: open, CHECKS checks, a child that does as many and closes, as many again, close. All are
 * about PERMISSION at SCOPE ("server:1"), which each of the users 1 to USERS is to be allowed. Commands on stdin:
 *
 *     start     "started"
 *     stop      when the visit under way has ended: what was done since the last stop, "name=number" each
 *     keep      "kept": from now on each visit keeps a descriptor, for a test of the test */
#include "client/permtab.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPEN_MS  20000u
#define CHECK_MS 1000u

/* Shared with the child, which runs alone while its parent waits. */
struct counts {
    uint64_t visits, connections, checks, unknown, wrong, failed;
};

struct visitor {
    const char *socket, *permission, *type;
    uint64_t period_ns, checks, users, scope, next;
    bool keeps;
    struct counts *counts;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void ask(struct visitor *visitor, struct permtab *table, permtab_scope place, permtab_perm perm)
{
    for (uint64_t i = 0; i < visitor->checks; i++) {
        enum permtab_decision decision = permtab_check(table, 1 + visitor->next++ % visitor->users, place, perm);
        visitor->counts->checks++;
        visitor->counts->unknown += decision == PERMTAB_UNKNOWN;
        visitor->counts->wrong += decision == PERMTAB_DENY;
    }
}

/* The child's own connection is made by permtab_refresh, so that it is there however little the child asks. */
static void fork_one(struct visitor *visitor, struct permtab *table, permtab_scope place, permtab_perm perm)
{
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int code = permtab_refresh(table);
        visitor->counts->connections++;
        visitor->counts->failed += code < 0;
        ask(visitor, table, place, perm);
        permtab_close(table);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        visitor->counts->failed++;
}

static void visit(struct visitor *visitor)
{
    struct permtab_options options = {
        .size = sizeof options, .open_ms = OPEN_MS, .check_ms = CHECK_MS, .server_uid = -1};
    struct permtab *table;
    permtab_type type;
    permtab_perm perm;
    visitor->counts->visits++;
    if (permtab_open(&table, visitor->socket, &options) < 0) {
        visitor->counts->failed++;
        return;
    }
    visitor->counts->connections++;
    if (permtab_scope_type(table, visitor->type, &type) < 0 ||
        permtab_permission(table, visitor->permission, &perm) < 0) {
        visitor->counts->failed++;
    } else {
        permtab_scope place = permtab_at(type, visitor->scope);
        ask(visitor, table, place, perm);
        fork_one(visitor, table, place, perm);
        ask(visitor, table, place, perm);
    }
    permtab_close(table);
    if (visitor->keeps && dup(STDIN_FILENO) < 0)
        visitor->counts->failed++;
}

/* Visits until there is a command. */
static void visit_again_and_again(struct visitor *visitor)
{
    struct pollfd command = {.fd = STDIN_FILENO, .events = POLLIN};
    for (uint64_t due = now_ns();; due += visitor->period_ns) {
        visit(visitor);
        uint64_t now = now_ns();
        if (now > due + visitor->period_ns)
            due = now - visitor->period_ns; /* late: no visits are made up for */
        int wait_ms = (int)((due + visitor->period_ns - now) / 1000000u);
        if (poll(&command, 1, wait_ms) > 0)
            return;
    }
}

static void print_counts(struct counts *counts)
{
    printf("visits=%" PRIu64 " connections=%" PRIu64 " checks=%" PRIu64 " unknown=%" PRIu64 " wrong=%" PRIu64
           " failed=%" PRIu64 "\n",
           counts->visits, counts->connections, counts->checks, counts->unknown, counts->wrong, counts->failed);
    memset(counts, 0, sizeof *counts);
}

static void obey(struct visitor *visitor)
{
    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "start\n") == 0) {
            (void)puts("started");
            (void)fflush(stdout);
            visit_again_and_again(visitor);
        } else if (strcmp(line, "stop\n") == 0) {
            print_counts(visitor->counts);
        } else if (strcmp(line, "keep\n") == 0) {
            visitor->keeps = true;
            (void)puts("kept");
        } else {
            printf("error %s", line);
        }
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct visitor visitor = {0};
    char type[32];
    if (argc == 7 && sscanf(argv[5], "%31[^:]:%" SCNu64, type, &visitor.scope) == 2) {
        visitor.socket = argv[1];
        visitor.period_ns = strtoull(argv[2], NULL, 10) * 1000u;
        visitor.checks = strtoull(argv[3], NULL, 10);
        visitor.users = strtoull(argv[4], NULL, 10);
        visitor.type = type;
        visitor.permission = argv[6];
    }
    if (visitor.users == 0) {
        (void)fputs("usage: e2e_visitor SOCKET PERIOD_US CHECKS USERS SCOPE PERMISSION\n", stderr);
        return 64;
    }
    visitor.counts = mmap(NULL, sizeof *visitor.counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (visitor.counts == MAP_FAILED)
        return 1;
    (void)setvbuf(stdin, NULL, _IONBF, 0); /* poll and fgets look at the same */
    (void)puts("ready");
    (void)fflush(stdout);
    obey(&visitor);
    return 0;
}
