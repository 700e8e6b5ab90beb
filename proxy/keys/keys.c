/* Keys in sets of 32 records, by hash. A key that is noted counts up. One that is new takes a free record of its set;
 * in a full set it takes from the least frequent one what it weighs, and that one's record when nothing is left: keys
 * that come once wear the cold ones away, and hot ones stay ("Space-Saving" turned round; the decrement is that of
 * Misra and Gries, "Finding Repeated Elements", 1982). A hand goes round and halves, so that what was hot last week is
 * not hot for ever. Down to 1; only where there is no room to grow, what is at 1 goes.
 *
 * There are as many sets as the keys need, one for each fourteen: when there are more keys, a set is divided into
 * itself and a new one at the end ("linear hashing", Litwin 1980). So memory comes in small steps, and nothing is ever
 * copied as a whole.
 *
 * What may happen at any store: the worker dies. The record's word is cleared before its key changes and written last,
 * so a record is there in full or not at all. Nothing depends on that, because each record is checked by its hash,
 * too: memory that a stray store has hit is not believed.
 *
 * Left to others: the memory (memory.c), reading what is there (reading.c), what is noted (serve/feedback.c, answer/),
 * what is done with it (warm/). */
#include "proxy/keys/keys.h"

#include "proxy/base/random.h"
#include "proxy/keys/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#define NOTES_A_ROUND   (1u << 20) /* of the hand through all sets, at least */
#define NOTES_A_RECORD  4u         /* and at least so many for each record */
#define COUNTED_AT_ONCE 1024u      /* sets: a tenth of a millisecond */
#define COUNTED_A_NOTE  2u
#define NOTES_REFUSED   65536u /* until memory is asked for again */

/* ---- records ----------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct keys *keys, uint64_t user, struct scope_key scope)
{
    uint64_t words[3] = {user, scope.id, scope.type};
    return XXH3_64bits_withSeed(words, sizeof words, keys->seed);
}

/* The mask for so many sets: a set that is not there yet is still part of the one with a bit less. */
static uint32_t mask_for(uint32_t sets)
{
    return sets > 1 ? UINT32_MAX >> __builtin_clz(sets - 1) : 0;
}

static uint32_t set_of(uint32_t sets, uint32_t mask, uint64_t hash)
{
    uint32_t set = (uint32_t)(hash >> 32) & mask;
    return set < sets ? set : set & mask >> 1;
}

struct keys_place keys_place_of(const struct keys *keys, uint64_t user, struct scope_key scope)
{
    uint64_t hash = hash_of(keys, user, scope);
    return (struct keys_place){user, scope, set_of(keys->sets, keys->mask, hash), (uint32_t)hash};
}

static uint32_t frequency_of(const struct keys_set *set, uint32_t way)
{
    return KEYS_WORD_FREQUENCY(permtab_shm_load32_relaxed(&set->words[way]));
}

bool keys_is_of(const struct keys_set *set, uint32_t way, const struct keys_place *place)
{
    if (permtab_shm_load32_relaxed(&set->checks[way]) != place->check)
        return false;
    uint32_t word = permtab_shm_load32_relaxed(&set->words[way]);
    return word != 0 && KEYS_WORD_TYPE(word) == place->scope.type &&
           permtab_shm_load64_relaxed(&set->names[way].user) == place->user &&
           permtab_shm_load64_relaxed(&set->names[way].scope_id) == place->scope.id;
}

static void set_frequency(struct keys *keys, uint32_t set, uint32_t way, uint32_t type, uint32_t frequency)
{
    if (frequency > KEYS_FREQUENCY_MAX)
        frequency = KEYS_FREQUENCY_MAX;
    permtab_shm_store32(&keys->all[set].words[way], KEYS_WORD(type, frequency));
    if (keys->peaks[set] != 0 && frequency >= keys->peaks[set])
        keys_peak_is(keys, set, frequency);
}

