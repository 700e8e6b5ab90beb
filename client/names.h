/* The catalogue as the sidecar sent it: permission names and bits, scope types and numbers, at one catalogue number. */
#ifndef PERMTAB_CLIENT_NAMES_H
#define PERMTAB_CLIENT_NAMES_H

#include "client/wire.h"
#include "shm/layout.h"

#define NAMES_PERMISSION_MAX 100u /* bytes of a permission's name */

struct name {
    const char *text; /* zero-terminated, in the owner's `texts` */
    uint32_t bit;
};

/* Immutable once made. Tombstones are left out: a deleted permission is no name. */
struct names {
    uint64_t catalogue;
    struct name *items; /* sorted by text */
    size_t count;
    char *texts;
    uint32_t type_count;
    char types[PERMTAB_SHM_SCOPE_TYPES][PERMTAB_SHM_TYPE_NAME_SIZE];
};

/* From the result of the method `catalogue`. PERMTAB_E_PROTOCOL when it is not what docs/PROTOCOL.md says; PERMTAB_E_MEMORY. */
int names_new(struct names **out, const struct wire_value *result) PERMTAB_MUST_CHECK;
void names_free(struct names *names);

/* A bit, or UINT32_MAX. */
uint32_t names_permission(const struct names *names, const char *text);
/* A number, or UINT32_MAX. */
uint32_t names_type(const struct names *names, const char *text);
/* The permissions whose names begin with `prefix` lie side by side: the first, and how many. */
size_t names_with_prefix(const struct names *names, const char *prefix, size_t length, size_t *count);

#endif
