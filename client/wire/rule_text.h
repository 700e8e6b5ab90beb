/* The text of a rule and its tree: a client compiles it, and the daemon judges a condition by it. Pure; the
 * evaluator looks the names up. The grammar is at the top of rule_text.c. */
#ifndef PERMTAB_CLIENT_WIRE_RULE_TEXT_H
#define PERMTAB_CLIENT_WIRE_RULE_TEXT_H

#include "shm/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RULE_TEXT_MAX  4096u
#define RULE_DEPTH_MAX 32u
#define RULE_NODES_MAX 1024u
#define RULE_NAME_MAX  100u /* bytes of a permission's name */

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
    uint32_t text, length; /* RULE_NAME, RULE_WILDCARD: where in the text */
};

struct rule_text {
    char *text;
    struct rule_node *nodes;
    uint32_t node_count;
};

/* Copies and parses. PERMTAB_E_SYNTAX, _LIMIT, _MEMORY; *error_at is then a byte offset, and there is nothing to
 * fini. */
int rule_text_parse(struct rule_text *out, const char *text, size_t *error_at) PERMTAB_MUST_CHECK;
void rule_text_fini(struct rule_text *rule);

#endif
