/* One entry against the store. The question is exact because three things are true at once, on the loop and between
 * two batches, not between two slices of one: the table stands at one revision and one expiry; the facts are true
 * at that revision (the same fence as for fills); and no assignment among them ends so near to that expiry that a
 * fill may have judged it by a later clock.
 *
 * Three comparisons, because a fault may lie in three places:
 *
 *   what readers see                          word ─► set ─► bits      what the store says now
 *   what the next edit of a role would make   record ─► resident definitions ─► bits
 *   what the next retirement would find       links of user, scope and queue; set by inputs, set by role; the chain
 *
 * The last two find faults that would show later. feed/audit.c decides how often to ask, and cures a difference. */
#include "proxy/table/audit.h"

#include "proxy/table/private.h"
#include "shm/reader.h"

#include <stdlib.h>
#include <string.h>

#define DRAWS       256u   /* slots tried at random first, */
#define SCAN_SLOTS  65536u /* and then in order, for a nearly empty table */
#define WALK_MAX    16u    /* entries of a fold's target passed over */
#define FOLD_CHANCE 4u     /* one question in so many goes through a fold */

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014 (SplitMix64). */
static uint64_t throw(struct audit_dice * dice)
{
    uint64_t z = dice->random += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint32_t below(struct audit_dice *dice, uint32_t count)
{
    return (uint32_t)(((throw(dice) >> 32) * count) >> 32);
}

static uint32_t live_slot(const struct map *map, struct audit_dice *dice)
{
    uint32_t count = map_slot_count(map);
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        uint32_t slot = below(dice, count);
        if (map_word(map, slot) != 0)
            return slot;
    }
    for (uint32_t looked = 0; looked < SCAN_SLOTS && looked < count; looked++) {
        uint32_t slot = dice->slot < count ? dice->slot : 0;
        dice->slot = slot + 1;
        if (map_word(map, slot) != 0)
            return slot;
    }
    return MAP_NO_SLOT;
}

/* Picks a folded scope, and one of the users at the scope that it answers as. */
static bool pick_through_fold(const struct table *table, struct audit_dice *dice, struct audit_question *out)
{
    uint32_t fold = live_slot(&table->folding.map, dice);
    if (fold == MAP_NO_SLOT)
        return false;
    struct map_key key = map_key_at(&table->folding.map, fold);
    struct scope_key scope = {key.key1, key.type};
    const struct scope_node *node = scope_tree_find(&table->scopes, scope);
    uint32_t slots = map_slot_count(&table->map);
    uint32_t slot = node != NULL && node->fold_target != NULL ? node->fold_target->entries : NO_ENTRY;
    for (uint32_t walk = below(dice, WALK_MAX); walk > 0 && slot < slots; walk--)
        if (table->entries.links[slot].scope_next < slots)
            slot = table->entries.links[slot].scope_next;
    if (slot >= slots || map_word(&table->map, slot) == 0)
        return false;
    *out = (struct audit_question){map_key_at(&table->map, slot).key0, scope};
    return true;
}

bool publisher_audit_pick(const struct publisher *publisher, struct audit_dice *dice,
                          struct audit_question *out)
{
    const struct table *table = publisher->table;
    if (table->folding.folds > 0 && below(dice, FOLD_CHANCE) == 0 && pick_through_fold(table, dice, out))
        return true;
    uint32_t slot = live_slot(&table->map, dice);
    if (slot == MAP_NO_SLOT)
        return false;
    struct map_key key = map_key_at(&table->map, slot);
    *out = (struct audit_question){key.key0, {key.key1, key.type}};
    return true;
}

/* ---- what the store says ----------------------------------------------------------------------------------------- */

struct judgement {
    struct inputs inputs;
    uint64_t *bits; /* any, then own */
    uint32_t words;
};

static void judgement_fini(struct judgement *judgement)
{
    inputs_fini(&judgement->inputs);
    free(judgement->bits);
}

/* An assignment that ends this soon after the table's expiry: a fill may have been judged by a clock that had
 * passed its end, but never by one further ahead than a lease is long. */
static bool about_to_end(const struct publisher *publisher, const struct facts *facts)
{
    int64_t until = publisher->expiry + (int64_t)(publisher->options.max_staleness_ns / 1000);
    for (size_t i = 0; i < facts->assignment_count; i++)
        if (facts->assignments[i].expires_at > publisher->expiry && facts->assignments[i].expires_at <= until)
            return true;
    return false;
}

