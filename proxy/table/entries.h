/* Private links over the slots of the entry map: the entries of a user, the entries of a scope, and the order in
 * which they make room (sieve.h). 25 bytes and a bit a slot, and 4 bytes a bucket; made once for a segment, whose
 * geometry never changes. */
#ifndef PERMTAB_TABLE_ENTRIES_H
#define PERMTAB_TABLE_ENTRIES_H

#include "proxy/table/scope_tree.h"
#include "proxy/table/sieve.h"
#include "shm/map.h"

#include <stdbool.h>

struct entry_links {
    uint32_t user_next, user_previous;
    uint32_t scope_next, scope_previous;
    uint32_t newer, older;
};

/* Negative: the scope is not in the store, or the user has no rows there. */
enum entry_kind { ENTRY_POSITIVE = 0, ENTRY_NEGATIVE = 1 };

struct entries {
    const struct map *map;
    struct entry_links *links; /* by slot */
    uint32_t *user_heads;      /* hash buckets of users: first slot */
    uint32_t user_head_count;
    uint64_t *negative; /* a bit a slot: the kind of the entry in it */
    struct sieve sieve;
    struct sieve_queue queue[2]; /* by enum entry_kind */
};

int entries_init(struct entries *entries, const struct map *map) PERMTAB_MUST_CHECK;
void entries_fini(struct entries *entries);
/* Bytes. */
uint64_t entries_memory(const struct entries *entries);

/* Links the entry in `slot`, whose key is in the map already; unlinks it while its key is still there. */
void entries_link(struct entries *entries, uint32_t slot, struct scope_node *node, enum entry_kind kind);
void entries_unlink(struct entries *entries, uint32_t slot, struct scope_node *node);
enum entry_kind entries_kind(const struct entries *entries, uint32_t slot);

/* Moves the links of the entry in `from` to `to`: it keeps its place in the queue. To be called before the entry itself
 * moves. */
void entries_move(struct entries *entries, uint32_t from, uint32_t to, struct scope_node *node);

#define ENTRIES_AHEAD 16u
/* Prefetches the memory that clearing `first` and the ENTRIES_AHEAD - 1 entries after it at their scope will touch.
 * Changes nothing. */
void entries_fetch(const struct entries *entries, uint32_t first);
/* Likewise what an entry of that key, which is about to be put, will touch. */
void entries_fetch_new(const struct entries *entries, struct map_key key);

/* The entry of a kind that makes room next, or NO_ENTRY: to be unlinked, for the hand of the sieve has moved. */
uint32_t entries_victim(struct entries *entries, enum entry_kind kind);
/* The first entry of a user, and the one after `slot` (to be asked before `slot` is unlinked); NO_ENTRY at the end. */
uint32_t entries_of_user(const struct entries *entries, uint64_t user);
uint32_t entries_of_user_after(const struct entries *entries, uint64_t user, uint32_t slot);

/* Whether the neighbours of `slot` in its three lists, or the heads of these, point back to it. For the auditor. */
bool entries_agree(const struct entries *entries, uint32_t slot, const struct scope_node *node,
                   enum entry_kind kind);

#endif
