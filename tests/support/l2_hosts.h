/* The hosts of an L2 world: their polls, fills and looks. Each answer of a look is compared with the truth. */
#ifndef PERMTAB_TESTS_SUPPORT_L2_HOSTS_H
#define PERMTAB_TESTS_SUPPORT_L2_HOSTS_H

#include "proxy/table/fill.h"
#include "tests/support/l2_world.h"

static const struct scope_key nowhere = {999, 1}; /* what L2 says of it names no roles */

/* Called by world_begin and world_end. */
void host_begin(struct world *world, unsigned number);
void host_end(struct host *host);
/* Ends it and begins it anew: it knows nothing of before. */
void host_restart(struct host *host);

/* ---- polls: the table comes to where the store is ---- */

/* Polls by the store's log, or reads anew now and then and when the log does not say; L2 is told, and what is
 * in the table compared. */
void host_poll(struct host *host);
/* The parts of it: the table anew, the table by the log, and the policy to compare with as at the table's revision. */
void host_rebuild(struct host *host);
void host_apply_batch(struct host *host);
void host_remember_applied(struct host *host);
/* Commits until the store is at another revision; then as host_poll, without a store that is perhaps replaced
 * meanwhile. */
void host_follow(struct host *host);

/* ---- looks and fills as they happen to come ---- */

/* Asks L2 for something drawn. What L2 does not know is often read from the store: a fill, which ends later. */
void host_look(struct host *host);
/* Asks L2 for many at a place that others ask for, publishes what came of it, or drops that. */
void host_look_at_place(struct host *host);
void host_leave_place(struct host *host);
/* One of the fills under way, if there is any, ends: in the table and in L2, or dropped. */
void host_fill_end(struct host *host);

/* ---- looks and puts, one at a time ---- */

/* Reads for a user; *epoch: that of L2 meanwhile, which must be known. The facts then belong to the caller. */
void host_read_rows(struct host *host, uint64_t user, struct scope_key scope, struct facts *facts,
                    uint64_t *epoch);
/* Puts what was read into the table and into L2, which take the facts. */
void host_publish_and_put(struct host *host, struct facts *facts, uint64_t epoch, uint64_t cost_us);
/* host_read_rows and host_publish_and_put. */
void host_put(struct host *host, uint64_t user, struct scope_key scope, uint64_t cost_us);
/* Asks for user 1 nowhere; *outcome is 99 until L2 has told. NULL: L2 is not asked. */
struct l2_wait *host_look_for(struct host *host, enum l2_outcome *outcome);
/* host_look_for gives this to l2_lookup_start: `context` is the enum l2_outcome. */
void host_on_looked(void *context, enum l2_outcome outcome, const struct answer *answer);

#endif
