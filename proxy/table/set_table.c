/* Sets by inputs. The links from roles to sets are not removed one by one when a set is freed, which would be linear in
 * the number of sets of a popular role: a link carries the generation of its set, stale ones are skipped, and
 * swept out when they are half of a role's links. */
#include "proxy/table/set_table.h"

#include "proxy/base/array.h"
#include "shm/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint32_t words_of(const struct set_table *table)
{
    return table->segment->table.permissions_max / 64;
}

static void free_arrays(struct set_table *table)
{
    pages_free(table->records, table->segment->table.set_count, sizeof *table->records);
    pages_free(table->buckets, (size_t)table->bucket_mask + 1, sizeof *table->buckets);
    memset(table, 0, sizeof *table);
}

int set_table_init(struct set_table *table, struct segment *segment)
{
    uint32_t count = segment->table.set_count;
    uint32_t buckets = 1;
    while (buckets < count)
        buckets *= 2;
    memset(table, 0, sizeof *table);
    table->segment = segment;
    table->bucket_mask = buckets - 1;
    table->records = pages_new(count, sizeof *table->records);
    table->buckets = pages_new(buckets, sizeof *table->buckets);
    if (table->records != NULL && table->buckets != NULL && set_pool_init(&table->pool, segment) == 0)
        return 0;
    free_arrays(table);
    return PERMTAB_E_MEMORY;
}

static void role_free(struct set_table *table, struct resident_role *role)
{
    HASH_DEL(table->roles, role);
    role_fini(&role->role);
    free(role->links);
    free(role);
}

void set_table_fini(struct set_table *table)
{
    if (table->segment == NULL)
        return;
    for (uint32_t set = 1; set < table->segment->table.set_count; set++) {
        if (table->records[set].used) {
            inputs_fini(&table->records[set].inputs);
            free(table->records[set].roles);
        }
    }
    struct resident_role *role, *next;
    HASH_ITER(hh, table->roles, role, next)
    role_free(table, role);
    set_pool_fini(&table->pool);
    free_arrays(table);
}

uint64_t set_table_memory(const struct set_table *table)
{
    const uint64_t each =
        sizeof *table->records + sizeof *table->buckets + 2 * sizeof(uint32_t) + sizeof(uint64_t) + 1;
    return (uint64_t)table->segment->table.set_count * each;
}

/* ---- roles ----------------------------------------------------------------------------------------------------- */

struct resident_role *set_table_role(const struct set_table *table, uint64_t role)
{
    struct resident_role *found;
    HASH_FIND(hh, table->roles, &role, sizeof role, found);
    return found;
}

const struct role *role_sources_find(void *context, uint64_t role)
{
    const struct role_sources *sources = context;
    const struct resident_role *resident = set_table_role(sources->table, role);
    if (resident != NULL)
        return resident->present ? &resident->role : NULL;
    const struct role *definition = sources->fresh != NULL ? role_list_find(sources->fresh, role) : NULL;
    if (definition != NULL || sources->beside == NULL)
        return definition;
    resident = set_table_role(sources->beside, role);
    return resident != NULL && resident->present ? &resident->role : NULL;
}

static struct resident_role *role_put(const struct role_sources *sources, uint64_t id)
{
    struct set_table *table = sources->table;
    struct resident_role *role = set_table_role(table, id);
    if (role != NULL)
        return role;
    role = calloc(1, sizeof *role);
    if (role == NULL)
        return NULL;
    role->id = id;
    const struct role *definition = role_sources_find((void *)(uintptr_t)sources, id);
    if (definition != NULL) {
        if (role_copy(&role->role, definition) < 0) {
            free(role);
            return NULL;
        }
        role->present = true;
    }
    HASH_ADD(hh, table->roles, id, sizeof role->id, role);
    if (!HASH_ADDED(role)) {
        role_fini(&role->role);
        free(role);
        return NULL;
    }
    return role;
}

