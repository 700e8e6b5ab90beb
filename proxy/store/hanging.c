/* Users are named one by one, or as a range of ids. A range is read along the primary key, and so without a condition
 * on the scope, which could make the store walk another index: the reader passes over what is elsewhere. */
#include "proxy/store/hanging.h"

#include <stdio.h>
#include <string.h>

/* Each part goes on with the users, or not, and the chain. */
static const struct part {
    const char *before; /* users are named behind it; NULL: none are */
    const char *user, *between;
    const char *column; /* of the scope */
} parts[] = {
    {"SELECT 1, user_id, role_id, scope_type, scope_id, expires_at, 0, 0 FROM permtab_assignment WHERE ", "user_id",
     " AND (", "scope"},
    {NULL, NULL,
     " UNION ALL SELECT 2, id, id, scope_type, scope_id, NULL, 0, 0 FROM permtab_role WHERE is_default = 1 AND (",
     "scope"},
    {" UNION ALL SELECT 3, o.subject_id, o.subject_id, o.scope_type, o.scope_id, NULL, p.bit,"
     " CASE o.effect WHEN 'allow' THEN 1 ELSE 0 END + CASE o.subject WHEN 'role' THEN 0 ELSE 2 END"
     " FROM permtab_overwrite o JOIN permtab_permission p ON p.name = o.permission"
     " WHERE (o.subject = 'role' OR ",
     "o.subject_id", ") AND (", "o.scope"},
};

#define PARTS (sizeof(parts) / sizeof(*parts))

/* Lists are filled up by repeating the last user, so few texts are prepared. */
static size_t list_length(size_t users)
{
    return users == 1                  ? 1
           : users <= 8                ? 8
           : users <= STORE_FACTS_MANY ? STORE_FACTS_MANY
           : users <= STORE_KNOWN_MANY ? STORE_KNOWN_MANY
                                       : HANGING_LIST_MAX;
}

static bool has_scope(const struct hanging *hanging, size_t part)
{
    return part > 0 || !hanging->range;
}

size_t hanging_text_size(const struct hanging *hanging)
{
    return 1024 + PARTS * (2 * list_length(hanging->count) + 48 * (size_t)hanging->levels);
}

static char *users_text(const struct hanging *hanging, const char *column, char *end)
{
    if (hanging->range)
        return end + sprintf(end, "%s BETWEEN ? AND ?", column);
    end += sprintf(end, "%s IN (?", column);
    for (size_t i = 1; i < list_length(hanging->count); i++)
        end = stpcpy(end, ",?");
    return stpcpy(end, ")");
}

char *hanging_text(const struct hanging *hanging, char *end)
{
    for (size_t part = 0; part < PARTS; part++) {
        if (parts[part].before)
            end = users_text(hanging, parts[part].user, stpcpy(end, parts[part].before));
        if (!has_scope(hanging, part))
            continue;
        end = stpcpy(end, parts[part].between);
        for (uint32_t i = 0; i < hanging->levels; i++)
            end += sprintf(end, "%s(%s_type = ? AND %s_id = ?)", i ? " OR " : "", parts[part].column,
                           parts[part].column);
        end = stpcpy(end, ")");
    }
    return end;
}

unsigned hanging_bind(const struct hanging *hanging, struct sql_statement *st, unsigned index)
{
    size_t users = hanging->range ? hanging->count : list_length(hanging->count);
    for (size_t part = 0; part < PARTS; part++) {
        for (size_t i = 0; parts[part].before && i < users; i++)
            sql_bind_u64(st, index++, hanging->users[i < hanging->count ? i : hanging->count - 1]);
        for (uint32_t i = 0; has_scope(hanging, part) && i < hanging->levels; i++) {
            sql_bind_u64(st, index++, hanging->chain[i].key.type);
            sql_bind_u64(st, index++, hanging->chain[i].key.id);
        }
    }
    return index;
}

uint32_t hanging_level(const struct facts *facts, struct scope_key key)
{
    uint32_t level = 0;
    while (level < facts->chain_count && !scope_equal(facts->chain[level].key, key))
        level++;
    return level;
}
