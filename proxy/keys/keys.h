/* Keys: which (user, scope) were asked for lately, and about how often. They outlive the worker, in a memfd that the
 * master holds, so that the next worker knows what to read first, and how much room it will need.
 *
 * A key is a hint and never an answer. The memory may have been left by a worker that died anywhere, or that wrote
 * rubbish before it died: whatever is in it costs time and nothing else. Every record is looked at in full before it
 * is used. */
#ifndef PERMTAB_KEYS_KEYS_H
#define PERMTAB_KEYS_KEYS_H

#include "proxy/names/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keys;

struct hot_key {
    uint64_t user;
    struct scope_key scope;
    uint32_t frequency; /* 1 to KEYS_FREQUENCY_MAX */
};

#define KEYS_FREQUENCY_MAX 4095u
/* Room for so many keys at most. Of as many, few are lost, whatever they are. */
#define KEYS_MAX 4194304u
/* Keys that are asked for about as often are of one class: 0 for the most frequent ones, and each next one for those
 * that were asked for half as often. */
#define KEYS_CLASSES 12u
/* `frequency` is 1 to KEYS_FREQUENCY_MAX. */
uint32_t keys_class(uint32_t frequency);

/* A sample of a client stands for 32 hits. A fill was one miss, and eight hits over the socket count as much. */
enum keys_weight { KEYS_FILL = 1, KEYS_SAMPLE = 4 };

/* Makes the memory, sealed against resizing: 200 KB of it are allocated, and whoever opens it allocates more with the
 * keys, about 55 bytes for each. It is not mapped here, so a master that calls it cannot be hurt by what a worker
 * writes. The caller owns the descriptor. PERMTAB_E_SYSTEM, PERMTAB_E_MEMORY; errno says why. */
int keys_memfd_new(int *descriptor) PERMTAB_MUST_CHECK;
/* Whether the descriptor is such a memory, whatever is in it. Changes nothing. */
bool keys_memfd_is_ours(int descriptor);

/* Maps the memory; the descriptor stays the caller's, and may be closed. What is there of another layout or of
 * another store is forgotten. At most one process may have it open. PERMTAB_E_INVALID: the descriptor is not
 * keys_memfd_new's. PERMTAB_E_SYSTEM, PERMTAB_E_MEMORY. */
int keys_open(struct keys **out, int descriptor, uint64_t store_id) PERMTAB_MUST_CHECK;
void keys_free(struct keys *keys);
/* Forgets them when they are of another store. */
void keys_belong_to(struct keys *keys, uint64_t store_id);
/* So many keys are worth their memory: it grows no further. KEYS_MAX until it is said. What it has stays. */
void keys_set_limit(struct keys *keys, uint64_t most);

/* Notes that the key was asked for. `weight`: how much that counts. */
void keys_note(struct keys *keys, uint64_t user, struct scope_key scope, uint32_t weight);

/* How many are known, about (just after they were opened not all have been counted); how often any was noted since they
 * were opened; and the bytes that the memory takes. */
size_t keys_known(const struct keys *keys);
uint64_t keys_notes(const struct keys *keys);
uint64_t keys_bytes(const struct keys *keys);
/* What so many keys take. */
#define KEYS_BYTES_A_KEY 55u
/* The most frequent keys, the first one first; at most `max`, which is small. Scope types are below `types`. Takes a
 * millisecond, two of a large memory that was just opened, of which it knows a part then. Returns how many. */
size_t keys_top(struct keys *keys, uint32_t types, struct hot_key *out, size_t max);

/* A reading of all keys, in slices; keys may be noted in between. Records that are not valid, as those with a scope
 * type of `types` or above, are forgotten. PERMTAB_E_MEMORY. */
struct keys_reading;
int keys_reading_new(struct keys_reading **out, struct keys *keys, uint32_t types) PERMTAB_MUST_CHECK;
/* Reads or sorts `work` keys, or 31 more: 16,384 take less than a millisecond. True while something is left. */
bool keys_reading_slice(struct keys_reading *reading, uint32_t work);
/* Ends a reading of which nothing is left: all keys, malloc'ed. Classes come one after the other, in each of them those
 * of one place together (now and then with those of another one), and of these the users in the order of their numbers,
 * or nearly so. That is how the store reads many at once. Without memory to sort them: in any order. */
struct hot_key *keys_reading_take(struct keys_reading *reading, size_t *count);
void keys_reading_free(struct keys_reading *reading);

/* What the table had room for that these keys are of, so that the next one need not grow again. */
struct keys_room {
    uint64_t entries; /* at most KEYS_ENTRIES_MAX */
    uint32_t sets, folds;
};

#define KEYS_ENTRIES_MAX 1000000000u

/* What somebody has asked to be read, and is not done yet: the next worker goes on with it. What the numbers mean is
 * for the caller to say, who looks at them as at anything that may be rubbish. */
struct keys_order {
    uint32_t kind, priority; /* each below 256 */
    uint32_t starts;         /* how many workers have begun it, below 256 */
    uint64_t id;
    struct scope_key scope; /* its type is below PERMTAB_SHM_SCOPE_TYPES */
};

#define KEYS_ORDERS_MAX 32u

/* False: there is none in that place, or not what somebody has noted. */
bool keys_order(const struct keys *keys, unsigned place, struct keys_order *out);
/* NULL: there is none any more. */
void keys_note_order(struct keys *keys, unsigned place, const struct keys_order *order);

/* All 0 when nobody has noted it, and when what is there is not what somebody noted. Whether there is memory for so
 * much is for the caller to see. */
struct keys_room keys_room(const struct keys *keys);
void keys_note_room(struct keys *keys, const struct keys_room *room);

#endif
