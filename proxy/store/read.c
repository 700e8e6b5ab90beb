/* Facts: what the store says about users at places. Three round trips for each place and one for each level of
 * inheritance, however many users are asked about: the chain with its marks, everything that hangs on it, the roles.
 * What does not depend on the user is read once and given to each. */
#include "proxy/base/array.h"
#include "proxy/store/store.h"

#include "proxy/store/private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The chain from the scope upwards. A parent must have a lower type, which also ends the walk. */
static const char chain_text[] =
    "WITH RECURSIVE chain (type, id, parent_type, parent_id, owner) AS ("
    " SELECT type, id, parent_type, parent_id, owner FROM permtab_scope WHERE type = ? AND id = ?"
    " UNION ALL"
    " SELECT s.type, s.id, s.parent_type, s.parent_id, s.owner FROM chain c"
    " JOIN permtab_scope s ON s.type = c.parent_type AND s.id = c.parent_id WHERE s.type < c.type)"
    " SELECT type, id, parent_type, parent_id, owner,"
    " EXISTS (SELECT 1 FROM permtab_overwrite x WHERE x.scope_type = chain.type AND x.scope_id = chain.id),"
    " EXISTS (SELECT 1 FROM permtab_assignment x WHERE x.scope_type = chain.type AND x.scope_id = chain.id),"
    " EXISTS (SELECT 1 FROM permtab_role x WHERE x.scope_type = chain.type AND x.scope_id = chain.id)"
    " FROM chain ORDER BY type";

/* Whether a row continues the chain: the first is global, each next one's parent is the one before. */
static bool chain_fits(const struct facts *facts, struct scope_key key, struct scope_key parent)
{
    if (facts->chain_count == 0)
        return key.type == 0 && key.id == 0;
    return facts->chain_count < SCOPE_CHAIN_MAX &&
           scope_equal(parent, facts->chain[facts->chain_count - 1].key);
}

static int chain_read(struct store *store, struct facts *out, struct failure *failure)
{
    struct sql_statement *st = sql_prepare(store->sql, chain_text, failure);
    sql_bind_u64(st, 1, out->scope.type);
    sql_bind_u64(st, 2, out->scope.id);
    bool whole = true;
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        struct facts_scope level = {
            .key = {.id = sql_column_u64(st, 1), .type = (uint32_t)sql_column_u64(st, 0)},
            .has_owner = !sql_column_is_null(st, 4),
            .owner = sql_column_u64(st, 4),
        };
        struct scope_key parent = {.id = sql_column_u64(st, 3), .type = (uint32_t)sql_column_u64(st, 2)};
        bool bare = !sql_column_u64(st, 5) && !sql_column_u64(st, 6) && !sql_column_u64(st, 7);
        level.plain = bare && !level.has_owner && level.key.type != 0;
        if (!whole || !chain_fits(out, level.key, parent)) {
            whole = false;
            continue;
        }
        out->chain[out->chain_count++] = level;
    }
    sql_reset(st);
    if (!whole || (out->chain_count && !scope_equal(out->chain[out->chain_count - 1].key, out->scope))) {
        out->chain_count = 0;
        out->broken = true;
    }
    return code;
}

/* ---- a place and the users who are asked about there ------------------------------------------------------------ */

/* What the users of a place have in common is kept by the first of them until it is given to all. */
struct group {
    struct facts **members; /* sorted by user, all at one scope */
    size_t count;
    size_t *rows_left; /* of all groups of the read */
};

static int no_memory(struct failure *failure)
{
    return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
}

static int too_many(struct failure *failure, const char *what, unsigned limit)
{
    return failure_set(failure, PERMTAB_E_LIMIT, "more than %u %s for one answer", limit, what);
}

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int user_order(const void *user, const void *member)
{
    return compare(*(const uint64_t *)user, (*(struct facts *const *)member)->user);
}

static struct facts *member_of(const struct group *group, uint64_t user)
{
    struct facts **found = bsearch(&user, group->members, group->count, sizeof(*group->members), user_order);
    return found ? *found : NULL;
}

static void chain_give(const struct group *group)
{
    const struct facts *first = group->members[0];
    for (size_t i = 1; i < group->count; i++) {
        struct facts *member = group->members[i];
        memcpy(member->chain, first->chain, sizeof(member->chain));
        member->chain_count = first->chain_count;
        member->broken = first->broken;
    }
}

