/* A worker process for the end-to-end tests: takes a command a line on stdin, answers with a line on stdout, through
 * client/permtab.h and nothing else. tests/e2e/harness/worker.py is the other end.
 *
 *     check|peek USER SCOPE PERMISSION          decision why
 *     owned USER SCOPE PERMISSION OWNER         decision why
 *     at USER SCOPE PERMISSION STORE REVISION   decision why
 *     refresh                                   code
 *     why                                       permtab_why_text
 *     watch MODE USER SCOPE PERMISSION DECISION MS   running; then CLOCK_MONOTONIC ns when it was seen, or never
 *     trace MODE USER SCOPE PERMISSION MS       running; then spans "from,to,decision,why" of equal answers
 *     spin MODE USER SCOPE PERMISSION MS        running; then counts of allow, deny, unknown, and ns in all
 *     many MODE N, then N lines USER SCOPE PERMISSION   a letter an answer (A, D, U), and ns in all
 *     range MODE USER COUNT SCOPE PERMISSION    counts of allow, deny, unknown of COUNT users from USER on, and then
 *                                               those that are not allowed, eight at most
 *     crowd N COUNT USER SCOPE PERMISSION       running; forks N children that check COUNT times, and now and then
 *                                               after that, until the next line; then how many got nothing but
 *                                               allow at first
 *
 * MODE is check or peek. What is wrong is answered with "error …". */
#include "client/permtab.h"
#include "tests/e2e/moments.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAMES_MAX  4096u /* a power of two; permissions that one run may name, and then some */
#define WORDS_MAX  8u
#define PAUSE_NS   200000
#define BLOCK_SIZE 1000u

struct name {
    char *text;
    permtab_perm perm;
};

struct worker {
    struct permtab *table;
    struct name names[NAMES_MAX];
    char *line;
    size_t line_capacity;
    char *words[WORDS_MAX];
    size_t word_count;
};

struct question {
    uint64_t user;
    permtab_scope scope;
    permtab_perm perm;
    bool peek;
};

static void pause_ns(long nanoseconds)
{
    struct timespec wait = {.tv_sec = 0, .tv_nsec = nanoseconds};
    (void)nanosleep(&wait, NULL);
}

static const char *decision_text(enum permtab_decision decision)
{
    switch (decision) {
    case PERMTAB_ALLOW:
        return "allow";
    case PERMTAB_DENY:
        return "deny";
    case PERMTAB_UNKNOWN:
        return "unknown";
    }
    return "?";
}

static int why(struct worker *worker, enum permtab_decision decision)
{
    return decision == PERMTAB_UNKNOWN ? permtab_why(worker->table) : 0;
}

/* Names are looked up once a handle, as an application would at its start. */
static int perm_of(struct worker *worker, const char *text, permtab_perm *out)
{
    uint32_t hash = 2166136261u;
    for (const char *byte = text; *byte; byte++)
        hash = (hash ^ (unsigned char)*byte) * 16777619u;
    for (uint32_t step = 0; step < NAMES_MAX; step++) {
        struct name *name = &worker->names[(hash + step) % NAMES_MAX];
        if (name->text && strcmp(name->text, text) == 0) {
            *out = name->perm;
            return 0;
        }
        if (name->text)
            continue;
        int code = permtab_permission(worker->table, text, &name->perm);
        if (code < 0)
            return code;
        name->text = strdup(text);
        *out = name->perm;
        return name->text ? 0 : PERMTAB_E_MEMORY;
    }
    return PERMTAB_E_FULL;
}

static int scope_of(struct worker *worker, const char *text, permtab_scope *out)
{
    char name[64];
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    permtab_type type;
    if (length >= sizeof name)
        return PERMTAB_E_NO_SCOPE_TYPE;
    memcpy(name, text, length);
    name[length] = 0;
    int code = permtab_scope_type(worker->table, name, &type);
    if (code < 0)
        return code;
    *out = permtab_at(type, colon ? strtoull(colon + 1, NULL, 10) : 0);
    return 0;
}

/* Words `first` to `first + 2` are user, scope and permission. */
static int question_of(struct worker *worker, size_t first, struct question *out)
{
    if (worker->word_count < first + 3)
        return PERMTAB_E_SYNTAX;
    out->user = strtoull(worker->words[first], NULL, 10);
    int code = scope_of(worker, worker->words[first + 1], &out->scope);
    return code < 0 ? code : perm_of(worker, worker->words[first + 2], &out->perm);
}

