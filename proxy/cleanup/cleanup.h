/* Cleaning up in Redis: keys of L2 that nobody will read any more are found by SCAN and removed by UNLINK, a few at
 * a time, within cleanup_budget per cent of Redis' time. Never KEYS, never DEL of many. Nothing here is needed for
 * truth: a key that stays ends with its time to live, one that goes is a miss.
 *
 *     cleanup_start ─► waiting (behind others of its kind on this host)
 *                   ─► locking (behind those of other hosts: PREFIXcleanup:lock:KIND)
 *                   ─► scanning: slices of a script that scans and unlinks, paced; orphans ask the store in between
 *                   ─► done, failed or cancelled
 *
 * When Redis is lost the job waits for it and then begins at the front: a cursor means nothing to a Redis that was
 * restarted. Only keys that begin with PREFIXl2: are ever touched, and never a marker. On the loop's thread. */
#ifndef PERMTAB_CLEANUP_CLEANUP_H
#define PERMTAB_CLEANUP_CLEANUP_H

#include "proxy/base/counters.h"
#include "proxy/names/scope.h"
#include "proxy/redis/redis.h"
#include "proxy/store/threads.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct cleanup;
struct event_base;

#define CLEANUP_WAITING_MAX  8u  /* jobs that wait on a host, those that run apart */
#define CLEANUP_PAST_MAX     8u  /* jobs that have ended and can still be asked for */
#define CLEANUP_PATTERN_SIZE 512 /* of a glob over whole keys, the zero included */
#define CLEANUP_TEXT_SIZE    160
#define CLEANUP_JOBS_MAX     32u /* more than run, wait and have ended together */

enum cleanup_kind {
    CLEANUP_PATTERN, /* keys that match a glob */
    CLEANUP_EPOCHS,  /* values under another epoch than the marker's */
    CLEANUP_ORPHANS, /* values of old formats, and of users and scopes that are gone from the store */
};
#define CLEANUP_KINDS 3

enum cleanup_state {
    CLEANUP_WAITING,
    CLEANUP_LOCKING,
    CLEANUP_SCANNING,
    CLEANUP_LOST, /* waits for Redis, or for L2's marker */
    CLEANUP_DONE,
    CLEANUP_FAILED,
    CLEANUP_CANCELLED,
};

struct cleanup_status {
    uint64_t id; /* counts up from 1 on this host */
    enum cleanup_kind kind;
    enum cleanup_state state;
    char pattern[CLEANUP_PATTERN_SIZE]; /* CLEANUP_PATTERN */
    uint64_t keys_seen;                 /* of all keys of Redis: about, from how far the cursor is */
    uint64_t keys_total;                /* about: DBSIZE when the scan began */
    uint64_t keys_removed;              /* exactly */
    uint64_t slices;
    uint64_t restarts;            /* times that it had to begin at the front again */
    uint64_t took_ms;             /* since it was begun, waiting included */
    uint64_t redis_us;            /* of Redis' time, about */
    uint64_t rate;                /* keys removed a second, waiting included */
    char text[CLEANUP_TEXT_SIZE]; /* why it failed or waits; "" */
};

/* code: 0; PERMTAB_E_REFUSED when it was cancelled; else why it failed (PERMTAB_E_UNREACHABLE: Redis stayed away;
 * PERMTAB_E_TIMEOUT: another host kept the lock). `status` is borrowed and complete. */
typedef void (*cleanup_done_fn)(void *context, int code, const struct cleanup_status *status);

struct cleanup_options {
    /* Borrowed until cleanup_free. */
    struct event_base *base;
    struct redis *redis;        /* may be disconnected */
    struct store_threads *pool; /* for CLEANUP_ORPHANS alone */
    struct counters *counters;
    const char *prefix; /* of permtab's keys in Redis, at most KEY_PREFIX_MAX bytes */
    const struct scope_types *types;
    uint64_t host_id; /* the first of the tokens of our locks */
    uint32_t budget;  /* per cent of Redis' time that a clean-up may take */
};

int cleanup_new(struct cleanup **out, const struct cleanup_options *options) PERMTAB_MUST_CHECK;
/* Ends every job: each done gets PERMTAB_E_REFUSED. To be called before redis_free, and before store_threads_free
 * (which hands back the questions to the store that are still under way). */
void cleanup_free(struct cleanup *cleanup);
/* To be called from the redis_state_fn. */
void cleanup_connected(struct cleanup *cleanup, bool connected);

/* `pattern`: CLEANUP_PATTERN alone, else NULL; a glob over whole keys, copied. `done` may be NULL; it is called
 * once, later, never from inside. Returns the job's id, positive; or PERMTAB_E_INVALID (also for more than four
 * stars in a glob), PERMTAB_E_FULL (CLEANUP_WAITING_MAX wait already), PERMTAB_E_MEMORY. A job without `done` joins
 * an equal one that has not begun yet: that one's id is returned. */
int64_t cleanup_start(struct cleanup *cleanup, enum cleanup_kind kind, const char *pattern,
                      cleanup_done_fn done, void *context) PERMTAB_MUST_CHECK;
/* Cancels a job; its done is called, later, with PERMTAB_E_REFUSED. Removed keys stay removed, and are counted: a
 * slice that is under way is waited for. 0: all of this host's jobs. PERMTAB_E_NOT_FOUND when no such job waits or
 * runs. */
int cleanup_cancel(struct cleanup *cleanup, uint64_t id) PERMTAB_MUST_CHECK;
/* Forgets the done of a job, which goes on: for a caller that goes away. */
void cleanup_forget(struct cleanup *cleanup, uint64_t id);

/* Copies at most `max` jobs: those that run, those that wait, those that have ended, latest first. Returns how many. */
size_t cleanup_list(const struct cleanup *cleanup, struct cleanup_status *out, size_t max);
/* One line a job, for the ops socket. */
void cleanup_print(const struct cleanup *cleanup, FILE *out);

const char *cleanup_kind_name(enum cleanup_kind kind);
const char *cleanup_state_name(enum cleanup_state state);
bool cleanup_kind_parse(const char *text, enum cleanup_kind *out);

/* ---- globs over whole keys: pure --------------------------------------------------------------------------------- */

/* The glob for L2's keys whose target text (names/l2_keys.h: "user:42", "scope:channel:9") begins with `word` or,
 * as it is a glob itself, matches it; in every epoch. Characters special to a glob in `prefix`, and in the word of
 * cleanup_glob_prefix, are escaped. PERMTAB_E_LIMIT when it does not fit. */
int cleanup_glob_prefix(char out[CLEANUP_PATTERN_SIZE], const char *prefix,
                        const char *word) PERMTAB_MUST_CHECK;
int cleanup_glob_pattern(char out[CLEANUP_PATTERN_SIZE], const char *prefix,
                         const char *word) PERMTAB_MUST_CHECK;

#endif
