/* A lookup in L2, inside: lookup.c has its waits and its end, read.c the script that looks and its reply. place.c reads
 * many at one place. */
#ifndef PERMTAB_L2_LOOKUP_H
#define PERMTAB_L2_LOOKUP_H

#include "proxy/l2/private.h"

enum l2_lookup_state { LOOKUP_QUEUED, LOOKUP_SENT, LOOKUP_WAITING, LOOKUP_HELD };

struct l2_lookup {
    struct l2 *l2;
    struct facts_key key;
    enum l2_lookup_state state;
    unsigned tries;
    uint64_t generation; /* when it was sent: the stamp of what it finds */
    bool asked;          /* a client did, now or before */
    struct facts facts;  /* LOOKUP_HELD */
    struct event *timer; /* LOOKUP_WAITING, LOOKUP_HELD */
    struct l2_wait *waits;
    struct l2_lookup *next_queued;
    UT_hash_handle hh;
};

/* ---- lookup.c ---- */

/* Ends a lookup that found nothing: its waits go to the store. Frees it. */
void l2_lookup_miss(struct l2_lookup *lookup);
/* Publishes the facts that a lookup found. Takes over their contents. */
void l2_lookup_publish(struct l2_lookup *lookup, struct facts *facts);
/* Makes lookup.c go on with a lookup after `ms`. False without memory. */
bool l2_lookup_wake_in(struct l2_lookup *lookup, unsigned ms);

/* ---- read.c, for place.c, too ---- */

/* Tells the breaker how a look has ended. */
void l2_note_health(struct l2 *l2, enum redis_status status, uint64_t sent_ns);
/* Takes a scope of a chain, which is at this level from global down, and its value. */
int l2_take_level(const struct catalogue *catalogue, const struct redis_reply *scope,
                  const struct redis_reply *value, uint32_t level, struct facts *facts) PERMTAB_MUST_CHECK;

/* ---- read.c ---- */

/* Queues a lookup; it is sent with all others of this turn of the loop. */
void l2_lookup_enqueue(struct l2_lookup *lookup);

#endif
