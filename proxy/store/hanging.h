/* What hangs on a place's chain: the assignments of some users, the default roles, the overwrites. The text of the
 * selects that read it, and what their rows mean. Private to the store's own files. */
#ifndef PERMTAB_STORE_HANGING_H
#define PERMTAB_STORE_HANGING_H

#include "proxy/store/private.h"

#include "proxy/rights/facts.h"

/* The users of a list, which may be long; it is filled up to one of a few lengths. */
#define HANGING_LIST_MAX 512u

struct hanging {
    const struct facts_scope *chain;
    uint32_t levels;
    const uint64_t *users;
    size_t count;
    bool range; /* `users` are two, and all between them are meant, wherever their assignments are */
};

/* Columns: what, user, role, scope type, scope id, expires_at, bit, flags. Of user and role an overwrite has one, and
 * a default role the latter. */
enum hanging_row { HANGING_ASSIGNMENT = 1, HANGING_DEFAULT = 2, HANGING_OVERWRITE = 3 };

#define HANGING_ALLOWS  1u
#define HANGING_OF_USER 2u

/* The selects, joined by UNION ALL, appended to a text that has room for so many bytes more. Returns its end. */
size_t hanging_text_size(const struct hanging *hanging);
char *hanging_text(const struct hanging *hanging, char *end);
/* Returns the index of the next parameter. */
unsigned hanging_bind(const struct hanging *hanging, struct sql_statement *st, unsigned index);
/* The level of a row's scope; chain_count when it is not on the chain. */
uint32_t hanging_level(const struct facts *facts, struct scope_key key);

#endif
