/* The history of invalidations: the last `max` of them, and how many targets of each kind in the last minute and
 * hour, by source. Plain data, on the loop's thread; the time is an argument. */
#ifndef PERMTAB_INVALIDATE_HISTORY_H
#define PERMTAB_INVALIDATE_HISTORY_H

#include "proxy/invalidate/invalidate.h"

#include <stdio.h>

#define INVALIDATION_WHAT_SIZE 256 /* the first of its targets as text, and how many more there were */

struct invalidation_record {
    uint64_t number; /* counts up from 1 on this host */
    int64_t at_us;   /* when it was begun: microseconds since 1970 */
    enum invalidation_source source;
    size_t targets;
    const char *what;
    const char *reason;
    int code; /* the code that done was given */
    struct invalidation_result result;
};

struct invalidation_history;

/* `max`: how many are remembered; 0: none, rates alone. */
int invalidation_history_new(struct invalidation_history **out, size_t max) PERMTAB_MUST_CHECK;
void invalidation_history_free(struct invalidation_history *history);

/* Adds a record, with copies of its texts and the next number. Without memory it is not remembered. */
void invalidation_history_add(struct invalidation_history *history, const struct invalidation_record *record);
/* Counts one target. `now_s`: seconds of a clock that does not go back. */
void invalidation_history_count(struct invalidation_history *history, enum invalidation_source source,
                                enum target_kind kind, uint64_t now_s);

/* The newest record whose number is below `before` (UINT64_MAX: the newest of all); NULL when there is none. Good
 * until the next one is added. */
const struct invalidation_record *invalidation_history_before(const struct invalidation_history *history,
                                                              uint64_t before);
/* Targets counted in the last 60 seconds, and in the last 60 minutes (to the minute). */
void invalidation_history_rate(struct invalidation_history *history, enum invalidation_source source,
                               enum target_kind kind, uint64_t now_s, uint64_t *minute, uint64_t *hour);

const char *invalidation_source_name(enum invalidation_source source);
/* Prints the last `max` records, newest first, a line each; then the rates that are not zero. */
void invalidation_history_print(struct invalidation_history *history, size_t max, uint64_t now_s, FILE *out);

#endif
