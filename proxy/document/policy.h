/* A policy document in memory, which `apply` reads and `export` prints. Names and ids are as the document gives
 * them; plain data. json.c and yaml.c parse it (jansson, libyaml), print.c prints it, apply.c writes it to the
 * store. */
#ifndef PERMTAB_DOCUMENT_POLICY_H
#define PERMTAB_DOCUMENT_POLICY_H

#include "proxy/base/failure.h"
#include "proxy/rights/catalogue.h"
#include "proxy/rights/facts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

/* A list of permission names. */
struct policy_names {
    char **items;
    size_t count;
};

struct policy_permission {
    char *name;
    char *description; /* never NULL */
    bool grants_all;
    bool deprecated;
    struct policy_names requires;
};

struct policy_overwrite {
    enum overwrite_subject subject;
    uint64_t id; /* of the role or the user */
    struct policy_names allow;
    struct policy_names deny;
};

struct policy_scope {
    struct scope_key key;
    struct scope_key parent; /* of global: itself */
    bool has_owner;
    uint64_t owner;
    struct policy_overwrite *overwrites;
    size_t overwrite_count;
};

struct policy_role {
    uint64_t id;
    char *name;
    struct scope_key scope;
    bool is_default;
    bool active;
    uint64_t *inherits;
    size_t inherits_count;
    struct policy_names allow, allow_own, deny;
};

struct policy_assignment {
    uint64_t user;
    uint64_t role;
    bool has_scope; /* else at the role's own */
    struct scope_key scope;
    int64_t expires_at; /* microseconds UTC; FACTS_NEVER */
};

struct policy {
    struct policy_permission *permissions;
    size_t permission_count;
    struct policy_scope *scopes;
    size_t scope_count;
    struct policy_role *roles;
    size_t role_count;
    struct policy_assignment *assignments;
    size_t assignment_count;
};

/* POLICY_AUTO: JSON when the text begins like a JSON object, else YAML. */
enum policy_format { POLICY_JSON, POLICY_YAML, POLICY_AUTO };

#define POLICY_SIZE_MAX (256u * 1024 * 1024)

/* Parses and checks all that can be checked without the store: shapes, unknown keys, duplicates, names, limits. The
 * failure names the place: "roles[3].allow[1]: …" or "line 7 column 3: …". `types` gives the scope types. */
int policy_parse(struct policy *out, enum policy_format format, const char *text, size_t size,
                 const struct scope_types *types, struct failure *failure) PERMTAB_MUST_CHECK;
/* JSON, one object a line, objects and names sorted, so that exports can be compared. *out is malloc'ed. */
int policy_print(const struct policy *policy, const struct scope_types *types, char **out,
                 size_t *size) PERMTAB_MUST_CHECK;
void policy_fini(struct policy *policy);

/* Warnings for a reply, about parts of a policy that are done and were perhaps not meant: a few sentences, and one
 * that counts the others. Zeroed before; the calls below add. */
#define POLICY_WARNINGS_MAX 22 /* ten of a kind, and one that counts the others */
struct policy_warnings {
    char texts[POLICY_WARNINGS_MAX][256];
    size_t count;
};
/* Warns of assignments of a document that have ended by the store's clock. */
int policy_warn_ended(struct store *store, const struct policy *policy, struct policy_warnings *warnings,
                      struct failure *failure) PERMTAB_MUST_CHECK;
/* Warns of values that plain SQL has put into the store and no document may have: apply refuses an export with
 * them. */
void policy_warn_refused(const struct policy *policy, struct policy_warnings *warnings);

struct policy_apply_options {
    bool dry_run;
    bool prune; /* remove the objects that the document does not name */
    uint32_t permissions_max;
};

struct policy_apply_result {
    uint64_t store_id;
    uint64_t revision; /* after it */
    uint64_t rows_written;
    uint64_t permissions, scopes, roles, assignments; /* objects added, changed or removed */
};

/* One transaction: all of it or nothing. Makes the checks that need the store (references, cycles, misplaced
 * assignments, bits); a failure names the place in the document. Repeats the transaction when the store asks to. A
 * second run changes nothing. */
int policy_apply(struct store *store, const struct policy *policy, const struct policy_apply_options *options,
                 struct policy_apply_result *result, struct failure *failure) PERMTAB_MUST_CHECK;
/* Reads the whole store in one snapshot. */
int policy_export(struct store *store, struct policy *out, struct failure *failure) PERMTAB_MUST_CHECK;

/* The small changes, each one transaction; result->rows_written is 0 when nothing changed. */
int policy_grant(struct store *store, uint64_t role, const char *permission, enum grant_effect effect,
                 struct policy_apply_result *result, struct failure *failure) PERMTAB_MUST_CHECK;
/* Takes the permission out of the role, whatever the effect. */
int policy_revoke(struct store *store, uint64_t role, const char *permission,
                  struct policy_apply_result *result, struct failure *failure) PERMTAB_MUST_CHECK;
int policy_assign(struct store *store, const struct policy_assignment *assignment,
                  struct policy_apply_result *result, struct failure *failure) PERMTAB_MUST_CHECK;
int policy_unassign(struct store *store, const struct policy_assignment *assignment,
                    struct policy_apply_result *result, struct failure *failure) PERMTAB_MUST_CHECK;

#endif