/* The record is free: its word is 0, and becomes another last. */
static void put(struct keys *keys, uint32_t way, const struct keys_place *place, uint32_t frequency)
{
    struct keys_set *set = &keys->all[place->set];
    permtab_shm_store64(&set->names[way].user, place->user);
    permtab_shm_store64(&set->names[way].scope_id, place->scope.id);
    permtab_shm_store32(&set->checks[way], place->check);
    set_frequency(keys, place->set, way, place->scope.type, frequency);
}

void keys_forget(struct keys *keys, uint32_t set, uint32_t way)
{
    permtab_shm_store32(&keys->all[set].words[way], 0);
    if (set < keys->counted && keys->known > 0)
        keys->known--;
}

/* Takes from the frequency, whatever it is of. A frequency that cannot be is rubbish, and the record free. */
static void wear(struct keys *keys, uint32_t at, uint32_t way, uint32_t weight)
{
    uint32_t word = permtab_shm_load32_relaxed(&keys->all[at].words[way]), frequency = KEYS_WORD_FREQUENCY(word);
    if (word == 0)
        return;
    if (frequency > weight && frequency <= KEYS_FREQUENCY_MAX)
        set_frequency(keys, at, way, KEYS_WORD_TYPE(word), frequency - weight);
    else
        keys_forget(keys, at, way);
}

/* ---- more sets --------------------------------------------------------------------------------------------------- */

void keys_count_on(struct keys *keys, uint32_t sets)
{
    for (; sets > 0 && keys->counted < keys->sets; sets--, keys->counted++) {
        uint32_t peak = 0;
        for (uint32_t way = 0; way < KEYS_WAYS; way++) {
            uint32_t frequency = frequency_of(&keys->all[keys->counted], way);
            keys->known += frequency != 0;
            peak = frequency > peak ? frequency : peak;
        }
        keys_peak_is(keys, keys->counted, peak < KEYS_FREQUENCY_MAX ? peak : KEYS_FREQUENCY_MAX);
    }
}

static void use_sets(struct keys *keys, uint32_t sets)
{
    keys->sets = sets;
    keys->mask = mask_for(sets);
    keys->notes_a_step = NOTES_A_RECORD * KEYS_WAYS;
    if (keys->notes_a_step < NOTES_A_ROUND / sets)
        keys->notes_a_step = NOTES_A_ROUND / sets;
}

/* False: there is no memory now, so it stays as large as it is for a while. */
static bool has_pages(struct keys *keys, uint32_t set)
{
    if (set < keys->allocated)
        return true;
    if (keys->refused_at != 0 && keys->noted - keys->refused_at < NOTES_REFUSED)
        return false;
    uint32_t end = (set / KEYS_SETS_STEP + 1) * KEYS_SETS_STEP;
    if (keys_allocate(keys->descriptor, set, end) < 0) {
        keys->refused_at = keys->noted;
        return false;
    }
    keys->refused_at = 0;
    keys->allocated = end;
    return true;
}

/* The new set has its keys before it is there, and the old one loses them afterwards. A worker that dies in between
 * leaves them in both: in the old one they are not where their hash says, and are no keys. */
static void divide(struct keys *keys)
{
    uint32_t made = keys->sets, divided = made & ~(1u << (31 - __builtin_clz(made))), moved = 0;
    if (made >= keys->most || keys->readings > 0 || keys->counted < made || !has_pages(keys, made))
        return;
    struct keys_set *from = &keys->all[divided], *to = &keys->all[made];
    for (uint32_t way = 0; way < KEYS_WAYS; way++)
        permtab_shm_store32(&to->words[way], 0);
    keys->peaks[made] = keys->peaks[divided];
    for (uint32_t way = 0; way < KEYS_WAYS; way++) {
        uint32_t word = permtab_shm_load32_relaxed(&from->words[way]);
        struct scope_key scope = {from->names[way].scope_id, KEYS_WORD_TYPE(word)};
        uint64_t hash = hash_of(keys, from->names[way].user, scope);
        if (word == 0 || set_of(made + 1, mask_for(made + 1), hash) != made)
            continue;
        struct keys_place place = {from->names[way].user, scope, made, from->checks[way]};
        put(keys, way, &place, KEYS_WORD_FREQUENCY(word));
        moved |= 1u << way;
    }
    use_sets(keys, made + 1);
    permtab_shm_store64(&keys->header->sets, made + 1);
    keys->counted = made + 1;
    for (uint32_t way = 0; way < KEYS_WAYS; way++)
        if ((moved & 1u << way) != 0)
            permtab_shm_store32(&from->words[way], 0);
}

