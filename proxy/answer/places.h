/* What places bring to everybody who asks there (the chain with its owners, default roles, overwrites of roles), kept
 * from reads that found it with somebody's rows. Who is asked about there next has only rows of their own to be read.
 *
 * What is kept is true at the revision that it carries, and facts that are completed with it carry that as
 * place_revision: the fence of all fills asks the history from there (history_still_true). What no history tells ends
 * what is kept: a table made anew, an invalidation of whatever kind (publisher_places_version), an audit that found a
 * difference. And whatever was not heard of it ends with its age. On the loop's thread. */
#ifndef PERMTAB_ANSWER_PLACES_H
#define PERMTAB_ANSWER_PLACES_H

#include "proxy/answer/kept.h"
#include "proxy/store/store.h"

struct publisher;

/* What is kept is read anew when its last read began so long ago: what was changed behind the log is used no longer,
 * also by a host that has not heard its invalidation. One more read in that time is nothing at a place with many
 * misses; one with few has few to save. */
#define PLACES_AGE_NS 5000000000ull

/* When a read began: what may be learned of it, and what it may be completed with, is of no other time. */
struct places_time {
    uint64_t version; /* publisher_places_version */
    uint64_t began_ns;
};

struct places {
    const struct publisher *publisher;
    struct kept kept;
    bool idle; /* nothing is learned, so nothing is found */
};

void places_init(struct places *places, const struct publisher *publisher);
void places_fini(struct places *places);

struct places_time places_now(const struct places *places);
/* Whether what the place brings is kept, and true at the applied revision. *out says where to look for the rows of a
 * user. False, also for NULL places: read all of it. */
bool places_find(struct places *places, struct scope_key scope, struct store_place *out);
/* Gives what is kept to facts that have the user's rows alone, read by *place at that time. False: they are not to be
 * used, because nothing is kept any more that fits, or memory is short; fini them. */
bool places_complete(struct places *places, const struct store_place *place, struct places_time time,
                     struct facts *facts);
/* Whether facts that were completed may still be published: nothing has ended what is kept since that time. */
bool places_hold(const struct places *places, struct places_time time);
/* Learns from facts of a read of the primary, which began at that time, and which publisher_fill has just published.
 * What is kept of an earlier read goes for it. */
void places_learn(struct places *places, const struct facts *facts, struct places_time time);

#endif
