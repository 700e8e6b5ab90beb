/* Fills: facts that were read from the store become an entry, if they are still true.
 *
 * Since the snapshot later batches may have been applied (the history tells what they touched), or assignments may
 * have ended (they are judged again at the expiry that the table has reached). No function here waits. */
#include "proxy/table/fill.h"

#include "proxy/base/log.h"
#include "proxy/table/batch.h"
#include "proxy/table/landing.h"
#include "proxy/table/private.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- answers ----------------------------------------------------------------------------------------------------- */

void answer_fini(struct answer *answer)
{
    free(answer->any);
    answer->any = NULL;
    answer->own = NULL;
}

uint64_t answer_mark(const struct publisher *publisher, const struct answer *answer)
{
    uint64_t catalogue = publisher->table->segment.header->beat.catalogue;
    return XXH3_64bits_withSeed(answer->any, 2 * answer->words * sizeof *answer->any, catalogue);
}

int publisher_answer_from_set(const struct publisher *publisher, const struct table *table, uint32_t set,
                              struct answer *answer)
{
    uint32_t words = publisher->options.permissions_max / 64;
    const struct permtab_shm_set *shared = set_at(&table->segment, set);
    answer->any = malloc(2 * (size_t)words * sizeof *answer->any);
    if (answer->any == NULL)
        return PERMTAB_E_MEMORY;
    answer->own = answer->any + words;
    for (uint32_t word = 0; word < words; word++) {
        answer->any[word] = permtab_shm_load64_relaxed(&shared->bits[2 * word]);
        answer->own[word] = permtab_shm_load64_relaxed(&shared->bits[2 * word + 1]);
    }
    answer->words = words;
    answer->revision = publisher->at.revision;
    answer->deadline_ns = publisher_deadline(publisher);
    return 0;
}

bool publisher_lookup(const struct publisher *publisher, uint64_t user, struct scope_key scope,
                      struct answer *answer)
{
    struct permtab_shm_look look;
    /* The publisher is the only writer and this is its thread: one look is whole. */
    if (permtab_shm_look_once(&publisher->table->segment.table, user, scope.id, scope.type, &look) !=
        PERMTAB_SHM_FOUND)
        return false;
    uint32_t set = PERMTAB_SHM_WORD_INDEX(look.entry.word);
    return publisher_answer_from_set(publisher, publisher->table, set, answer) == 0;
}

uint32_t publisher_chain(const struct publisher *publisher, struct scope_key scope, struct scope_key *out)
{
    const struct scope_node *node = scope_tree_find(&publisher->table->scopes, scope);
    uint32_t levels = 0;
    for (const struct scope_node *above = node; above != NULL; above = above->parent)
        if (levels++ == SCOPE_CHAIN_MAX)
            return 0;
    for (uint32_t level = levels; level > 0; node = node->parent)
        out[--level] = node->key;
    return levels > 0 && scope_equal(out[0], (struct scope_key){0, 0}) ? levels : 0;
}

/* ---- facts without definitions ----------------------------------------------------------------------------------- */

/* Lineages with more steps than this are read from the store: a circle of parents, which plain SQL can make, too. */
#define LINEAGE_MAX 256u

/* Whether the role and its ancestors have resident definitions. */
static bool knows_lineage(const struct set_table *sets, uint64_t role, unsigned *left)
{
    const struct resident_role *resident = set_table_role(sets, role);
    if (resident == NULL || *left == 0)
        return false;
    --*left;
    for (size_t i = 0; resident->present && i < resident->role.parent_count; i++)
        if (!knows_lineage(sets, resident->role.parents[i], left))
            return false;
    return true;
}

bool publisher_knows_roles(const struct publisher *publisher, const struct facts *facts)
{
    const struct set_table *sets = &publisher->table->sets;
    for (size_t i = 0; i < facts->assignment_count; i++) {
        unsigned left = LINEAGE_MAX;
        if (!knows_lineage(sets, facts->assignments[i].role, &left))
            return false;
    }
    for (size_t i = 0; i < facts->default_count; i++) {
        const struct facts_default *item = &facts->defaults[i];
        const struct resident_role *resident = set_table_role(sets, item->role);
        unsigned left = LINEAGE_MAX;
        /* SQLite's REPLACE may take a default role from a scope that no change row names: L2's value of that scope
         * still has the role. */
        if (resident == NULL || !resident->present || !resident->role.is_default ||
            !scope_equal(resident->role.scope, facts->chain[item->level].key) ||
            !knows_lineage(sets, item->role, &left))
            return false;
    }
    return true;
}

