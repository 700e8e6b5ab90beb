/* Facts of users at a place that is known already: one statement, and so one round trip. It looks where the caller
 * believes the place's chain and the log's end to be, and what it finds there says whether that is so. Nothing in the
 * facts comes from what was believed.
 *
 * One statement outside of a transaction is a snapshot: SQLite reads it in one transaction, InnoDB in one view, which
 * is opened for the statement because sessions are REPEATABLE READ and autocommit (sql_mysql.c). The log's end is found
 * as store.c finds it: the last row that is seen, reading on by key from one that is known. */
#include "proxy/store/facts_group.h"

#include "proxy/base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Change rows that may have come since: who is further behind reads as usual. */
#define LOG_AHEAD 16u

enum row { ROW_STORE = 4, ROW_LOG = 5, ROW_LEVEL = 6 }; /* below 4: group_take */

#define LEVEL_OWNED 1u
#define LEVEL_BARE  2u
#define LEVEL_USERS 4u /* some have overwrites there */

static const char store_text[] = "SELECT 4, store_id, 0, 0, 0, NULL, 0, 0 FROM permtab_store WHERE one = 1";
static const char mysql_store_text[] = "SELECT 4, store_id, CAST(" STORE_MYSQL_NOW " AS UNSIGNED), 0, 0, NULL, 0, 0"
                                       " FROM permtab_store WHERE one = 1";
/* The parent stands where others have user and bit. */
static const char log_text[] =
    " UNION ALL SELECT 5, revision, nonce, 0, 0, NULL, 0, 0 FROM permtab_change WHERE revision BETWEEN ? AND ?"
    " UNION ALL SELECT 6, s.parent_id, COALESCE(s.owner, 0), s.type, s.id, NULL, s.parent_type,"
    " CASE WHEN s.owner IS NULL THEN 0 ELSE 1 END + CASE WHEN"
    " EXISTS (SELECT 1 FROM permtab_overwrite x WHERE x.scope_type = s.type AND x.scope_id = s.id) OR"
    " EXISTS (SELECT 1 FROM permtab_assignment x WHERE x.scope_type = s.type AND x.scope_id = s.id) OR"
    " EXISTS (SELECT 1 FROM permtab_role x WHERE x.scope_type = s.type AND x.scope_id = s.id)"
    " THEN 0 ELSE 2 END + CASE WHEN EXISTS (SELECT 1 FROM permtab_overwrite x"
    " WHERE x.scope_type = s.type AND x.scope_id = s.id AND x.subject = 'user')"
    " THEN 4 ELSE 0 END FROM permtab_scope s WHERE ";

/* What was found of the store, the log and the chain. */
struct found {
    uint64_t store_id;
    int64_t now;
    struct log_position first, last;
    uint64_t rows; /* of the log */
    uint32_t levels;
    struct scope_key parents[SCOPE_CHAIN_MAX];
};

static struct sql_statement *prepare(struct store *store, const struct store_place *place,
                                     const struct group *group, struct failure *failure)
{
    char *text = malloc(sizeof(mysql_store_text) + sizeof(log_text) + 48 * (size_t)place->levels +
                        group_text_size(group) + 32);
    if (!text) {
        (void)failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
        return NULL;
    }
    char *end = stpcpy(text, sql_dialect(store->sql) == SQL_MYSQL ? mysql_store_text : store_text);
    end = stpcpy(end, log_text);
    for (uint32_t i = 0; i < place->levels; i++)
        end = stpcpy(end, i ? " OR (s.type = ? AND s.id = ?)" : "(s.type = ? AND s.id = ?)");
    end = group_text(group, stpcpy(end, " UNION ALL "));
    (void)strcpy(end, " LIMIT ?");
    struct sql_statement *st = sql_prepare_built(store->sql, text, failure);
    free(text);
    return st;
}

static void bind(struct sql_statement *st, const struct store_place *place, const struct group *group)
{
    unsigned index = 1;
    sql_bind_u64(st, index++, place->at.revision);
    sql_bind_u64(st, index++, place->at.revision + LOG_AHEAD);
    for (uint32_t i = 0; i < place->levels; i++) {
        sql_bind_u64(st, index++, place->chain[i].type);
        sql_bind_u64(st, index++, place->chain[i].id);
    }
    index = group_bind(group, st, index);
    sql_bind_u64(st, index, 1 + (LOG_AHEAD + 1) + place->levels + *group->rows_left + 1);
}

static void take_log(struct found *found, struct sql_statement *st)
{
    struct log_position at = {.revision = sql_column_u64(st, 1), .nonce = sql_column_u64(st, 2)};
    if (found->rows == 0 || at.revision < found->first.revision)
        found->first = at;
    if (found->rows == 0 || at.revision > found->last.revision)
        found->last = at;
    found->rows++;
}

