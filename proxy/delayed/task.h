/* A delayed invalidation as a value: its targets, its times, and the indexes that it is found under. Pure: the time
 * is an argument. */
#ifndef PERMTAB_DELAYED_TASK_H
#define PERMTAB_DELAYED_TASK_H

#include "proxy/names/target.h"
#include "proxy/rights/condition.h"

#define DELAYED_ID_SIZE         33 /* 128 random bits in hexadecimal digits, and a zero */
#define DELAYED_TARGETS_MAX     100u
#define DELAYED_TARGETS_SIZE    (DELAYED_TARGETS_MAX * TARGET_TEXT_SIZE)
#define DELAYED_REASON_SIZE     96
#define DELAYED_INDEX_SIZE      (TARGET_TEXT_SIZE + 16)
#define DELAYED_LIFE_DEFAULT_MS (7ull * 24 * 3600 * 1000)
#define DELAYED_LIFE_MAX_MS     (90ull * 24 * 3600 * 1000)
#define DELAYED_ATTEMPTS_MAX    12u
#define DELAYED_QUEUE_MAX       10000000u

struct delayed_task {
    char id[DELAYED_ID_SIZE];
    struct target targets[DELAYED_TARGETS_MAX];
    size_t count;
    char reason[DELAYED_REASON_SIZE];    /* printable; "" for none */
    char condition[CONDITION_TEXT_SIZE]; /* "" for none */
    /* not to be carried out before this revision of this store is applied */
    bool has_revision;
    uint64_t revision, store_id;
    uint64_t due_ms, expires_ms; /* of Redis' clock, since 1970 */
    uint32_t attempts, waits;    /* times taken without an end; times a condition did not hold */
};

/* The due time and the end of a task, as its adder gives them; Redis' clock is asked before they become times. */
struct delayed_when {
    bool at;        /* `due` is a time, else from now on */
    uint64_t due;   /* ms */
    uint64_t alive; /* ms after it is due; 0: DELAYED_LIFE_DEFAULT_MS */
};

bool delayed_id_good(const char *text);
/* 16 random bytes to an id. */
void delayed_id_format(const unsigned char random[16], char out[DELAYED_ID_SIZE]);

/* Sets due_ms and expires_ms. PERMTAB_E_LIMIT with a sentence. */
int delayed_schedule(struct delayed_task *task, const struct delayed_when *when, uint64_t now_ms,
                     struct failure *failure) PERMTAB_MUST_CHECK;
/* Copies a reason, control bytes and what is no ASCII as '?', cut to its size. */
void delayed_reason(char out[DELAYED_REASON_SIZE], const char *text);

/* Targets as one text with blanks between; `out` has DELAYED_TARGETS_SIZE bytes. */
char *delayed_targets_format(const struct scope_types *types, const struct delayed_task *task, char *out);
/* PERMTAB_E_INVALID, _NO_SCOPE_TYPE, _LIMIT. */
int delayed_targets_parse(const struct scope_types *types, const char *text, size_t size,
                          struct delayed_task *task) PERMTAB_MUST_CHECK;

/* The names of the indexes that a task is in, each once, one a line: "user:42", "scope:server:1", "role:7", "tag:…",
 * "prefix:…", "pattern:…", "reason:…". malloc'ed; NULL without memory. */
char *delayed_indexes(const struct scope_types *types, const struct delayed_task *task);

/* The tasks that a command over many tasks names. */
enum delayed_what_kind { DELAYED_ONE, DELAYED_INDEX, DELAYED_ALL };
struct delayed_what {
    enum delayed_what_kind kind;
    char text[DELAYED_INDEX_SIZE]; /* the id; the name of the index */
};
/* An id, "all", "failing", "waiting", "reason:TEXT", or a target of a kind that has an index. PERMTAB_E_INVALID,
 * _NO_SCOPE_TYPE. */
int delayed_what_parse(const struct scope_types *types, const char *text,
                       struct delayed_what *out) PERMTAB_MUST_CHECK;

/* How long a task rests that could not be carried out, or whose condition did not hold, for the `times`th time
 * (from 1). */
uint64_t delayed_failed_ms(uint32_t times);
uint64_t delayed_waiting_ms(uint32_t times);

#endif
