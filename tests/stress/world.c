/* The world's truth, its writer and its equation. The writer does what the publisher does, in the order that
 * table/batch.c promises: close the sets that change and retire the entries and folds, then write sets, fold and fill,
 * then advance the applied revision. It quarantines for two revisions only, because the reader's rechecks must
 * hold without it. */
#include "tests/stress/world.h"

#include "shm/order.h"

#include <string.h>
#include <sys/mman.h>

/* Counts those of the revisions 1 … revision that leave `phase` when divided by `period`. */
static uint64_t times(uint64_t period, uint64_t phase, uint64_t revision)
{
    return (revision + period - phase) / period - (phase == 0 ? 1u : 0u);
}

/* Scope type and id as which a foldable scope answers at a revision: itself every third time. */
static struct world_key resolve_fold(struct world_key key, uint64_t revision)
{
    uint64_t turns;
    if (key.scope_type != WORLD_FOLDED)
        return key;
    turns = times(WORLD_FOLD_PERIOD, key.scope_id % WORLD_FOLD_PERIOD, revision);
    if (turns % 3u != 0) {
        key.scope_type = WORLD_PLAIN;
        key.scope_id = (key.scope_id + turns) % WORLD_SCOPES;
    }
    return key;
}

struct world_truth world_truth(struct world_key key, uint64_t revision)
{
    struct world_truth truth;
    key = resolve_fold(key, revision);
    truth.class_number = (uint32_t)((key.user + 3u * key.scope_id + 5u * key.scope_type +
                                     times(WORLD_GROUPS, key.user % WORLD_GROUPS, revision)) %
                                    WORLD_CLASSES);
    truth.version = times(WORLD_CLASSES, truth.class_number, revision);
    return truth;
}

uint64_t world_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * 0x2545f4914f6cdd1dull >> 16;
}

struct world_key world_key_random(uint32_t users, uint64_t *random)
{
    uint64_t pick = world_random(random);
    uint64_t scope = (pick >> 24) % (WORLD_SCOPES + WORLD_FOLDABLE);
    bool plain = scope < WORLD_SCOPES;
    return (struct world_key){
        .user = (pick & 0xffffffu) % users,
        .scope_id = plain ? scope : scope - WORLD_SCOPES,
        .scope_type = plain ? WORLD_PLAIN : WORLD_FOLDED,
    };
}

/* ---- sets ------------------------------------------------------------------------------------------------------ */

/* Words in the order of the record: any[0], own[0], any[1] … The first three speak, the rest are made of them. */
static uint64_t expected_word(const uint64_t *words, uint32_t at)
{
    return (words[0] * 0x9e3779b97f4a7c15ull + words[1] * 0xe7037ed1a0b428dbull + words[2] + at) *
           0xa0761d6478bd642full;
}

static uint64_t truth_word(struct world_truth truth)
{
    return truth.version << 8 | truth.class_number;
}

/* Writes a closed set and opens it. */
static void set_fill(struct world *world, uint32_t index, struct world_truth truth)
{
    uint64_t words[WORLD_WORDS], any[WORLD_WORDS / 2], own[WORLD_WORDS / 2];
    words[0] = truth_word(truth);
    words[1] = index;
    words[2] = ++world->life;
    for (uint32_t at = 3; at < WORLD_WORDS; at++)
        words[at] = expected_word(words, at);
    for (uint32_t at = 0; at < WORLD_WORDS; at++)
        *(at % 2u ? &own[at / 2u] : &any[at / 2u]) = words[at];
    set_write_writer(&world->segment, index, any, own);
    set_open_writer(&world->segment, index);
}

/* ---- the writer ------------------------------------------------------------------------------------------------ */

static size_t residence_size(uint32_t users)
{
    return (size_t)users * WORLD_SCOPES * sizeof(uint32_t);
}

