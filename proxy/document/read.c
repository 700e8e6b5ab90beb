/* Tree → struct policy: the keys of each object, which of them must be there, and the type of each. One table a
 * kind of object drives it, so that an unknown key is found where it stands. check.c checks whether names and ids
 * make sense together.
 *
 * Nothing is checked twice: a value that passes here has the right type and fits its field. */
#include "client/wire/text.h"
#include "client/wire/time_text.h"
#include "proxy/document/document.h"
#include "proxy/document/place.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct scope_types *types;
    struct failure *failure;
};

typedef int (*read_fn)(const struct reader *reader, const struct policy_place *place, const json_t *value,
                       void *out);

/* A key of an object and the field it fills. */
struct field {
    const char *key;
    bool required;
    size_t offset;
    read_fn read;
};

/* A list of objects. */
struct list_shape {
    const struct field *fields;
    size_t field_count;
    size_t item_size;
    size_t max;
    /* prepare sets defaults before; finish checks after. `given` has bit i for fields[i]. */
    void (*prepare)(void *item);
    int (*finish)(const struct reader *reader, const struct policy_place *place, void *item, unsigned given);
};

static int out_of_memory(const struct reader *reader)
{
    return failure_set(reader->failure, PERMTAB_E_MEMORY, "out of memory");
}

static int read_text(const struct reader *reader, const struct policy_place *place, const json_t *value,
                     size_t max, bool lines, char **out)
{
    char trouble[TEXT_TROUBLE_SIZE];
    if (!json_is_string(value))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "must be a string");
    if (json_string_length(value) > max)
        return policy_place_fail(reader->failure, PERMTAB_E_LIMIT, place, "is longer than %zu bytes", max);
    if (!text_is_clean(json_string_value(value), json_string_length(value), lines, trouble))
        return policy_place_fail(
            reader->failure, PERMTAB_E_INVALID, place,
            "%s, which a terminal would obey: no controls, and none that change the direction", trouble);
    free(*out);
    *out = strdup(json_string_value(value));
    return *out != NULL ? 0 : out_of_memory(reader);
}

static int read_permission_name(const struct reader *reader, const struct policy_place *place,
                                const json_t *value, void *out)
{
    char quoted[POLICY_QUOTED_SIZE];
    if (!json_is_string(value))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "must be a string");
    if (!policy_name_valid(json_string_value(value)))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place,
                                 "\"%s\" is not a permission name: " POLICY_NAME_RULE,
                                 policy_quote(quoted, json_string_value(value)));
    return read_text(reader, place, value, POLICY_NAME_MAX, false, out);
}

static int read_role_name(const struct reader *reader, const struct policy_place *place, const json_t *value,
                          void *out)
{
    return read_text(reader, place, value, POLICY_ROLE_NAME_MAX, false, out);
}

static int read_description(const struct reader *reader, const struct policy_place *place,
                            const json_t *value, void *out)
{
    return read_text(reader, place, value, POLICY_DESCRIPTION_MAX, true, out);
}

static int read_bool(const struct reader *reader, const struct policy_place *place, const json_t *value,
                     void *out)
{
    if (!json_is_boolean(value))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "must be true or false");
    *(bool *)out = json_is_true(value);
    return 0;
}

/* A leading zero is refused: in YAML 1.1 it would mean octal. */
static int read_id(const struct reader *reader, const struct policy_place *place, const json_t *value,
                   void *out)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *(uint64_t *)out = (uint64_t)json_integer_value(value);
        return 0;
    }
    const char *text = json_string_value(value);
    if (text != NULL && (text[0] != '0' || text[1] == '\0') && id_parse(text, out))
        return 0;
    return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place,
                             "must be an id: a number from 0 to 18446744073709551615, as a string when it is "
                             "above 9223372036854775807");
}

static int read_scope(const struct reader *reader, const struct policy_place *place, const json_t *value,
                      void *out)
{
    char quoted[POLICY_QUOTED_SIZE], known[SCOPE_TYPES_TEXT_SIZE];
    const char *text = json_string_value(value);
    if (text == NULL)
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place,
                                 "must be a scope: \"global\" or \"type:id\"");
    int code = scope_parse(reader->types, text, out);
    if (code == PERMTAB_E_NO_SCOPE_TYPE)
        return policy_place_fail(reader->failure, code, place,
                                 "\"%s\" has a scope type that is not configured: there are %s",
                                 policy_quote(quoted, text), scope_types_format(reader->types, known));
    if (code < 0)
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place,
                                 "\"%s\" is not a scope: \"global\" or \"type:id\"",
                                 policy_quote(quoted, text));
    return 0;
}