/* ---- facts into the table ---------------------------------------------------------------------------------------- */

/* Watches the roles whose assignments were ignored: see resident_role.watched. */
static int watch_misplaced(const struct facts *facts, int64_t now, struct role_sources *sources)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < facts->assignment_count; i++) {
        const struct facts_assignment *assignment = &facts->assignments[i];
        if (assignment->expires_at > now &&
            !facts_well_placed(facts, assignment, role_sources_find(sources, assignment->role)))
            code = set_table_watch(sources, assignment->role);
    }
    return code;
}

uint32_t fill_intern(struct publisher *publisher, struct inputs *inputs, struct role_sources *sources, uint64_t now_ns)
{
    struct set_table *sets = sources->table;
    uint32_t set = set_table_find(sets, inputs);
    if (set != 0) {
        /* overwrites_seen is no part of the identity: other users of the set may have seen none. A change of
         * inheritance must know it. */
        sets->records[set].inputs.overwrites_seen |= inputs->overwrites_seen;
        return set;
    }
    return set_table_add(sources, &publisher->catalogue, inputs, now_ns);
}

/* Computes the bits without a set, when none is free: the socket still answers. */
static int answer_aside(struct publisher *publisher, const struct inputs *inputs,
                        struct role_sources *sources, struct answer *answer)
{
    uint32_t words = publisher->options.permissions_max / 64;
    publisher->counters->sets_exhausted++;
    answer->any = malloc(2 * (size_t)words * sizeof *answer->any);
    if (answer->any == NULL)
        return PERMTAB_E_MEMORY;
    answer->own = answer->any + words;
    answer->words = words;
    answer->revision = publisher->at.revision;
    answer->deadline_ns = publisher_deadline(publisher);
    int code = resolve(&publisher->catalogue, inputs, role_sources_find, sources, answer->any, answer->own);
    if (code < 0)
        answer_fini(answer);
    return code;
}

/* What nobody has asked for displaces nothing, in either table. */
static void put_entry(struct publisher *publisher, struct table *table, const struct facts *facts, uint32_t set,
                      uint64_t now_ns)
{
    struct landing landing;
    if (landing_begin(&landing, table, facts, now_ns) < 0)
        return;
    (void)landing_put(&landing, publisher, facts, set, now_ns);
    landing_end(&landing);
}

/* Whether messages hold the facts back. One message costs one poll. In a stream of messages, about one user or
 * about all of them, each would cost another poll, and there would never be an answer: so after a while messages
 * are not heeded. Their changes come into the table with a poll in any case, and published facts are true at the
 * table's revision, as without any messages. */
#define DOUBT_MAX_NS 100000000ull

static bool doubted_enough(const struct publisher *publisher, struct facts *facts, uint64_t now_ns)
{
    if (facts->held_back_since_ns == 0)
        facts->held_back_since_ns = now_ns;
    return publisher->confirmed_ns > facts->held_back_since_ns &&
           now_ns - facts->held_back_since_ns >= DOUBT_MAX_NS;
}

bool publisher_rebuilt_since(const struct publisher *publisher, const struct facts *facts)
{
    return facts->generation != publisher->generation;
}

bool publisher_still_true(const struct publisher *publisher, const struct facts *facts)
{
    return !publisher_rebuilt_since(publisher, facts) && history_still_true(&publisher->history, facts);
}

int fill_build(struct facts *facts, int64_t now, struct role_sources *sources, struct inputs *inputs,
                 size_t *misplaced)
{
    int code = inputs_build(inputs, facts, now, role_sources_find, sources, misplaced);
    if (code == 0 && *misplaced > 0 && (code = watch_misplaced(facts, now, sources)) < 0)
        inputs_fini(inputs);
    return code;
}

/* An entry of a broken chain is not kept: the change that mends the chain names a scope that this entry does not
 * know. */
static void put_unless_broken(struct publisher *publisher, struct table *table, const struct facts *facts,
                              uint32_t set, uint64_t now_ns)
{
    if (!facts->broken)
        put_entry(publisher, table, facts, set, now_ns);
}