void keys_set_limit(struct keys *keys, uint64_t most)
{
    uint64_t sets = most < KEYS_MAX ? most / KEYS_LOAD + 1 : KEYS_SETS_MAX;
    keys->most = (uint32_t)sets;
}

/* ---- noting ------------------------------------------------------------------------------------------------------ */

/* There would be another set for the next key, were there room for it. */
static bool is_crowded(const struct keys *keys)
{
    return keys->known > (size_t)keys->sets * KEYS_WAYS / 8 * 5;
}

static void turn_hand(struct keys *keys)
{
    if (++keys->notes < keys->notes_a_step)
        return;
    keys->notes = 0;
    uint32_t at = keys->hand++ % keys->sets, least = is_crowded(keys) ? 0 : 1, peak = 0;
    for (uint32_t way = 0; way < KEYS_WAYS; way++) {
        uint32_t frequency = frequency_of(&keys->all[at], way);
        if (frequency > least)
            wear(keys, at, way, (frequency + 1) / 2);
        frequency = frequency_of(&keys->all[at], way);
        peak = frequency > peak ? frequency : peak;
    }
    keys_peak_is(keys, at, peak);
}

/* The record of the key; else one that it may have, or has to wear away first: a free one, or the least frequent. */
static uint32_t way_for(const struct keys_set *set, const struct keys_place *place, bool *there)
{
    uint32_t found = 0;
    for (uint32_t way = 0; way < KEYS_WAYS; way++)
        if ((*there = keys_is_of(set, way, place)))
            return way;
    for (uint32_t way = 1; way < KEYS_WAYS; way++)
        if (frequency_of(set, way) < frequency_of(set, found))
            found = way;
    return found;
}

void keys_note(struct keys *keys, uint64_t user, struct scope_key scope, uint32_t weight)
{
    if (scope.type >= PERMTAB_SHM_SCOPE_TYPES || weight == 0)
        return;
    if (weight > KEYS_FREQUENCY_MAX)
        weight = KEYS_FREQUENCY_MAX;
    keys->noted++;
    keys_count_on(keys, COUNTED_A_NOTE);
    turn_hand(keys);
    if (keys->known > (size_t)keys->sets * KEYS_LOAD)
        divide(keys);
    bool there;
    struct keys_place place = keys_place_of(keys, user, scope);
    struct keys_set *set = &keys->all[place.set];
    uint32_t way = way_for(set, &place, &there);
    if (there) {
        set_frequency(keys, place.set, way, scope.type, frequency_of(set, way) + weight);
        return;
    }
    wear(keys, place.set, way, weight);
    if (permtab_shm_load32_relaxed(&set->words[way]) == 0) {
        put(keys, way, &place, weight);
        keys->known += place.set < keys->counted;
    }
}

size_t keys_known(const struct keys *keys)
{
    return keys->known;
}

uint64_t keys_notes(const struct keys *keys)
{
    return keys->noted;
}