/* Judges the facts. AUDIT_AGREES: *out is good. */
static enum audit_outcome judge(const struct publisher *publisher, struct facts *facts, struct judgement *out)
{
    memset(out, 0, sizeof *out);
    if (publisher_rebuilt_since(publisher, facts))
        return AUDIT_UNSURE;
    if (facts->revision > publisher->at.revision)
        return AUDIT_EARLY;
    role_list_sort(&facts->roles);
    if (publisher->applying.batch != NULL || !history_still_true(&publisher->history, facts) ||
        about_to_end(publisher, facts))
        return AUDIT_UNSURE;
    out->words = publisher->options.permissions_max / 64;
    out->bits = malloc(2 * (size_t)out->words * sizeof *out->bits);
    if (out->bits == NULL)
        return AUDIT_FAILED;
    int code =
        inputs_build(&out->inputs, facts, publisher->expiry, role_list_find, (void *)&facts->roles, NULL);
    if (code < 0) {
        memset(&out->inputs, 0, sizeof out->inputs);
    } else {
        code = resolve(&publisher->catalogue, &out->inputs, role_list_find, (void *)&facts->roles, out->bits,
                       out->bits + out->words);
    }
    return code < 0 ? AUDIT_FAILED : AUDIT_AGREES;
}

/* ---- what is here ------------------------------------------------------------------------------------------------ */

/* The place of the entry for a question. */
struct place {
    struct scope_node *target;
    uint32_t slot; /* MAP_NO_SLOT: nowhere */
    uint32_t set;
};

static struct place find_place(const struct table *table, const struct audit_question *question)
{
    struct place place = {.slot = MAP_NO_SLOT};
    struct scope_node *node = scope_tree_find(&table->scopes, question->scope);
    if (node == NULL)
        return place;
    place.target = node->fold_slot != NO_ENTRY ? node->fold_target : node;
    struct map_key key = {question->user, place.target->key.id, place.target->key.type};
    place.slot = map_writer_find(&table->map, key);
    if (place.slot != MAP_NO_SLOT)
        place.set = PERMTAB_SHM_WORD_INDEX(map_word(&table->map, place.slot));
    return place;
}

static bool is_set(const struct table *table, uint32_t set)
{
    return set > 0 && set < table->segment.table.set_count && table->sets.records[set].used &&
           table->sets.records[set].entries > 0;
}

/* Whether the scope and those above it hang in the tree as they do in the store. */
static bool chain_agrees(const struct table *table, const struct facts *facts)
{
    const struct scope_node *node = scope_tree_find(&table->scopes, facts->scope);
    if (facts->broken)
        return true;
    for (uint32_t level = facts->chain_count; level > 0; level--) {
        if (node == NULL || !scope_equal(node->key, facts->chain[level - 1].key))
            return false;
        node = node->parent;
    }
    return facts->chain_count == 0 || node == NULL;
}

/* Compares `any` and `own`, which `stride` words lie between. */
struct comparison {
    bool same;
    bool more; /* a permission that the judgement does not give */
};

static void compare_word(struct comparison *comparison, uint64_t here, uint64_t judged)
{
    comparison->same &= here == judged;
    comparison->more |= (here & ~judged) != 0;
}

static struct comparison compare_shared(const struct permtab_shm_set *shared, const struct judgement *judged)
{
    struct comparison comparison = {true, false};
    for (uint32_t word = 0; word < judged->words; word++) {
        compare_word(&comparison, permtab_shm_load64_relaxed(&shared->bits[2 * word]), judged->bits[word]);
        compare_word(&comparison, permtab_shm_load64_relaxed(&shared->bits[2 * word + 1]),
                     judged->bits[judged->words + word]);
    }
    return comparison;
}

