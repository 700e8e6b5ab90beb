/* The catalogue as the sidecar sent it: permission names and bits, scope types and numbers, at one catalogue number. */
#ifndef PERMTAB_CLIENT_NAMES_H
#define PERMTAB_CLIENT_NAMES_H

#include "client/wire/wire.h"
#include "shm/layout.h"

#define NAMES_PERMISSION_MAX 100u /* bytes of a permission's name */

struct name {
    const char *text; /* zero-terminated, in one of the owner's `texts` */
    uint32_t bit;
};

/* The texts of one page. */
struct names_texts {
    struct names_texts *next;
    char bytes[];
};

/* Immutable once whole. Tombstones are left out: a deleted permission is no name. */
struct names {
    uint64_t catalogue;
    struct name *items; /* sorted by text */
    size_t count;
    struct names_texts *texts;
    uint32_t type_count;
    char types[PERMTAB_SHM_SCOPE_TYPES][PERMTAB_SHM_TYPE_NAME_SIZE];
};

/* Takes a page of the method `catalogue`, the one that was asked for with `from` = *next; the first into NULL. 1:
 * ask for the one from *next, which is 0 when the catalogue has changed in between; 0: that was the last, and
 * *names is whole. PERMTAB_E_PROTOCOL when it is not what docs/PROTOCOL.md says; PERMTAB_E_MEMORY. *names is the
 * caller's to free in any case. */
int names_take(struct names **names, const struct wire_value *page, uint64_t *next) PERMTAB_MUST_CHECK;
void names_free(struct names *names);

/* A bit, or UINT32_MAX. */
uint32_t names_permission(const struct names *names, const char *text);
/* A number, or UINT32_MAX. */
uint32_t names_type(const struct names *names, const char *text);
/* The permissions whose names begin with `prefix` lie side by side: the first, and how many. */
size_t names_with_prefix(const struct names *names, const char *prefix, size_t length, size_t *count);

#endif
