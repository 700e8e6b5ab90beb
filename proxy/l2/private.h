/* Shared by l2.c, marker.c, contest.c, forget.c, step.c, log.c, lookup.c, read.c, place.c and put.c. */
#ifndef PERMTAB_L2_PRIVATE_H
#define PERMTAB_L2_PRIVATE_H

#include "proxy/base/breaker.h"
#include "proxy/base/hash.h"
#include "proxy/base/pause.h"
#include "proxy/base/random.h"
#include "proxy/base/trouble.h"
#include "proxy/l2/l2.h"
#include "proxy/names/l2_keys.h"
#include "proxy/names/message.h"

#define L2_SEEN_SIZE     160u          /* as in l2_begin.lua */
#define L2_CATCH_UP_MAX  8192u         /* changes; with more, forgetting everything is cheaper */
#define L2_EPOCHS_PAST   64u           /* remembered */
#define L2_PAUSE_NS      250000000ull  /* after a refusal */
#define L2_PAUSE_MAX_NS  8000000000ull /* however many refusals */
#define L2_LOCK_MS       2000u         /* life of a lock across hosts */
#define L2_LOCK_RETRY_MS 20u
#define L2_LOCK_TRIES    10u /* then the store is asked all the same */

struct l2_lookup;
struct l2_late;

/* The marker as this host knows it, and the work on it. */
struct l2_marker {
    bool known;
    struct log_position at;
    uint64_t epoch;                /* the last one that was known; 0: none yet */
    uint64_t past[L2_EPOCHS_PAST]; /* the epochs before it, the last ones; 0: none */
    unsigned past_next;
    /* its four fields as they are in Redis, whatever they are, or the beginning of them */
    char seen[L2_SEEN_SIZE];
    size_t seen_size;
    bool asking;      /* a script is under way */
    bool beginning;   /* the script is l2_begin */
    bool again;       /* the table has moved on meanwhile */
    bool reading_log; /* l2_log_read is under way */
    bool moving;      /* the script under way is to write */
    bool contesting;  /* l2_begin is to replace another's marker */
    /* Since when the marker has stood where this host's log does not go; 0: it does not. Believed once a poll that
     * began later has been applied. Where and under which epoch it was then. */
    uint64_t suspect_since_ns, suspect_epoch;
    struct log_position suspect;
    uint64_t heard;         /* the revision at which a message said that the marker stands */
    struct pause pause;     /* after a script that Redis refused */
    struct trouble trouble; /* Redis refuses scripts */
    /* contest.c: L2 is left to the other side; the marker as it stood then. */
    bool yielded;
    struct pause yielding;
    struct trouble contest;
    struct log_position rival;
    uint64_t rival_epoch;
    uint64_t begun_ns; /* of the last new epoch of ours: not more than one a second */
    bool flush;        /* a new epoch is wanted whatever the marker says … */
    uint64_t flush_ns; /* … not before */
    uint64_t doubt_ns; /* not before, for l2_flush_sparingly */
    /* numbers of publisher_distrusted: the erasure under way, and the last one done */
    uint64_t erasing, erased;
    unsigned erase_tries;
};

struct l2 {
    struct l2_options options; /* without the prefix */
    /* Copies of members of the options, for short. */
    struct event_base *base;
    struct redis *redis;
    struct publisher *publisher;
    struct feed *feed;
    struct store_threads *pool;
    struct counters *counters;

    char marker_key[L2_KEY_SIZE];
    char key_prefix[L2_KEY_SIZE]; /* as configured */
    char prefix[L2_KEY_SIZE];     /* of all keys of L2 */
    char channel[MESSAGE_CHANNEL_SIZE];
    char token[17]; /* of our locks: this host's, of this life */
    struct random_source random;
    struct breaker breaker;
    uint64_t distrusted; /* the publisher_distrusted that the marker has heard of */
    struct l2_marker marker;
    /* The store's log after log_from, as it was read for a marker that stood there. store_id 0: that is not in the
     * log. */
    struct log_position log_from;
    struct change_list log;

