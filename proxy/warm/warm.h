/* Warming up: the table is filled with what will be asked for, through the ordinary fills: after a start with the keys
 * that were asked for before, hottest first; on demand with those of whoever has a role. It is done by jobs. One that
 * comes first has the hands; a few keys are under way at a time, behind all questions of clients, and reads of the
 * store keep to a budget of its time. Nothing is displaced, and each job ends. On the loop's thread. */
#ifndef PERMTAB_WARM_WARM_H
#define PERMTAB_WARM_WARM_H

#include "shm/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct answering;
struct counters;
struct event_base;
struct hot_key;
struct keys;
struct publisher;
struct redis;
struct target;
struct warm;

/* How many keys are under way at a time at most; answer/ bounds how many of them are being read. */
#define WARM_HANDS 512u
/* And how many when there is a budget to keep to: about one read, which is paid for before the next one. */
#define WARM_HANDS_PACED 64u

#define WARM_REQUESTS_MAX 32u /* under way: those that wait, too */
#define WARM_OWN_MAX      3u  /* likewise, beside them: one of each other kind */
#define WARM_JOBS_MAX     (WARM_REQUESTS_MAX + WARM_OWN_MAX)
#define WARM_PAST_MAX     16u /* ended, and still in the list */
#define WARM_LIST_MAX     (WARM_JOBS_MAX + WARM_PAST_MAX)
#define WARM_WHAT_SIZE    128u
#define WARM_TEXT_SIZE    192u
#define WARM_PRIORITIES   10u /* 9 comes first */

/* These may change at any time. */
struct warm_settings {
    bool at_start; /* with the keys that are known from before; also when the table was made anew */
    uint64_t interval_ms; /* how often with the keys that are known then; 0: never */
    uint32_t budget;      /* per cent of the store's time, 1 to 100 */
};

/* Everything that the options point to is borrowed. */
struct warm_options {
    struct event_base *base;
    struct publisher *publisher;
    struct answering *answering;
    struct keys *keys;          /* NULL: none are known */
    struct redis *redis;        /* where hosts tell each other what is hot; NULL: nowhere */
    const char *prefix;         /* of its keys */
    uint64_t entries;           /* that the table is to have, which it may have to grow to */
    struct counters *counters;
    struct warm_settings settings;
};

/* Nothing is filled before the table has a lease. PERMTAB_E_MEMORY. */
int warm_new(struct warm **out, const struct warm_options *options) PERMTAB_MUST_CHECK;
/* To be called before answering_end: asks may be under way. */
void warm_free(struct warm *warm);
/* To be called when a poll was applied. NULL does nothing. */
void warm_applied(struct warm *warm);
/* To be called when the table was made anew, and is empty: every job begins again. NULL does nothing. */
void warm_again(struct warm *warm);
/* To be called when Redis can be asked. NULL does nothing. */
void warm_connected(struct warm *warm);
/* NULL does nothing. */
void warm_set(struct warm *warm, const struct warm_settings *settings);

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

enum warm_kind {
    WARM_START,    /* the keys that are known from before, after a start and when the table was made anew */
    WARM_INTERVAL, /* those that are known now, each warm_interval */
    WARM_FLEET,    /* those that other hosts have named, after a start and when the table was made anew */
    WARM_REQUEST,  /* somebody asked for it; begun again when the worker has died */
};

enum warm_state {
    WARM_WAITING,  /* for its turn, or the lease */
    WARM_READING,  /* its keys */
    WARM_FILLING,  /* the table */
    WARM_COUNTING, /* waits until it is known who has rows */
    WARM_DONE,
    WARM_FAILED, /* its keys could not be read */
    WARM_CANCELLED,
};

struct warm_status {
    uint64_t id; /* counts up from 1 in this worker */
    enum warm_kind kind;
    enum warm_state state;
    unsigned priority;         /* below WARM_PRIORITIES */
    char what[WARM_WHAT_SIZE]; /* in one line */
    uint64_t total;            /* keys, once they have been read */
    uint64_t filled, resident, strangers, failed, left_out;
    uint64_t since_us;         /* when it was begun, wall clock */
    uint64_t took_ms;          /* since then, until it ended */
    char text[WARM_TEXT_SIZE]; /* in one line: what it waits for, or how it ended, and why; or "" */
};

/* Keys that are done with, this way or that. */
uint64_t warm_done(const struct warm_status *status);
/* Keys done with a second, waiting included. */
uint64_t warm_rate(const struct warm_status *status);
const char *warm_kind_name(enum warm_kind kind);
const char *warm_state_name(enum warm_state state);

#define WARM_PRIORITY_DEFAULT 5u /* of a request: behind what was asked for before */

/* Begins a job, and returns its id, or that of an equal one that is under way, which has the higher priority of both
 * from then on. `target`: TARGET_USER: where the user
 * has a role. TARGET_USER_AT. TARGET_ROLE: whoever has it, there. TARGET_SCOPE: whoever has a role there. NULL: the
 * keys that are known, hottest first. PERMTAB_E_INVALID: another target; PERMTAB_E_FULL, PERMTAB_E_MEMORY. */
int64_t warm_start(struct warm *warm, const struct target *target, unsigned priority) PERMTAB_MUST_CHECK;
/* Cancels a job; what it has filled stays. 0: all of them. PERMTAB_E_NOT_FOUND: no such job is under way. */
int warm_cancel(struct warm *warm, uint64_t id) PERMTAB_MUST_CHECK;
/* Copies at most `max` jobs: those under way, the first one first, then those that have ended, the latest first. */
size_t warm_list(const struct warm *warm, struct warm_status *out, size_t max);
/* One line a job. */
void warm_print(const struct warm *warm, FILE *out);

/* The most frequent keys, as they were at most a second ago. */
#define WARM_HOT_MAX 200u
size_t warm_hot(struct warm *warm, struct hot_key *out, size_t max);

#endif
