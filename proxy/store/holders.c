/* The assignments of a user, of a role or at a scope, as keys for the warm-up, by pages in the order of user ids: each
 * statement reads `limit` rows of an index and stops. */
#include "proxy/store/store.h"

#include "proxy/store/private.h"

#define COLUMNS "SELECT user_id, scope_type, scope_id FROM permtab_assignment "
#define OF_USER "WHERE user_id = ? AND user_id >= ? ORDER BY role_id, scope_type, scope_id LIMIT ?"
#define OF_ROLE "WHERE role_id = ? AND user_id >= ? ORDER BY user_id, scope_type, scope_id LIMIT ?"
#define AT_SCOPE "WHERE scope_type = ? AND scope_id = ? AND user_id >= ? ORDER BY user_id, role_id LIMIT ?"

/* MariaDB would begin each page with the first holder of all, and pass over those before it, unless it is told to use
 * an index, which makes it look for the first of the page there. */
static const char *const texts[][2] = {
    [STORE_HOLDERS_USER] = {[SQL_SQLITE] = COLUMNS OF_USER, [SQL_MYSQL] = COLUMNS OF_USER},
    [STORE_HOLDERS_ROLE] = {[SQL_SQLITE] = COLUMNS OF_ROLE,
                            [SQL_MYSQL] = COLUMNS "FORCE INDEX (permtab_assignment_role) " OF_ROLE},
    [STORE_HOLDERS_SCOPE] = {[SQL_SQLITE] = COLUMNS AT_SCOPE,
                             [SQL_MYSQL] = COLUMNS "FORCE INDEX (permtab_assignment_scope) " AT_SCOPE},
};

int store_read_holders(struct store *store, const struct store_holders *of, uint64_t from, struct facts_key *keys,
                       size_t limit, size_t *count, struct failure *failure)
{
    struct sql_statement *st = sql_prepare(store->sql, texts[of->which][sql_dialect(store->sql)], failure);
    int at = 0, code;
    if (of->which == STORE_HOLDERS_SCOPE) {
        sql_bind_u64(st, ++at, of->scope.type);
        sql_bind_u64(st, ++at, of->scope.id);
    } else {
        sql_bind_u64(st, ++at, of->id);
    }
    sql_bind_u64(st, ++at, from);
    sql_bind_u64(st, ++at, limit);
    for (*count = 0; (code = sql_step(st, failure)) > 0 && *count < limit;) {
        struct scope_key scope = {.id = sql_column_u64(st, 2), .type = (uint32_t)sql_column_u64(st, 1)};
        keys[(*count)++] = facts_key_of(sql_column_u64(st, 0), scope);
    }
    sql_reset(st);
    return code < 0 ? code : 0;
}
