/* The fleet: messages between this host and the others over Redis' channel, in and out. They make a change felt at
 * once that the poll would find in its own time; they make nothing true. A message about a change retires the users
 * and scopes it names, fences fills that were read before it, and wakes the poll. On the loop's thread. */
#ifndef PERMTAB_INVALIDATE_FLEET_H
#define PERMTAB_INVALIDATE_FLEET_H

#include "proxy/invalidate/invalidate.h"
#include "proxy/l2/l2.h"

struct fleet;

struct fleet_options {
    /* Borrowed until fleet_free. */
    struct event_base *base;
    struct publisher *publisher;
    struct feed *feed;
    struct redis *redis; /* for sending */
    struct l2 *l2;
    struct invalidations *invalidations;
    struct counters *counters;
    /* Copied. */
    const struct redis_access *access; /* for a connection of its own, subscribed to PREFIXinvalidate */
    const char *prefix;
};

int fleet_new(struct fleet **out, const struct fleet_options *options,
              struct failure *failure) PERMTAB_MUST_CHECK;
void fleet_free(struct fleet *fleet);

/* Announces to all hosts, this one included, that a client of this host has just committed this revision. `target`:
 * the user that it changed, when that is one user; NULL: the message only says that there is something to poll for. */
void fleet_announce(struct fleet *fleet, uint64_t store_id, uint64_t revision, const struct target *target);

#endif
