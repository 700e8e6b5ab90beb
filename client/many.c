/* Many checks at once. While a query is checked, the bucket of the one AHEAD places behind it is asked for from memory,
 * and where there are too many sets for a cache also the set of the one in the middle between them, whose bucket has
 * come by then: so the misses of the processor's caches overlap with each other and with the work. Queries are checked
 * in blocks, each between one look at the heartbeat and one at the clock, which makes each answer in it as true as a
 * single check. The queries that the table did not answer are asked for together.
 *
 * Answers of different blocks may be of different revisions: only each by itself is promised. */
#include "client/handle.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK       32u
#define AHEAD       32u     /* a power of two */
#define CHUNK       10000u  /* queries a round trip: what the sidecar takes */
#define CHUNK_BYTES 900000u /* … and what fits into a frame with its head */

/* Sets in fewer bytes than this are in a cache near by, and asking for them costs more than it saves. */
#define SETS_NEAR (1u << 20)

/* Not a decision yet; outside of enum permtab_decision's range on purpose. */
#define OPEN_ INT_MIN

#define INLINE static inline __attribute__((always_inline))

struct many {
    struct handle *handle;
    const struct permtab_geometry_ *geometry; /* of one look at all of them: buckets and sets are of one table */
    const struct permtab_shm_bucket *home[AHEAD]; /* of the next queries: where their entries' windows begin */
    bool fetches_sets;
    const struct permtab_query *queries;
    int *results; /* decisions and codes; OPEN_: still to be asked for */
    size_t count;
    int signs;            /* negative when a result of the last look is no decision */
    uint64_t deadline_ns; /* until when all decisions among them may be believed */
    bool ending;          /* some came from a table that is about to be replaced */
};

static inline const struct permtab_shm_kind *kind_of(const struct permtab_geometry_ *geometry,
                                                     const struct permtab_query *query)
{
    return &geometry->kinds[query->scope.type.slot % PERMTAB_TYPE_SLOTS_];
}

static inline bool bit_of(const struct permtab_geometry_ *geometry, const struct permtab_query *query, uint32_t *bit)
{
    *bit = query->perm.slot < geometry->permission_slots ? geometry->permissions[query->perm.slot]
                                                         : PERMTAB_NO_NUMBER_;
    return *bit < geometry->table.permissions_max;
}

/* The scope under which a query's entry lies, as far as a hint needs to know. */
static inline void follow_fold(const struct permtab_shm_table *table, uint64_t *scope_id,
                               uint32_t *scope_type)
{
    struct permtab_shm_place place;
    uint64_t hash = permtab_shm_hash(table->hash_seed, 0, *scope_id, *scope_type);
    const struct permtab_shm_bucket *home = table->folds + permtab_shm_home(hash, table->fold_buckets);
    if (permtab_shm_find(home, 0, *scope_id, *scope_type, &place) != PERMTAB_SHM_FOUND ||
        PERMTAB_SHM_WORD_INDEX(place.word) >= table->target_count)
        return;
    const struct permtab_shm_target *target = &table->targets[PERMTAB_SHM_WORD_INDEX(place.word)];
    *scope_id = permtab_shm_load64(&target->id);
    *scope_type = (uint32_t)permtab_shm_load64(&target->type);
}

INLINE void fetch_entry(struct many *many, size_t i, bool folds)
{
    const struct permtab_geometry_ *geometry = many->geometry;
    const struct permtab_query *query = &many->queries[i];
    const struct permtab_shm_kind *kind = kind_of(geometry, query);
    if (folds) {
        uint64_t scope_id = query->scope.id;
        uint32_t scope_type = kind->type;
        follow_fold(&geometry->table, &scope_id, &scope_type);
        struct permtab_shm_kind target = permtab_shm_kind_of(geometry->table.hash_seed, scope_type);
        many->home[i % AHEAD] = permtab_shm_fetch_entry(&geometry->table, query->user, scope_id, &target);
    } else {
        many->home[i % AHEAD] = permtab_shm_fetch_entry(&geometry->table, query->user, query->scope.id, kind);
    }
}

INLINE void fetch_set(const struct many *many, size_t i)
{
    const struct permtab_query *query = &many->queries[i];
    uint32_t bit;
    if (bit_of(many->geometry, query, &bit))
        permtab_shm_fetch_set(&many->geometry->table, many->home[i % AHEAD], query->user, bit);
}