static int read_owner(const struct reader *reader, const struct policy_place *place, const json_t *value,
                      void *out)
{
    struct policy_scope *scope = out;
    if (json_is_null(value))
        return 0;
    scope->has_owner = true;
    return read_id(reader, place, value, &scope->owner);
}

static int read_assignment_scope(const struct reader *reader, const struct policy_place *place,
                                 const json_t *value, void *out)
{
    struct policy_assignment *assignment = out;
    assignment->has_scope = true;
    return read_scope(reader, place, value, &assignment->scope);
}

static int read_time(const struct reader *reader, const struct policy_place *place, const json_t *value,
                     void *out)
{
    char quoted[POLICY_QUOTED_SIZE], trouble[TIME_TROUBLE_SIZE];
    if (json_is_null(value))
        return 0;
    const char *text = json_string_value(value);
    if (json_is_integer(value))
        *(int64_t *)out = json_integer_value(value);
    else if (text == NULL)
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place,
                                 "must be a time like \"" TIME_EXAMPLE "\"");
    else if (!time_parse(text, out))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place,
                                 "\"%s\" is not a time like \"" TIME_EXAMPLE "\"",
                                 policy_quote(quoted, text));
    if (!time_plausible(*(int64_t *)out, trouble))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "%s", trouble);
    return 0;
}

static int list_size(const struct reader *reader, const struct policy_place *place, const json_t *value,
                     size_t max, size_t *count)
{
    if (!json_is_array(value))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "must be a list");
    *count = json_array_size(value);
    if (*count > max)
        return policy_place_fail(reader->failure, PERMTAB_E_LIMIT, place, "has %zu items, more than %zu",
                                 *count, max);
    return 0;
}

static int read_names(const struct reader *reader, const struct policy_place *place, const json_t *value,
                      void *out)
{
    struct policy_names *names = out;
    size_t count = 0;
    int code = list_size(reader, place, value, POLICY_LIST_MAX, &count);
    if (code < 0 || count == 0)
        return code;
    names->items = calloc(count, sizeof *names->items);
    if (names->items == NULL)
        return out_of_memory(reader);
    names->count = count;
    for (size_t i = 0; i < count; i++) {
        struct policy_place here = {.up = place, .index = i};
        code = read_permission_name(reader, &here, json_array_get(value, i), &names->items[i]);
        if (code < 0)
            return code;
    }
    return 0;
}

static int read_inherits(const struct reader *reader, const struct policy_place *place, const json_t *value,
                         void *out)
{
    struct policy_role *role = out;
    size_t count = 0;
    int code = list_size(reader, place, value, POLICY_LIST_MAX, &count);
    if (code < 0 || count == 0)
        return code;
    role->inherits = calloc(count, sizeof *role->inherits);
    if (role->inherits == NULL)
        return out_of_memory(reader);
    role->inherits_count = count;
    for (size_t i = 0; i < count; i++) {
        struct policy_place here = {.up = place, .index = i};
        code = read_id(reader, &here, json_array_get(value, i), &role->inherits[i]);
        if (code < 0)
            return code;
    }
    return 0;
}

/* Reads an object; every key must be known, and every required key there. */
static int read_object(const struct reader *reader, const struct policy_place *place, const json_t *value,
                       const struct field *fields, size_t field_count, void *out, unsigned *given)
{
    char quoted[POLICY_QUOTED_SIZE];
    const char *key;
    json_t *member;
    *given = 0;
    if (!json_is_object(value))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "must be an object");
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        size_t i = 0;
        while (i < field_count && strcmp(fields[i].key, key) != 0)
            i++;
        if (i == field_count)
            return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "unknown key \"%s\"",
                                     policy_quote(quoted, key));
        struct policy_place here = {.up = place, .key = key};
        int code = fields[i].read(reader, &here, member, (char *)out + fields[i].offset);
        if (code < 0)
            return code;
        *given |= 1u << i;
    }
    for (size_t i = 0; i < field_count; i++)
        if (fields[i].required && !(*given & (1u << i)))
            return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "\"%s\" is missing",
                                     fields[i].key);
    return 0;
}

