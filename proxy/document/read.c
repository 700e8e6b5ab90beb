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

struct list_shape;

/* A key of an object and the field it fills: by `read`, or with what is in a list. */
struct field {
    const char *key;
    bool required;
    size_t offset; /* of a list: where `items` and `count` of the shape begin */
    read_fn read;
    const struct list_shape *list;
};

/* A list, of objects unless its items have a `read` of their own. */
struct list_shape {
    size_t items, count; /* offsets of the pointer to the items, and of their number */
    size_t item_size;
    size_t max;
    read_fn read;
    const struct field *fields;
    size_t field_count;
    /* prepare sets defaults before; finish checks after. `given` has bit i for fields[i]. */
    int (*prepare)(void *item);
    int (*finish)(const struct reader *reader, const struct policy_place *place, void *item, unsigned given);
};

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
    return *out != NULL ? 0 : PERMTAB_E_MEMORY;
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

static int read_list(const struct reader *reader, const struct policy_place *place, const json_t *value,
                     const struct list_shape *shape, void *out);

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
        void *at = (char *)out + fields[i].offset;
        int code = fields[i].list != NULL ? read_list(reader, &here, member, fields[i].list, at)
                                          : fields[i].read(reader, &here, member, at);
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

static int read_item(const struct reader *reader, const struct policy_place *place, const json_t *value,
                     const struct list_shape *shape, void *item)
{
    unsigned given;
    if (shape->read != NULL)
        return shape->read(reader, place, value, item);
    int code = shape->prepare != NULL ? shape->prepare(item) : 0;
    if (code >= 0)
        code = read_object(reader, place, value, shape->fields, shape->field_count, item, &given);
    return code >= 0 && shape->finish != NULL ? shape->finish(reader, place, item, given) : code;
}

/* Reads a list. The count grows item by item, so that the items read can be released whenever it stops. */
static int read_list(const struct reader *reader, const struct policy_place *place, const json_t *value,
                     const struct list_shape *shape, void *out)
{
    size_t *count = (size_t *)((char *)out + shape->count);
    if (!json_is_array(value))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "must be a list");
    size_t size = json_array_size(value);
    if (size > shape->max)
        return policy_place_fail(reader->failure, PERMTAB_E_LIMIT, place, "has %zu items, more than %zu",
                                 size, shape->max);
    if (size == 0)
        return 0;
    char *items = calloc(size, shape->item_size);
    if (items == NULL)
        return PERMTAB_E_MEMORY;
    memcpy((char *)out + shape->items, &items, sizeof items);
    for (size_t i = 0; i < size; i++) {
        struct policy_place here = {.up = place, .index = i};
        ++*count;
        int code = read_item(reader, &here, json_array_get(value, i), shape, items + i * shape->item_size);
        if (code < 0)
            return code;
    }
    return 0;
}

/* ---- names ---- */

static const struct list_shape name_list = {
    .items = offsetof(struct policy_names, items),
    .count = offsetof(struct policy_names, count),
    .item_size = sizeof(char *),
    .max = POLICY_LIST_MAX,
    .read = read_permission_name,
};

/* ---- permissions ---- */

static const struct field permission_fields[] = {
    {"name", true, offsetof(struct policy_permission, name), read_permission_name, NULL},
    {"description", false, offsetof(struct policy_permission, description), read_description, NULL},
    {"requires", false, offsetof(struct policy_permission, requires), NULL, &name_list},
    {"grants_all", false, offsetof(struct policy_permission, grants_all), read_bool, NULL},
    {"deprecated", false, offsetof(struct policy_permission, deprecated), read_bool, NULL},
};

static int permission_prepare(void *item)
{
    struct policy_permission *permission = item;
    permission->description = strdup("");
    return permission->description != NULL ? 0 : PERMTAB_E_MEMORY;
}

