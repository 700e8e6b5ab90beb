/* Permissions and roles as the resolver sees them: permissions are bits, roles are lists of grants by bit.
 * Plain data with its owners; no store, no event, no socket. */
#ifndef PERMTAB_RIGHTS_CATALOGUE_H
#define PERMTAB_RIGHTS_CATALOGUE_H

#include "proxy/names/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct permission {
    uint32_t bit;
    char *name;
    char *description;
    bool grants_all;
    bool deprecated;
    bool deleted; /* a tombstone: the name and the bit are never used again, and it resolves to nothing */
    uint32_t *requires; /* bits */
    size_t requires_count;
};

/* All permissions of the store, tombstones included, sorted by bit. `words` is the length of a bitmap. */
struct catalogue {
    struct permission *permissions;
    size_t count;
    uint32_t words;
    struct scope_types types;
    uint32_t *by_name; /* indices into permissions in the order of their names, by catalogue_index; or NULL */
};

enum grant_effect { GRANT_ALLOW = 0, GRANT_ALLOW_OWN = 1, GRANT_DENY = 2 };
#define GRANT_EFFECTS 3

/* As the store and requests have them. */
extern const char *const grant_effect_names[GRANT_EFFECTS];

struct grant {
    uint32_t bit;
    enum grant_effect effect;
};

/* A role as it is defined, without its ancestors. */
struct role {
    uint64_t id;
    char *name;
    struct scope_key scope; /* where it is defined */
    bool is_default;
    /* an inactive role is as though it were not there: it grants nothing and passes nothing on */
    bool active;
    uint64_t *parents;
    size_t parent_count;
    struct grant *grants;
    size_t grant_count;
};

struct role_list {
    struct role *items;
    size_t count;
};

void catalogue_fini(struct catalogue *catalogue);
/* Sorts by_name once all permissions are there: catalogue_find then bisects instead of walking. Optional; to be
 * called again after a change of permissions. PERMTAB_E_MEMORY: catalogue_find walks. */
int catalogue_index(struct catalogue *catalogue) PERMTAB_MUST_CHECK;
/* NULL when there is none (tombstones are found). */
const struct permission *catalogue_find(const struct catalogue *catalogue, const char *name);
const struct permission *catalogue_at(const struct catalogue *catalogue, uint32_t bit);
/* Whether the bits and numbers of `before` mean the same in `after`, as they do for ever within one history of a
 * store. */
bool catalogue_continues(const struct catalogue *before, const struct catalogue *after);

void role_fini(struct role *role);
/* Deep copy. PERMTAB_E_MEMORY. */
int role_copy(struct role *out, const struct role *from) PERMTAB_MUST_CHECK;
void role_list_fini(struct role_list *list);
/* A zeroed new last item, or NULL when memory is short. */
struct role *role_list_add(struct role_list *list);
/* Sorts by id, which role_list_find relies on. */
void role_list_sort(struct role_list *list);
/* The role of that id, or NULL. A role_find_fn (resolve.h); `list` is a struct role_list. */
const struct role *role_list_find(void *list, uint64_t role);

#endif
