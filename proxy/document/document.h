/* Private to the files of document/ that read documents: text (parse.c) → tree (json.c, yaml.c) → struct
 * policy (read.c) → checked (check.c). */
#ifndef PERMTAB_DOCUMENT_DOCUMENT_H
#define PERMTAB_DOCUMENT_DOCUMENT_H

#include "proxy/document/policy.h"

#define POLICY_NAME_MAX        100u   /* bytes of a permission's name */
#define POLICY_ROLE_NAME_MAX   200u   /* bytes */
#define POLICY_DESCRIPTION_MAX 1000u  /* bytes */
#define POLICY_LIST_MAX        16384u /* names, parents or overwrites in one list */
#define POLICY_OBJECTS_MAX     20000000u
#define POLICY_ROLES_MAX       1000000u

struct json_t;

/* Text to tree. The tree is the caller's to release. Failures name line and column. */
int policy_json_load(const char *text, size_t size, struct json_t **out,
                     struct failure *failure) PERMTAB_MUST_CHECK;
int policy_yaml_load(const char *text, size_t size, struct json_t **out,
                     struct failure *failure) PERMTAB_MUST_CHECK;
/* Tree to policy: shapes, unknown and missing keys. `out` is zeroed; on failure it may be half filled. */
int policy_read(struct policy *out, const struct json_t *tree, const struct scope_types *types,
                struct failure *failure) PERMTAB_MUST_CHECK;
/* Checks everything about a policy that can be checked without the store. */
int policy_check(const struct policy *policy, const struct scope_types *types,
                 struct failure *failure) PERMTAB_MUST_CHECK;

bool policy_name_valid(const char *name);
#define POLICY_NAME_RULE "a-z, 0-9 and _ in parts with dots between, like message.delete, 100 bytes at most"

#endif
