/* A reader of the fleet's test bench: asks the same questions again and again through client/permtab.h, and writes
 * down what it was told and when, for tests/e2e/harness/checker.py. tests/e2e/harness/reader.py is the other end;
 * commands on stdin:
 *
 *     question USER SCOPE PERMISSION    before start; numbered from 0
 *     start SWEEP_US ASK_US             "started". One thread peeks at all questions every SWEEP_US, and looks at the
 *                                       table's revision; another asks a random one every ASK_US, by check or check_at.
 *                                       ASK_US 0: nobody asks, so nobody looks for another table either
 *     token STORE REVISION              from now on check_at asks for it
 *     stop                              "stopped": everything is in the file; it may be started again
 *     final                             a letter a question (A, D, U), by check
 *
 * Times are CLOCK_MONOTONIC, taken before a call and after it: all readers are on one machine and have one clock.
 * Equal answers of the peeking thread are one record; how far apart its calls were is written down too, because
 * between two calls nobody looked. */
#include "client/permtab.h"
#include "tests/e2e/moments.h"
#include "tests/support/random.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUESTIONS_MAX 4096u
#define GAP_NS        50000000u /* calls further apart begin another record */
#define CHECK_MS      300u

enum mode { MODE_PEEK, MODE_CHECK, MODE_CHECK_AT, MODE_REVISION };

/* One record of the file, as it stands there; checker.py knows it as RECORD. */
struct span {
    uint64_t first_begun, last_begun, last_ended;
    uint64_t revision; /* of the token; of MODE_REVISION the table's */
    uint32_t calls;
    uint32_t gap_us, took_us; /* the widest gap between two begins, the longest call; rounded up */
    uint16_t question;
    int8_t decision;
    uint8_t mode;
    int16_t why;
    uint8_t zero[6];
};
_Static_assert(sizeof(struct span) == 56, "the record of checker.py");

struct question {
    uint64_t user;
    permtab_scope scope;
    permtab_perm perm;
    struct span span;
};

struct reader {
    struct permtab *table;
    struct question questions[QUESTIONS_MAX];
    uint32_t count;
    uint64_t sweep_ns, ask_ns, seed;
    FILE *out;
    pthread_mutex_t mutex;
    struct permtab_token token; /* under the mutex, like stop */
    bool stop;
};

