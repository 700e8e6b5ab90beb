/* Invalidation on demand: the targets that somebody names are read again, on this host, in L2 and on every other
 * host. Never needed for truth, which the feed keeps. On the loop's thread; nothing blocks; long work is done in
 * slices.
 *
 *     invalidation_start ─► here: entries retired    (so many a turn of the loop)
 *                        ─► L2: UNLINK in batches    (retried with back-off; a batch that is refused goes one by one)
 *                        ─► PUBLISH "permtab1 invalidate …" for the others
 *                        ─► history, rates, done */
#ifndef PERMTAB_INVALIDATE_INVALIDATE_H
#define PERMTAB_INVALIDATE_INVALIDATE_H

#include "proxy/base/counters.h"
#include "proxy/cleanup/cleanup.h"
#include "proxy/names/message.h"
#include "proxy/redis/redis.h"
#include "proxy/table/publisher.h"

struct event_base;
struct invalidation_history;
struct invalidations;

#define INVALIDATION_BATCH_DEFAULT 64u
#define INVALIDATION_BATCH_MAX     1024u
#define INVALIDATION_TARGETS_MAX   10000u
/* prefixes and patterns; each is compared with all resident users and scopes */
#define INVALIDATION_GLOBS_MAX   16u
#define INVALIDATION_TAGS_MAX    16u
#define INVALIDATION_JOBS_MAX    64u /* under way that were asked for on this host */
#define INVALIDATION_TEXT_SIZE   200
#define INVALIDATION_REASON_SIZE 128

/* The source of an invalidation, for the history. */
enum invalidation_source {
    INVALIDATION_CLIENT,
    INVALIDATION_MESSAGE,
    INVALIDATION_DELAYED,
    INVALIDATION_AUDIT, /* the auditor, after a difference */
};
#define INVALIDATION_SOURCES (INVALIDATION_AUDIT + 1)

struct invalidation {
    const struct target *targets; /* copied */
    size_t count;
    size_t batch;       /* keys of L2 a command; 0: INVALIDATION_BATCH_DEFAULT */
    const char *reason; /* "" for none; copied, made printable */
    enum invalidation_source source;
};

struct invalidation_result {
    uint64_t entries; /* retired here */
    uint64_t keys;    /* removed from L2 */
    uint64_t retries; /* commands repeated */
    uint64_t singles; /* keys that went one by one after their batch was refused */
    uint64_t failed;  /* keys that could not be removed; they end with their time to live */
    bool published;   /* the other hosts were told */
    uint64_t took_us;
};

/* code: 0, or the reason why some part of it was not done (PERMTAB_E_UNREACHABLE: Redis is away; this host's table
 * is done all the same). */
typedef void (*invalidation_done_fn)(void *context, int code, const char *text,
                                     const struct invalidation_result *result);

/* The functions of other parts that invalidation calls; daemon/events.c has them. Those of L2 are NULL when it is
 * off. */
struct invalidation_ports {
    void *context;
    void (*wake)(void *context);    /* poll the store now */
    void (*rebuild)(void *context); /* throw the table away and read again */
    /* tell: tells subscribers that these were retired here. May be NULL. */
    void (*tell)(void *context, const struct target *targets, size_t count, const char *reason);
    bool (*epoch)(void *context, uint64_t *epoch); /* as l2_epoch */
    void (*flush)(void *context);                  /* as l2_flush */
    /* sweep: removes L2's keys that a TARGET_PREFIX or TARGET_PATTERN means, paced. As cleanup_start. */
    int64_t (*sweep)(void *context, const struct target *target, cleanup_done_fn done, void *job);
    void (*sweep_forget)(void *context, int64_t number);
};

struct invalidation_options {
    /* Borrowed until invalidations_free. */
    struct event_base *base;
    struct publisher *publisher;
    struct redis *redis; /* NULL without Redis */
    struct counters *counters;
    struct invalidation_ports ports;
    /* Copied. */
    uint64_t host_id;   /* a message of this origin is our own: not 0, and no other host's */
    const char *prefix; /* of keys and of the channel */
    size_t history_max; /* invalidations remembered */
};

int invalidations_new(struct invalidations **out,
                      const struct invalidation_options *options) PERMTAB_MUST_CHECK;
/* Gives PERMTAB_E_REFUSED to each done that still waits. To be called before the Redis connection, L2 and the
 * clean-up are freed. */
void invalidations_free(struct invalidations *invalidations);

/* done may be NULL; it is called later, never from inside, and may start another. When it is called, no entry of
 * the targets that was resident at the start is left here. PERMTAB_E_LIMIT (of targets, of the batch), _INVALID (no
 * targets), _FULL (too many under way), _UNREACHABLE (tags without Redis), _MEMORY: then nothing was done. */
int invalidation_start(struct invalidations *invalidations, const struct invalidation *what,
                       invalidation_done_fn done, void *context) PERMTAB_MUST_CHECK;
/* Carries out a message of another host, or of somebody with redis-cli: this host's part alone; for plain text L2's
 * part, too, by the first host that takes its lock. */
void invalidations_heard(struct invalidations *invalidations, const struct message *message);

/* The history, for its readers (history.h). Never NULL. */
struct invalidation_history *invalidations_history(struct invalidations *invalidations);

#endif
