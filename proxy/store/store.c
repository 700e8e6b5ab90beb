/* Opening the store, and snapshots of it. A snapshot begins by finding out where in the log it is.
 *
 * SQLite: the counter's row says so. MySQL: reading that row means walking back over every change that uncommitted
 * writers have made to it, which gets slow behind a long transaction. Revisions are commit-ordered and gap-free, so
 * a snapshot sees a prefix of the log, and its end is found by asking for rows by key from the last one known. */
#include "proxy/store/store.h"

#include "proxy/base/clock.h"
#include "proxy/store/private.h"

#include <stdlib.h>
#include <string.h>

int store_open(struct store *out, const struct sql_options *options, struct failure *failure)
{
    memset(out, 0, sizeof(*out));
    int code = sql_connect(&out->sql, options, failure);
    if (code < 0)
        return code;
    struct schema_state state;
    code = schema_state_read(out->sql, &state, failure);
    if (code < 0)
        goto out;
    unsigned newest = schema_newest(sql_dialect(out->sql));
    code = schema_state_check(&state, newest, failure);
    if (code < 0)
        goto out;
    if (!state.exists || state.version < newest) {
        code = failure_set(
            failure, PERMTAB_E_SCHEMA,
            "the schema of the store has version %u and this program needs %u: run permtabd --migrate",
            state.version, newest);
        goto out;
    }
    code = schema_compare(out->sql, &out->looked.mark, failure);
    if (code < 0)
        goto out;
    out->store_id = state.store_id;
    if (sql_dialect(out->sql) == SQL_SQLITE) {
        out->path = strdup(options->url + strlen("sqlite:"));
        code = out->path ? store_files_remember(out, failure)
                         : failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    }
out:
    if (code < 0)
        store_close(out);
    return code;
}

void store_close(struct store *store)
{
    sql_close(store->sql);
    free(store->path);
    memset(store, 0, sizeof(*store));
}

int store_nonce(struct store *store, uint64_t revision, uint64_t *nonce, struct failure *failure)
{
    struct sql_statement *st =
        sql_prepare(store->sql, "SELECT nonce FROM permtab_change WHERE revision = ?", failure);
    sql_bind_u64(st, 1, revision);
    return sql_number(st, nonce, failure);
}

/* The position by the counter's row: used at first, and whenever the last known row is not found again. */
static int position_by_counter(struct store *store, struct log_position *at, struct failure *failure)
{
    struct sql_statement *st =
        sql_prepare(store->sql, "SELECT revision FROM permtab_counter WHERE one = 1", failure);
    int code = sql_number(st, &at->revision, failure);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_SCHEMA,
                           "the store's revision counter has no row: it was deleted, or the log purged");
    if (code > 0)
        code = store_nonce(store, at->revision, &at->nonce, failure);
    if (code == 0)
        return failure_set(
            failure, PERMTAB_E_SCHEMA,
            "the store's log has no row %llu, where its counter stands: it was purged, or the counter "
            "was set by hand",
            (unsigned long long)at->revision);
    uint64_t beyond;
    if (code > 0)
        code = store_nonce(store, at->revision + 1, &beyond, failure);
    if (code > 0)
        return failure_set(
            failure, PERMTAB_E_SCHEMA,
            "the store's log goes on beyond its counter, which stands at %llu: it was set back",
            (unsigned long long)at->revision);
    return code;
}

/* The position by probing from a row that is there: doubling steps up to one that is not, then bisection. */
static int position_by_probing(struct store *store, struct log_position *at, struct failure *failure)
{
    uint64_t step = 1, missing = 0;
    while (missing == 0) {
        uint64_t nonce = 0;
        int code = store_nonce(store, at->revision + step, &nonce, failure);
        if (code < 0)
            return code;
        if (code == 0) {
            missing = at->revision + step;
        } else {
            at->revision += step;
            at->nonce = nonce;
            step *= 2;
        }
    }
    while (missing - at->revision > 1) {
        uint64_t middle = at->revision + (missing - at->revision) / 2, nonce = 0;
        int code = store_nonce(store, middle, &nonce, failure);
        if (code < 0)
            return code;
        if (code == 0) {
            missing = middle;
        } else {
            at->revision = middle;
            at->nonce = nonce;
        }
    }
    return 0;
}

/* Reads the position by one statement at the beginning of a MySQL snapshot. */
static int mysql_position(struct store *store, struct log_position *at, int64_t *now, struct failure *failure)
{
    struct sql_statement *st = sql_prepare(store->sql,
                                           "SELECT store_id, " STORE_MYSQL_NOW ","
                                           " (SELECT nonce FROM permtab_change WHERE revision = ?),"
                                           " (SELECT nonce FROM permtab_change WHERE revision = ?)"
                                           " FROM permtab_store WHERE one = 1",
                                           failure);
    const struct log_position *known = &store->known;
    sql_bind_u64(st, 1, known->revision);
    sql_bind_u64(st, 2, known->revision + 1);
    int code = sql_step(st, failure);
    bool found = false, newer = false;
    if (code > 0) {
        at->store_id = sql_column_u64(st, 0);
        *now = sql_column_i64(st, 1);
        found = known->revision != 0 && !sql_column_is_null(st, 2) && sql_column_u64(st, 2) == known->nonce;
        newer = !sql_column_is_null(st, 3);
    }
    sql_reset(st);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_SCHEMA, "the row of permtab_store is missing");
    if (code < 0)
        return code;
    if (!found || at->store_id != known->store_id)
        return position_by_counter(store, at, failure);
    at->revision = known->revision;
    at->nonce = known->nonce;
    return newer ? position_by_probing(store, at, failure) : 0;
}

static int sqlite_position(struct store *store, struct log_position *at, int64_t *now,
                           struct failure *failure)
{
    struct sql_statement *st = sql_prepare(store->sql, "SELECT store_id FROM permtab_store", failure);
    int code = sql_number(st, &at->store_id, failure);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_SCHEMA, "the row of permtab_store is missing");
    if (code > 0)
        code = position_by_counter(store, at, failure);
    *now = wall_us();
    return code;
}

int store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure)
{
    int code = sql_begin(store->sql, SQL_READ_SNAPSHOT, failure);
    if (code < 0)
        return code;
    memset(at, 0, sizeof(*at));
    switch (sql_dialect(store->sql)) {
    case SQL_SQLITE:
        code = sqlite_position(store, at, now, failure);
        break;
    case SQL_MYSQL:
        code = mysql_position(store, at, now, failure);
        break;
    }
    if (code == 0 && at->store_id != store->store_id)
        code = failure_set(failure, PERMTAB_E_SCHEMA, "the store is another one now: its store id changed");
    if (code < 0) {
        sql_rollback(store->sql);
        return code;
    }
    store->snapshot = *at;
    store->snapshot_now = *now;
    store->in_snapshot = true;
    store->known = *at;
    return 0;
}

void store_snapshot_end(struct store *store)
{
    sql_rollback(store->sql);
    memset(&store->snapshot, 0, sizeof(store->snapshot));
    store->snapshot_now = 0;
    store->in_snapshot = false;
}

int store_now(struct store *store, int64_t *now, struct failure *failure)
{
    if (sql_dialect(store->sql) == SQL_SQLITE) {
        *now = wall_us();
        return 0;
    }
    struct sql_statement *st = sql_prepare(store->sql, "SELECT " STORE_MYSQL_NOW, failure);
    uint64_t number;
    int code = sql_number(st, &number, failure);
    if (code > 0)
        *now = (int64_t)number;
    return code < 0 ? code : 0;
}
