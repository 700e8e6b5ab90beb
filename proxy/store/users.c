/* The users that have rows of their own, by slices of their ids: each statement reads `limit` rows of an index and
 * stops, however many there are. */
#include "proxy/store/store.h"

#include "proxy/store/private.h"

static const char *const texts[] = {
    [STORE_USERS_ASSIGNED] =
        "SELECT user_id FROM permtab_assignment WHERE user_id >= ? ORDER BY user_id LIMIT ?",
    [STORE_USERS_OVERWRITTEN] = "SELECT subject_id FROM permtab_overwrite WHERE subject = 'user'"
                                " AND subject_id >= ? ORDER BY subject_id LIMIT ?",
};

/* SQLite's ids are signed, and so is their order. */
uint64_t store_users_first(const struct store *store)
{
    switch (sql_dialect(store->sql)) {
    case SQL_SQLITE:
        return (uint64_t)INT64_MIN;
    case SQL_MYSQL:
        return 0;
    }
    return 0;
}

int store_read_users(struct store *store, enum store_users which, uint64_t from, uint64_t *users,
                     size_t limit, size_t *count, struct failure *failure)
{
    struct sql_statement *st = sql_prepare(store->sql, texts[which], failure);
    sql_bind_u64(st, 1, from);
    sql_bind_u64(st, 2, limit);
    int code;
    for (*count = 0; (code = sql_step(st, failure)) > 0 && *count < limit;)
        users[(*count)++] = sql_column_u64(st, 0);
    sql_reset(st);
    return code < 0 ? code : 0;
}