/* `home`: where the window of the query's entry begins; not looked at where there are folds. */
INLINE int check_one(const struct permtab_geometry_ *geometry, const struct permtab_query *query,
                     const struct permtab_shm_bucket *home, bool folds)
{
    const struct permtab_shm_table *table = &geometry->table;
    const struct permtab_shm_kind *kind = kind_of(geometry, query);
    uint32_t bit;
    bool allowed = false, own = query->owned && query->owner == query->user;
    if (!bit_of(geometry, query, &bit))
        return PERMTAB_E_NO_PERMISSION;
    enum permtab_shm_found found =
        folds ? permtab_shm_check(table, query->user, query->scope.id, kind->type, bit, own, &allowed)
              : permtab_shm_check_from(table, home, query->user, query->scope.id, kind, bit, own, &allowed);
    if (!PERMTAB_LIKELY_(found == PERMTAB_SHM_FOUND))
        return kind->type < PERMTAB_SHM_SCOPE_TYPES ? OPEN_ : PERMTAB_E_NO_SCOPE_TYPE;
    return allowed ? PERMTAB_ALLOW : PERMTAB_DENY;
}

static size_t leave_open(struct many *many, size_t first, size_t end)
{
    many->signs = OPEN_;
    for (size_t i = first; i < end; i++)
        many->results[i] = OPEN_;
    return end - first;
}

/* Steps 2 to 5 for the queries from `first` to before `end`, and fetching for those behind them. Returns how many are
 * left open. The compiler makes a loop for each kind of table. */
INLINE size_t check_queries(struct many *many, size_t first, size_t end, bool folds, bool fetches_sets)
{
    size_t open = 0;
    int signs = 0;
    for (size_t i = first; i < end; i++) {
        const struct permtab_shm_bucket *home = many->home[i % AHEAD];
        if (i + AHEAD < many->count)
            fetch_entry(many, i + AHEAD, folds);
        if (fetches_sets && i + AHEAD / 2 < many->count)
            fetch_set(many, i + AHEAD / 2);
        int result = check_one(many->geometry, &many->queries[i], home, folds);
        many->results[i] = result;
        signs |= result;
        open += result == OPEN_;
    }
    many->signs |= signs;
    return open;
}

static size_t check_block(struct many *many, size_t first, size_t end)
{
    if (permtab_shm_load32(&many->geometry->table.header->beat.fold_count) != 0)
        return check_queries(many, first, end, true, many->fetches_sets);
    return many->fetches_sets ? check_queries(many, first, end, false, true)
                              : check_queries(many, first, end, false, false);
}

/* Steps 1 to 6 for a block. Returns how many are left open; the deadline is lowered to that of the others. */
static size_t look_block(struct many *many, size_t first, size_t end)
{
    const struct permtab_geometry_ *geometry = many->geometry;
    struct permtab_shm_moment moment = permtab_shm_beat_read(&geometry->table);
    if (moment.state == PERMTAB_SHM_VOID || moment.catalogue != geometry->catalogue)
        return leave_open(many, first, end);
    size_t open = check_block(many, first, end);
    uint64_t clock = permtab_shm_clock_ns();
    if (clock >= moment.lease_deadline)
        return leave_open(many, first, end);
    many->ending = many->ending || ahead_wanted(geometry, &moment, clock);
    if (open < end - first && moment.lease_deadline < many->deadline_ns)
        many->deadline_ns = moment.lease_deadline;
    return open;
}

static size_t look_all(struct many *many)
{
    const struct permtab_geometry_ *geometry = permtab_geometry_of_(&many->handle->visible);
    const struct permtab_shm_table *table = &geometry->table;
    bool folds = permtab_shm_load32(&table->header->beat.fold_count) != 0;
    size_t open = 0;
    many->deadline_ns = UINT64_MAX;
    many->signs = 0;
    if (table->map == NULL) /* no table, so nothing to fetch either */
        return leave_open(many, 0, many->count);
    many->geometry = geometry;
    many->fetches_sets = (size_t)table->set_count * table->set_stride >= SETS_NEAR;
    for (size_t i = 0; i < AHEAD && i < many->count; i++)
        fetch_entry(many, i, folds);
    for (size_t i = 0; i < many->count; i += BLOCK)
        open += look_block(many, i, many->count - i < BLOCK ? many->count : i + BLOCK);
    return open;
}