int set_table_watch(const struct role_sources *sources, uint64_t role)
{
    struct set_table *table = sources->table;
    struct resident_role *resident = role_put(sources, role);
    if (resident == NULL)
        return PERMTAB_E_MEMORY;
    if (resident->watched)
        return 0;
    resident->watched = true;
    if (table->last_watched != NULL)
        table->last_watched->next_watched = resident;
    else
        table->watched = resident;
    table->last_watched = resident;
    return 0;
}

static bool link_is_live(const struct set_table *table, const struct set_link *link)
{
    const struct set_record *record = &table->records[link->set];
    return record->used && record->generation == link->generation;
}

static void role_sweep(struct set_table *table, struct resident_role *role)
{
    size_t kept = 0;
    for (size_t i = 0; i < role->link_count; i++)
        if (link_is_live(table, &role->links[i]))
            role->links[kept++] = role->links[i];
    role->link_count = kept;
    role->link_stale = 0;
}

static int role_link(struct set_table *table, struct resident_role *role, uint32_t set)
{
    struct set_link *link = array_add(&role->links, &role->link_count, sizeof *link);
    if (link == NULL)
        return PERMTAB_E_MEMORY;
    *link = (struct set_link){set, table->records[set].generation};
    return 0;
}

/* Counts one live link fewer. Sweeps stale links out when they are more than half, and frees a role that no set
 * holds and that is not watched. */
static void role_unlinked(struct set_table *table, struct resident_role *role)
{
    role->link_stale++;
    if (role->link_stale * 2 > role->link_count)
        role_sweep(table, role);
    if (role->link_count == role->link_stale && !role->watched)
        role_free(table, role);
}

/* ---- the closure of a set --------------------------------------------------------------------------------------- */

struct closure {
    uint64_t *ids;
    size_t count;
    bool failed;
};

static void closure_visit(void *context, uint64_t role)
{
    struct closure *closure = context;
    uint64_t *id = array_add(&closure->ids, &closure->count, sizeof *id);
    if (id == NULL)
        closure->failed = true;
    else
        *id = role;
}

/* Whether the record's closure has the role. `hint`: its place if nothing had changed, as is usual; it keeps the
 * comparison of two closures linear. */
static bool record_has_role(const struct set_record *record, const struct resident_role *role, size_t hint)
{
    if (hint < record->role_count && record->roles[hint] == role)
        return true;
    for (size_t i = 0; i < record->role_count; i++)
        if (record->roles[i] == role)
            return true;
    return false;
}

/* Updates the record's closure from the present definitions. New roles are linked before old ones are let go. */
static int closure_update(const struct role_sources *sources, uint32_t set)
{
    struct set_table *table = sources->table;
    struct set_record *record = &table->records[set];
    struct closure closure = {0};
    struct resident_role **roles = NULL;
    struct set_record before = *record;
    size_t linked = 0;
    int code =
        inputs_roles(&record->inputs, role_sources_find, (void *)(uintptr_t)sources, closure_visit, &closure);
    if (code == 0 && closure.failed)
        code = PERMTAB_E_MEMORY;
    if (code == 0 && closure.count > 0 && (roles = malloc(closure.count * sizeof *roles)) == NULL)
        code = PERMTAB_E_MEMORY;
    for (; code == 0 && linked < closure.count; linked++) {
        roles[linked] = role_put(sources, closure.ids[linked]);
        if (roles[linked] == NULL)
            code = PERMTAB_E_MEMORY;
        else if (!record_has_role(&before, roles[linked], linked))
            code = role_link(table, roles[linked], set);
        if (code < 0)
            break;
    }
    free(closure.ids);
    if (code < 0) {
        /* The caller throws the whole table away; everything left here can be freed by its destructor. */
        free(roles);
        return code;
    }
    record->roles = roles;
    record->role_count = closure.count;
    for (size_t i = 0; i < before.role_count; i++) {
        if (!record_has_role(record, before.roles[i], i)) {
            for (size_t k = 0; k < before.roles[i]->link_count; k++)
                if (before.roles[i]->links[k].set == set)
                    before.roles[i]->links[k].generation--; /* now stale */
            role_unlinked(table, before.roles[i]);
        }
    }
    free(before.roles);
    return 0;
}