/* ---- what hangs on the chain ---------------------------------------------------------------------------------- */

enum hanging { HANGING_ASSIGNMENT = 1, HANGING_DEFAULT = 2, HANGING_OVERWRITE = 3 };

#define OVERWRITE_ALLOWS  1u
#define OVERWRITE_OF_USER 2u

#define HANGING_MAX (STORE_ASSIGNMENTS_MAX + STORE_ROLES_MAX + STORE_OVERWRITES_MAX)

/* Columns: what, user, role, scope type, scope id, expires_at, bit, flags. Of user and role an overwrite has one, and
 * a default role the latter. Each part goes on with a list of users, or none, and the chain. */
static const struct hanging_part {
    const char *before, *between;
    const char *column; /* of the scope */
} hanging_parts[] = {
    {"SELECT 1, user_id, role_id, scope_type, scope_id, expires_at, 0, 0 FROM permtab_assignment WHERE user_id IN (",
     ") AND (", "scope"},
    {NULL,
     ") UNION ALL SELECT 2, id, id, scope_type, scope_id, NULL, 0, 0 FROM permtab_role WHERE is_default = 1 AND (",
     "scope"},
    {") UNION ALL SELECT 3, o.subject_id, o.subject_id, o.scope_type, o.scope_id, NULL, p.bit,"
     " CASE o.effect WHEN 'allow' THEN 1 ELSE 0 END + CASE o.subject WHEN 'role' THEN 0 ELSE 2 END"
     " FROM permtab_overwrite o JOIN permtab_permission p ON p.name = o.permission"
     " WHERE (o.subject = 'role' OR o.subject_id IN (",
     ")) AND (", "o.scope"},
};

#define HANGING_PARTS (sizeof(hanging_parts) / sizeof(*hanging_parts))

/* Lists have a few fixed lengths, filled up by repeating the last user, so few texts are prepared. */
static size_t list_length(size_t users)
{
    return users == 1 ? 1 : users <= 8 ? 8 : STORE_FACTS_MANY;
}

/* malloc'ed; NULL when memory is short. */
static char *hanging_text(size_t users, uint32_t levels)
{
    char *text = malloc(2048 + HANGING_PARTS * (2 * users + 48 * (size_t)levels));
    if (!text)
        return NULL;
    char *end = text;
    for (size_t part = 0; part < HANGING_PARTS; part++) {
        if (hanging_parts[part].before) {
            end = stpcpy(end, hanging_parts[part].before);
            for (size_t i = 0; i < users; i++)
                end = stpcpy(end, i ? ",?" : "?");
        }
        end = stpcpy(end, hanging_parts[part].between);
        for (uint32_t i = 0; i < levels; i++)
            end += sprintf(end, "%s(%s_type = ? AND %s_id = ?)", i ? " OR " : "", hanging_parts[part].column,
                           hanging_parts[part].column);
    }
    (void)strcpy(end, ") LIMIT ?");
    return text;
}

static struct sql_statement *hanging_prepare(struct store *store, const struct group *group,
                                             struct failure *failure)
{
    const struct facts *first = group->members[0];
    size_t users = list_length(group->count);
    char *text = hanging_text(users, first->chain_count);
    if (!text) {
        (void)no_memory(failure);
        return NULL;
    }
    struct sql_statement *st = sql_prepare_built(store->sql, text, failure);
    free(text);
    unsigned index = 1;
    for (size_t part = 0; part < HANGING_PARTS; part++) {
        for (size_t i = 0; hanging_parts[part].before && i < users; i++)
            sql_bind_u64(st, index++, group->members[i < group->count ? i : group->count - 1]->user);
        for (uint32_t i = 0; i < first->chain_count; i++) {
            sql_bind_u64(st, index++, first->chain[i].key.type);
            sql_bind_u64(st, index++, first->chain[i].key.id);
        }
    }
    sql_bind_u64(st, index, *group->rows_left + 1);
    return st;
}

static uint32_t level_of(const struct facts *facts, struct scope_key key)
{
    uint32_t level = 0;
    while (level < facts->chain_count && !scope_equal(facts->chain[level].key, key))
        level++;
    return level;
}