int world_init(struct world *world, uint32_t users, uint64_t entries, uint64_t seed)
{
    struct segment_options options = {
        .permissions_max = WORLD_PERMISSIONS,
        .entries = entries,
        .sets = WORLD_CLASSES * 2u,
        .folds = WORLD_FOLDABLE,
        .targets = WORLD_FOLDABLE * 2u,
        .store_id = 1,
    };
    memset(world, 0, sizeof(*world));
    int code = segment_new(&world->segment, &options);
    if (code < 0)
        return code;
    code = set_pool_init(&world->sets, &world->segment);
    if (code == 0)
        code = index_pool_init(&world->targets, options.targets);
    if (code < 0) {
        world_fini(world);
        return code;
    }
    world->users = users;
    world->residence =
        mmap(NULL, residence_size(users), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (world->residence == MAP_FAILED) {
        world->residence = NULL;
        world_fini(world);
        return PERMTAB_E_MEMORY;
    }
    world->random = seed | 1u;
    world->map =
        (struct map){world->segment.map, world->segment.table.map_buckets, world->segment.table.hash_seed};
    world->folds =
        (struct map){world->segment.folds, world->segment.table.fold_buckets, world->segment.table.hash_seed};
    for (uint32_t class_number = 0; class_number < WORLD_CLASSES; class_number++) {
        world->class_set[class_number] = set_take_writer(&world->sets, 0);
        set_fill(world, world->class_set[class_number], (struct world_truth){class_number, 0});
    }
    segment_lease_writer(&world->segment, WORLD_DEADLINE_NONE);
    segment_publish_writer(&world->segment);
    return 0;
}

void world_fini(struct world *world)
{
    if (world->residence != NULL)
        (void)munmap(world->residence, residence_size(world->users));
    index_pool_fini(&world->targets);
    set_pool_fini(&world->sets);
    segment_free(&world->segment);
}

static struct map_key entry_key(struct world_key key)
{
    return (struct map_key){key.user, key.scope_id, key.scope_type};
}

/* The key is there: said after it is. It goes: said before it does. Either way a reader that finds what is said
 * unchanged behind its look has looked while it was true, because the loads of the look are acquires. */
static void residence_turn(struct world *world, struct map_key key)
{
    if (key.type == WORLD_PLAIN) {
        uint32_t *number = &world->residence[key.key0 * WORLD_SCOPES + key.key1];
        permtab_shm_store32(number, permtab_shm_load32_relaxed(number) + 1u);
    }
}

static void entry_insert(struct world *world, uint32_t slot, struct map_key key, uint32_t set)
{
    map_insert_writer(&world->map, slot, key, set);
    residence_turn(world, key);
}

static void entry_clear(struct world *world, uint32_t slot)
{
    residence_turn(world, map_key_at(&world->map, slot));
    map_clear_writer(&world->map, slot);
}

static bool fold_turns(uint32_t scope, uint64_t revision)
{
    return revision % WORLD_FOLD_PERIOD == scope % WORLD_FOLD_PERIOD;
}

static void unfold(struct world *world, uint64_t revision)
{
    uint32_t left = 0;
    for (uint32_t scope = 0; scope < WORLD_FOLDABLE; scope++) {
        if (fold_turns(scope, revision) && world->fold_target[scope] != 0) {
            map_clear_writer(&world->folds,
                             map_writer_find(&world->folds, (struct map_key){0, scope, WORLD_FOLDED}));
            index_release(&world->targets, world->fold_target[scope], revision + 2u);
            world->fold_target[scope] = 0;
            world->unfolded++;
        }
        left += world->fold_target[scope] != 0 ? 1u : 0u;
    }
    segment_fold_count_writer(&world->segment, left);
}

static void fold(struct world *world, uint64_t revision)
{
    for (uint32_t scope = 0; scope < WORLD_FOLDABLE; scope++) {
        struct world_key key = {0, scope, WORLD_FOLDED};
        struct world_key answers = resolve_fold(key, revision);
        struct map_key fold_key = {0, scope, WORLD_FOLDED};
        if (!fold_turns(scope, revision) || answers.scope_type == WORLD_FOLDED)
            continue;
        uint32_t target = index_take(&world->targets, revision);
        uint32_t slot = map_writer_vacancy(&world->folds, fold_key);
        segment_target_set_writer(&world->segment, target, answers.scope_type, answers.scope_id);
        segment_fold_count_writer(&world->segment, WORLD_FOLDABLE);
        map_insert_writer(&world->folds, slot, fold_key, target);
        world->fold_target[scope] = target;
        world->folded++;
    }
}

/* The entries that the revision makes untrue leave, or get their new set at once. */
static void retire(struct world *world, uint64_t revision)
{
    for (uint32_t slot = 0; slot < map_slot_count(&world->map); slot++) {
        if (map_word(&world->map, slot) == 0)
            continue;
        struct map_key there = map_key_at(&world->map, slot);
        struct world_key key = {there.key0, there.key1, there.type};
        bool turns = key.scope_type == WORLD_FOLDED && fold_turns((uint32_t)key.scope_id, revision);
        if (!turns && key.user % WORLD_GROUPS != revision % WORLD_GROUPS)
            continue;
        if (turns || (world_random(&world->random) & 1u)) {
            entry_clear(world, slot);
            world->revoked++;
        } else {
            map_replace_writer(&world->map, slot, world->class_set[world_truth(key, revision).class_number]);
            world->replaced++;
        }
    }
}

/* The class that the revision edits: in place, or by moving it to a set that rested. */
static void edit(struct world *world, uint32_t class_number, uint64_t revision)
{
    uint32_t old = world->class_set[class_number];
    struct world_truth truth = {class_number, times(WORLD_CLASSES, class_number, revision)};
    uint32_t fresh = world_random(&world->random) % 3u == 0 ? set_take_writer(&world->sets, revision) : 0;
    if (fresh == 0) {
        set_fill(world, old, truth);
        world->rewritten++;
        return;
    }
    set_fill(world, fresh, truth);
    world->class_set[class_number] = fresh;
    for (uint32_t slot = 0; slot < map_slot_count(&world->map); slot++) {
        if (PERMTAB_SHM_WORD_INDEX(map_word(&world->map, slot)) == old)
            map_replace_writer(&world->map, slot, fresh);
    }
    set_release_writer(&world->sets, old, revision + 2u);
    world->moved++;
}

static void fill(struct world *world)
{
    struct world_key key = world_key_random(world->users, &world->random);
    struct map_key entry = entry_key(key);
    uint32_t first, end;
    if (key.scope_type == WORLD_FOLDED && world->fold_target[key.scope_id] != 0)
        return;
    if (map_writer_find(&world->map, entry) != MAP_NO_SLOT)
        return;
    uint32_t slot = map_writer_vacancy(&world->map, entry);
    if (slot == MAP_NO_SLOT || world_random(&world->random) % 4u == 0) {
        map_window(&world->map, entry, &first, &end);
        slot = first + (uint32_t)(world_random(&world->random) % (end - first));
        if (map_word(&world->map, slot) != 0) {
            entry_clear(world, slot);
            world->evicted++;
        }
    }
    uint32_t class_number = world_truth(key, world->revision).class_number;
    entry_insert(world, slot, entry, world->class_set[class_number]);
    world->inserted++;
}

/* Any entry into any free slot behind it in its window, as table/table.c does where a window is full. */
static void displace(struct world *world)
{
    uint32_t first, end;
    uint32_t from = (uint32_t)(world_random(&world->random) % map_slot_count(&world->map));
    while (from < map_slot_count(&world->map) && map_word(&world->map, from) == 0)
        from++;
    if (from == map_slot_count(&world->map))
        return;
    map_window(&world->map, map_key_at(&world->map, from), &first, &end);
    uint32_t to = from + 1u + (uint32_t)(world_random(&world->random) % (end - from));
    while (to < end && map_word(&world->map, to) != 0)
        to++;
    if (to >= end)
        return;
    map_move_writer(&world->map, from, to);
    world->displaced++;
}

void world_step_writer(struct world *world, uint32_t fills)
{
    uint64_t revision = world->revision + 1u;
    uint32_t class_number = (uint32_t)(revision % WORLD_CLASSES);
    set_close_writer(&world->segment, world->class_set[class_number]);
    unfold(world, revision);
    retire(world, revision);
    edit(world, class_number, revision);
    fold(world, revision);
    segment_applied_writer(&world->segment, revision);
    world->revision = revision;
    for (uint32_t n = 0; n < fills; n++) {
        fill(world);
        displace(world);
    }
}

void world_revoke_user_writer(struct world *world, uint64_t user)
{
    for (uint32_t slot = 0; slot < map_slot_count(&world->map); slot++) {
        if (map_word(&world->map, slot) != 0 && map_key_at(&world->map, slot).key0 == user)
            map_clear_writer(&world->map, slot);
    }
}

static bool same_key(struct map_key one, struct map_key other)
{
    return one.key0 == other.key0 && one.key1 == other.key1 && one.type == other.type;
}

uint32_t world_doubled(const struct world *world)
{
    uint32_t doubled = 0;
    for (uint32_t slot = 0; slot < map_slot_count(&world->map); slot++) {
        uint32_t word = map_word(&world->map, slot);
        uint32_t copies = 0;
        for (uint32_t other = slot + 1; word != 0 && other < map_slot_count(&world->map); other++) {
            if (map_word(&world->map, other) == 0 ||
                !same_key(map_key_at(&world->map, slot), map_key_at(&world->map, other)))
                continue;
            if (map_word(&world->map, other) != word || ++copies > 1)
                return UINT32_MAX;
        }
        doubled += copies;
    }
    return doubled;
}

/* ---- the equation ---------------------------------------------------------------------------------------------- */

static bool words_belong_together(const uint64_t *words, uint32_t index)
{
    if (words[1] != index)
        return false;
    for (uint32_t at = 3; at < WORLD_WORDS; at++) {
        if (words[at] != expected_word(words, at))
            return false;
    }
    return true;
}

/* A reader that is slow between two loads, now and then; which one depends on what it happened to read. */
static void dawdle(uint64_t word)
{
    if ((word >> 20) % 32u == 0) {
        for (uint32_t n = 0; n < (word >> 28) % 512u; n++)
            permtab_shm_pause();
    }
}

/* 0: not known to be there. */
static uint32_t residence_of(const struct world_view *view, struct world_key key)
{
    if (key.scope_type != WORLD_PLAIN)
        return 0;
    uint32_t number = permtab_shm_load32(&view->residence[key.user * WORLD_SCOPES + key.scope_id]);
    return number % 2u == 0 ? 0 : number;
}

static enum world_answer missed(const struct world_view *view, struct world_key key, uint32_t before)
{
    return before != 0 && residence_of(view, key) == before ? WORLD_LOST : WORLD_MISS;
}

enum world_answer world_look_any(const struct world_view *view, struct world_key key)
{
    const struct permtab_shm_table *table = view->table;
    uint32_t residence = residence_of(view, key);
    struct permtab_shm_look look;
    uint64_t words[WORLD_WORDS];
    struct permtab_shm_moment moment = permtab_shm_beat_read(table);
    switch (permtab_shm_look(table, key.user, key.scope_id, key.scope_type, &look)) {
    case PERMTAB_SHM_MISS:
        return missed(view, key, residence);
    case PERMTAB_SHM_BUSY:
        return WORLD_BUSY;
    case PERMTAB_SHM_FOUND:
        break;
    }
    for (uint32_t at = 0; at < WORLD_WORDS; at++) {
        words[at] = permtab_shm_load64(&look.set->bits[at]);
        dawdle(words[at]);
    }
    if (!permtab_shm_look_holds(&look))
        return WORLD_BUSY;
    if (!words_belong_together(words, PERMTAB_SHM_WORD_INDEX(look.entry.word)))
        return WORLD_WRONG_SET;
    uint64_t newest = permtab_shm_beat_read(table).applied_revision + 1u;
    for (uint64_t revision = moment.applied_revision; revision <= newest; revision++) {
        if (truth_word(world_truth(key, revision)) == words[0])
            return WORLD_RIGHT;
    }
    return WORLD_WRONG_ANSWER;
}

/* Folds are about in this world all the time, and then permtab_shm_check takes no straight line. But plain scopes are
 * never folded, so for their keys it may be taken here: `straight`. */
static enum permtab_shm_found check_key(const struct permtab_shm_table *table, struct world_key key,
                                        uint32_t bit, bool straight, bool *allowed)
{
    if (key.scope_type != WORLD_PLAIN || !straight)
        return permtab_shm_check(table, key.user, key.scope_id, key.scope_type, bit, false, allowed);
    const struct permtab_shm_kind kind = permtab_shm_kind_of(table->hash_seed, key.scope_type);
    const struct permtab_shm_bucket *home = permtab_shm_entry_home(table, key.user, key.scope_id, &kind);
    return permtab_shm_check_from(table, home, key.user, key.scope_id, &kind, bit, false, allowed);
}

enum world_answer world_check_any(const struct world_view *view, struct world_key key, uint32_t bit,
                                  bool straight)
{
    const struct permtab_shm_table *table = view->table;
    uint32_t residence = residence_of(view, key);
    bool allowed;
    struct permtab_shm_moment moment = permtab_shm_beat_read(table);
    switch (check_key(table, key, bit, straight, &allowed)) {
    case PERMTAB_SHM_MISS:
        return missed(view, key, residence);
    case PERMTAB_SHM_BUSY:
        return WORLD_BUSY;
    case PERMTAB_SHM_FOUND:
        break;
    }
    uint64_t newest = permtab_shm_beat_read(table).applied_revision + 1u;
    for (uint64_t revision = moment.applied_revision; revision <= newest; revision++) {
        if (((truth_word(world_truth(key, revision)) >> bit) & 1u) == (allowed ? 1u : 0u))
            return WORLD_RIGHT;
    }
    return WORLD_WRONG_ANSWER;
}
