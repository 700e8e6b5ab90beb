/* A lookup in L2, inside: lookup.c is about who waits for it and how it ends, read.c about the script that looks, and what it brings. */
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
    struct facts facts;  /* LOOKUP_HELD */
    struct event *timer; /* LOOKUP_WAITING, LOOKUP_HELD */
    struct l2_wait *waits;
    struct l2_lookup *next_queued;
    UT_hash_handle hh;
};

/* ---- lookup.c ---- */

/* Nothing was found: whoever waits goes to the store. Frees it. */
void l2_lookup_miss(struct l2_lookup *lookup);
/* Facts were found, whose contents are taken over. */
void l2_lookup_publish(struct l2_lookup *lookup, struct facts *facts);
/* lookup.c goes on with it after so long. False without memory. */
bool l2_lookup_wake_in(struct l2_lookup *lookup, unsigned ms);

/* ---- read.c ---- */

/* Looks, with all that are queued in this turn of the loop. */
void l2_lookup_enqueue(struct l2_lookup *lookup);

#endif
