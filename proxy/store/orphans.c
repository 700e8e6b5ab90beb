/* One statement for many owners, with IN lists of one length, filled up by repeating the last id, so that one text
 * of each is prepared. Scopes are asked for type by type: not every SQL has lists of pairs that use an index. */
#include "proxy/store/orphans.h"

#include "proxy/store/private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define TEXT_SIZE 2048

static const char *const user_parts[] = {
    "SELECT user_id FROM permtab_assignment WHERE user_id IN (",
    ") UNION SELECT subject_id FROM permtab_overwrite WHERE subject = 'user' AND subject_id IN (",
};
static const char *const scope_parts[] = {"SELECT id FROM permtab_scope WHERE type = ? AND id IN ("};

/* Joins the parts, each with the marks of its list. */
static void list_text(char text[TEXT_SIZE], const char *const *parts, unsigned count)
{
    char *end = text;
    for (unsigned part = 0; part < count; part++) {
        end = stpcpy(end, parts[part]);
        for (unsigned i = 0; i < STORE_ORPHANS_MAX; i++)
            end = stpcpy(end, i ? ",?" : "?");
    }
    end = stpcpy(end, ")");
    assert(end < text + TEXT_SIZE);
}

static unsigned bind_list(struct sql_statement *statement, unsigned index, const uint64_t *ids, size_t count)
{
    for (size_t i = 0; i < STORE_ORPHANS_MAX; i++)
        sql_bind_u64(statement, index++, ids[i < count ? i : count - 1]);
    return index;
}

/* Sets present[places[i]] for every id that comes back. */
static int take_rows(struct sql_statement *statement, const uint64_t *ids, const size_t *places, size_t count,
                     bool *present, struct failure *failure)
{
    int code;
    while ((code = sql_step(statement, failure)) > 0) {
        uint64_t id = sql_column_u64(statement, 0);
        for (size_t i = 0; i < count; i++) {
            if (ids[i] == id)
                present[places[i]] = true;
        }
    }
    sql_reset(statement);
    return code;
}

int store_users_present(struct store *store, const uint64_t *users, size_t count, bool *present,
                        struct failure *failure)
{
    char text[TEXT_SIZE];
    size_t places[STORE_ORPHANS_MAX];
    assert(count <= STORE_ORPHANS_MAX);
    if (count == 0)
        return 0;
    for (size_t i = 0; i < count; i++)
        places[i] = i;
    memset(present, 0, count * sizeof *present);
    list_text(text, user_parts, 2);
    struct sql_statement *statement = sql_prepare_built(store->sql, text, failure);
    (void)bind_list(statement, bind_list(statement, 1, users, count), users, count);
    return take_rows(statement, users, places, count, present, failure);
}

int store_scopes_present(struct store *store, const struct scope_key *scopes, size_t count, bool *present,
                         struct failure *failure)
{
    char text[TEXT_SIZE];
    uint64_t ids[STORE_ORPHANS_MAX];
    size_t places[STORE_ORPHANS_MAX];
    int code = 0;
    assert(count <= STORE_ORPHANS_MAX);
    memset(present, 0, count * sizeof *present);
    list_text(text, scope_parts, 1);
    for (uint32_t type = 0; type < PERMTAB_SHM_SCOPE_TYPES && code == 0; type++) {
        size_t of_type = 0;
        for (size_t i = 0; i < count; i++) {
            if (scopes[i].type == type) {
                ids[of_type] = scopes[i].id;
                places[of_type++] = i;
            }
        }
        if (of_type == 0)
            continue;
        struct sql_statement *statement = sql_prepare_built(store->sql, text, failure);
        sql_bind_u64(statement, 1, type);
        (void)bind_list(statement, 2, ids, of_type);
        code = take_rows(statement, ids, places, of_type, present, failure);
    }
    return code;
}