uint64_t keys_bytes(const struct keys *keys)
{
    return KEYS_BYTES(keys->allocated);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* What the header says is believed no further than there is memory already: rubbish takes no more. */
static bool header_good(const struct keys *keys, uint64_t store_id)
{
    const struct keys_header *header = keys->header;
    return header->magic == KEYS_MAGIC && header->layout == KEYS_LAYOUT &&
           header->set_size == sizeof(struct keys_set) && header->sets >= KEYS_SETS_FIRST &&
           header->store_id == store_id && keys_allocated(keys->descriptor, header->sets) &&
           keys_allocate(keys->descriptor, 0, (uint32_t)header->sets) == 0;
}

/* Forgets everything, gives back what it took, and writes a header of its own. */
static void begin_anew(struct keys *keys, uint64_t store_id)
{
    struct keys_header *header = keys->header;
    permtab_shm_store64(&header->magic, 0);
    keys_give_back(keys->descriptor, KEYS_SETS_FIRST);
    for (uint32_t set = 0; set < KEYS_SETS_FIRST; set++)
        for (uint32_t way = 0; way < KEYS_WAYS; way++)
            permtab_shm_store32(&keys->all[set].words[way], 0);
    header->layout = KEYS_LAYOUT;
    header->set_size = sizeof(struct keys_set);
    header->sets = KEYS_SETS_FIRST;
    header->store_id = store_id;
    header->seed = keys->seed;
    permtab_shm_store64(&header->room_check, 0);
    for (unsigned place = 0; place < KEYS_ORDERS_MAX; place++)
        permtab_shm_store64(&header->orders[place].check, 0);
    permtab_shm_store64(&header->readings, 0);
    permtab_shm_store64(&header->magic, KEYS_MAGIC);
}

void keys_belong_to(struct keys *keys, uint64_t store_id)
{
    if (!header_good(keys, store_id))
        begin_anew(keys, store_id);
    keys->seed = keys->header->seed;
    use_sets(keys, (uint32_t)keys->header->sets);
    keys->allocated = keys->sets;
    keys->known = keys->counted = 0;
    memset(keys->peaks, 0, keys->sets * sizeof *keys->peaks);
    keys_count_on(keys, COUNTED_AT_ONCE);
}

static int map(struct keys *keys, int descriptor)
{
    keys->descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (keys->descriptor < 0)
        return PERMTAB_E_SYSTEM;
    void *mapping = mmap(NULL, KEYS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (mapping == MAP_FAILED)
        return errno == ENOMEM ? PERMTAB_E_MEMORY : PERMTAB_E_SYSTEM;
    keys->header = mapping;
    keys->all = (struct keys_set *)(void *)((char *)mapping + KEYS_PAGE);
    return keys_allocate(descriptor, 0, KEYS_SETS_FIRST);
}

int keys_open(struct keys **out, int descriptor, uint64_t store_id)
{
    *out = NULL;
    if (!keys_memfd_is_ours(descriptor))
        return PERMTAB_E_INVALID;
    struct keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL)
        return PERMTAB_E_MEMORY;
    keys->peaks = calloc(KEYS_SETS_MAX, sizeof *keys->peaks); /* pages that are not written take no memory */
    /* The hand begins anywhere: workers that die young must not halve the same sets again and again. */
    uint64_t chance[2];
    int code = map(keys, descriptor);
    if (code == 0 && keys->peaks == NULL)
        code = PERMTAB_E_MEMORY;
    if (code == 0)
        code = random_bytes(chance, sizeof chance);
    if (code < 0) {
        keys_free(keys);
        return code;
    }
    keys->seed = chance[0];
    keys->hand = (uint32_t)chance[1];
    keys->most = KEYS_SETS_MAX;
    keys_belong_to(keys, store_id);
    *out = keys;
    return 0;
}

void keys_free(struct keys *keys)
{
    if (keys == NULL)
        return;
    if (keys->header != NULL)
        (void)munmap(keys->header, KEYS_SIZE);
    if (keys->descriptor >= 0)
        (void)close(keys->descriptor);
    free(keys->peaks);
    free(keys);
}
