/* The publisher's life: segments, lease, lookups. Fills are in answer/fill.c, batches in batch.c. */
#include "proxy/table/publisher.h"

#include "proxy/base/clock.h"
#include "proxy/table/private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

void answer_fini(struct answer *answer)
{
    free(answer->any);
    answer->any = NULL;
    answer->own = NULL;
}

/* How far the coarse clock may lag behind the one the lease is reckoned by: five ticks, and never less than 20 ms. */
static uint64_t coarse_clock_lag(void)
{
    struct timespec tick;
    uint64_t lag = 20000000ull;
    if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 && (uint64_t)tick.tv_nsec * 5 > lag)
        lag = (uint64_t)tick.tv_nsec * 5;
    return lag;
}

/* The names of what is not deleted. A name that was deleted stays written: its bit is cleared in every set. */
static void write_names(struct publish *publish)
{
    struct segment *segment = &publish->table->segment;
    for (size_t i = 0; i < publish->catalogue.count; i++) {
        const struct permission *permission = &publish->catalogue.permissions[i];
        if (!permission->deleted)
            segment_name_set_writer(segment, permission->bit, permission->name);
    }
    for (uint32_t type = 0; type < publish->catalogue.types.count; type++)
        segment_type_set_writer(segment, type, publish->catalogue.types.names[type]);
}

/* Clients resolve their names again when it differs from theirs. Of a store that was restored or replaced, the revision alone
 * may well be the same and the bits others; the nonce is not. Never 0, which a client without names has. */
static uint64_t catalogue_number(const struct log_position *at)
{
    uint64_t words[3] = {at->store_id, at->revision, at->nonce};
    uint64_t number = XXH3_64bits(words, sizeof words);
    return number != 0 ? number : 1;
}

uint64_t answer_mark(const struct publish *publish, const struct answer *answer)
{
    uint64_t catalogue = publish->table->segment.header->beat.catalogue;
    return XXH3_64bits_withSeed(answer->any, 2 * answer->words * sizeof *answer->any, catalogue);
}

void publish_catalogue_replace(struct publish *publish, struct catalogue *catalogue,
                               const struct log_position *at)
{
    catalogue_fini(&publish->catalogue);
    publish->catalogue = *catalogue;
    memset(catalogue, 0, sizeof *catalogue);
    write_names(publish);
    segment_catalogue_set_writer(&publish->table->segment, catalogue_number(at));
}

static void begin_at(struct publish *publish, const struct log_position *at, int64_t now)
{
    publish->at = *at;
    if (now > publish->expiry)
        publish->expiry = now;
    history_reset(&publish->history, at);
    segment_applied_writer(&publish->table->segment, at->revision);
    segment_expiry_writer(&publish->table->segment, publish->expiry);
    publish->believed = true;
    segment_publish_writer(&publish->table->segment);
    publish->counters->segments++;
    publish->counters->segment_bytes = publish->table->segment.size;
    publish_count(publish);
}

int publish_new(struct publish **out, const struct publish_options *options, const struct log_position *at,
                int64_t now, struct catalogue *catalogue, struct counters *counters, struct failure *failure)
{
    struct publish *publish = calloc(1, sizeof *publish);
    if (publish == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "no memory for the publisher");
    publish->options = *options;
    publish->counters = counters;
    publish->lag_ns = coarse_clock_lag();
    int code = history_init(&publish->history, at);
    if (code == 0)
        code = table_new(&publish->table, options, at->store_id);
    if (code < 0) {
        history_fini(&publish->history);
        free(publish);
        return failure_set(failure, code, "cannot make a table of %llu entries",
                           (unsigned long long)options->entries);
    }
    publish_catalogue_replace(publish, catalogue, at);
    begin_at(publish, at, now);
    *out = publish;
    return 0;
}

void publish_free(struct publish *publish)
{
    if (publish == NULL)
        return;
    segment_disbelieve_writer(&publish->table->segment);
    segment_retire_writer(&publish->table->segment);
    table_free(publish->table);
    history_fini(&publish->history);
    catalogue_fini(&publish->catalogue);
    free(publish);
}

static void disbelieve(struct publish *publish)
{
    publish->believed = false;
    segment_disbelieve_writer(&publish->table->segment);
}

