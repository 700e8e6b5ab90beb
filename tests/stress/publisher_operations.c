/* The hook of shm/order.h has no argument and runs in the one thread of the test: what it is to know is file-scope.
 *
 * Two kinds of operations. Wide ones, such as the rewriting of sets, count for all that happens within them. Narrow
 * ones are the single changes of the map, and count where no wide one is under way. */
#include "tests/stress/publisher_operations.h"

#include "proxy/table/table.h"

#include <string.h>

#define TABLES 4u    /* the newest ones */
#define LIVES  1024u /* sets of a table */

static struct {
    enum operation wide, narrow, clearing;
    bool moving;
    struct map_key moved;
    const struct map *map;
    struct {
        const struct set_pool *pool;
        bool sets[LIVES]; /* that have had a life, by index */
    } lived[TABLES];
    uint32_t tables;
} writer = {.clearing = OPERATION_EVICT};

static const char *const names[OPERATION_COUNT] = {
    [OPERATION_OTHER] = "other",         [OPERATION_NEW_TABLE] = "new table",
    [OPERATION_INSERT] = "insert",       [OPERATION_REKEY] = "rekey",
    [OPERATION_REPLACE] = "replace",     [OPERATION_MOVE] = "hopscotch move",
    [OPERATION_EVICT] = "evict",         [OPERATION_REVOKE] = "revoke",
    [OPERATION_RETIRE] = "retire",       [OPERATION_SET_NEW] = "new set",
    [OPERATION_SET_REUSE] = "set reuse", [OPERATION_SET_REWRITE] = "set rewrite",
    [OPERATION_SET_CLOSE] = "set close", [OPERATION_FOLD] = "fold",
    [OPERATION_UNFOLD] = "unfold",       [OPERATION_BEAT] = "heartbeat",
    [OPERATION_REBUILD] = "rebuild",     [OPERATION_GROW] = "growth slice",
    [OPERATION_HAND_OVER] = "hand-over",
};

const char *operation_name(enum operation operation)
{
    return names[operation];
}

enum operation operation_now(void)
{
    return writer.wide != OPERATION_OTHER ? writer.wide : writer.narrow;
}

void operation_begin(enum operation operation)
{
    writer.wide = operation;
}

void operation_end(void)
{
    writer.wide = OPERATION_OTHER;
}

const struct map_key *operation_moved(const struct map **map)
{
    *map = writer.map;
    return writer.moving ? &writer.moved : NULL;
}

void operation_clearing(enum operation operation)
{
    writer.clearing = operation;
}

void operation_reset(void)
{
    writer.clearing = OPERATION_EVICT;
    writer.wide = writer.narrow = OPERATION_OTHER;
    writer.moving = false;
}

/* Calls the function as the operation `what`. A wide one that is under way stays. */
#define WITHIN(part, what, call)                                                                             \
    do {                                                                                                     \
        enum operation before_ = writer.part;                                                                \
        if (before_ == OPERATION_OTHER)                                                                      \
            writer.part = (what);                                                                            \
        call;                                                                                                \
        writer.part = before_;                                                                               \
    } while (0)

#define WRAPPED(result, name, ...)                                                                           \
    result __real_##name(__VA_ARGS__);                                                                       \
    result __wrap_##name(__VA_ARGS__);                                                                       \
    result __wrap_##name(__VA_ARGS__)

/* ---- the map ----------------------------------------------------------------------------------------------------- */

WRAPPED(void, map_insert_writer, struct map *map, uint32_t slot, struct map_key key, uint32_t index)
{
    struct map_key there = map_key_at(map, slot);
    bool used = (there.key0 != 0 || there.key1 != 0) && (there.key0 != key.key0 || there.key1 != key.key1);
    WITHIN(narrow, used ? OPERATION_REKEY : OPERATION_INSERT,
           __real_map_insert_writer(map, slot, key, index));
}

WRAPPED(void, map_replace_writer, struct map *map, uint32_t slot, uint32_t index)
{
    WITHIN(narrow, OPERATION_REPLACE, __real_map_replace_writer(map, slot, index));
}

WRAPPED(void, map_clear_writer, struct map *map, uint32_t slot)
{
    WITHIN(narrow, writer.clearing, __real_map_clear_writer(map, slot));
}

WRAPPED(void, map_move_writer, struct map *map, uint32_t from, uint32_t to)
{
    writer.moved = map_key_at(map, from);
    writer.map = map;
    writer.moving = true;
    WITHIN(narrow, OPERATION_MOVE, __real_map_move_writer(map, from, to));
    writer.moving = false;
}

/* ---- sets -------------------------------------------------------------------------------------------------------- */

/* A pool that is not known is a new table's. */
static bool *lives_in(const struct set_pool *pool)
{
    for (uint32_t at = 0; at < TABLES; at++)
        if (writer.lived[at].pool == pool)
            return writer.lived[at].sets;
    uint32_t at = writer.tables++ % TABLES;
    memset(&writer.lived[at], 0, sizeof writer.lived[at]);
    writer.lived[at].pool = pool;
    return writer.lived[at].sets;
}

