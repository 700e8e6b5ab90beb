/* The contents of the memory: a page with the header, then sets of four records. keys.c reads and writes it, memory.c
 * makes it. */
#ifndef PERMTAB_KEYS_PRIVATE_H
#define PERMTAB_KEYS_PRIVATE_H

#include "proxy/keys/keys.h"

#define KEYS_MAGIC  0x7065726d6b657973ull /* "permkeys" */
#define KEYS_LAYOUT 2u
#define KEYS_PAGE   4096u
#define KEYS_WAYS   4u /* records a set */
#define KEYS_SETS   (KEYS_SLOTS / KEYS_WAYS)

/* Written by the worker that finds another one, `magic` last: a worker that dies in between leaves no header. */
struct keys_header {
    uint64_t magic; /* 0: there is none */
    uint32_t layout;
    uint32_t record_size;
    uint64_t sets;
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
};

/* `word` is 0 while the rest is being changed, and in a record that is free. Else: scope type and frequency. */
struct keys_record {
    uint64_t user;
    uint64_t scope_id;
    uint32_t check; /* half of the hash of user, scope and type. The other half is the number of the set. */
    uint32_t word;
};

#define KEYS_WORD(type, frequency) ((uint32_t)(type) << 16 | (uint32_t)(frequency))
#define KEYS_WORD_TYPE(word)       ((word) >> 16)
#define KEYS_WORD_FREQUENCY(word)  ((word)&0xffffu)

#define KEYS_SIZE (KEYS_PAGE + KEYS_SLOTS * sizeof(struct keys_record))

_Static_assert(sizeof(struct keys_record) == 24, "another size is another layout");
_Static_assert(sizeof(struct keys_header) <= KEYS_PAGE, "the header has a page");
_Static_assert(KEYS_SETS == 65536, "the set's number is 16 bits of the hash");
_Static_assert(KEYS_FREQUENCY_MAX <= 0xffff, "it fits into a word");

#endif