int publish_rebuild(struct publish *publish, const struct log_position *at, int64_t now,
                    struct catalogue *catalogue, struct failure *failure)
{
    struct table *fresh;
    assert(publish->applying.batch == NULL);
    disbelieve(publish);
    int code = table_new(&fresh, &publish->options, at->store_id);
    if (code < 0)
        return failure_set(failure, code, "cannot make another table");
    segment_retire_writer(&publish->table->segment);
    table_free(publish->table);
    publish->table = fresh;
    publish->sweep = 0;
    if (!catalogue_continues(&publish->catalogue, catalogue))
        publish->meaning++;
    publish->expiry = now; /* another history: its clock is the one that counts */
    publish_catalogue_replace(publish, catalogue, at);
    begin_at(publish, at, now);
    publish->counters->rebuilds++;
    return 0;
}

void publish_count(struct publish *publish)
{
    struct counters *counters = publish->counters;
    const struct table *table = publish->table;
    counters->entries =
        table->entries.queue[ENTRY_POSITIVE].count + table->entries.queue[ENTRY_NEGATIVE].count;
    counters->entries_negative = table->entries.queue[ENTRY_NEGATIVE].count;
    counters->sets = table->sets.pool.indices.used;
    counters->folds = table->folding.folds;
    counters->roles = HASH_COUNT(table->sets.roles);
    counters->applied_revision = publish->at.revision;
}

/* ---- lease ------------------------------------------------------------------------------------------------------- */

/* Each renewal also looks at a stretch of the map for entries of sets that were closed for good. */
#define SWEEP_SLOTS 65536u

void publish_renew(struct publish *publish, uint64_t begun_ns)
{
    assert(publish->applying.batch == NULL);
    if (!publish->believed)
        return;
    segment_lease_writer(&publish->table->segment,
                         begun_ns + publish->options.max_staleness_ns - publish->lag_ns);
    publish->confirmed_ns = begun_ns;
    rumours_settle(&publish->rumours, begun_ns);
    publish->counters->lease_renewals++;
    if (publish->table->sets.abandoned > 0)
        publish->counters->entries_retired +=
            table_sweep(publish->table, &publish->sweep, SWEEP_SLOTS, begun_ns);
    publish_count(publish);
}

uint64_t publish_deadline(const struct publish *publish)
{
    return permtab_shm_load64_relaxed(&publish->table->segment.header->beat.lease_deadline);
}

bool publish_leased(const struct publish *publish, uint64_t now_ns)
{
    return publish->believed && now_ns < publish_deadline(publish);
}

void publish_disbelieve(struct publish *publish)
{
    publish->distrusted += publish->believed;
    disbelieve(publish);
}

void publish_doubt(struct publish *publish)
{
    disbelieve(publish);
}

uint64_t publish_distrusted(const struct publish *publish)
{
    return publish->distrusted;
}

uint64_t publish_meaning(const struct publish *publish)
{
    return publish->meaning;
}

uint64_t publish_generation(const struct publish *publish)
{
    return publish->counters->segments;
}

uint64_t publish_confirmed(const struct publish *publish)
{
    return publish->confirmed_ns;
}

const struct history *publish_history(const struct publish *publish)
{
    return &publish->history;
}

struct log_position publish_position(const struct publish *publish)
{
    return publish->at;
}

int64_t publish_expiry(const struct publish *publish)
{
    return publish->expiry;
}

const struct catalogue *publish_catalogue(const struct publish *publish)
{
    return &publish->catalogue;
}

const struct segment *publish_segment(const struct publish *publish)
{
    return &publish->table->segment;
}

/* ---- lookups ----------------------------------------------------------------------------------------------------- */

int publish_answer_from_set(const struct publish *publish, uint32_t set, struct answer *answer)
{
    uint32_t words = publish->options.permissions_max / 64;
    const struct permtab_shm_set *shared = set_at(&publish->table->segment, set);
    answer->any = malloc(2 * (size_t)words * sizeof *answer->any);
    if (answer->any == NULL)
        return PERMTAB_E_MEMORY;
    answer->own = answer->any + words;
    for (uint32_t word = 0; word < words; word++) {
        answer->any[word] = permtab_shm_load64_relaxed(&shared->bits[2 * word]);
        answer->own[word] = permtab_shm_load64_relaxed(&shared->bits[2 * word + 1]);
    }
    answer->words = words;
    answer->revision = publish->at.revision;
    answer->deadline_ns = publish_deadline(publish);
    return 0;
}

