/* The rows of one user at a place of which everything else is known: the cheapest statement that says at which revision
 * it was read. Two or three tables are read by key: the log, from the row that is known on, the user's assignments,
 * and whether there is an overwrite for the user, unless nobody has one there.
 *
 * Snapshot and log are as in read_known.c. The store's id is not read: the random number of a row of the log says as
 * much, and each poll looks for the id.
 *
 * Each row of the log comes with each of the user's rows, so those of its first row count. Scopes are compared by id
 * alone here, by which no index of MariaDB begins, and by both here: assignments are read along the primary key. */
#include "proxy/store/private.h"

#include "proxy/base/array.h"
#include "proxy/base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define LOG_AHEAD 16u  /* change rows that may have come since, at most */
#define ROWS_MAX  256u /* that are sent; who has more is read as usual */

/* What was found of the log. */
struct found {
    uint32_t seen; /* a bit for each row from the one that is known on */
    uint64_t nonces[LOG_AHEAD + 1];
    int64_t now;
    size_t rows;
    bool overwritten;
};

/* Texts are few: lists are filled up by repeating the last scope. */
static unsigned list_length(uint32_t levels)
{
    return levels <= 2 ? 2 : levels <= 4 ? 4 : SCOPE_CHAIN_MAX;
}

static char *ids_text(char *end, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        end = stpcpy(end, i == 0 ? " IN (?" : ",?");
    return stpcpy(end, ")");
}

static struct sql_statement *prepare(struct store *store, const struct store_place *place,
                                     struct failure *failure)
{
    char text[1024], *end;
    unsigned length = list_length(place->levels);
    bool mysql = sql_dialect(store->sql) == SQL_MYSQL;
    end = stpcpy(text, "SELECT c.revision, c.nonce, a.role_id, a.scope_type, a.scope_id, a.expires_at, ");
    end = stpcpy(end, mysql ? "CAST(" STORE_MYSQL_NOW " AS UNSIGNED)" : "0");
    end = stpcpy(end, place->spares_users ? ", NULL" : ", o.subject_id");
    end =
        stpcpy(end, " FROM permtab_change c LEFT JOIN permtab_assignment a ON a.user_id = ? AND a.scope_id");
    end = ids_text(end, length);
    if (!place->spares_users)
        end = ids_text(stpcpy(end, " LEFT JOIN permtab_overwrite o ON o.subject = 'user' AND o.subject_id = ?"
                                   " AND o.scope_id"),
                       length);
    end = stpcpy(end, " WHERE c.revision BETWEEN ? AND ? LIMIT ?");
    assert(end < text + sizeof(text));
    return sql_prepare_built(store->sql, text, failure);
}

static unsigned bind_user(struct sql_statement *st, unsigned index, const struct store_place *place,
                          uint64_t user)
{
    sql_bind_u64(st, index++, user);
    for (unsigned i = 0; i < list_length(place->levels); i++)
        sql_bind_u64(st, index++, place->chain[i < place->levels ? i : place->levels - 1].id);
    return index;
}

static void bind(struct sql_statement *st, const struct store_place *place, uint64_t user)
{
    unsigned index = bind_user(st, 1, place, user);
    if (!place->spares_users)
        index = bind_user(st, index, place, user);
    sql_bind_u64(st, index++, place->at.revision);
    sql_bind_u64(st, index++, place->at.revision + LOG_AHEAD);
    sql_bind_u64(st, index, ROWS_MAX);
}

static int take_assignment(struct facts *out, struct sql_statement *st, struct failure *failure)
{
    struct scope_key key = {.id = sql_column_u64(st, 4), .type = (uint32_t)sql_column_u64(st, 3)};
    for (uint32_t level = 0; level < out->chain_count; level++) {
        if (!scope_equal(out->chain[level].key, key))
            continue;
        struct facts_assignment *item = array_add(&out->assignments, &out->assignment_count, sizeof(*item));
        if (!item)
            return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
        *item = (struct facts_assignment){.role = sql_column_u64(st, 2), .level = level};
        item->expires_at = sql_column_is_null(st, 5) ? FACTS_NEVER : sql_column_i64(st, 5);
    }
    return 0;
}

static int take(struct found *found, const struct store_place *place, struct facts *out,
                struct sql_statement *st, struct failure *failure)
{
    uint64_t ahead = sql_column_u64(st, 0) - place->at.revision;
    if (ahead > LOG_AHEAD)
        return 0;
    found->rows++;
    found->seen |= 1u << ahead;
    found->nonces[ahead] = sql_column_u64(st, 1);
    found->now = sql_dialect(st->sql) == SQL_MYSQL ? sql_column_i64(st, 6) : found->now;
    found->overwritten = found->overwritten || !sql_column_is_null(st, 7);
    return ahead == 0 && !sql_column_is_null(st, 2) ? take_assignment(out, st, failure) : 0;
}

/* Whether the log goes on from the row that is known, without a gap and not too far, and nothing was cut off. */
static bool as_believed(const struct found *found, const struct store_place *place)
{
    return (found->seen & 1u) != 0 && (found->seen & (found->seen + 1)) == 0 &&
           found->seen >> LOG_AHEAD == 0 && found->nonces[0] == place->at.nonce && found->rows < ROWS_MAX &&
           !found->overwritten;
}

static int read_rows(struct store *store, const struct store_place *place, struct found *found,
                     struct facts *out, struct failure *failure)
{
    struct sql_statement *st = prepare(store, place, failure);
    int code;
    bind(st, place, out->user);
    while ((code = sql_step(st, failure)) > 0) {
        if (found->now == 0)
            found->now = wall_us(); /* SQLite's; a server tells its own */
        if ((code = take(found, place, out, st, failure)) < 0)
            break;
    }
    sql_reset(st);
    return code;
}

int store_read_facts_user(struct store *store, const struct store_place *place, uint64_t user,
                          struct facts *out, struct failure *failure)
{
    struct found found = {0};
    assert(!store->in_snapshot && place->levels > 0 && place->levels <= SCOPE_CHAIN_MAX);
    *out = (struct facts){.user = user,
                          .scope = place->chain[place->levels - 1],
                          .without_roles = true,
                          .chain_count = place->levels};
    for (uint32_t level = 0; level < place->levels; level++)
        out->chain[level].key = place->chain[level];
    if (place->at.store_id != store->store_id)
        return 0;
    int code = read_rows(store, place, &found, out, failure);
    if (code < 0 || !as_believed(&found, place)) {
        facts_fini(out);
        return code < 0 ? code : 0;
    }
    unsigned last = 0;
    while (found.seen >> (last + 1) != 0)
        last++;
    out->revision = place->at.revision + last;
    out->nonce = found.nonces[last];
    out->now = found.now;
    store->known = (struct log_position){store->store_id, out->revision, out->nonce};
    return 1;
}