static void take_level(struct found *found, struct facts *first, struct sql_statement *st)
{
    struct scope_key key = {.id = sql_column_u64(st, 4), .type = (uint32_t)sql_column_u64(st, 3)};
    uint64_t flags = sql_column_u64(st, 7);
    for (uint32_t i = 0; i < first->chain_count; i++) {
        struct facts_scope *level = &first->chain[i];
        if (!scope_equal(level->key, key))
            continue;
        level->has_owner = (flags & LEVEL_OWNED) != 0;
        level->owner = level->has_owner ? sql_column_u64(st, 2) : 0;
        level->spares_users = (flags & LEVEL_USERS) == 0;
        level->plain = (flags & LEVEL_BARE) != 0 && !level->has_owner && key.type != 0;
        found->parents[i] = (struct scope_key){.id = sql_column_u64(st, 1), .type = (uint32_t)sql_column_u64(st, 6)};
        found->levels++;
    }
}

static int take(struct found *found, const struct group *group, struct sql_statement *st, struct failure *failure)
{
    switch (sql_column_u64(st, 0)) {
    case ROW_STORE:
        found->store_id = sql_column_u64(st, 1);
        found->now = sql_column_i64(st, 2);
        return 0;
    case ROW_LOG:
        take_log(found, st);
        return 0;
    case ROW_LEVEL:
        take_level(found, group->members[0], st);
        return 0;
    default:
        return group_take(group, st, failure);
    }
}

/* Whether all of it is where it was believed to be: the store, the row of the log with not too many behind it, and each
 * level of the chain below the one before. */
static bool as_believed(const struct store *store, const struct found *found, const struct store_place *place)
{
    if (found->store_id != store->store_id || place->at.store_id != store->store_id)
        return false;
    if (found->rows == 0 || found->rows > LOG_AHEAD || found->first.revision != place->at.revision ||
        found->first.nonce != place->at.nonce || found->last.revision - found->first.revision != found->rows - 1)
        return false;
    if (found->levels != place->levels)
        return false;
    for (uint32_t i = 1; i < place->levels; i++)
        if (!scope_equal(found->parents[i], place->chain[i - 1]))
            return false;
    return place->chain[0].type == 0 && place->chain[0].id == 0;
}

static int group_read(struct store *store, const struct store_place *place, const struct group *group,
                      struct found *found, struct failure *failure)
{
    struct sql_statement *st = prepare(store, place, group, failure);
    int code;
    bind(st, place, group);
    while ((code = sql_step(st, failure)) > 0) {
        if (sql_dialect(store->sql) == SQL_SQLITE && found->now == 0)
            found->now = wall_us();
        if ((code = take(found, group, st, failure)) < 0)
            break;
    }
    sql_reset(st);
    return code;
}

static int user_order(const void *a, const void *b)
{
    const struct facts *left = *(struct facts *const *)a, *right = *(struct facts *const *)b;
    return left->user < right->user ? -1 : left->user > right->user;
}

static void begin(const struct store_place *place, const struct facts_key *keys, size_t count, struct facts *out,
                  struct facts **members)
{
    memset(out, 0, count * sizeof(*out));
    for (size_t i = 0; i < count; i++) {
        out[i].user = keys[i].user;
        out[i].scope = facts_key_scope(&keys[i]);
        assert(scope_equal(out[i].scope, place->chain[place->levels - 1]));
        out[i].without_roles = true;
        members[i] = &out[i];
    }
    qsort(members, count, sizeof(*members), user_order);
    members[0]->chain_count = place->levels;
    for (uint32_t i = 0; i < place->levels; i++)
        members[0]->chain[i].key = place->chain[i];
}

int store_read_facts_known(struct store *store, const struct store_place *place, const struct facts_key *keys,
                           size_t count, struct facts *out, struct failure *failure)
{
    struct facts *members[STORE_KNOWN_MANY];
    size_t rows = count == 1 ? GROUP_ROWS_MAX : STORE_TOGETHER_MAX;
    struct group group = {.members = members, .count = count, .rows_left = &rows};
    struct found found = {0};
    assert(!store->in_snapshot && count > 0 && count <= STORE_KNOWN_MANY && place->levels > 0);
    begin(place, keys, count, out, members);
    int code = group_read(store, place, &group, &found, failure);
    bool good = code == 0 && as_believed(store, &found, place);
    if (good)
        code = group_share(&group, failure);
    if (!good || code < 0) {
        for (size_t i = 0; i < count; i++)
            facts_fini(&out[i]);
        return code;
    }
    for (size_t i = 0; i < count; i++) {
        out[i].revision = found.last.revision;
        out[i].nonce = found.last.nonce;
        out[i].now = found.now;
    }
    store->known = (struct log_position){store->store_id, found.last.revision, found.last.nonce};
    return 1;
}