/* Fills the table that clients are handed, and answers. A negative code: no memory. The set, unless it is 0, is held
 * and to be let go: a set that no entry names is freed then, and roles that it alone has with it. */
static int fill_first(struct publisher *publisher, struct facts *facts, int64_t now, uint64_t now_ns,
                      struct answer *answer, uint32_t *held)
{
    struct table *table = publisher->table;
    struct role_sources sources = {&table->sets, &facts->roles, NULL};
    struct inputs inputs;
    size_t misplaced = 0;
    int code = fill_build(facts, now, &sources, &inputs, &misplaced);
    if (misplaced > 0) {
        publisher->counters->misplaced_rows += misplaced;
        log_debug("user %llu: %zu assignments ignored: their roles belong elsewhere",
                  (unsigned long long)facts->user, misplaced);
    }
    if (code < 0)
        return code;
    uint32_t set = fill_intern(publisher, &inputs, &sources, now_ns);
    if (set != 0) {
        set_table_hold(&table->sets, set);
        code = publisher_answer_from_set(publisher, table, set, answer);
        put_unless_broken(publisher, table, facts, set, now_ns);
    } else {
        code = answer_aside(publisher, &inputs, &sources, answer);
    }
    *held = set;
    inputs_fini(&inputs);
    return code;
}

/* Fills the other table. Facts of L2 bring no definitions; those that this table does not have are in the first one,
 * where the set still holds them. Without memory, or a free set, the entry is left out: nothing that is there becomes
 * wrong. */
static void fill_other(struct publisher *publisher, struct facts *facts, int64_t now, uint64_t now_ns)
{
    struct table *table = publisher->other;
    struct role_sources sources = {&table->sets, &facts->roles, &publisher->table->sets};
    struct inputs inputs;
    size_t misplaced = 0;
    if (fill_build(facts, now, &sources, &inputs, &misplaced) < 0)
        return;
    uint32_t set = fill_intern(publisher, &inputs, &sources, now_ns);
    if (set != 0) {
        set_table_hold(&table->sets, set);
        put_unless_broken(publisher, table, facts, set, now_ns);
        set_table_drop(&table->sets, set, now_ns + table->rest_ns);
    }
    inputs_fini(&inputs);
}

enum publisher_outcome fill_fence(struct publisher *publisher, struct facts *facts, uint64_t now_ns)
{
    if (publisher_rebuilt_since(publisher, facts))
        return PUBLISHER_OUTDATED;
    if (facts->revision > publisher->at.revision)
        return PUBLISHER_EARLY;
    role_list_sort(&facts->roles);
    const struct batch *applying = publisher->applying.batch; /* between two of its slices */
    if (!history_still_true(&publisher->history, facts) ||
        (applying != NULL && changes_concern(&applying->changes, facts)))
        return PUBLISHER_OUTDATED;
    if (heard_outdates(&publisher->heard, facts) && !doubted_enough(publisher, facts, now_ns))
        return PUBLISHER_EARLY;
    facts->held_back_since_ns = 0;
    return PUBLISHER_FILLED;
}

int64_t fill_judged_at(const struct publisher *publisher, const struct facts *facts)
{
    const struct batch *applying = publisher->applying.batch;
    int64_t now = facts_judged_at(facts, publisher->expiry);
    /* assignments that the batch says have ended may have been retired already */
    return applying != NULL && applying->now > now ? applying->now : now;
}

enum publisher_outcome publisher_fill(struct publisher *publisher, struct facts *facts, uint64_t now_ns,
                                      struct answer *answer)
{
    enum publisher_outcome outcome = fill_fence(publisher, facts, now_ns);
    if (outcome != PUBLISHER_FILLED)
        return outcome;
    int64_t now = fill_judged_at(publisher, facts);
    struct table *table = publisher->table;
    uint32_t held = 0;
    int code = fill_first(publisher, facts, now, now_ns, answer, &held);
    if (code == 0 && publisher->other != NULL)
        fill_other(publisher, facts, now, now_ns);
    if (held != 0)
        set_table_drop(&table->sets, held, now_ns + table->rest_ns);
    publisher_count(publisher);
    return code < 0 ? PUBLISHER_FAILED : PUBLISHER_FILLED;
}