/* ---- sets ------------------------------------------------------------------------------------------------------ */

uint32_t set_table_find(const struct set_table *table, const struct inputs *inputs)
{
    return set_table_find_hashed(table, inputs, inputs_hash(inputs));
}

uint32_t set_table_find_hashed(const struct set_table *table, const struct inputs *inputs, uint64_t hash)
{
    uint32_t set = table->buckets[hash & table->bucket_mask];
    while (set != 0 &&
           !(table->records[set].hash == hash && inputs_equal(&table->records[set].inputs, inputs)))
        set = table->records[set].next;
    return set;
}

static void bucket_add(struct set_table *table, uint32_t set)
{
    uint32_t *head = &table->buckets[table->records[set].hash & table->bucket_mask];
    table->records[set].next = *head;
    *head = set;
}

static void bucket_remove(struct set_table *table, uint32_t set)
{
    uint32_t *at = &table->buckets[table->records[set].hash & table->bucket_mask];
    while (*at != set)
        at = &table->records[*at].next;
    *at = table->records[set].next;
}

bool set_table_has_room(const struct set_table *table, uint64_t now_ns)
{
    const struct index_pool *pool = &table->pool.indices;
    return pool->free_count > 0 ||
           (pool->resting_count > 0 && pool->resting_until[pool->resting_head] <= now_ns);
}

uint32_t set_table_add(const struct role_sources *sources, const struct catalogue *catalogue,
                       struct inputs *inputs, uint64_t now_ns)
{
    struct set_table *table = sources->table;
    uint32_t words = words_of(table);
    uint64_t *bits = malloc(2 * (size_t)words * sizeof *bits);
    uint32_t set = bits != NULL ? set_take_writer(&table->pool, now_ns) : 0;
    if (set == 0) {
        free(bits);
        return 0;
    }
    struct set_record *record = &table->records[set];
    uint32_t generation = record->generation + 2; /* even: odd ones mark links gone stale early */
    memset(record, 0, sizeof *record);
    record->generation = generation;
    record->used = true;
    record->inputs = *inputs;
    record->hash = inputs_hash(inputs);
    if (closure_update(sources, set) < 0 ||
        resolve(catalogue, inputs, role_sources_find, (void *)(uintptr_t)sources, bits, bits + words) < 0) {
        memset(&record->inputs, 0, sizeof record->inputs); /* they are the caller's again */
        bucket_add(table, set);
        set_table_hold(table, set);
        set_table_drop(table, set, now_ns);
        free(bits);
        return 0;
    }
    memset(inputs, 0, sizeof *inputs);
    bucket_add(table, set);
    set_write_writer(table->segment, set, bits, bits + words);
    set_open_writer(table->segment, set);
    free(bits);
    return set;
}

void set_table_hold(struct set_table *table, uint32_t set)
{
    table->records[set].entries++;
}

void set_table_drop(struct set_table *table, uint32_t set, uint64_t rest_until_ns)
{
    struct set_record *record = &table->records[set];
    assert(record->used && record->entries > 0);
    if (--record->entries > 0)
        return;
    if (record->abandoned)
        table->abandoned--;
    else
        bucket_remove(table, set);
    set_release_writer(&table->pool, set, rest_until_ns);
    record->used = false; /* makes its links stale */
    for (size_t i = 0; i < record->role_count; i++)
        role_unlinked(table, record->roles[i]);
    inputs_fini(&record->inputs);
    free(record->roles);
    record->roles = NULL;
    record->role_count = 0;
}

void set_table_abandon(struct set_table *table, uint32_t set)
{
    struct set_record *record = &table->records[set];
    if (record->abandoned)
        return;
    set_close_writer(table->segment, set);
    bucket_remove(table, set);
    record->abandoned = true;
    table->abandoned++;
}

#define LINKS_LOOKED_AT 4096u /* of a role; a role in more sets than this is not checked further */