    struct l2_lookup *by_key; /* every lookup under way */
    struct l2_lookup *queued; /* to be sent when the turn of the loop ends */
    struct l2_lookup **queued_tail;
    struct event *flush;

    unsigned putting; /* puts under way */
    struct pause put_pause;
    struct trouble put_trouble;
    struct trouble log_trouble;
    struct l2_late *late; /* refused because the marker was ahead; sent once more when the table is there */
    unsigned late_count;
    bool closing;
};

/* marker.c */
void l2_marker_disconnected(struct l2 *l2);
/* Brings the marker to the table's revision. */
void l2_marker_pursue(struct l2 *l2);
/* A reply has brought {store, revision, nonce, epoch} as elements of `reply` from `first` on. False when that is no
 * marker. */
bool l2_marker_seen(struct l2 *l2, const struct redis_reply *reply, size_t first, struct log_position *at);

/* For files that run scripts about the marker. Each reads a reply's four fields from `first` on: l2_marker_note
 * keeps them as l2_begin compares them; the next reads them as a marker, false when there is none or the value is
 * none; the last updates the known marker. */
void l2_marker_note(struct l2 *l2, const struct redis_reply *reply, size_t first);
bool l2_marker_read(const struct l2 *l2, const struct redis_reply *reply, size_t first,
                    struct log_position *at, uint64_t *epoch);
void l2_marker_know(struct l2 *l2, const struct log_position *at, uint64_t epoch);
void l2_marker_lose(struct l2 *l2);
/* Notes that an epoch has ended, for a reason that need not be in the log: when it is there again, it came out of
 * an older dump. */
void l2_marker_end_epoch(struct l2_marker *marker);
/* To be called when Redis refuses to write the marker: a pause begins. */
void l2_marker_refused(struct l2 *l2, const struct redis_reply *reply);

/* contest.c */
/* l2_contest_args adds the further arguments of l2_begin for another's marker; the next two note how that ended;
 * the last notes that the marker is of our log. */
void l2_contest_args(const struct l2 *l2, struct redis_args *args);
void l2_contest_won(struct l2 *l2);
void l2_contest_lost(struct l2 *l2);
void l2_contest_over(struct l2 *l2);
/* Whether L2 is left to the other side for a while, and the marker is left alone. */
bool l2_contest_yields(const struct l2 *l2);
/* To be called before the marker is contested: true when it must not be, because the other side lives. */
bool l2_contest_stays_out(struct l2 *l2);

/* step.c */
/* Adds a number in the form of the marker's store and epoch. */
void l2_args_hex(struct redis_args *args, uint64_t value);
/* Makes the arguments of l2_advance.lua for a step from `from` towards `to`: no further than one script may go, and
 * not over a row that says "read everything again". l2_log_at must know every row between them. Initializes *args;
 * fini them. */
void l2_step_args(const struct l2 *l2, const struct log_position *from, const struct log_position *to,
                  struct redis_args *args);

/* log.c */
void l2_log_read(struct l2 *l2, const struct log_position *from);
/* The change row of a revision, from the publisher's history or from the log that was read. NULL: in neither. */
const struct change *l2_log_at(const struct l2 *l2, uint64_t revision);
/* Whether l2_log_at knows every row after `from`, which is of this history. */
bool l2_log_continues(const struct l2 *l2, const struct log_position *from);
/* Whether the store has told that `from` is not in its log, or too far back. */
bool l2_log_refused(const struct l2 *l2, const struct log_position *from);

/* read.c */
void l2_flush_queued(int descriptor, short what, void *context); /* an event_callback_fn */

/* lookup.c */
void l2_lookups_applied(struct l2 *l2);
void l2_lookups_end(struct l2 *l2);

/* put.c */
void l2_puts_applied(struct l2 *l2);
void l2_puts_end(struct l2 *l2);

#endif