static int assignment_take(struct facts *out, struct sql_statement *st, uint32_t level,
                           struct failure *failure)
{
    if (out->assignment_count == STORE_ASSIGNMENTS_MAX)
        return too_many(failure, "assignments", STORE_ASSIGNMENTS_MAX);
    struct facts_assignment *item = array_add(&out->assignments, &out->assignment_count, sizeof(*item));
    if (!item)
        return no_memory(failure);
    item->role = sql_column_u64(st, 2);
    item->level = level;
    item->expires_at = sql_column_is_null(st, 5) ? FACTS_NEVER : sql_column_i64(st, 5);
    return 0;
}

static int default_take(struct facts *out, struct sql_statement *st, uint32_t level, struct failure *failure)
{
    if (out->default_count == STORE_ROLES_MAX)
        return too_many(failure, "default roles", STORE_ROLES_MAX);
    struct facts_default *item = array_add(&out->defaults, &out->default_count, sizeof(*item));
    if (!item)
        return no_memory(failure);
    item->role = sql_column_u64(st, 2);
    item->level = level;
    return 0;
}

static int overwrite_take(struct facts *out, struct sql_statement *st, uint32_t level,
                          struct failure *failure)
{
    if (out->overwrite_count == STORE_OVERWRITES_MAX)
        return too_many(failure, "overwrites", STORE_OVERWRITES_MAX);
    struct facts_overwrite *item = array_add(&out->overwrites, &out->overwrite_count, sizeof(*item));
    if (!item)
        return no_memory(failure);
    uint64_t flags = sql_column_u64(st, 7);
    item->level = level;
    item->subject = flags & OVERWRITE_OF_USER ? OVERWRITE_USER : OVERWRITE_ROLE;
    item->role = item->subject == OVERWRITE_ROLE ? sql_column_u64(st, 2) : 0;
    item->bit = (uint32_t)sql_column_u64(st, 6);
    item->allow = (flags & OVERWRITE_ALLOWS) != 0;
    return 0;
}

/* Whose row it is: the member's that it names, or the first one's, who keeps what all have in common. */
static struct facts *owner_of(const struct group *group, struct sql_statement *st)
{
    enum hanging what = (enum hanging)sql_column_u64(st, 0);
    bool personal = what == HANGING_ASSIGNMENT ||
                    (what == HANGING_OVERWRITE && (sql_column_u64(st, 7) & OVERWRITE_OF_USER) != 0);
    return personal ? member_of(group, sql_column_u64(st, 1)) : group->members[0];
}

static int hanging_take(const struct group *group, struct sql_statement *st, struct failure *failure)
{
    struct scope_key key = {.id = sql_column_u64(st, 4), .type = (uint32_t)sql_column_u64(st, 3)};
    struct facts *owner = owner_of(group, st);
    uint32_t level = level_of(group->members[0], key);
    if (!owner) /* ids that the store takes for equal, and we do not */
        return 0;
    switch ((enum hanging)sql_column_u64(st, 0)) {
    case HANGING_ASSIGNMENT:
        return assignment_take(owner, st, level, failure);
    case HANGING_DEFAULT:
        return default_take(owner, st, level, failure);
    case HANGING_OVERWRITE:
        return overwrite_take(owner, st, level, failure);
    }
    return 0;
}

static int hanging_read(struct store *store, const struct group *group, struct failure *failure)
{
    struct sql_statement *st = hanging_prepare(store, group, failure);
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        code = *group->rows_left == 0
                   ? failure_set(failure, PERMTAB_E_LIMIT, "there are too many rows for one read")
                   : hanging_take(group, st, failure);
        if (code < 0)
            break;
        --*group->rows_left;
    }
    sql_reset(st);
    return code;
}

/* ---- what all have in common ---------------------------------------------------------------------------------- */

/* A place with more of it than this has its users read one by one, or the copies would take too much memory. */
#define COMMON_MAX 1024u

/* How many of the first member's rows are everybody's: its own overwrites are moved behind them. */
static size_t common_overwrites(struct facts *first)
{
    size_t common = 0;
    for (size_t i = 0; i < first->overwrite_count; i++) {
        struct facts_overwrite row = first->overwrites[i];
        if (row.subject == OVERWRITE_USER)
            continue;
        first->overwrites[i] = first->overwrites[common];
        first->overwrites[common++] = row;
    }
    return common;
}

