/* A slice: thousands of users at one place for the warm-up. They are read as a range of ids where most who are in it
 * are wanted, and else as lists: to pass over a row costs less than to look for one, but not than to look for few
 * among many. */
#include "proxy/store/facts_group.h"
#include "proxy/store/hanging.h"

#include "proxy/base/array.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Rows that a range may have for each user that is wanted, and rows besides. */
#define ROWS_A_USER 4u
#define ROWS_MORE   1024u
/* Rows that everybody has in common: they are copied for each kind. */
#define COMMON_MAX 1024u

static int no_memory(struct failure *failure)
{
    return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
}

static int default_take(struct facts *common, struct sql_statement *st, uint32_t level, struct failure *failure)
{
    struct facts_default *item = array_add(&common->defaults, &common->default_count, sizeof(*item));
    if (!item)
        return no_memory(failure);
    *item = (struct facts_default){.role = sql_column_u64(st, 2), .level = level};
    return 0;
}

static int overwrite_take(struct facts_slice *slice, struct sql_statement *st, uint32_t level, struct failure *failure)
{
    struct facts *common = facts_slice_common(slice);
    uint64_t flags = sql_column_u64(st, 7);
    if (flags & HANGING_OF_USER) {
        facts_slice_set_alone(slice, sql_column_u64(st, 1));
        return 0;
    }
    struct facts_overwrite *item = array_add(&common->overwrites, &common->overwrite_count, sizeof(*item));
    if (!item)
        return no_memory(failure);
    *item = (struct facts_overwrite){.level = level,
                                     .subject = OVERWRITE_ROLE,
                                     .role = sql_column_u64(st, 2),
                                     .bit = (uint32_t)sql_column_u64(st, 6),
                                     .allow = (flags & HANGING_ALLOWS) != 0};
    return 0;
}

static int assignment_take(struct facts_slice *slice, struct sql_statement *st, uint32_t level,
                           struct failure *failure)
{
    uint64_t user = sql_column_u64(st, 1);
    if (!sql_column_is_null(st, 5))
        facts_slice_set_alone(slice, user);
    else if (facts_slice_assign(slice, user, sql_column_u64(st, 2), level) < 0)
        return no_memory(failure);
    return 0;
}

static int take(struct facts_slice *slice, struct sql_statement *st, bool common_too, struct failure *failure)
{
    const struct facts *common = facts_slice_common(slice);
    enum hanging_row what = (enum hanging_row)sql_column_u64(st, 0);
    struct scope_key key = {.id = sql_column_u64(st, 4), .type = (uint32_t)sql_column_u64(st, 3)};
    uint32_t level = hanging_level(common, key);
    if (level == common->chain_count)
        return 0;
    if (what == HANGING_ASSIGNMENT)
        return assignment_take(slice, st, level, failure);
    if (what == HANGING_OVERWRITE && (common_too || (sql_column_u64(st, 7) & HANGING_OF_USER) != 0))
        return overwrite_take(slice, st, level, failure);
    return what == HANGING_DEFAULT && common_too ? default_take(facts_slice_common(slice), st, level, failure) : 0;
}

static struct sql_statement *prepare(struct store *store, const struct hanging *hanging, struct failure *failure)
{
    char *text = malloc(hanging_text_size(hanging) + sizeof(" LIMIT ?"));
    if (!text) {
        (void)no_memory(failure);
        return NULL;
    }
    (void)strcpy(hanging_text(hanging, text), " LIMIT ?");
    struct sql_statement *st = sql_prepare_built(store->sql, text, failure);
    free(text);
    return st;
}

/* Reads what hangs. `common_too`: with what everybody has in common, which the lists after the first one have read
 * before. PERMTAB_E_LIMIT: there are more than so many rows. */
static int read_rows(struct store *store, struct facts_slice *slice, const struct hanging *hanging, bool common_too,
                     size_t most, struct failure *failure)
{
    struct sql_statement *st = prepare(store, hanging, failure);
    size_t rows = 0;
    int code;
    sql_bind_u64(st, hanging_bind(hanging, st, 1), most + 1);
    while ((code = sql_step(st, failure)) > 0) {
        if (rows++ == most)
            code = failure_set(failure, PERMTAB_E_LIMIT, "there are too many rows for one read");
        else
            code = take(slice, st, common_too, failure);
        if (code < 0)
            break;
    }
    sql_reset(st);
    const struct facts *common = facts_slice_common(slice);
    if (code == 0 && common->default_count + common->overwrite_count > COMMON_MAX)
        return failure_set(failure, PERMTAB_E_LIMIT, "more than %u rows in common", COMMON_MAX);
    return code;
}

static struct hanging of(const struct facts_slice *slice, const uint64_t *users, size_t count)
{
    const struct facts *common = &slice->kinds[0];
    return (struct hanging){.chain = common->chain, .levels = common->chain_count, .users = users, .count = count};
}

static int read_range(struct store *store, struct facts_slice *slice, struct failure *failure)
{
    uint64_t ends[] = {slice->users[0], slice->users[slice->count - 1]};
    struct hanging hanging = of(slice, ends, 2);
    hanging.range = true;
    return read_rows(store, slice, &hanging, true, ROWS_A_USER * slice->count + ROWS_MORE, failure);
}

static int read_lists(struct store *store, struct facts_slice *slice, struct failure *failure)
{
    int code = 0;
    for (size_t at = 0, count; at < slice->count && code == 0; at += count) {
        count = slice->count - at < HANGING_LIST_MAX ? slice->count - at : HANGING_LIST_MAX;
        struct hanging hanging = of(slice, slice->users + at, count);
        code = read_rows(store, slice, &hanging, at == 0, ROWS_A_USER * slice->count + 2 * COMMON_MAX, failure);
    }
    return code;
}

/* SQLite's order of ids begins with 2^63, so that a range across it has no end. */
static bool may_be_range(const struct facts_slice *slice)
{
    return slice->count > STORE_FACTS_MANY && slice->users[0] >> 63 == slice->users[slice->count - 1] >> 63;
}

static int overwrite_order(const void *a, const void *b)
{
    const struct facts_overwrite *left = a, *right = b;
    return left->level < right->level ? -1 : left->level > right->level;
}

static int begin(struct store *store, struct facts_slice *slice, struct failure *failure)
{
    struct facts *common = facts_slice_common(slice);
    facts_slice_clear(slice);
    common->revision = store->snapshot.revision;
    common->nonce = store->snapshot.nonce;
    common->now = store->snapshot_now;
    common->scope = slice->scope;
    int code = chain_read(store, common, failure);
    if (code == 0 && common->chain_count == 0)
        return failure_set(failure, PERMTAB_E_NOT_FOUND, "there is no such scope");
    return code;
}

int store_read_slice(struct store *store, struct facts_slice *slice, bool *listed, struct failure *failure)
{
    assert(store->in_snapshot);
    int code = begin(store, slice, failure);
    if (code < 0)
        return code;
    *listed = *listed || !may_be_range(slice);
    if (!*listed && (code = read_range(store, slice, failure)) == PERMTAB_E_LIMIT) {
        *listed = true;
        code = begin(store, slice, failure);
    }
    if (code == 0 && *listed)
        code = read_lists(store, slice, failure);
    if (code < 0)
        return code;
    struct facts *common = facts_slice_common(slice);
    if (common->overwrite_count > 1)
        qsort(common->overwrites, common->overwrite_count, sizeof(*common->overwrites), overwrite_order);
    if (facts_slice_finish(slice) < 0)
        return no_memory(failure);
    return store_give_roles(store, slice->kinds, slice->kind_count, failure);
}