static uint32_t microseconds(uint64_t ns)
{
    uint64_t us = (ns + 999) / 1000;
    return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static bool stopped(struct reader *reader, struct permtab_token *token)
{
    (void)pthread_mutex_lock(&reader->mutex);
    bool stop = reader->stop;
    *token = reader->token;
    (void)pthread_mutex_unlock(&reader->mutex);
    return stop;
}

/* stdio locks: a record of one thread is not mixed with another's. */
static void write_span(struct reader *reader, const struct span *span)
{
    if (span->calls > 0)
        (void)fwrite(span, sizeof *span, 1, reader->out);
}

static struct span span_of(uint32_t question, enum mode mode, enum permtab_decision decision, int why,
                           uint64_t begun, uint64_t ended)
{
    return (struct span){
        .first_begun = begun,
        .last_begun = begun,
        .last_ended = ended,
        .calls = 1,
        .took_us = microseconds(ended - begun),
        .question = (uint16_t)question,
        .decision = (int8_t)decision,
        .mode = (uint8_t)mode,
        .why = (int16_t)why,
    };
}

/* ---- the thread that peeks --------------------------------------------------------------------------------------- */

static void note_peek(struct reader *reader, uint32_t index, enum permtab_decision decision, uint64_t begun,
                      uint64_t ended)
{
    struct span *span = &reader->questions[index].span;
    int why = decision == PERMTAB_UNKNOWN ? permtab_why(reader->table) : 0;
    uint64_t gap = begun - span->last_begun, took = ended - begun;
    if (span->calls == 0 || span->decision != (int8_t)decision || span->why != (int16_t)why || gap > GAP_NS) {
        write_span(reader, span);
        *span = span_of(index, MODE_PEEK, decision, why, begun, ended);
        return;
    }
    span->last_begun = begun;
    span->last_ended = ended;
    span->calls++;
    if (microseconds(gap) > span->gap_us)
        span->gap_us = microseconds(gap);
    if (microseconds(took) > span->took_us)
        span->took_us = microseconds(took);
}

/* The table's revision, read like a reader of the table would: one load. */
static void look_at_revision(struct reader *reader, struct span *last)
{
    uint64_t begun = now_ns();
    const struct permtab_shm_table *table = &permtab_geometry_of_(reader->table)->table;
    uint64_t revision = permtab_shm_load64(&table->header->beat.applied_revision);
    uint64_t ended = now_ns();
    if (last->calls > 0 && last->revision == revision) {
        last->last_begun = begun;
        last->last_ended = ended;
        last->calls++;
        return;
    }
    write_span(reader, last);
    *last = span_of(0, MODE_REVISION, PERMTAB_UNKNOWN, 0, begun, ended);
    last->revision = revision;
}

static void *peek_all(void *argument)
{
    struct reader *reader = argument;
    struct permtab_token token;
    struct span revision = {.calls = 0};
    for (uint64_t due = now_ns(); !stopped(reader, &token); due += reader->sweep_ns) {
        look_at_revision(reader, &revision);
        uint64_t begun = now_ns();
        for (uint32_t i = 0; i < reader->count; i++) {
            const struct question *question = &reader->questions[i];
            enum permtab_decision decision =
                permtab_peek(reader->table, question->user, question->scope, question->perm);
            uint64_t ended = now_ns();
            note_peek(reader, i, decision, begun, ended);
            begun = ended;
        }
        if (begun > due + reader->sweep_ns)
            due = begun - reader->sweep_ns; /* late: no sweeps are made up for */
        sleep_until(due + reader->sweep_ns);
    }
    write_span(reader, &revision);
    for (uint32_t i = 0; i < reader->count; i++)
        write_span(reader, &reader->questions[i].span);
    return NULL;
}

/* ---- the thread that asks ---------------------------------------------------------------------------------------- */

static void ask_one(struct reader *reader, uint32_t index, bool at, struct permtab_token token)
{
    const struct question *question = &reader->questions[index];
    uint64_t begun = now_ns();
    enum permtab_decision decision =
        at ? permtab_check_at(reader->table, question->user, question->scope, question->perm, token)
           : permtab_check(reader->table, question->user, question->scope, question->perm);
    uint64_t ended = now_ns();
    int why = decision == PERMTAB_UNKNOWN ? permtab_why(reader->table) : 0;
    struct span span = span_of(index, at ? MODE_CHECK_AT : MODE_CHECK, decision, why, begun, ended);
    span.revision = at ? token.revision : 0;
    write_span(reader, &span);
}

static void *ask_some(void *argument)
{
    struct reader *reader = argument;
    struct permtab_token token;
    struct random random = {reader->seed};
    for (uint64_t due = now_ns(); !stopped(reader, &token);) {
        uint64_t dice = random_next(&random);
        ask_one(reader, (uint32_t)(dice >> 16) % reader->count, token.revision != 0 && dice % 3 == 0, token);
        due += reader->ask_ns;
        if (now_ns() > due + reader->ask_ns)
            due = now_ns();
        sleep_until(due);
    }
    return NULL;
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static int add_question(struct reader *reader, const char *line)
{
    char scope[64], permission[128], *colon;
    struct question *question = &reader->questions[reader->count];
    permtab_type type;
    if (reader->count == QUESTIONS_MAX ||
        sscanf(line, "question %" SCNu64 " %63s %127s", &question->user, scope, permission) != 3)
        return PERMTAB_E_INVALID;
    if ((colon = strchr(scope, ':')) != NULL)
        *colon = 0;
    int code = permtab_scope_type(reader->table, scope, &type);
    if (code == 0)
        code = permtab_permission(reader->table, permission, &question->perm);
    if (code < 0)
        return code;
    question->scope = permtab_at(type, colon ? strtoull(colon + 1, NULL, 10) : 0);
    reader->count++;
    return 0;
}

static void print_final(struct reader *reader)
{
    for (uint32_t i = 0; i < reader->count; i++) {
        const struct question *question = &reader->questions[i];
        putchar("UDA"[permtab_check(reader->table, question->user, question->scope, question->perm) + 1]);
    }
    putchar('\n');
}

static void set_token(struct reader *reader, const char *line)
{
    struct permtab_token token;
    if (sscanf(line, "token %" SCNu64 " %" SCNu64, &token.store_id, &token.revision) != 2)
        return;
    (void)pthread_mutex_lock(&reader->mutex);
    reader->token = token;
    (void)pthread_mutex_unlock(&reader->mutex);
}

static void set_stop(struct reader *reader, bool stop)
{
    (void)pthread_mutex_lock(&reader->mutex);
    reader->stop = stop;
    (void)pthread_mutex_unlock(&reader->mutex);
}

static bool start(struct reader *reader, const char *line, pthread_t threads[2])
{
    uint64_t sweep_us, ask_us;
    if (sscanf(line, "start %" SCNu64 " %" SCNu64, &sweep_us, &ask_us) != 2 || reader->count == 0)
        return false;
    reader->sweep_ns = sweep_us * 1000;
    reader->ask_ns = ask_us * 1000;
    for (uint32_t i = 0; i < reader->count; i++)
        reader->questions[i].span.calls = 0;
    set_stop(reader, false);
    return pthread_create(&threads[0], NULL, peek_all, reader) == 0 &&
           (ask_us == 0 || pthread_create(&threads[1], NULL, ask_some, reader) == 0);
}

static void stop(struct reader *reader, pthread_t threads[2])
{
    set_stop(reader, true);
    for (int i = 0; i < (reader->ask_ns > 0 ? 2 : 1); i++)
        (void)pthread_join(threads[i], NULL);
}

/* Serves until there are no more commands. */
static void serve(struct reader *reader)
{
    pthread_t threads[2];
    bool running = false;
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "question ", 9) == 0) {
            int code = add_question(reader, line);
            if (code < 0)
                printf("error %d %s", code, line);
        } else if (strncmp(line, "token ", 6) == 0) {
            set_token(reader, line);
        } else if (strncmp(line, "start ", 6) == 0 && !running) {
            running = start(reader, line, threads);
            puts(running ? "started" : "error start");
        } else if (strcmp(line, "stop\n") == 0 && running) {
            stop(reader, threads);
            running = false;
            puts(fflush(reader->out) == 0 ? "stopped" : "error the file cannot be written");
        } else if (strcmp(line, "final\n") == 0) {
            print_final(reader);
        } else {
            printf("error %s", line);
        }
        (void)fflush(stdout);
    }
    if (running)
        stop(reader, threads);
}

int main(int argc, char **argv)
{
    static struct reader reader = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct permtab_options options = {
        .size = sizeof options, .open_ms = 20000, .check_ms = CHECK_MS, .server_uid = -1};
    if (argc != 4) {
        (void)fputs("usage: e2e_reader SOCKET FILE SEED\n", stderr);
        return 64;
    }
    reader.seed = strtoull(argv[3], NULL, 10);
    reader.out = fopen(argv[2], "wb");
    if (!reader.out) {
        perror(argv[2]);
        return 1;
    }
    int code = permtab_open(&reader.table, argv[1], &options);
    if (code < 0) {
        printf("error %d %s\n", code, permtab_strerror(code));
        return 1;
    }
    puts("ready");
    (void)fflush(stdout);
    serve(&reader);
    permtab_close(reader.table);
    return fclose(reader.out) == 0 ? 0 : 1;
}