/* 1: the set's bits, computed again from its record here, would be those judged; 0: others; or a code. */
static int record_resolves(const struct publisher *publisher, struct table *table, uint32_t set,
                           const struct judgement *judged)
{
    struct role_sources sources = {&table->sets, NULL, NULL};
    size_t size = 2 * (size_t)judged->words * sizeof *judged->bits;
    uint64_t *bits = malloc(size);
    if (bits == NULL)
        return PERMTAB_E_MEMORY;
    int code = resolve(&publisher->catalogue, &table->sets.records[set].inputs, role_sources_find, &sources,
                       bits, bits + judged->words);
    if (code == 0)
        code = memcmp(bits, judged->bits, size) == 0;
    free(bits);
    return code;
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static enum audit_outcome differs(struct audit_finding *finding, enum audit_fault fault, const char *what)
{
    finding->fault = fault;
    finding->what = what;
    return AUDIT_DIFFERS;
}

/* Compares: readers found `look`, and the publisher's indexes have `place`. */
static enum audit_outcome compare(const struct publisher *publisher, struct table *table,
                                  const struct facts *facts, const struct place *place,
                                  const struct permtab_shm_look *look, const struct judgement *judged,
                                  struct audit_finding *finding)
{
    const struct set_record *record = &table->sets.records[place->set];
    bool absent = !record->inputs.exists;
    /* Only an absent scope's entry must be negative: for others the kind decides which entries go first, and says
     * nothing. */
    enum entry_kind kind = absent ? ENTRY_NEGATIVE : entries_kind(&table->entries, place->slot);
    struct comparison seen = compare_shared(look->set, judged);
    finding->overgrant = seen.more;
    if (!entries_agree(&table->entries, place->slot, place->target, kind))
        return differs(finding, AUDIT_FAULT_BOOKS, "its entry is not where the lists say");
    if (absent == judged->inputs.exists)
        return differs(finding, AUDIT_FAULT_BOOKS, "its scope is in the store here and not there");
    if (!chain_agrees(table, facts))
        return differs(finding, AUDIT_FAULT_BOOKS, "its scope hangs elsewhere than in the store");
    int resolves = record_resolves(publisher, table, place->set, judged);
    if (resolves < 0)
        return AUDIT_FAILED;
    if (!seen.same && !inputs_equal(&record->inputs, &judged->inputs))
        return differs(finding, AUDIT_FAULT_ENTRY, "its entry has another set than its roles lead to");
    if (!resolves)
        return differs(finding, AUDIT_FAULT_BOOKS,
                       "the role definitions kept here are others than the store's");
    if (!seen.same)
        return differs(finding, AUDIT_FAULT_SET, "its set has other bits than its roles give");
    if (!set_table_agrees(&table->sets, place->set))
        return differs(finding, AUDIT_FAULT_BOOKS, "its set is not where its roles say");
    return AUDIT_AGREES;
}

static enum audit_outcome look_and_compare(const struct publisher *publisher, struct table *table,
                                           const struct facts *facts, const struct judgement *judged,
                                           struct audit_finding *finding)
{
    struct audit_question question = {facts->user, facts->scope};
    struct place place = find_place(table, &question);
    struct permtab_shm_look look = {.set = NULL};
    /* The publisher is the only writer and this is its thread: one look is whole. */
    enum permtab_shm_found found =
        permtab_shm_look_once(&table->segment.table, facts->user, facts->scope.id, facts->scope.type, &look);
    if (place.slot == MAP_NO_SLOT)
        return found == PERMTAB_SHM_MISS
                   ? AUDIT_UNSURE
                   : differs(finding, AUDIT_FAULT_BOOKS, "readers find an entry that is not known here");
    finding->set = place.set;
    if (!is_set(table, place.set)) {
        finding->overgrant = found == PERMTAB_SHM_FOUND;
        return differs(finding, AUDIT_FAULT_BOOKS, "its entry names a set that is not in use");
    }
    finding->generation = table->sets.records[place.set].generation;
    if (table->sets.records[place.set].abandoned)
        return AUDIT_UNSURE; /* an abandoned set: its entries leave one by one */
    if (found != PERMTAB_SHM_FOUND || PERMTAB_SHM_WORD_INDEX(look.entry.word) != place.set)
        return differs(finding, AUDIT_FAULT_BOOKS, "readers do not find the entry that is known here");
    return compare(publisher, table, facts, &place, &look, judged, finding);
}

enum audit_outcome publisher_audit_table(const struct publisher *publisher, struct table *table,
                                         struct facts *facts, struct audit_finding *finding)
{
    struct judgement judged;
    memset(finding, 0, sizeof *finding);
    finding->what = "";
    enum audit_outcome outcome = judge(publisher, facts, &judged);
    if (outcome == AUDIT_AGREES)
        outcome = look_and_compare(publisher, table, facts, &judged, finding);
    judgement_fini(&judged);
    return outcome;
}

enum audit_outcome publisher_audit(const struct publisher *publisher, struct facts *facts,
                                   struct audit_finding *finding)
{
    return publisher_audit_table(publisher, publisher->table, facts, finding);
}

/* ---- healing ----------------------------------------------------------------------------------------------------- */

static uint64_t retire_in(struct table *table, const struct audit_question *question, uint64_t now_ns)
{
    struct place place = find_place(table, question);
    struct scope_node *node = scope_tree_find(&table->scopes, question->scope);
    if (place.slot == MAP_NO_SLOT || !is_set(table, place.set))
        return 0;
    node->pins++;
    folding_unfold(&table->folding, node, now_ns);
    set_table_hold(&table->sets, place.set);
    table_clear(table, place.slot, now_ns, true);
    node->pins--;
    scope_tree_prune(&table->scopes, node);
    return 1;
}

/* The other table may have a copy of what is wrong. */
void publisher_audit_retire(struct publisher *publisher, const struct audit_question *question,
                            uint64_t now_ns)
{
    publisher->counters->entries_retired += retire_in(publisher->table, question, now_ns);
    if (publisher->other != NULL)
        (void)retire_in(publisher->other, question, now_ns);
    publisher_count(publisher);
}

void publisher_audit_abandon(struct publisher *publisher, uint32_t set, uint32_t generation)
{
    struct table *table = publisher->table, *other = publisher->other;
    if (!is_set(table, set) || table->sets.records[set].generation != generation)
        return;
    uint32_t beside = other != NULL ? set_table_find(&other->sets, &table->sets.records[set].inputs) : 0;
    if (beside != 0)
        set_table_abandon(&other->sets, beside);
    set_table_abandon(&table->sets, set);
}
