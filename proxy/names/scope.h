/* A scope's identity: its type's number and its id. global is type 0, id 0. Also the text form, "global" or
 * "type:id", which needs the names of the types. Pure. */
#ifndef PERMTAB_NAMES_SCOPE_H
#define PERMTAB_NAMES_SCOPE_H

#include "shm/error.h"
#include "shm/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* a parent's type number is always lower, so a chain is short */
#define SCOPE_CHAIN_MAX PERMTAB_SHM_SCOPE_TYPES
#define SCOPE_TEXT_SIZE (PERMTAB_SHM_TYPE_NAME_SIZE + 24)

struct scope_key {
    uint64_t id;
    uint32_t type;
};

/* Names by number; names[0] is always "global". */
struct scope_types {
    uint32_t count;
    char names[PERMTAB_SHM_SCOPE_TYPES][PERMTAB_SHM_TYPE_NAME_SIZE];
};

static inline bool scope_equal(struct scope_key a, struct scope_key b)
{
    return a.id == b.id && a.type == b.type;
}

/* Orders scopes by type, so parents before their children, then by id. */
static inline int scope_compare(struct scope_key a, struct scope_key b)
{
    if (a.type != b.type)
        return a.type < b.type ? -1 : 1;
    return a.id < b.id ? -1 : a.id > b.id;
}

/* PERMTAB_E_SYNTAX, PERMTAB_E_NO_SCOPE_TYPE. */
int scope_parse(const struct scope_types *types, const char *text, struct scope_key *out) PERMTAB_MUST_CHECK;
/* Writes at most SCOPE_TEXT_SIZE bytes; returns `text`. A type without a name is printed as its number. */
const char *scope_format(const struct scope_types *types, struct scope_key key, char text[SCOPE_TEXT_SIZE]);
/* "global, server, channel"; the end of a long list is left out. Returns `text`. */
#define SCOPE_TYPES_TEXT_SIZE 160
const char *scope_types_format(const struct scope_types *types, char text[SCOPE_TYPES_TEXT_SIZE]);
/* A whole decimal u64 and nothing else; false otherwise. */
bool id_parse(const char *text, uint64_t *out);

#endif
