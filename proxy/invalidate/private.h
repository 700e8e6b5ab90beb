/* Shared by the files of invalidate/: the jobs under way and their parts.
 *
 * A job is done when none of its parts is busy. Parts run side by side; each ends on its own and then calls
 * invalidation_job_check. */
#ifndef PERMTAB_INVALIDATE_PRIVATE_H
#define PERMTAB_INVALIDATE_PRIVATE_H

#include "proxy/invalidate/history.h"
#include "proxy/invalidate/invalidate.h"
#include "proxy/names/message.h"
#include "proxy/redis/retry.h"
#include "proxy/table/retire.h"

#include <event2/event.h>

#define HEARD_JOBS_MAX 256u  /* begun by messages */
#define SPILLED_MAX    1024u /* targets of messages that got no job */
#define ORIGINS_MAX    256u  /* hosts whose numbers are kept */
#define CURSOR_SIZE    24

struct invalidation_wave; /* l2.c */

/* The last number of a host's messages. */
struct heard_host {
    uint64_t id; /* 0: unused */
    uint64_t number;
    uint64_t heard; /* the tick of the last message: the host that has been silent longest makes room */
};

/* Targets that are named exactly and are being retired here, one after the other. */
struct invalidation_retiring {
    const struct target *targets;
    size_t count, next;
    struct publisher_retiring scope; /* the scope at `next` … */
    bool begun;                      /* … when it has had a slice, and is not done */
    bool everything; /* `all` was met: the table is thrown away later, and its entries are retired once */
};

struct invalidations {
    struct invalidation_options options; /* prefix is ours */
    char channel[MESSAGE_CHANNEL_SIZE];
    uint64_t number; /* of our last message */
    struct heard_host origins[ORIGINS_MAX];
    uint64_t ticks;
    struct invalidation_job *jobs; /* under way */
    size_t asked, heard;           /* how many of them */
    bool stopping;
    uint64_t work; /* entries and scopes that may still be retired in this turn */
    struct invalidation_retiring spill;
    struct target spilled[SPILLED_MAX];
    struct event *turn; /* pending while there is something to do in the next turn */
    struct invalidation_history *history;
};

struct invalidation_job {
    struct invalidations *all;
    struct invalidation_job *prev, *next;
    struct target *targets; /* in this order: named exactly, prefixes and patterns, tags */
    size_t count, glob_first, tag_first;
    size_t batch;
    enum invalidation_source source;
    char reason[INVALIDATION_REASON_SIZE];
    char what[INVALIDATION_WHAT_SIZE];
    bool tell_hosts; /* tell the other hosts */
    bool in_l2;      /* do L2's part, too */
    invalidation_done_fn done;
    void *context;
    uint64_t begun_ns;
    int64_t at_us;
    struct invalidation_result result;
    int code; /* the first thing that went wrong */
    char text[INVALIDATION_TEXT_SIZE];
    bool ended;

    /* This host's table: retire.c. */
    struct invalidation_retiring retiring;

    /* Resident users and scopes that match: match.c. */
    bool matching;
    struct publisher_scan scan;

    /* Keys of L2 that match, one target after the other: sweep.c. */
    size_t next_glob;
    int64_t sweep;            /* the one under way, or 0 */
    struct redis_retry *lock; /* being taken, or NULL */
    uint64_t digest;          /* of the message that was heard; 0: no lock is needed */

    /* Messages and keys of targets that are named exactly: l2.c. */
    struct invalidation_wave *wave;
    bool hosts_told;   /* some message was sent … */
    bool hosts_untold; /* … and some was not published */

    /* Members of tags: tag.c. */
    size_t next_tag;
    char cursor[CURSOR_SIZE]; /* "": no slice of the next tag was read yet */
    bool tag_empty;           /* so far */
    struct redis_retry *look;
    struct target *members; /* of the wave under way */
};

/* ---- invalidate.c ------------------------------------------------------------------------------------------------ */

/* Remembers the first thing that went wrong. */
void invalidation_job_trouble(struct invalidation_job *job, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* To be called when a part has ended: goes on with tags, or ends the job in the next turn. */
void invalidation_job_check(struct invalidation_job *job);
/* Tells subscribers alone. */
void invalidation_job_tell(const struct invalidation_job *job, const struct target *targets, size_t count);
/* Puts a job that has had its slice behind the others. */
void invalidation_job_requeue(struct invalidation_job *job);
/* Begins a job for targets; the caller has checked the limits. NULL without memory. */
struct invalidation_job *invalidation_job_start(struct invalidations *all, const struct target *targets,
                                                size_t count, const struct invalidation_job *model);
void invalidations_turn_soon(struct invalidations *all);

/* ---- the parts --------------------------------------------------------------------------------------------------- */

/* Begins to retire here the targets that are named exactly, and ends at once when they are few; subscribers are
 * told afterwards. The targets are borrowed until it has ended. */
void invalidation_retire_start(struct invalidation_job *job, const struct target *targets, size_t count);
bool invalidation_retire_busy(const struct invalidation_job *job);
/* Goes on retiring; all jobs together go no further than one turn of the loop may. */
void invalidation_retire_turn(struct invalidations *all);
/* Retires targets that got no job; copies them. */
void invalidation_retire_spill(struct invalidations *all, const struct target *targets, size_t count);
bool invalidation_retire_left(const struct invalidations *all);

/* Tells the other hosts of `targets`, and removes those that are named exactly from L2. The targets are borrowed
 * until the wave ends. */
void invalidation_wave_start(struct invalidation_job *job, const struct target *targets, size_t count);
void invalidation_wave_cancel(struct invalidation_wave *wave);

/* invalidation_match_start begins to look for users and scopes that match, and sets job->matching.
 * invalidation_match_slice does one slice; job->matching is false after the last. */
void invalidation_match_start(struct invalidation_job *job);
void invalidation_match_slice(struct invalidation_job *job);

/* Sweeps L2's keys of the prefixes and patterns, or forgets L2 as a whole when `all` is among the targets. Takes
 * the lock first when the job has a digest. */
void invalidation_sweep_start(struct invalidation_job *job);
bool invalidation_sweep_busy(const struct invalidation_job *job);
void invalidation_sweep_cancel(struct invalidation_job *job);

/* Reads the next slice of the tags. */
void invalidation_tag_go_on(struct invalidation_job *job);
void invalidation_tag_cancel(struct invalidation_job *job);

#endif
