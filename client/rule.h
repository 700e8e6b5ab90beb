/* A compiled rule: the tree of its text, and the bits that its names stood for at one catalogue number. */
#ifndef PERMTAB_CLIENT_RULE_H
#define PERMTAB_CLIENT_RULE_H

#include "client/handle.h"

#define RULE_TEXT_MAX  4096u
#define RULE_DEPTH_MAX 32u
#define RULE_NODES_MAX 1024u

enum rule_kind {
    RULE_NAME,     /* one permission */
    RULE_WILDCARD, /* text is the prefix, with its last dot */
    RULE_NOT,
    RULE_ALL, /* AND and ALL( ) */
    RULE_ANY, /* OR and ANY( ) */
};

/* Children are linked by their indices; 0 is none, because node 0 is the root and nobody's child. */
struct rule_node {
    enum rule_kind kind;
    bool every; /* RULE_WILDCARD: inside ALL( ), so all of them */
    uint32_t child, next;
    uint32_t text, length; /* RULE_NAME, RULE_WILDCARD: where in rule->text */
};

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
    char *text;
    struct rule_node *nodes;
    uint32_t node_count;
    void *bits; /* struct rule_bits *, swapped atomically */
};

/* Fills nodes from text. PERMTAB_E_SYNTAX, _LIMIT, _MEMORY; *error_at is a byte offset. */
int rule_parse(struct permtab_rule *rule, size_t *error_at) PERMTAB_MUST_CHECK;

#endif
