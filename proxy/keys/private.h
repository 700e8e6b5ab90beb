/* The contents of the memory: a page with the header, then sets of 32 records. keys.c notes in it and has it grow,
 * reading.c reads it, orders.c has what else is in the header, memory.c makes and allocates it. */
#ifndef PERMTAB_KEYS_PRIVATE_H
#define PERMTAB_KEYS_PRIVATE_H

#include "proxy/keys/keys.h"
#include "shm/order.h"

#define KEYS_MAGIC  0x7065726d6b657973ull /* "permkeys" */
#define KEYS_LAYOUT 3u
#define KEYS_PAGE   4096u
#define KEYS_WAYS   32u /* records a set */

/* A set for each 14 keys: while some sets have been divided and others not, these have up to twice as many. */
#define KEYS_LOAD       14u
#define KEYS_SETS_FIRST 256u /* of a new memory */
#define KEYS_SETS_STEP  256u /* are allocated at a time */
#define KEYS_SETS_MAX   ((KEYS_MAX / KEYS_LOAD / KEYS_SETS_STEP + 1) * KEYS_SETS_STEP)

/* Written by the worker that finds another one, `magic` last: a worker that dies in between leaves no header. */
struct keys_header {
    uint64_t magic; /* 0: there is none */
    uint32_t layout;
    uint32_t set_size;
    uint64_t sets;     /* in use; grows. More than the memory has pages for are not believed */
    uint64_t store_id; /* scope types are numbers of a store */
    uint64_t seed;     /* of the hash: nobody outside can choose keys that meet in one set */
    /* The table's room. Changes at any time, `room_check` last: the hash of the other two and the store's id. */
    uint64_t room_entries, room_counts, room_check;
    /* Orders that are not done yet; `check` last, 0 first. Where an older program had nothing there is none. */
    struct keys_order_record {
        uint64_t id, scope_id;
        uint64_t words; /* kind, priority, starts and scope type, 8 bits each */
        uint64_t check; /* the hash of the others, the place and the store's id; 0: free */
    } orders[KEYS_ORDERS_MAX];
    uint64_t readings; /* begun one after the other, of which none has ended */
};

/* A record's word is 0 while the rest is being changed, and in a record that is free. Else: scope type and frequency.
 * Its check is half of the hash of user, scope and type; the other half says which set. Words and checks have
 * cache lines of their own: a look at frequencies reads nothing else, and a look for a key no other key. */
struct keys_set {
    uint32_t words[KEYS_WAYS];
    uint32_t checks[KEYS_WAYS];
    struct keys_name {
        uint64_t user, scope_id;
    } names[KEYS_WAYS];
};

#define KEYS_WORD(type, frequency) ((uint32_t)(type) << 16 | (uint32_t)(frequency))
#define KEYS_WORD_TYPE(word)       ((word) >> 16)
#define KEYS_WORD_FREQUENCY(word)  ((word)&0xffffu)

#define KEYS_BYTES(sets) (KEYS_PAGE + (uint64_t)(sets) * sizeof(struct keys_set))
#define KEYS_SIZE        KEYS_BYTES(KEYS_SETS_MAX)

_Static_assert(sizeof(struct keys_set) == 768, "another size is another layout");
_Static_assert(sizeof(struct keys_header) <= KEYS_PAGE, "the header has a page");
_Static_assert(KEYS_FREQUENCY_MAX <= 0xffff, "it fits into a word");
_Static_assert(KEYS_SETS_MAX % KEYS_SETS_STEP == 0, "the last step is a whole one");

struct keys {
    struct keys_header *header;
    struct keys_set *all;
    int descriptor;
    uint64_t seed;
    uint32_t sets;      /* in use */
    uint32_t mask;      /* the bits of the hash that choose one */
    uint32_t allocated; /* have pages */
    uint32_t most;      /* it may grow to so many */
    uint32_t counted;   /* sets whose records are in `known`, the first ones */
    size_t known;       /* records that are not free, about */
    uint16_t *peaks;    /* of each set: no frequency in it is above this less 1; 0: nobody has looked */
    unsigned readings;  /* under way: a key must not move meanwhile */
    uint32_t hand;      /* the next set to halve */
    uint32_t notes, notes_a_step;
    uint64_t refused_at; /* `noted` when there was no memory to grow; 0: there was */
    uint64_t noted;
};

/* A key with the place that its hash gives it. */
struct keys_place {
    uint64_t user;
    struct scope_key scope;
    uint32_t set;
    uint32_t check;
};

/* keys.c */
struct keys_place keys_place_of(const struct keys *keys, uint64_t user, struct scope_key scope);
bool keys_is_of(const struct keys_set *set, uint32_t way, const struct keys_place *place);
/* Makes a record free. */
void keys_forget(struct keys *keys, uint32_t set, uint32_t way);
/* Nothing in the set is more frequent. */
static inline void keys_peak_is(struct keys *keys, uint32_t set, uint32_t frequency)
{
    keys->peaks[set] = (uint16_t)(frequency + 1);
}
/* Counts what is known in so many more sets. */
void keys_count_on(struct keys *keys, uint32_t sets);

/* memory.c */
/* Allocates the pages of these sets, and of the header. PERMTAB_E_MEMORY, PERMTAB_E_SYSTEM. */
int keys_allocate(int descriptor, uint32_t from, uint32_t to) PERMTAB_MUST_CHECK;
/* Whether there are as many pages as the sets need. */
bool keys_allocated(int descriptor, uint64_t sets);
/* Gives back those from this set on. */
void keys_give_back(int descriptor, uint32_t from);

#endif