static const struct list_shape permission_list = {
    .items = offsetof(struct policy, permissions),
    .count = offsetof(struct policy, permission_count),
    .fields = permission_fields,
    .field_count = sizeof permission_fields / sizeof *permission_fields,
    .item_size = sizeof(struct policy_permission),
    .max = PERMTAB_SHM_PERMISSIONS_MAX,
    .prepare = permission_prepare,
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
    {"role", false, 0, read_overwrite_role, NULL},
    {"user", false, 0, read_overwrite_user, NULL},
    {"allow", false, offsetof(struct policy_overwrite, allow), NULL, &name_list},
    {"deny", false, offsetof(struct policy_overwrite, deny), NULL, &name_list},
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

static const struct list_shape overwrite_list = {
    .items = offsetof(struct policy_scope, overwrites),
    .count = offsetof(struct policy_scope, overwrite_count),
    .fields = overwrite_fields,
    .field_count = sizeof overwrite_fields / sizeof *overwrite_fields,
    .item_size = sizeof(struct policy_overwrite),
    .max = POLICY_LIST_MAX,
    .finish = overwrite_finish,
};

#define SCOPE_PARENT 1 /* index of "parent" below */
static const struct field scope_fields[] = {
    {"scope", true, offsetof(struct policy_scope, key), read_scope, NULL},
    {"parent", false, offsetof(struct policy_scope, parent), read_scope, NULL},
    {"owner", false, 0, read_owner, NULL},
    {"overwrites", false, 0, NULL, &overwrite_list},
};

static int scope_finish(const struct reader *reader, const struct policy_place *place, void *item,
                        unsigned given)
{
    struct policy_scope *scope = item;
    if (scope->key.type != 0 && !(given & (1u << SCOPE_PARENT)))
        return policy_place_fail(reader->failure, PERMTAB_E_INVALID, place, "\"parent\" is missing");
    return 0;
}

static const struct list_shape scope_list = {
    .items = offsetof(struct policy, scopes),
    .count = offsetof(struct policy, scope_count),
    .fields = scope_fields,
    .field_count = sizeof scope_fields / sizeof *scope_fields,
    .item_size = sizeof(struct policy_scope),
    .max = POLICY_OBJECTS_MAX,
    .finish = scope_finish,
};

/* ---- roles ---- */

static const struct list_shape inherits_list = {
    .items = offsetof(struct policy_role, inherits),
    .count = offsetof(struct policy_role, inherits_count),
    .item_size = sizeof(uint64_t),
    .max = POLICY_LIST_MAX,
    .read = read_id,
};

static const struct field role_fields[] = {
    {"id", true, offsetof(struct policy_role, id), read_id, NULL},
    {"name", false, offsetof(struct policy_role, name), read_role_name, NULL},
    {"scope", false, offsetof(struct policy_role, scope), read_scope, NULL},
    {"default", false, offsetof(struct policy_role, is_default), read_bool, NULL},
    {"active", false, offsetof(struct policy_role, active), read_bool, NULL},
    {"inherits", false, 0, NULL, &inherits_list},
    {"allow", false, offsetof(struct policy_role, allow), NULL, &name_list},
    {"allow_own", false, offsetof(struct policy_role, allow_own), NULL, &name_list},
    {"deny", false, offsetof(struct policy_role, deny), NULL, &name_list},
};

static int role_prepare(void *item)
{
    struct policy_role *role = item;
    role->active = true;
    role->name = strdup("");
    return role->name != NULL ? 0 : PERMTAB_E_MEMORY;
}

static const struct list_shape role_list = {
    .items = offsetof(struct policy, roles),
    .count = offsetof(struct policy, role_count),
    .fields = role_fields,
    .field_count = sizeof role_fields / sizeof *role_fields,
    .item_size = sizeof(struct policy_role),
    .max = POLICY_ROLES_MAX,
    .prepare = role_prepare,
};

/* ---- assignments ---- */

static const struct field assignment_fields[] = {
    {"user", true, offsetof(struct policy_assignment, user), read_id, NULL},
    {"role", true, offsetof(struct policy_assignment, role), read_id, NULL},
    {"scope", false, 0, read_assignment_scope, NULL},
    {"expires_at", false, offsetof(struct policy_assignment, expires_at), read_time, NULL},
};

static int assignment_prepare(void *item)
{
    ((struct policy_assignment *)item)->expires_at = FACTS_NEVER;
    return 0;
}

static const struct list_shape assignment_list = {
    .items = offsetof(struct policy, assignments),
    .count = offsetof(struct policy, assignment_count),
    .fields = assignment_fields,
    .field_count = sizeof assignment_fields / sizeof *assignment_fields,
    .item_size = sizeof(struct policy_assignment),
    .max = POLICY_OBJECTS_MAX,
    .prepare = assignment_prepare,
};

/* ---- the document ---- */

static const struct field document_fields[] = {
    {"permissions", false, 0, NULL, &permission_list},
    {"scopes", false, 0, NULL, &scope_list},
    {"roles", false, 0, NULL, &role_list},
    {"assignments", false, 0, NULL, &assignment_list},
};

int policy_read(struct policy *out, const json_t *tree, const struct scope_types *types,
                struct failure *failure)
{
    struct reader reader = {.types = types, .failure = failure};
    unsigned given;
    if (!json_is_object(tree))
        return failure_set(failure, PERMTAB_E_INVALID, "the document must be an object");
    int code = read_object(&reader, NULL, tree, document_fields,
                           sizeof document_fields / sizeof *document_fields, out, &given);
    return code == PERMTAB_E_MEMORY ? failure_set(failure, code, "out of memory") : code;
}
