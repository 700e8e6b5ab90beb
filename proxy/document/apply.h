/* Private to apply*.c: the state of an apply while its transaction runs. The result is the document laid over the
 * store: each object is in one sorted list, with the document's wish and the store's row. */
#ifndef PERMTAB_DOCUMENT_APPLY_H
#define PERMTAB_DOCUMENT_APPLY_H

#include "proxy/document/batch.h"
#include "proxy/document/place.h"
#include "proxy/document/policy.h"
#include "proxy/document/rows.h"

/* `wanted` is NULL when the document does not name the object; the stored fields count only when `stored`. */
struct apply_permission {
    const char *name;
    const struct policy_permission *wanted;
    bool stored;
    char *stored_name;
    char *description;
    uint32_t bit; /* of a new permission, too, once give_bits has run */
    bool grants_all, deprecated, deleted;
};

struct apply_scope {
    struct scope_key key;
    const struct policy_scope *wanted;
    bool stored;
    struct scope_key parent;
    bool has_owner;
    uint64_t owner;
};

struct apply_role {
    uint64_t id;
    const struct policy_role *wanted;
    bool stored;
    char *name;
    struct scope_key scope;
    bool is_default, active;
};

struct apply_assignment {
    uint64_t user, role;
    struct scope_key scope;
    int64_t expires_at;
    size_t index; /* in the document */
};

/* Tables that are all key. A permission is its index in apply->permissions; effect and subject are numbers. */
enum apply_link {
    LINK_REQUIREMENT,     /* permission, requires */
    LINK_ROLE_PARENT,     /* role, parent */
    LINK_ROLE_PERMISSION, /* role, permission, effect */
    LINK_OVERWRITE,       /* scope type, scope id, subject, subject id, permission, effect */
    LINK_COUNT
};

struct apply {
    struct store *store;
    const struct policy *policy;
    const struct policy_apply_options *options;
    struct failure *failure;
    struct scope_types types;             /* of the store, for messages and for checks */
    struct policy_scope plain_global;     /* wanted when the document is everything and does not name it */
    struct apply_permission *permissions; /* sorted by name */
    size_t permission_count;
    struct apply_scope *scopes; /* sorted by key */
    size_t scope_count;
    struct apply_role *roles; /* sorted by id */
    size_t role_count;
    struct row_list links[LINK_COUNT];    /* stored, of the objects that are replaced or removed */
    struct row_list ancestry;             /* role, parent: of stored roles above those of the document */
    struct apply_assignment *assignments; /* sorted by key */
    struct row_list changed_permissions, changed_scopes, changed_roles; /* objects, for the result */
    uint64_t rows, changed_assignments;
};

/* All of these may return PERMTAB_E_MEMORY without a sentence: apply.c has it. */

/* ---- apply_load.c: what is stored ---- */
int apply_load(struct apply *apply) PERMTAB_MUST_CHECK;
struct apply_permission *apply_permission_find(const struct apply *apply, const char *name);
struct apply_scope *apply_scope_find(const struct apply *apply, struct scope_key key);
struct apply_role *apply_role_find(const struct apply *apply, uint64_t id);

/* ---- apply_check.c: what needs the store to be judged; makes apply->assignments and gives bits ---- */
int apply_check(struct apply *apply) PERMTAB_MUST_CHECK;

/* ---- apply_write.c: permissions, scopes, roles, assignments ---- */
int apply_write_permissions(struct apply *apply) PERMTAB_MUST_CHECK;
int apply_write_scopes(struct apply *apply) PERMTAB_MUST_CHECK;
int apply_write_roles(struct apply *apply) PERMTAB_MUST_CHECK;
int apply_write_assignments(struct apply *apply) PERMTAB_MUST_CHECK;

/* ---- apply_prune.c: what the document does not name, children first ---- */
int apply_prune_assignments(struct apply *apply) PERMTAB_MUST_CHECK;
int apply_prune_objects(struct apply *apply) PERMTAB_MUST_CHECK;

/* ---- apply_links.c ---- */
/* Reads the links of one kind: all of them when keys is NULL, else those whose leading columns are one of the keys. */
int apply_links_load(struct apply *apply, enum apply_link link, const struct row_list *keys,
                     struct row_list *out) PERMTAB_MUST_CHECK;
/* Writes the differences between the document and the store. */
int apply_links_write(struct apply *apply, enum apply_link link) PERMTAB_MUST_CHECK;

#endif