static bool mode_of(const char *text, bool *peek)
{
    *peek = strcmp(text, "peek") == 0;
    return *peek || strcmp(text, "check") == 0;
}

static enum permtab_decision ask(struct worker *worker, const struct question *question)
{
    return question->peek ? permtab_peek(worker->table, question->user, question->scope, question->perm)
                          : permtab_check(worker->table, question->user, question->scope, question->perm);
}

static void answer_decision(struct worker *worker, enum permtab_decision decision)
{
    int code = why(worker, decision);
    printf("%s %d\n", decision_text(decision), code);
}

static int do_check(struct worker *worker)
{
    struct question question = {.peek = strcmp(worker->words[0], "peek") == 0};
    int code = question_of(worker, 1, &question);
    if (code < 0)
        return code;
    answer_decision(worker, ask(worker, &question));
    return 0;
}

static int do_owned(struct worker *worker)
{
    struct question question;
    int code = worker->word_count == 5 ? question_of(worker, 1, &question) : PERMTAB_E_SYNTAX;
    if (code < 0)
        return code;
    answer_decision(worker, permtab_check_owned(worker->table, question.user, question.scope, question.perm,
                                                strtoull(worker->words[4], NULL, 10)));
    return 0;
}

static int do_at(struct worker *worker)
{
    struct question question;
    int code = worker->word_count == 6 ? question_of(worker, 1, &question) : PERMTAB_E_SYNTAX;
    if (code < 0)
        return code;
    struct permtab_token token = {.store_id = strtoull(worker->words[4], NULL, 10),
                                  .revision = strtoull(worker->words[5], NULL, 10)};
    answer_decision(worker,
                    permtab_check_at(worker->table, question.user, question.scope, question.perm, token));
    return 0;
}

static int do_refresh(struct worker *worker)
{
    printf("%d\n", permtab_refresh(worker->table));
    return 0;
}

/* The words of watch, trace and spin: name, mode, question, and the duration as the last word. */
static int long_command(struct worker *worker, size_t words, struct question *question, uint64_t *end_ns)
{
    if (worker->word_count != words || !mode_of(worker->words[1], &question->peek))
        return PERMTAB_E_SYNTAX;
    int code = question_of(worker, 2, question);
    if (code < 0)
        return code;
    *end_ns = now_ns() + strtoull(worker->words[words - 1], NULL, 10) * 1000000u;
    puts("running");
    (void)fflush(stdout);
    return 0;
}

static int do_watch(struct worker *worker)
{
    struct question question;
    uint64_t end_ns;
    int code = long_command(worker, 7, &question, &end_ns);
    if (code < 0)
        return code;
    for (;;) {
        enum permtab_decision decision = ask(worker, &question);
        uint64_t now = now_ns();
        if (strcmp(decision_text(decision), worker->words[5]) == 0) {
            printf("%" PRIu64 "\n", now);
            return 0;
        }
        if (now >= end_ns) {
            puts("never");
            return 0;
        }
        pause_ns(PAUSE_NS);
    }
}

static int do_trace(struct worker *worker)
{
    struct question question;
    uint64_t end_ns, first = 0, last = 0;
    enum permtab_decision decision = PERMTAB_UNKNOWN;
    int reason = 0;
    int code = long_command(worker, 6, &question, &end_ns);
    if (code < 0)
        return code;
    printf("spans");
    while (last < end_ns) {
        enum permtab_decision next = ask(worker, &question);
        int next_reason = why(worker, next);
        uint64_t now = now_ns();
        if (first != 0 && (next != decision || next_reason != reason)) {
            printf(" %" PRIu64 ",%" PRIu64 ",%s,%d", first, last, decision_text(decision), reason);
            first = 0;
        }
        if (first == 0)
            first = now;
        last = now;
        decision = next;
        reason = next_reason;
        pause_ns(PAUSE_NS);
    }
    printf(" %" PRIu64 ",%" PRIu64 ",%s,%d\n", first, last, decision_text(decision), reason);
    return 0;
}

