/* Hot keys in Redis, so that a fresh host knows what the others are asked for. One host after the other writes its own,
 * seldom and in pieces; each reads them once, when it has begun. They name what to read and nothing else: what they
 * name is filled as any key is, within the budget.
 *
 *     PREFIXhot:1         hash: a field a piece ("0" is the hottest), as in hot_value.h
 *     PREFIXhot:1:turn    whose turn to write it was: gone when it is somebody else's */
#ifndef PERMTAB_WARM_FLEET_KEYS_H
#define PERMTAB_WARM_FLEET_KEYS_H

#include "proxy/redis/redis.h"
#include "shm/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct fleet_keys;
struct hot_key;
struct keys;
struct counters;

#define FLEET_KEYS_PIECES 1024u /* of HOT_VALUE_KEYS each: KEYS_MAX keys */

/* What is asked of and told to the warm-up. */
struct fleet_keys_ports {
    void *context;
    uint64_t (*store_id)(void *context);
    uint32_t (*types)(void *context);
    /* How many keys are of use here: about so many are read, whatever is there. */
    uint64_t (*most)(void *context);
    /* A reading has brought `count` keys (NULL and 0: nothing), malloc'ed, the callee's; `good`: it came to its end. */
    void (*read)(void *context, struct hot_key *keys, size_t count, bool good);
};

struct fleet_keys_options {
    struct event_base *base;
    struct redis *redis;
    struct keys *keys; /* what this host knows; NULL: it writes nothing */
    struct counters *counters;
    struct fleet_keys_ports ports;
    const char *prefix; /* copied */
    uint64_t first_ms, every_ms; /* when it writes; 0: the defaults */
};

int fleet_keys_new(struct fleet_keys **out, const struct fleet_keys_options *options) PERMTAB_MUST_CHECK;
/* Commands under way find nobody. */
void fleet_keys_free(struct fleet_keys *fleet);
/* Begins to read what the others are asked for. `read` is called later, unless fleet_keys_leave is called before.
 * PERMTAB_E_UNREACHABLE and others: it is not. */
int fleet_keys_read(struct fleet_keys *fleet) PERMTAB_MUST_CHECK;
void fleet_keys_leave(struct fleet_keys *fleet);

#endif