/* Reads a list. *count grows item by item, so that the items read can be released whenever it stops. */
static int read_list(const struct reader *reader, const struct policy_place *place, const json_t *value,
                     const struct list_shape *shape, void **items, size_t *count)
{
    size_t size = 0;
    int code = list_size(reader, place, value, shape->max, &size);
    if (code < 0 || size == 0)
        return code;
    *items = calloc(size, shape->item_size);
    if (*items == NULL)
        return out_of_memory(reader);
    for (size_t i = 0; i < size; i++) {
        struct policy_place here = {.up = place, .index = i};
        void *item = (char *)*items + i * shape->item_size;
        unsigned given;
        ++*count;
        if (shape->prepare != NULL)
            shape->prepare(item);
        code = read_object(reader, &here, json_array_get(value, i), shape->fields, shape->field_count, item,
                           &given);
        if (code >= 0 && shape->finish != NULL)
            code = shape->finish(reader, &here, item, given);
        if (code < 0)
            return code;
    }
    return 0;
}

/* ---- permissions ---- */

static const struct field permission_fields[] = {
    {"name", true, offsetof(struct policy_permission, name), read_permission_name},
    {"description", false, offsetof(struct policy_permission, description), read_description},
    {"requires", false, offsetof(struct policy_permission, requires), read_names},
    {"grants_all", false, offsetof(struct policy_permission, grants_all), read_bool},
    {"deprecated", false, offsetof(struct policy_permission, deprecated), read_bool},
};

static int empty_text(const struct reader *reader, char **text)
{
    if (*text == NULL)
        *text = strdup("");
    return *text != NULL ? 0 : out_of_memory(reader);
}

static int permission_finish(const struct reader *reader, const struct policy_place *place, void *item,
                             unsigned given)
{
    struct policy_permission *permission = item;
    (void)place;
    (void)given;
    return empty_text(reader, &permission->description);
}

static const struct list_shape permission_shape = {
    .fields = permission_fields,
    .field_count = sizeof permission_fields / sizeof *permission_fields,
    .item_size = sizeof(struct policy_permission),
    .max = PERMTAB_SHM_PERMISSIONS_MAX,
    .finish = permission_finish,
};

/* ---- scopes ---- */

static int read_overwrite_role(const struct reader *reader, const struct policy_place *place,
                               const json_t *value, void *out)
{
    struct policy_overwrite *overwrite = out;
    overwrite->subject = OVERWRITE_ROLE;
    return read_id(reader, place, value, &overwrite->id);
}

static int read_overwrite_user(const struct reader *reader, const struct policy_place *place,
                               const json_t *value, void *out)
{
    struct policy_overwrite *overwrite = out;
    overwrite->subject = OVERWRITE_USER;
    return read_id(reader, place, value, &overwrite->id);
}

static const struct field overwrite_fields[] = {
    {"role", false, 0, read_overwrite_role},
    {"user", false, 0, read_overwrite_user},
    {"allow", false, offsetof(struct policy_overwrite, allow), read_names},
    {"deny", false, offsetof(struct policy_overwrite, deny), read_names},
};

static int overwrite_finish(const struct reader *reader, const struct policy_place *place, void *item,
                            unsigned given)
{
    (void)item;
    if ((given & 3u) != 1u && (given & 3u) != 2u)
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place,
                                 "must have one of \"role\" and \"user\"");
    return 0;
}

static const struct list_shape overwrite_shape = {
    .fields = overwrite_fields,
    .field_count = sizeof overwrite_fields / sizeof *overwrite_fields,
    .item_size = sizeof(struct policy_overwrite),
    .max = POLICY_LIST_MAX,
    .finish = overwrite_finish,
};

static int read_overwrites(const struct reader *reader, const struct policy_place *place, const json_t *value,
                           void *out)
{
    struct policy_scope *scope = out;
    void *items = NULL;
    int code = read_list(reader, place, value, &overwrite_shape, &items, &scope->overwrite_count);
    scope->overwrites = items;
    return code;
}

#define SCOPE_PARENT 1 /* index of "parent" below */
static const struct field scope_fields[] = {
    {"scope", true, offsetof(struct policy_scope, key), read_scope},
    {"parent", false, offsetof(struct policy_scope, parent), read_scope},
    {"owner", false, 0, read_owner},
    {"overwrites", false, 0, read_overwrites},
};