/* ---- the socket ---------------------------------------------------------------------------------------------- */

/* Bytes that a query takes in a frame at most; or a code when a slot of it stands for nothing, or for a name that has
 * gone: the sidecar would refuse the others with it. */
static int query_size(struct many *many, size_t index)
{
    char scope[ASK_SCOPE_SIZE];
    const struct permtab_query *query = &many->queries[index];
    const struct permtab_geometry_ *geometry = permtab_geometry_of_(&many->handle->visible);
    const char *permission = ask_permission_text(many->handle, query->perm);
    if (permission == NULL || geometry->permissions[query->perm.slot] == PERMTAB_NO_NUMBER_)
        return PERMTAB_E_NO_PERMISSION;
    if (!ask_scope_text(many->handle, query->scope, scope) ||
        geometry->kinds[query->scope.type.slot].type == PERMTAB_NO_NUMBER_)
        return PERMTAB_E_NO_SCOPE_TYPE;
    return (int)(strlen(permission) + strlen(scope)) + 1 + 9 + 9 + 2 + 2;
}

/* Chooses the open queries from `first` on that go into one frame. Queries that cannot be asked get their code.
 * Returns the index after the last one looked at. */
static size_t choose_chunk(struct many *many, size_t first, size_t *chosen, size_t *chosen_count)
{
    size_t bytes = 0, i;
    *chosen_count = 0;
    for (i = first; i < many->count && *chosen_count < CHUNK; i++) {
        if (many->results[i] != OPEN_)
            continue;
        int size = query_size(many, i);
        if (size < 0) {
            many->results[i] = size;
            continue;
        }
        if (bytes + (size_t)size > CHUNK_BYTES)
            break;
        bytes += (size_t)size;
        chosen[(*chosen_count)++] = i;
    }
    return i;
}