bool publish_lookup(const struct publish *publish, uint64_t user, struct scope_key scope,
                    struct answer *answer)
{
    struct permtab_shm_look look;
    /* The publisher is the only writer and this is its thread: one look is whole. */
    if (permtab_shm_look_once(&publish->table->segment.table, user, scope.id, scope.type, &look) !=
        PERMTAB_SHM_FOUND)
        return false;
    return publish_answer_from_set(publish, PERMTAB_SHM_WORD_INDEX(look.entry.word), answer) == 0;
}

/* ---- hearsay ----------------------------------------------------------------------------------------------------- */

uint64_t publish_hear(struct publish *publish, const struct target *target, uint64_t revision,
                      uint64_t now_ns)
{
    struct rumour rumour = {
        .user = target->id, .scope = target->scope, .revision = revision, .heard_ns = now_ns};
    uint64_t retired = 0;
    if (target->kind == TARGET_USER || target->kind == TARGET_USER_AT) {
        retired = table_retire_user(publish->table, target->id, now_ns);
    } else if (target->kind == TARGET_SCOPE) {
        rumour.of_scope = rumour.resident = true;
    } else {
        return 0;
    }
    rumours_add(&publish->rumours, &rumour);
    publish->counters->entries_retired += retired;
    publish_count(publish);
    return retired;
}

bool publish_hear_slice(struct publish *publish, uint64_t now_ns, uint64_t work)
{
    struct rumours *rumours = &publish->rumours;
    bool more = false;
    for (uint32_t i = 0; i < rumours->count && !more; i++) {
        struct rumour *rumour = &rumours->items[i];
        if (rumour->resident)
            rumour->resident = table_retire_scope_slice(publish->table, rumour->scope, now_ns, &work,
                                                        &publish->counters->entries_retired);
        more = rumour->resident;
    }
    publish_count(publish);
    return more;
}

/* ---- invalidation on demand -------------------------------------------------------------------------------------- */

uint64_t publish_retire_user(struct publish *publish, uint64_t user)
{
    return table_retire_user(publish->table, user, clock_ns());
}

void publish_invalidate(struct publish *publish)
{
    publish->invalidated++;
}

bool publish_retire_scope(struct publish *publish, struct scope_key scope, uint64_t *work, uint64_t *retired)
{
    return table_retire_scope_slice(publish->table, scope, clock_ns(), work, retired);
}

static uint64_t retire_entry(struct table *table, uint64_t user, struct scope_key scope)
{
    uint32_t slot = map_find_writer(&table->map, (struct map_key){user, scope.id, scope.type});
    if (slot == MAP_NO_SLOT)
        return 0;
    table_clear(table, slot, clock_ns(), true);
    return 1;
}

uint64_t publish_retire_user_at(struct publish *publish, uint64_t user, struct scope_key scope)
{
    struct table *table = publish->table;
    const struct scope_node *node = scope_tree_find(&table->scopes, scope);
    if (node == NULL)
        return 0;
    bool folded = node->fold_target != NULL;
    struct scope_key answers = folded ? node->fold_target->key : scope;
    uint64_t retired = retire_entry(table, user, scope); /* it may forget the node */
    return folded ? retired + retire_entry(table, user, answers) : retired;
}

uint64_t publish_retire_role(struct publish *publish, uint64_t role)
{
    struct table *table = publish->table;
    const struct resident_role *resident = set_table_role(&table->sets, role);
    uint64_t entries = 0;
    publish->invalidated++;
    if (resident == NULL)
        return 0;
    for (size_t i = 0; i < resident->link_count; i++) {
        uint32_t set = resident->links[i].set;
        struct set_record *record = &table->sets.records[set];
        if (!record->used || record->abandoned || record->generation != resident->links[i].generation)
            continue;
        entries += record->entries;
        set_table_abandon(&table->sets, set);
    }
    return entries;
}

uint64_t publish_invalidated(const struct publish *publish)
{
    return publish->invalidated;
}
