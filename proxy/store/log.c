/* The log of changes: whether there is something newer, the changes, the assignments that expired, and the trimming
 * of old rows. Only committed rows are ever seen, and they are read by key: rows of uncommitted writers cost time
 * to step over. */
#include "proxy/store/store.h"

#include "proxy/base/clock.h"
#include "proxy/store/private.h"

#include <string.h>

/* ---- the poll ------------------------------------------------------------------------------------------------ */

/* Columns: store id, nonce at ?, nonce at ?, clock, read only, counter. SQLite has its clock outside, MySQL's
 * counter is not read (store.c says why). */
static const char *poll_text(enum sql_dialect dialect)
{
    switch (dialect) {
    case SQL_SQLITE:
        return "SELECT store_id, (SELECT nonce FROM permtab_change WHERE revision = ?),"
               " (SELECT nonce FROM permtab_change WHERE revision = ?), 0, 0,"
               " (SELECT revision FROM permtab_counter) FROM permtab_store WHERE one = 1";
    case SQL_MYSQL:
        return "SELECT store_id, (SELECT nonce FROM permtab_change WHERE revision = ?),"
               " (SELECT nonce FROM permtab_change WHERE revision = ?), " STORE_MYSQL_NOW ","
               " @@global.read_only, NULL FROM permtab_store WHERE one = 1";
    }
    return NULL;
}

static int poll_judge(struct sql_statement *st, const struct log_position *at, bool *newer,
                      struct failure *failure)
{
    unsigned long long revision = at->revision;
    *newer = !sql_column_is_null(st, 2);
    if (sql_column_u64(st, 0) != at->store_id)
        return failure_set(failure, PERMTAB_E_SCHEMA, "the store is another one now: its store id changed");
    if (sql_column_is_null(st, 1))
        return failure_set(failure, PERMTAB_E_SCHEMA,
                           "change %llu is no longer in the store's log: an older backup, or purged rows",
                           revision);
    if (sql_column_u64(st, 1) != at->nonce)
        return failure_set(failure, PERMTAB_E_SCHEMA,
                           "change %llu is another one than before: the store's history was replaced",
                           revision);
    const char *read_only = sql_column_text(st, 4);
    if (strcmp(read_only, "0") != 0 && strcmp(read_only, "OFF") != 0)
        return failure_set(failure, PERMTAB_E_SCHEMA,
                           "the store's server is read only: a replica, or a primary "
                           "that was taken out of service");
    if (!sql_column_is_null(st, 5)) {
        uint64_t counter = sql_column_u64(st, 5);
        if (counter < at->revision || (counter > at->revision) != *newer)
            return failure_set(
                failure, PERMTAB_E_SCHEMA,
                "the store's counter stands at %llu, which its log contradicts at %llu: it was set by "
                "hand, or change rows were removed",
                (unsigned long long)counter, revision);
    }
    return 0;
}

int store_poll(struct store *store, const struct log_position *at, bool *newer, int64_t *now,
               struct failure *failure)
{
    enum sql_dialect dialect = sql_dialect(store->sql);
    *newer = false;
    if (dialect == SQL_SQLITE) {
        int code = store_files_check(store, failure);
        if (code < 0)
            return code;
    }
    struct sql_statement *st = sql_prepare(store->sql, poll_text(dialect), failure);
    sql_bind_u64(st, 1, at->revision);
    sql_bind_u64(st, 2, at->revision + 1);
    int code = sql_step(st, failure);
    if (code > 0) {
        *now = dialect == SQL_SQLITE ? wall_us() : sql_column_i64(st, 3);
        code = poll_judge(st, at, newer, failure);
    } else if (code == 0) {
        code = failure_set(failure, PERMTAB_E_SCHEMA, "the row of permtab_store is missing");
    }
    sql_reset(st);
    return code;
}

/* ---- what changed --------------------------------------------------------------------------------------------- */

int store_read_changes(struct store *store, uint64_t after, size_t limit, struct change_list *out,
                       struct failure *failure)
{
    uint64_t end = store->snapshot.revision;
    memset(out, 0, sizeof(*out));
    if (end < after)
        return failure_set(failure, PERMTAB_E_SCHEMA,
                           "the store is at revision %llu, behind %llu, where it was before",
                           (unsigned long long)end, (unsigned long long)after);
    if (end - after > limit)
        return failure_set(failure, PERMTAB_E_LIMIT, "%llu changes at once, more than %zu",
                           (unsigned long long)(end - after), limit);
    struct sql_statement *st =
        sql_prepare(store->sql,
                    "SELECT revision, kind, user_id, role_id, scope_type, scope_id, nonce, at"
                    " FROM permtab_change WHERE revision > ? AND revision <= ?"
                    " ORDER BY revision",
                    failure);
    sql_bind_u64(st, 1, after);
    sql_bind_u64(st, 2, end);
    uint64_t expected = after;
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        if (sql_column_u64(st, 0) != ++expected)
            break;
        struct change *change = change_list_add(out);
        if (!change) {
            code = failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
            break;
        }
        change->revision = expected;
        uint64_t kind = sql_column_u64(st, 1);
        /* A kind from a later version of the schema becomes CHANGE_STORE: all we know is that something changed. */
        change->kind =
            kind >= CHANGE_PERMISSION && kind <= CHANGE_STORE ? (enum change_kind)kind : CHANGE_STORE;
        change->nonce = sql_column_u64(st, 6);
        change->at = sql_column_i64(st, 7);
        change->user = sql_column_u64(st, 2);
        change->role = sql_column_u64(st, 3);
        change->scope =
            (struct scope_key){.id = sql_column_u64(st, 5), .type = (uint32_t)sql_column_u64(st, 4)};
    }
    sql_reset(st);
    if (code >= 0 && (code > 0 || expected != end))
        code = failure_set(failure, PERMTAB_E_SCHEMA, "change %llu is missing from the store's log",
                           (unsigned long long)expected + (code == 0));
    if (code < 0)
        change_list_fini(out);
    return code;
}