static int do_spin(struct worker *worker)
{
    struct question question;
    uint64_t end_ns, counts[3] = {0, 0, 0};
    int code = long_command(worker, 6, &question, &end_ns);
    if (code < 0)
        return code;
    uint64_t begun = now_ns(), now = begun;
    while (now < end_ns) {
        for (unsigned i = 0; i < 256; i++)
            counts[ask(worker, &question) + 1]++;
        now = now_ns();
    }
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", counts[PERMTAB_ALLOW + 1],
           counts[PERMTAB_DENY + 1], counts[PERMTAB_UNKNOWN + 1], now - begun);
    return 0;
}

static bool read_words(struct worker *worker)
{
    if (getline(&worker->line, &worker->line_capacity, stdin) <= 0)
        return false;
    worker->word_count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(worker->line, " \n", &rest); word && worker->word_count < WORDS_MAX;
         word = strtok_r(NULL, " \n", &rest))
        worker->words[worker->word_count++] = word;
    return true;
}

/* Reads `count` questions; all of them are read even when one is wrong, so that the lines stay in step. */
static int read_queries(struct worker *worker, struct permtab_query *queries, size_t count)
{
    int code = 0;
    for (size_t i = 0; i < count; i++) {
        struct question question = {0};
        if (!read_words(worker))
            return PERMTAB_E_SYNTAX;
        int next = question_of(worker, 0, &question);
        if (next < 0)
            code = next;
        queries[i] =
            (struct permtab_query){.user = question.user, .scope = question.scope, .perm = question.perm};
    }
    return code;
}

static int ask_many(struct worker *worker, const struct permtab_query *queries, size_t count, bool peek,
                    enum permtab_decision *out)
{
    for (size_t done = 0; done < count; done += BLOCK_SIZE) {
        size_t block = count - done < BLOCK_SIZE ? count - done : BLOCK_SIZE;
        if (!peek) {
            int code = permtab_check_many(worker->table, queries + done, block, out + done);
            if (code < 0)
                return code;
            continue;
        }
        for (size_t i = done; i < done + block; i++)
            out[i] = permtab_peek(worker->table, queries[i].user, queries[i].scope, queries[i].perm);
    }
    return 0;
}

static int do_many(struct worker *worker)
{
    struct permtab_query *queries = NULL;
    enum permtab_decision *decisions = NULL;
    bool peek;
    int code = PERMTAB_E_SYNTAX;
    if (worker->word_count != 3 || !mode_of(worker->words[1], &peek))
        return code;
    size_t count = strtoull(worker->words[2], NULL, 10);
    queries = calloc(count + 1, sizeof *queries);
    decisions = calloc(count + 1, sizeof *decisions);
    if (!queries || !decisions) {
        code = PERMTAB_E_MEMORY;
        goto out;
    }
    if ((code = read_queries(worker, queries, count)) < 0)
        goto out;
    uint64_t begun = now_ns();
    if ((code = ask_many(worker, queries, count, peek, decisions)) < 0)
        goto out;
    uint64_t spent = now_ns() - begun;
    for (size_t i = 0; i < count; i++)
        putchar("UDA"[decisions[i] + 1]);
    printf(" %" PRIu64 "\n", spent);
    code = 0;
out:
    free(decisions);
    free(queries);
    return code;
}

/* The words of range, from the mode on. */
static int range_of(struct worker *worker, struct question *question, uint64_t *count)
{
    char *const *words = worker->words;
    if (worker->word_count != 6 || !mode_of(words[1], &question->peek))
        return PERMTAB_E_SYNTAX;
    question->user = strtoull(words[2], NULL, 10);
    *count = strtoull(words[3], NULL, 10);
    int code = scope_of(worker, words[4], &question->scope);
    return code < 0 ? code : perm_of(worker, words[5], &question->perm);
}

static int do_why(struct worker *worker)
{
    printf("%s\n", permtab_why_text(worker->table));
    return 0;
}