static int rows_give(void *to, size_t *count, const void *from, size_t rows, size_t size)
{
    for (size_t i = 0; i < rows; i++) {
        void *row = array_add(to, count, size);
        if (!row)
            return PERMTAB_E_MEMORY;
        memcpy(row, (const char *)from + i * size, size);
    }
    return 0;
}

static int common_give(const struct group *group, struct failure *failure)
{
    struct facts *first = group->members[0];
    size_t overwrites = common_overwrites(first);
    if (group->count > 1 && first->default_count + overwrites > COMMON_MAX)
        return too_many(failure, "rows in common", COMMON_MAX);
    for (size_t i = 1; i < group->count; i++) {
        struct facts *member = group->members[i];
        if (rows_give(&member->defaults, &member->default_count, first->defaults, first->default_count,
                      sizeof(*first->defaults)) < 0 ||
            rows_give(&member->overwrites, &member->overwrite_count, first->overwrites, overwrites,
                      sizeof(*first->overwrites)) < 0)
            return no_memory(failure);
    }
    return 0;
}

static int overwrite_order(const void *a, const void *b)
{
    const struct facts_overwrite *left = a, *right = b;
    if (left->level != right->level)
        return left->level < right->level ? -1 : 1;
    return 0;
}

static void overwrites_sort(const struct group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        struct facts *member = group->members[i];
        if (member->overwrite_count > 1)
            qsort(member->overwrites, member->overwrite_count, sizeof(*member->overwrites), overwrite_order);
    }
}

static int group_read(struct store *store, const struct group *group, struct failure *failure)
{
    int code = chain_read(store, group->members[0], failure);
    if (code < 0)
        return code;
    chain_give(group);
    if (group->members[0]->chain_count > 0)
        code = hanging_read(store, group, failure);
    if (code == 0)
        code = common_give(group, failure);
    overwrites_sort(group);
    return code;
}

/* Users of one place stand side by side. */
static int place_order(const void *a, const void *b)
{
    const struct facts *left = *(struct facts *const *)a, *right = *(struct facts *const *)b;
    int order = compare(left->scope.type, right->scope.type);
    if (order == 0)
        order = compare(left->scope.id, right->scope.id);
    return order ? order : compare(left->user, right->user);
}

static int groups_read(struct store *store, struct facts *facts, size_t count, struct failure *failure)
{
    struct facts *members[STORE_FACTS_MANY];
    size_t rows = count == 1 ? HANGING_MAX : STORE_TOGETHER_MAX;
    int code = 0;
    for (size_t i = 0; i < count; i++)
        members[i] = &facts[i];
    qsort(members, count, sizeof(*members), place_order);
    for (size_t i = 1; i < count; i++)
        assert(place_order(&members[i - 1], &members[i]) != 0); /* rows would go to one of the two */
    for (size_t at = 0, end; at < count && code == 0; at = end) {
        end = at + 1;
        while (end < count && scope_equal(members[end]->scope, members[at]->scope))
            end++;
        struct group group = {.members = members + at, .count = end - at, .rows_left = &rows};
        code = group_read(store, &group, failure);
    }
    return code;
}

/* ---- all of it ------------------------------------------------------------------------------------------------ */

int store_read_facts_many(struct store *store, const struct facts_key *keys, size_t count, struct facts *out,
                          struct failure *failure)
{
    assert(store->in_snapshot && count > 0 && count <= STORE_FACTS_MANY);
    memset(out, 0, count * sizeof(*out));
    for (size_t i = 0; i < count; i++) {
        out[i].revision = store->snapshot.revision;
        out[i].nonce = store->snapshot.nonce;
        out[i].now = store->snapshot_now;
        out[i].user = keys[i].user;
        out[i].scope = facts_key_scope(&keys[i]);
    }
    int code = groups_read(store, out, count, failure);
    if (code == 0)
        code = store_give_roles(store, out, count, failure);
    for (size_t i = 0; i < count && code < 0; i++)
        facts_fini(&out[i]);
    return code;
}

int store_read_facts(struct store *store, uint64_t user, struct scope_key scope, struct facts *out,
                     struct failure *failure)
{
    struct facts_key key = facts_key_of(user, scope);
    return store_read_facts_many(store, &key, 1, out, failure);
}
