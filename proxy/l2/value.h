/* Values of L2: facts taken apart into a scope's part and one user's rows there, and put together again. Pure:
 * bytes and facts. MessagePack, in the frame of a notification of client/wire/wire.h, whose reader is bounded and
 * made for hostile bytes.
 *
 *     scope   [2, "l2.scope", [{v: 1, plain: bool, owner: u64 or nil, defaults: [role…],
 *                               overwrites: [role, effect, …]}]]
 *     rows    [2, "l2.rows",  [{v: 1, cost: µs, roles: [role, until or nil, …], overwrites: [effect, …]}]]
 *
 * An effect is bit * 2, plus 1 when it allows. `until` in microseconds UTC. Role definitions are not kept: an edit
 * of a role leaves L2 alone. */
#ifndef PERMTAB_L2_VALUE_H
#define PERMTAB_L2_VALUE_H

#include "client/wire/wire.h"
#include "proxy/rights/facts.h"

#define L2_VALUE_VERSION 1
#define L2_VALUE_MAX     65536u

/* l2_value_pack_scope appends the part of chain[level] to `out`; l2_value_pack_rows appends the rows of facts->user
 * there, and the cost of reading them. `out` fails like any wire_buffer. */
void l2_value_pack_scope(struct wire_buffer *out, const struct facts *facts, uint32_t level);
void l2_value_pack_rows(struct wire_buffer *out, const struct facts *facts, uint32_t level, uint64_t cost_us);

/* The two add a value to `facts` at chain[level], whose key is set. Levels are taken from global down. `bits`: how
 * many bits there are. PERMTAB_E_PROTOCOL: not such a value, PERMTAB_E_LAYOUT: of another version,
 * PERMTAB_E_MEMORY. After a failure the facts are good for facts_fini alone. */
int l2_value_take_scope(const char *data, size_t size, uint32_t level, uint32_t bits,
                        struct facts *facts) PERMTAB_MUST_CHECK;
int l2_value_take_rows(const char *data, size_t size, uint32_t level, uint32_t bits, struct facts *facts,
                       uint64_t *cost_us) PERMTAB_MUST_CHECK;

#endif