static bool role_knows(const struct set_table *table, const struct resident_role *role, uint32_t set)
{
    for (size_t i = 0; i < role->link_count && i < LINKS_LOOKED_AT; i++)
        if (role->links[i].set == set && link_is_live(table, &role->links[i]))
            return true;
    return role->link_count > LINKS_LOOKED_AT;
}

bool set_table_agrees(const struct set_table *table, uint32_t set)
{
    const struct set_record *record = &table->records[set];
    if (set_table_find(table, &record->inputs) != set)
        return false;
    for (size_t i = 0; i < record->role_count; i++)
        if (!role_knows(table, record->roles[i], set))
            return false;
    return true;
}

/* ---- rewriting --------------------------------------------------------------------------------------------------- */

int rewrite_add(struct rewrite *rewrite, struct set_table *table, uint32_t set, uint64_t batch)
{
    struct set_record *record = &table->records[set];
    if (record->batch == batch || record->abandoned)
        return 0;
    uint32_t *added = array_add(&rewrite->sets, &rewrite->count, sizeof *added);
    if (added == NULL)
        return PERMTAB_E_MEMORY;
    *added = set;
    record->batch = batch;
    return 0;
}

void rewrite_forget_abandoned(struct rewrite *rewrite, const struct set_table *table)
{
    size_t kept = 0;
    for (size_t i = 0; i < rewrite->count; i++)
        if (!table->records[rewrite->sets[i]].abandoned)
            rewrite->sets[kept++] = rewrite->sets[i];
    rewrite->count = kept;
}

int rewrite_compute(struct rewrite *rewrite, struct set_table *table, const struct catalogue *catalogue,
                    struct role_list *fresh)
{
    size_t words = words_of(table);
    struct role_sources sources = {table, fresh, NULL};
    if (rewrite->count == 0)
        return 0;
    rewrite->bits = malloc(rewrite->count * 2 * words * sizeof *rewrite->bits);
    if (rewrite->bits == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < rewrite->count; i++) {
        uint32_t set = rewrite->sets[i];
        uint64_t *any = rewrite->bits + i * 2 * words;
        int code = closure_update(&sources, set);
        if (code == 0)
            code = resolve(catalogue, &table->records[set].inputs, role_sources_find, &sources, any,
                           any + words);
        if (code < 0)
            return code;
    }
    return 0;
}

static bool set_has_bits(const struct set_table *table, uint32_t set, const uint64_t *any, size_t words)
{
    const struct permtab_shm_set *shared = set_at(table->segment, set);
    for (size_t word = 0; word < words; word++)
        if (permtab_shm_load64_relaxed(&shared->bits[2 * word]) != any[word] ||
            permtab_shm_load64_relaxed(&shared->bits[2 * word + 1]) != any[words + word])
            return false;
    return true;
}

size_t rewrite_publish(struct rewrite *rewrite, struct set_table *table)
{
    size_t words = words_of(table);
    size_t differing = 0;
    /* Sets whose bits stay the same need not be touched. The others go to the front. */
    for (size_t i = 0; i < rewrite->count; i++) {
        const uint64_t *any = rewrite->bits + i * 2 * words;
        if (set_has_bits(table, rewrite->sets[i], any, words))
            continue;
        if (differing != i)
            memmove(rewrite->bits + differing * 2 * words, any, 2 * words * sizeof *any);
        rewrite->sets[differing++] = rewrite->sets[i];
    }
    for (size_t i = 0; i < differing; i++)
        set_close_writer(table->segment, rewrite->sets[i]);
    for (size_t i = 0; i < differing; i++) {
        const uint64_t *any = rewrite->bits + i * 2 * words;
        set_write_writer(table->segment, rewrite->sets[i], any, any + words);
    }
    for (size_t i = 0; i < differing; i++)
        set_open_writer(table->segment, rewrite->sets[i]);
    return differing;
}

void rewrite_fini(struct rewrite *rewrite)
{
    free(rewrite->sets);
    free(rewrite->bits);
    memset(rewrite, 0, sizeof *rewrite);
}