/* A table that is freed may leave its address to another one. */
WRAPPED(int, set_pool_init, struct set_pool *pool, struct segment *segment)
{
    for (uint32_t at = 0; at < TABLES; at++)
        if (writer.lived[at].pool == pool)
            writer.lived[at].pool = NULL;
    return __real_set_pool_init(pool, segment);
}

WRAPPED(uint32_t, set_take_writer, struct set_pool *pool, uint64_t now_ns)
{
    uint32_t set = __real_set_take_writer(pool, now_ns);
    bool *lived = &lives_in(pool)[set % LIVES];
    if (writer.wide == OPERATION_SET_NEW && *lived)
        writer.wide = OPERATION_SET_REUSE;
    *lived = true;
    return set;
}

WRAPPED(uint32_t, set_table_add, const struct role_sources *sources, const struct catalogue *catalogue,
        struct inputs *inputs, uint64_t now_ns)
{
    uint32_t set;
    WITHIN(wide, OPERATION_SET_NEW, set = __real_set_table_add(sources, catalogue, inputs, now_ns));
    return set;
}

WRAPPED(size_t, rewrite_publish, struct rewrite *rewrite, struct set_table *table)
{
    enum operation before = writer.wide;
    writer.wide = OPERATION_SET_REWRITE;
    size_t differing = __real_rewrite_publish(rewrite, table);
    writer.wide = before;
    return differing;
}

WRAPPED(void, set_close_writer, struct segment *segment, uint32_t index)
{
    WITHIN(narrow, OPERATION_SET_CLOSE, __real_set_close_writer(segment, index));
}

WRAPPED(void, set_release_writer, struct set_pool *pool, uint32_t index, uint64_t until_ns)
{
    WITHIN(narrow, OPERATION_SET_CLOSE, __real_set_release_writer(pool, index, until_ns));
}

/* ---- folds ------------------------------------------------------------------------------------------------------- */

WRAPPED(void, folding_fold, struct folding *folding, struct scope_node *node, struct scope_node *target,
        uint64_t now_ns)
{
    WITHIN(wide, OPERATION_FOLD, __real_folding_fold(folding, node, target, now_ns));
}

/* Also within a batch that takes it away. */
WRAPPED(void, folding_unfold, struct folding *folding, struct scope_node *node, uint64_t now_ns)
{
    enum operation before = writer.wide;
    writer.wide = OPERATION_UNFOLD;
    __real_folding_unfold(folding, node, now_ns);
    writer.wide = before;
}

WRAPPED(void, folding_unfold_through, struct folding *folding, struct scope_node *node, uint64_t now_ns)
{
    enum operation before = writer.wide;
    writer.wide = OPERATION_UNFOLD;
    __real_folding_unfold_through(folding, node, now_ns);
    writer.wide = before;
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

/* These two and the lease are the hand-over, when they are stored by a slice of growth. */
#define WITHIN_HAND_OVER(call)                                                                               \
    do {                                                                                                     \
        enum operation wide_before_ = writer.wide;                                                           \
        if (wide_before_ == OPERATION_GROW)                                                                  \
            writer.wide = OPERATION_HAND_OVER;                                                               \
        WITHIN(narrow, OPERATION_BEAT, call);                                                                \
        writer.wide = wide_before_;                                                                          \
    } while (0)

WRAPPED(void, segment_publish_writer, struct segment *segment)
{
    WITHIN_HAND_OVER(__real_segment_publish_writer(segment));
}

WRAPPED(void, segment_retire_writer, struct segment *segment)
{
    WITHIN_HAND_OVER(__real_segment_retire_writer(segment));
}

WRAPPED(void, segment_disbelieve_writer, struct segment *segment)
{
    WITHIN_HAND_OVER(__real_segment_disbelieve_writer(segment));
}

WRAPPED(void, segment_lease_writer, struct segment *segment, uint64_t deadline_ns)
{
    WITHIN_HAND_OVER(__real_segment_lease_writer(segment, deadline_ns));
}

WRAPPED(void, segment_applied_writer, struct segment *segment, uint64_t revision)
{
    WITHIN(narrow, OPERATION_BEAT, __real_segment_applied_writer(segment, revision));
}

WRAPPED(void, segment_expiry_writer, struct segment *segment, int64_t applied_us)
{
    WITHIN(narrow, OPERATION_BEAT, __real_segment_expiry_writer(segment, applied_us));
}

WRAPPED(void, segment_catalogue_set_writer, struct segment *segment, uint64_t catalogue)
{
    WITHIN(narrow, OPERATION_BEAT, __real_segment_catalogue_set_writer(segment, catalogue));
}

WRAPPED(int, segment_new, struct segment *out, const struct segment_options *options)
{
    enum operation before = writer.wide;
    writer.wide = OPERATION_NEW_TABLE;
    int code = __real_segment_new(out, options);
    writer.wide = before;
    if (code == 0)
        operation_segment_made(out);
    return code;
}