static int do_range(struct worker *worker)
{
    struct permtab_query queries[BLOCK_SIZE];
    enum permtab_decision decisions[BLOCK_SIZE];
    struct question question = {0};
    uint64_t count, counts[3] = {0, 0, 0}, others[8];
    size_t named = 0;
    int code = range_of(worker, &question, &count);
    for (uint64_t done = 0; code == 0 && done < count; done += BLOCK_SIZE) {
        size_t block = count - done < BLOCK_SIZE ? (size_t)(count - done) : BLOCK_SIZE;
        for (size_t i = 0; i < block; i++)
            queries[i] = (struct permtab_query){
                .user = question.user + done + i, .scope = question.scope, .perm = question.perm};
        code = ask_many(worker, queries, block, question.peek, decisions);
        for (size_t i = 0; code == 0 && i < block; i++) {
            counts[decisions[i] + 1]++;
            if (decisions[i] != PERMTAB_ALLOW && named < 8)
                others[named++] = queries[i].user;
        }
    }
    if (code < 0)
        return code;
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64, counts[PERMTAB_ALLOW + 1], counts[PERMTAB_DENY + 1],
           counts[PERMTAB_UNKNOWN + 1]);
    for (size_t i = 0; i < named; i++)
        printf(" %" PRIu64, others[i]);
    printf("\n");
    return 0;
}

static void crowd_child(struct worker *worker, const struct question *question, uint64_t count, int told)
{
    uint64_t allowed = 0;
    for (uint64_t i = 0; i < count; i++)
        allowed += permtab_allowed(worker->table, question->user, question->scope, question->perm);
    if (write(told, allowed == count ? "y" : "n", 1) != 1)
        _exit(1);
    for (;;) {
        (void)permtab_check(worker->table, question->user, question->scope, question->perm);
        pause_ns(5000000);
    }
}

static int do_crowd(struct worker *worker)
{
    enum { CHILDREN_MAX = 64 };
    struct question question = {0};
    pid_t children[CHILDREN_MAX];
    unsigned good = 0;
    int told[2];
    char said = 'n';
    int code = question_of(worker, 3, &question);
    uint64_t wanted = strtoull(worker->words[1], NULL, 10), count = strtoull(worker->words[2], NULL, 10);
    if (code < 0 || wanted > CHILDREN_MAX || pipe(told) < 0)
        return code < 0 ? code : PERMTAB_E_LIMIT;
    for (uint64_t i = 0; i < wanted; i++)
        if ((children[i] = fork()) == 0)
            crowd_child(worker, &question, count, told[1]);
    for (uint64_t i = 0; i < wanted; i++)
        good += read(told[0], &said, 1) == 1 && said == 'y';
    printf("running\n");
    (void)fflush(stdout);
    (void)read_words(worker);
    for (uint64_t i = 0; i < wanted; i++) {
        (void)kill(children[i], SIGKILL);
        (void)waitpid(children[i], NULL, 0);
    }
    printf("%u\n", good);
    (void)close(told[0]);
    (void)close(told[1]);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct worker *);
} commands[] = {
    {"check", do_check},     {"peek", do_check},  {"owned", do_owned}, {"at", do_at},
    {"refresh", do_refresh}, {"watch", do_watch}, {"trace", do_trace}, {"spin", do_spin},
    {"many", do_many},       {"range", do_range}, {"crowd", do_crowd},
};

static int run_command(struct worker *worker)
{
    if (worker->word_count > 0 && strcmp("why", worker->words[0]) == 0)
        return do_why(worker);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (worker->word_count > 0 && strcmp(commands[i].name, worker->words[0]) == 0)
            return commands[i].run(worker);
    return PERMTAB_E_SYNTAX;
}

int main(int argc, char **argv)
{
    static struct worker worker;
    struct permtab_options options = {.size = sizeof options, .server_uid = -1};
    if (argc < 2 || argc > 4) {
        (void)fprintf(stderr, "usage: e2e_worker SOCKET [CHECK_MS [SERVER_UID]]\n");
        return 64;
    }
    options.open_ms = 10000;
    options.check_ms = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000;
    if (argc > 3)
        options.server_uid = strtoll(argv[3], NULL, 10);
    int code = permtab_open(&worker.table, argv[1], &options);
    if (code < 0) {
        printf("error %d %s\n", code, permtab_strerror(code));
        return 1;
    }
    printf("ready %d\n", (int)getpid());
    (void)fflush(stdout);
    while (read_words(&worker)) {
        code = run_command(&worker);
        if (code < 0)
            printf("error %d %s\n", code, permtab_strerror(code));
        (void)fflush(stdout);
    }
    permtab_close(worker.table);
    for (size_t i = 0; i < NAMES_MAX; i++)
        free(worker.names[i].text);
    free(worker.line);
    return 0;
}