int store_read_expired(struct store *store, int64_t from, int64_t to, size_t limit, struct change_list *out,
                       struct failure *failure)
{
    memset(out, 0, sizeof(*out));
    struct sql_statement *st =
        sql_prepare(store->sql,
                    "SELECT user_id, role_id, scope_type, scope_id FROM permtab_assignment"
                    " WHERE expires_at > ? AND expires_at <= ? LIMIT ?",
                    failure);
    sql_bind_i64(st, 1, from);
    sql_bind_i64(st, 2, to);
    sql_bind_u64(st, 3, (uint64_t)limit + 1);
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        struct change *change = out->count < limit ? change_list_add(out) : NULL;
        if (!change) {
            code = out->count < limit ? failure_set(failure, PERMTAB_E_MEMORY, "out of memory")
                                      : failure_set(failure, PERMTAB_E_LIMIT,
                                                    "more than %zu assignments expired at once", limit);
            break;
        }
        change->kind = CHANGE_ASSIGNMENT;
        change->user = sql_column_u64(st, 0);
        change->role = sql_column_u64(st, 1);
        change->scope =
            (struct scope_key){.id = sql_column_u64(st, 3), .type = (uint32_t)sql_column_u64(st, 2)};
    }
    sql_reset(st);
    if (code < 0)
        change_list_fini(out);
    return code;
}

/* ---- retention ------------------------------------------------------------------------------------------------ */

/* One number; *found is false for NULL and for no row. */
static int number_read(struct sql_statement *st, uint64_t *value, bool *found, struct failure *failure)
{
    int code = sql_step(st, failure);
    *found = code > 0 && !sql_column_is_null(st, 0);
    if (*found)
        *value = sql_column_u64(st, 0);
    sql_reset(st);
    return code < 0 ? code : 0;
}

/* The oldest row that stays: rows before it are old enough, beyond the number kept, and not more than a slice. It
 * is searched in a slice from the log's beginning, because rows are removed from there and nowhere else. */
static int trim_bound(struct store *store, int64_t cutoff, uint64_t last, size_t slice, uint64_t *bound,
                      struct failure *failure)
{
    bool found;
    uint64_t first, young;
    *bound = 0;
    struct sql_statement *st =
        sql_prepare(store->sql, "SELECT revision FROM permtab_change ORDER BY revision LIMIT 1", failure);
    int code = number_read(st, &first, &found, failure);
    if (code < 0 || !found || first >= last)
        return code;
    uint64_t end = last - first > slice ? first + slice : last;
    st = sql_prepare(store->sql,
                     "SELECT revision FROM permtab_change WHERE revision >= ? AND revision < ? AND at >= ?"
                     " ORDER BY revision LIMIT 1",
                     failure);
    sql_bind_u64(st, 1, first);
    sql_bind_u64(st, 2, end);
    sql_bind_i64(st, 3, cutoff);
    code = number_read(st, &young, &found, failure);
    *bound = found ? young : end;
    return code;
}

int store_trim_changes(struct store *store, int64_t keep_us, uint64_t keep_rows, size_t slice,
                       struct failure *failure)
{
    if (store->sql->read_only)
        return failure_set(failure, PERMTAB_E_INVALID, "this connection to the store is for reading only");
    struct log_position at;
    int64_t now;
    uint64_t bound = 0;
    int code = store_snapshot(store, &at, &now, failure);
    if (code < 0)
        return code;
    uint64_t kept = keep_rows > 0 ? keep_rows : 1;
    if (at.revision > kept)
        code = trim_bound(store, now - keep_us, at.revision - kept + 1, slice, &bound, failure);
    store_snapshot_end(store);
    if (code < 0 || bound == 0)
        return code;
    /* The trimming thread polls, too, and must not wait behind a long write for longer than a lease. */
    if (sql_dialect(store->sql) == SQL_SQLITE)
        code = sql_execute(store->sql, "PRAGMA busy_timeout = 20", failure);
    if (code < 0)
        return code;
    struct sql_statement *st =
        sql_prepare(store->sql, "DELETE FROM permtab_change WHERE revision < ?", failure);
    sql_bind_u64(st, 1, bound);
    code = sql_run(st, failure);
    return code < 0 ? code : (int)sql_changes(store->sql);
}