static void pack_chunk(struct many *many, const size_t *chosen, size_t count)
{
    struct wire_buffer *out = channel_request(&many->handle->own->channel, "check_many", 1);
    wire_put_array(out, "queries", (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const struct permtab_query *query = &many->queries[chosen[i]];
        char scope[ASK_SCOPE_SIZE];
        (void)ask_scope_text(many->handle, query->scope, scope);
        wire_array(out, 4);
        wire_u64(out, query->user);
        wire_str(out, scope);
        wire_str(out, ask_permission_text(many->handle, query->perm));
        if (query->owned)
            wire_u64(out, query->owner);
        else
            wire_nil(out);
    }
}

static int take_chunk(struct many *many, const size_t *chosen, size_t count, const struct wire_value *result)
{
    const struct wire_value *decisions = wire_get(result, "decisions");
    uint64_t deadline;
    size_t replied, known = 0;
    int64_t code; /* why some are unknown */
    if (!wire_as_i64(wire_get(result, "code"), &code) || code >= 0 || code < INT_MIN + 1)
        code = PERMTAB_E_STALE;
    if (!wire_as_array(decisions, &replied) || replied != count ||
        !wire_as_u64(wire_get(result, "deadline"), &deadline))
        return PERMTAB_E_PROTOCOL;
    for (size_t i = 0; i < count; i++) {
        int64_t decision;
        if (!wire_as_i64(wire_item(decisions, i), &decision) || decision < -1 || decision > 1)
            return PERMTAB_E_PROTOCOL;
        many->results[chosen[i]] = decision < 0 ? (int)code : (int)decision;
        known += decision >= 0;
    }
    if (known > 0 && deadline < many->deadline_ns)
        many->deadline_ns = deadline;
    return channel_clock_ns() < deadline || known == 0 ? 0 : PERMTAB_E_STALE;
}

static int call_chunk(struct many *many, const size_t *chosen, size_t count, uint64_t deadline_ns)
{
    struct wire_message reply;
    uint32_t ended = many->handle->own->ended;
    int result;
    do {
        result = handle_ready(many->handle, deadline_ns);
        if (result == 0) {
            pack_chunk(many, chosen, count);
            result = handle_call(many->handle, deadline_ns, &reply);
            if (result == 0)
                result = take_chunk(many, chosen, count, reply.result);
            wire_message_fini(&reply);
        }
    } while (handle_again(many->handle, result, ended, deadline_ns));
    return result;
}

static void ask_open(struct many *many, size_t *chosen, uint64_t deadline_ns)
{
    size_t next = 0;
    while (next < many->count) {
        size_t count;
        next = choose_chunk(many, next, chosen, &count);
        if (count == 0)
            continue;
        int code = call_chunk(many, chosen, count, deadline_ns);
        for (size_t i = 0; code < 0 && i < count; i++)
            many->results[chosen[i]] = code;
    }
}

/* Looks up again the answers that grew old while others were waited for or looked up: each was true when it was
 * found, which may be check_ms ago. Asks the table alone. */
static void renew(struct many *many)
{
    if (channel_clock_ns() < many->deadline_ns)
        return;
    (void)look_all(many);
    for (size_t i = 0; i < many->count; i++)
        if (many->results[i] == OPEN_)
            many->results[i] = PERMTAB_E_STALE;
}

/* Looks once more for what was not answered in time: the sidecar goes on with a list that nobody waits for any more,
 * and a part of it may be in the table by now. `failed`: why the open ones were not asked for. */
static void look_late(struct many *many, int failed)
{
    many->geometry = permtab_geometry_of_(&many->handle->visible);
    if (many->geometry->table.map == NULL)
        return;
    bool folds = permtab_shm_load32(&many->geometry->table.header->beat.fold_count) != 0;
    for (size_t i = 0; i < many->count; i++) {
        int result = many->results[i];
        if ((result == OPEN_ ? failed : result) != PERMTAB_E_TIMEOUT)
            continue;
        fetch_entry(many, i, folds);
        if (look_block(many, i, i + 1) > 0)
            many->results[i] = result;
    }
}

/* Settles the queries that the first look left open: brings the table up to date, looks again, asks for the rest. */
static int settle(struct many *many, size_t *chosen)
{
    uint64_t deadline_ns = ask_deadline(many->handle);
    int code = handle_lock(many->handle, deadline_ns);
    if (code < 0)
        return code;
    code = handle_ready_again(many->handle, deadline_ns);
    if (code == 0 && look_all(many) > 0)
        ask_open(many, chosen, deadline_ns);
    handle_unlock(many->handle);
    return code;
}

/* Decisions out of results; the last code is what permtab_why says. */
static int conclude(struct many *many, int failed, enum permtab_decision *out)
{
    int known = 0, code = 0;
    for (size_t i = 0; i < many->count; i++) {
        int result = many->results[i] == OPEN_ ? failed : many->results[i];
        out[i] = result >= 0 ? (enum permtab_decision)result : PERMTAB_UNKNOWN;
        known += result >= 0;
        if (result < 0)
            code = result;
    }
    if (code < 0)
        permtab_thread_.why = code;
    return known;
}

int permtab_check_many(struct permtab *table, const struct permtab_query *queries, size_t n,
                       enum permtab_decision *out)
{
    if (n == 0)
        return 0;
    if (table == NULL || queries == NULL || out == NULL || n > INT_MAX)
        return PERMTAB_E_INVALID;
    /* enum permtab_decision has the size of an int, and codes need no more: results are kept where the answers go. */
    _Static_assert(sizeof(enum permtab_decision) == sizeof(int), "results share the caller's array");
    struct many many = {.handle = handle_of(table), .queries = queries, .results = (int *)out, .count = n};
    size_t open = look_all(&many);
    count_samples(many.handle, queries, many.results, n);
    size_t *chosen = NULL;
    int failed = 0;
    if (open > 0) {
        chosen = malloc((n < CHUNK ? n : CHUNK) * sizeof(*chosen));
        failed = chosen != NULL ? settle(&many, chosen) : PERMTAB_E_MEMORY;
        free(chosen);
    }
    if (open > 0)
        look_late(&many, failed);
    if (many.ending)
        ahead_look(many.handle); /* before the answers' clocks are looked at for the last time */
    renew(&many);
    int known = (int)n;
    if (many.signs < 0)
        known = conclude(&many, failed < 0 ? failed : PERMTAB_E_BUSY, out);
    count_add(many.handle, n - open, open, n - (size_t)known);
    count_enrol(many.handle);
    return known;
}
