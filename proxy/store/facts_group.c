/* A place and the users who are asked about there: their part of the statements that read facts, and where each row
 * goes. What does not depend on the user is read once and given to each. */
#include "proxy/store/facts_group.h"

#include "proxy/base/array.h"
#include "proxy/store/hanging.h"

#include <stdlib.h>
#include <string.h>

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

static struct hanging hanging_of(const struct group *group, uint64_t users[STORE_KNOWN_MANY])
{
    const struct facts *first = group->members[0];
    for (size_t i = 0; i < group->count; i++)
        users[i] = group->members[i]->user;
    return (struct hanging){.chain = first->chain, .levels = first->chain_count, .users = users, .count = group->count};
}

size_t group_text_size(const struct group *group)
{
    uint64_t users[STORE_KNOWN_MANY];
    struct hanging hanging = hanging_of(group, users);
    return hanging_text_size(&hanging);
}

char *group_text(const struct group *group, char *end)
{
    uint64_t users[STORE_KNOWN_MANY];
    struct hanging hanging = hanging_of(group, users);
    return hanging_text(&hanging, end);
}

unsigned group_bind(const struct group *group, struct sql_statement *st, unsigned index)
{
    uint64_t users[STORE_KNOWN_MANY];
    struct hanging hanging = hanging_of(group, users);
    return hanging_bind(&hanging, st, index);
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
    item->subject = flags & HANGING_OF_USER ? OVERWRITE_USER : OVERWRITE_ROLE;
    item->role = item->subject == OVERWRITE_ROLE ? sql_column_u64(st, 2) : 0;
    item->bit = (uint32_t)sql_column_u64(st, 6);
    item->allow = (flags & HANGING_ALLOWS) != 0;
    return 0;
}

/* Whose row it is: the member's that it names, or the first one's, who keeps what all have in common. */
static struct facts *owner_of(const struct group *group, struct sql_statement *st)
{
    enum hanging_row what = (enum hanging_row)sql_column_u64(st, 0);
    bool personal = what == HANGING_ASSIGNMENT ||
                    (what == HANGING_OVERWRITE && (sql_column_u64(st, 7) & HANGING_OF_USER) != 0);
    return personal ? member_of(group, sql_column_u64(st, 1)) : group->members[0];
}

int group_take(const struct group *group, struct sql_statement *st, struct failure *failure)
{
    if (*group->rows_left == 0)
        return failure_set(failure, PERMTAB_E_LIMIT, "there are too many rows for one read");
    --*group->rows_left;
    struct scope_key key = {.id = sql_column_u64(st, 4), .type = (uint32_t)sql_column_u64(st, 3)};
    struct facts *owner = owner_of(group, st);
    uint32_t level = hanging_level(group->members[0], key);
    if (!owner) /* ids that the store takes for equal, and we do not */
        return 0;
    switch ((enum hanging_row)sql_column_u64(st, 0)) {
    case HANGING_ASSIGNMENT:
        return assignment_take(owner, st, level, failure);
    case HANGING_DEFAULT:
        return default_take(owner, st, level, failure);
    case HANGING_OVERWRITE:
        return overwrite_take(owner, st, level, failure);
    }
    return 0;
}

/* ---- what all have in common ---------------------------------------------------------------------------------- */

/* A place with more of it than this has its users read one by one, or the copies would take too much memory. So would
 * more than COPIES_MAX of them: then fewer users are read together. */
#define COMMON_MAX 1024u
#define COPIES_MAX ((size_t)COMMON_MAX * STORE_FACTS_MANY)

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
    size_t rows = first->default_count + overwrites;
    if (group->count > 1 && (rows > COMMON_MAX || rows * group->count > COPIES_MAX))
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

int group_share(const struct group *group, struct failure *failure)
{
    chain_give(group);
    int code = common_give(group, failure);
    overwrites_sort(group);
    return code;
}
