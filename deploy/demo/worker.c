/* A worker process that uses permtab, for deploy/demo.sh, and an example to start from. Compiled as any application
 * would be, against the installed header and library:
 *
 *     cc worker.c $(pkg-config --cflags --libs permtab)
 *
 *     worker SOCKET work CHECKS FIRST USERS SCOPE PERMISSION FOLLOWED
 *         Makes CHECKS checks of random users from FIRST on, and says how long they took. Then goes on working
 *         until it sees that the user FOLLOWED has lost PERMISSION in SCOPE, and says when (CLOCK_REALTIME,
 *         nanoseconds).
 *     worker SOCKET crowd FIRST USERS SCOPE PERMISSION
 *         Asks about every user once, so that all are in the table. Then waits until the table says of each of
 *         them that PERMISSION is lost, and says when. */
#include <permtab.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BURST 1000 /* checks between two short rests: a worker also does something with the answers */
#define BATCH 1000

struct job {
    struct permtab *table;
    permtab_scope scope;
    permtab_perm permission;
    uint64_t first, users;
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void rest(long nanoseconds)
{
    struct timespec wait = {.tv_sec = 0, .tv_nsec = nanoseconds};
    (void)nanosleep(&wait, NULL);
}

static void say(const char *what, uint64_t value)
{
    printf("%s %" PRIu64 "\n", what, value);
    (void)fflush(stdout);
}

/* Names are turned into handles once, at the start. */
static int prepare(struct job *job, const char *scope, const char *permission)
{
    char type_name[32];
    const char *colon = strchr(scope, ':');
    size_t length = colon ? (size_t)(colon - scope) : strlen(scope);
    permtab_type type;
    if (length >= sizeof type_name)
        return PERMTAB_E_NO_SCOPE_TYPE;
    memcpy(type_name, scope, length);
    type_name[length] = '\0';
    int code = permtab_scope_type(job->table, type_name, &type);
    if (code < 0)
        return code;
    job->scope = permtab_at(type, colon ? strtoull(colon + 1, NULL, 10) : 0);
    return permtab_permission(job->table, permission, &job->permission);
}

/* Asks about everyone once: what is not in the table yet is brought there, many in one round trip. */
static int warm(struct job *job)
{
    struct permtab_query queries[BATCH];
    enum permtab_decision decisions[BATCH];
    for (uint64_t done = 0; done < job->users; done += BATCH) {
        size_t count = job->users - done < BATCH ? (size_t)(job->users - done) : BATCH;
        for (size_t i = 0; i < count; i++)
            queries[i] = (struct permtab_query){
                .user = job->first + done + i, .scope = job->scope, .perm = job->permission};
        int code = permtab_check_many(job->table, queries, count, decisions);
        if (code < 0)
            return code;
    }
    return 0;
}

/* xorshift64 (Marsaglia): a random user is not in the processor's cache, as in real life. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t check_some(struct job *job, uint64_t *state, uint64_t count)
{
    uint64_t allowed = 0;
    for (uint64_t i = 0; i < count; i++)
        allowed += permtab_allowed(job->table, job->first + next_random(state) % job->users, job->scope,
                                   job->permission);
    return allowed;
}

static int work(struct job *job, uint64_t checks, uint64_t followed)
{
    uint64_t state = clock_ns(CLOCK_REALTIME) | 1;
    int code = warm(job);
    if (code < 0)
        return code;
    say("ready", job->users);
    uint64_t begun = clock_ns(CLOCK_MONOTONIC), processor = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t allowed = check_some(job, &state, checks);
    say("nanoseconds", clock_ns(CLOCK_MONOTONIC) - begun);
    say("processor", clock_ns(CLOCK_PROCESS_CPUTIME_ID) - processor);
    say("allowed", allowed);
    while (permtab_check(job->table, followed, job->scope, job->permission) != PERMTAB_DENY) {
        (void)check_some(job, &state, BURST);
        rest(100000);
    }
    say("denied", clock_ns(CLOCK_REALTIME));
    return 0;
}

/* Counts those of the crowd whom the table alone answers with this decision. */
static uint64_t count_crowd(struct job *job, enum permtab_decision decision)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < job->users; i++)
        count += permtab_peek(job->table, job->first + i, job->scope, job->permission) == decision;
    return count;
}

static int crowd(struct job *job)
{
    uint64_t resident = 0, denied = 0, seen;
    /* An entry may have to make room for another one while all come in; then it is asked for again. */
    for (int round = 0; round < 5 && resident < job->users; round++) {
        int code = warm(job);
        if (code < 0)
            return code;
        resident = count_crowd(job, PERMTAB_ALLOW);
    }
    say("resident", resident);
    do {
        rest(200000);
    } while (permtab_peek(job->table, job->first, job->scope, job->permission) == PERMTAB_ALLOW);
    uint64_t begun = clock_ns(CLOCK_REALTIME);
    do {
        seen = clock_ns(CLOCK_REALTIME);
        denied = count_crowd(job, PERMTAB_DENY);
    } while (denied < job->users && seen - begun < 5000000000u);
    say("denied", denied);
    say("at", seen);
    return 0;
}

int main(int argc, char **argv)
{
    struct job job = {0};
    bool working = argc == 9 && strcmp(argv[2], "work") == 0;
    if (!working && !(argc == 7 && strcmp(argv[2], "crowd") == 0)) {
        (void)fprintf(stderr, "usage: worker SOCKET work CHECKS FIRST USERS SCOPE PERMISSION FOLLOWED\n"
                              "       worker SOCKET crowd FIRST USERS SCOPE PERMISSION\n");
        return 64;
    }
    char **rest_of = argv + (working ? 4 : 3);
    job.first = strtoull(rest_of[0], NULL, 10);
    job.users = strtoull(rest_of[1], NULL, 10);
    struct permtab_options options = {.size = sizeof options, .check_ms = 30000, .server_uid = -1};
    int code = permtab_open(&job.table, argv[1], &options);
    if (code >= 0)
        code = prepare(&job, rest_of[2], rest_of[3]);
    if (code >= 0)
        code = working ? work(&job, strtoull(argv[3], NULL, 10), strtoull(argv[8], NULL, 10)) : crowd(&job);
    if (code < 0)
        (void)fprintf(stderr, "worker: %s\n", permtab_strerror(code));
    permtab_close(job.table);
    return code < 0;
}
