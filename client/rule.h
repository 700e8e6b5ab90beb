/* A compiled rule: the tree of its text, and the bits that its names stood for at one catalogue number. */
#ifndef PERMTAB_CLIENT_RULE_H
#define PERMTAB_CLIENT_RULE_H

#include "client/handle.h"
#include "client/wire/rule_text.h"

struct rule_range {
    uint32_t first, count; /* in bits; a name that has gone has none */
};

/* Immutable; older ones are kept until the rule is freed, because a thread may be reading through one. */
struct rule_bits {
    struct rule_bits *next;
    uint64_t catalogue;
    struct rule_range *ranges; /* by node */
    uint32_t bits[];
};

struct permtab_rule {
    struct handle *handle;
    struct rule_text text;
    void *bits; /* struct rule_bits *, swapped atomically */
};

#endif
