/* Facts: what the store says about users at places. Three round trips for each place and one for each level of
 * inheritance, however many users are asked about: the chain with its marks, everything that hangs on it, the roles.
 * What does not depend on the user is read once and given to each. */
#include "proxy/store/facts_group.h"

#include <assert.h>
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
    " EXISTS (SELECT 1 FROM permtab_role x WHERE x.scope_type = chain.type AND x.scope_id = chain.id),"
    " EXISTS (SELECT 1 FROM permtab_overwrite x WHERE x.scope_type = chain.type AND x.scope_id = chain.id"
    " AND x.subject = 'user')"
    " FROM chain ORDER BY type";

/* Whether a row continues the chain: the first is global, each next one's parent is the one before. */
static bool chain_fits(const struct facts *facts, struct scope_key key, struct scope_key parent)
{
    if (facts->chain_count == 0)
        return key.type == 0 && key.id == 0;
    return facts->chain_count < SCOPE_CHAIN_MAX &&
           scope_equal(parent, facts->chain[facts->chain_count - 1].key);
}

int chain_read(struct store *store, struct facts *out, struct failure *failure)
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
            .spares_users = !sql_column_u64(st, 8),
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

static struct sql_statement *hanging_prepare(struct store *store, const struct group *group,
                                             struct failure *failure)
{
    char *text = malloc(group_text_size(group) + sizeof(" LIMIT ?"));
    if (!text) {
        (void)failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
        return NULL;
    }
    (void)strcpy(group_text(group, text), " LIMIT ?");
    struct sql_statement *st = sql_prepare_built(store->sql, text, failure);
    free(text);
    sql_bind_u64(st, group_bind(group, st, 1), *group->rows_left + 1);
    return st;
}

static int hanging_read(struct store *store, const struct group *group, struct failure *failure)
{
    struct sql_statement *st = hanging_prepare(store, group, failure);
    int code;
    while ((code = sql_step(st, failure)) > 0)
        if ((code = group_take(group, st, failure)) < 0)
            break;
    sql_reset(st);
    return code;
}

static int group_read(struct store *store, const struct group *group, struct failure *failure)
{
    int code = chain_read(store, group->members[0], failure);
    if (code == 0 && group->members[0]->chain_count > 0)
        code = hanging_read(store, group, failure);
    return code == 0 ? group_share(group, failure) : code;
}

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
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
    size_t rows = count == 1 ? GROUP_ROWS_MAX : STORE_TOGETHER_MAX;
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
