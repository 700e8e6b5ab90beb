/* The log of changes as plain data: where a reader of it stands, and what a row of it says. The store reads it from
 * SQL; the parts that follow it, remember it or judge by it need no SQL. docs/SCHEMA.md. */
#ifndef PERMTAB_RIGHTS_CHANGE_H
#define PERMTAB_RIGHTS_CHANGE_H

#include "proxy/names/scope.h"

#include <stddef.h>
#include <stdint.h>

/* The position of a reader of the log: a revision, and the nonce of its change row, which tells this history from
 * another one with the same numbers. */
struct log_position {
    uint64_t store_id;
    uint64_t revision;
    uint64_t nonce;
};

enum change_kind {
    CHANGE_PERMISSION = 1, /* a permission or a requirement: the catalogue */
    CHANGE_SCOPE_TYPE = 2, /* the catalogue */
    CHANGE_SCOPE = 3,      /* scope: appeared, vanished, other owner, other parent */
    CHANGE_ROLE =
        4, /* role, scope: its row (scope, default, active, name); one for each of old and new scope */
    CHANGE_ROLE_GRANT = 5,  /* role: what it allows or denies */
    CHANGE_ROLE_PARENT = 6, /* role: what it inherits from */
    CHANGE_ASSIGNMENT = 7,  /* user, role, scope */
    CHANGE_OVERWRITE = 8,   /* scope, and user or role */
    CHANGE_STORE = 9,       /* something that needs everything read again */
};

/* "Read this key again." Fields that the kind does not name are 0. */
struct change {
    uint64_t revision;
    uint64_t nonce;
    int64_t at; /* when its trigger ran, by the store's clock; 0 when that is not known */
    enum change_kind kind;
    uint64_t user;
    uint64_t role;
    struct scope_key scope;
};

struct change_list {
    struct change *items;
    size_t count;
};
/* A zeroed new last item, or NULL when memory is short. */
struct change *change_list_add(struct change_list *list);
void change_list_fini(struct change_list *list);

#endif