static int scope_finish(const struct reader *reader, const struct policy_place *place, void *item,
                        unsigned given)
{
    struct policy_scope *scope = item;
    if (scope->key.type != 0 && !(given & (1u << SCOPE_PARENT)))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "\"parent\" is missing");
    return 0;
}

static const struct list_shape scope_shape = {
    .fields = scope_fields,
    .field_count = sizeof scope_fields / sizeof *scope_fields,
    .item_size = sizeof(struct policy_scope),
    .max = POLICY_OBJECTS_MAX,
    .finish = scope_finish,
};

/* ---- roles ---- */

static const struct field role_fields[] = {
    {"id", true, offsetof(struct policy_role, id), read_id},
    {"name", false, offsetof(struct policy_role, name), read_role_name},
    {"scope", false, offsetof(struct policy_role, scope), read_scope},
    {"default", false, offsetof(struct policy_role, is_default), read_bool},
    {"active", false, offsetof(struct policy_role, active), read_bool},
    {"inherits", false, 0, read_inherits},
    {"allow", false, offsetof(struct policy_role, allow), read_names},
    {"allow_own", false, offsetof(struct policy_role, allow_own), read_names},
    {"deny", false, offsetof(struct policy_role, deny), read_names},
};

static void role_prepare(void *item)
{
    ((struct policy_role *)item)->active = true;
}

static int role_finish(const struct reader *reader, const struct policy_place *place, void *item,
                       unsigned given)
{
    (void)place;
    (void)given;
    return empty_text(reader, &((struct policy_role *)item)->name);
}

static const struct list_shape role_shape = {
    .fields = role_fields,
    .field_count = sizeof role_fields / sizeof *role_fields,
    .item_size = sizeof(struct policy_role),
    .max = POLICY_ROLES_MAX,
    .prepare = role_prepare,
    .finish = role_finish,
};

/* ---- assignments ---- */

static const struct field assignment_fields[] = {
    {"user", true, offsetof(struct policy_assignment, user), read_id},
    {"role", true, offsetof(struct policy_assignment, role), read_id},
    {"scope", false, 0, read_assignment_scope},
    {"expires_at", false, offsetof(struct policy_assignment, expires_at), read_time},
};

static void assignment_prepare(void *item)
{
    ((struct policy_assignment *)item)->expires_at = FACTS_NEVER;
}

static const struct list_shape assignment_shape = {
    .fields = assignment_fields,
    .field_count = sizeof assignment_fields / sizeof *assignment_fields,
    .item_size = sizeof(struct policy_assignment),
    .max = POLICY_OBJECTS_MAX,
    .prepare = assignment_prepare,
};

/* ---- the document ---- */

static int read_permissions(const struct reader *reader, const struct policy_place *place,
                            const json_t *value, void *out)
{
    struct policy *policy = out;
    void *items = NULL;
    int code = read_list(reader, place, value, &permission_shape, &items, &policy->permission_count);
    policy->permissions = items;
    return code;
}

static int read_scopes(const struct reader *reader, const struct policy_place *place, const json_t *value,
                       void *out)
{
    struct policy *policy = out;
    void *items = NULL;
    int code = read_list(reader, place, value, &scope_shape, &items, &policy->scope_count);
    policy->scopes = items;
    return code;
}

static int read_roles(const struct reader *reader, const struct policy_place *place, const json_t *value,
                      void *out)
{
    struct policy *policy = out;
    void *items = NULL;
    int code = read_list(reader, place, value, &role_shape, &items, &policy->role_count);
    policy->roles = items;
    return code;
}

static int read_assignments(const struct reader *reader, const struct policy_place *place,
                            const json_t *value, void *out)
{
    struct policy *policy = out;
    void *items = NULL;
    int code = read_list(reader, place, value, &assignment_shape, &items, &policy->assignment_count);
    policy->assignments = items;
    return code;
}

static const struct field document_fields[] = {
    {"permissions", false, 0, read_permissions},
    {"scopes", false, 0, read_scopes},
    {"roles", false, 0, read_roles},
    {"assignments", false, 0, read_assignments},
};

int policy_read(struct policy *out, const json_t *tree, const struct scope_types *types,
                struct failure *failure)
{
    struct reader reader = {.types = types, .failure = failure};
    unsigned given;
    if (!json_is_object(tree))
        return failure_set(failure, PERMTAB_E_INVALID, "the document must be an object");
    return read_object(&reader, NULL, tree, document_fields, sizeof document_fields / sizeof *document_fields,
                       out, &given);
}
