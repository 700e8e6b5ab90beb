/* Reading what is there, in slices, and putting it into the order in which it is cheapest to read from the store:
 *
 *   READ     the sets, one after the other: what is a key is copied, what is not is freed
 *   CODE     of each key a number: its class, its place's hash, its user, and where its copy is
 *   SORT     the numbers by counting, ten bits a pass: as many passes as differ
 *   GIVE     the copies in the order of the numbers
 *
 * No step compares two keys, so each takes about the same time for each key, however many there are. Order is a hint:
 * places whose hashes are equal are mixed, and so are users that are close to each other among very large numbers.
 *
 * It takes 72 bytes a key for a moment, which nobody has counted. Where that is what workers die of, they must not do
 * so for ever: when three have died while they read, the next one leaves out the keys that were asked for once, and
 * each that dies again twice as frequent ones.
 *
 * Keys may be noted between two slices. What is noted may be in the reading or not, and counts from the next one on. A
 * key has one set, which is read in one piece, and no set is divided meanwhile, so none is found twice. */
#include "proxy/keys/private.h"

#include <stdlib.h>
#include <sys/mman.h>

/* A number: class, place, user, copy; from the highest bits down. */
#define COPY_BITS  24u
#define USER_BITS  20u
#define PLACE_BITS 16u
#define PASSES     4u
#define PASS_BITS  10u
#define DIGITS     (1u << PASS_BITS)
_Static_assert((uint64_t)KEYS_SETS_MAX * KEYS_WAYS <= 1u << COPY_BITS, "each record has a number");
_Static_assert(KEYS_CLASSES <= 16, "four bits are left for the class");

_Static_assert(COPY_BITS + PASSES * PASS_BITS == 64, "all but the copy is sorted by");

#define COUNTED_FOR_TOP 8192u /* sets: a millisecond */
#define DEATHS_FREE     3u

struct keys_reading {
    struct keys *keys;
    uint32_t types;
    enum { READ, CODE, SORT, GIVE } step;
    uint32_t set; /* READ: the next one, … */
    uint32_t end; /* … up to here: there is room for the keys of no more */
    uint32_t least; /* READ: keys that are less frequent are left out */
    size_t at;    /* later: the next key of this step */
    struct hot_key *found;
    size_t count;
    uint64_t lowest, highest; /* users */
    unsigned pass;            /* SORT */
    uint64_t *codes, *next_codes;
    uint32_t starts[PASSES][DIGITS]; /* how many have each digit; then, where the next one goes */
    struct hot_key *sorted;          /* GIVE */
};

/* Memory for many, in huge pages where the kernel has some: to touch the small ones takes longer than to sort. Pages
 * that are not written take no memory. */
static void *allocate(size_t count, size_t size)
{
    const size_t huge = 2u << 20;
    size_t bytes = (count + 1) * size;
    if (bytes < 2 * huge)
        return malloc(bytes);
    bytes = (bytes + huge - 1) / huge * huge;
    void *made = aligned_alloc(huge, bytes);
    if (made != NULL)
        (void)madvise(made, bytes, MADV_HUGEPAGE);
    return made;
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* A record's key, if it is one: type and frequency in their bounds, the hash right, and no record before it in its set
 * is of the same key. `seen` has a bit for what the checks before it end in: most are the first one that ends so. */
static bool valid(const struct keys *keys, uint32_t at, uint32_t way, uint32_t types, uint64_t *seen,
                  struct hot_key *out)
{
    const struct keys_set *set = &keys->all[at];
    uint32_t word = permtab_shm_load32_relaxed(&set->words[way]);
    *out = (struct hot_key){.user = permtab_shm_load64_relaxed(&set->names[way].user),
                            .scope = {permtab_shm_load64_relaxed(&set->names[way].scope_id), KEYS_WORD_TYPE(word)},
                            .frequency = KEYS_WORD_FREQUENCY(word)};
    if (out->frequency == 0 || out->frequency > KEYS_FREQUENCY_MAX || out->scope.type >= types)
        return false;
    struct keys_place place = keys_place_of(keys, out->user, out->scope);
    if (place.set != at || place.check != permtab_shm_load32_relaxed(&set->checks[way]))
        return false;
    uint64_t bit = 1ull << (place.check & 63);
    for (uint32_t before = 0; before < way && (*seen & bit) != 0; before++)
        if (keys_is_of(set, before, &place))
            return false;
    *seen |= bit;
    return true;
}

static uint32_t known_types(uint32_t types)
{
    return types < PERMTAB_SHM_SCOPE_TYPES ? types : PERMTAB_SHM_SCOPE_TYPES;
}

/* Puts the key where it belongs among `count` of at most `max`. Returns how many there are then. */
static size_t put_among(struct hot_key *out, size_t count, size_t max, const struct hot_key *key)
{
    size_t at = count < max ? count : max - 1;
    for (; at > 0 && out[at - 1].frequency < key->frequency; at--)
        out[at] = out[at - 1];
    out[at] = *key;
    return count < max ? count + 1 : max;
}

/* The keys of a set that are more frequent than the last one. Returns how many there are then. */
static size_t put_set_among(struct keys *keys, uint32_t set, uint32_t types, struct hot_key *out, size_t count,
                            size_t max)
{
    uint32_t peak = 0;
    for (uint32_t way = 0; way < KEYS_WAYS; way++) {
        uint32_t frequency = KEYS_WORD_FREQUENCY(permtab_shm_load32_relaxed(&keys->all[set].words[way]));
        uint64_t any = UINT64_MAX;
        struct hot_key key;
        if (frequency <= KEYS_FREQUENCY_MAX && frequency > peak)
            peak = frequency;
        if (frequency == 0 || (count == max && frequency <= out[max - 1].frequency))
            continue;
        if (valid(keys, set, way, types, &any, &key))
            count = put_among(out, count, max, &key);
    }
    keys_peak_is(keys, set, peak);
    return count;
}

/* Most sets are passed over by their peaks alone. */
size_t keys_top(struct keys *keys, uint32_t types, struct hot_key *out, size_t max)
{
    size_t count = 0;
    keys_count_on(keys, COUNTED_FOR_TOP);
    for (uint32_t set = 0; set < keys->sets && max > 0; set++) {
        uint32_t peak = keys->peaks[set];
        if (peak > 1 && (count < max || peak - 1 > out[max - 1].frequency))
            count = put_set_among(keys, set, known_types(types), out, count, max);
    }
    return count;
}

/* ---- the steps --------------------------------------------------------------------------------------------------- */

static void begin_step(struct keys_reading *reading, int step)
{
    reading->step = step;
    reading->at = 0;
}

/* Frees what is not valid. */
static void read_set(struct keys_reading *reading)
{
    struct keys *keys = reading->keys;
    uint32_t at = reading->set++, peak = 0;
    uint64_t seen = 0;
    if (at == keys->counted)
        keys_count_on(keys, 1);
    for (uint32_t way = 0; way < KEYS_WAYS; way++) {
        struct hot_key *key = &reading->found[reading->count];
        if (permtab_shm_load32_relaxed(&keys->all[at].words[way]) == 0)
            continue;
        if (!valid(keys, at, way, reading->types, &seen, key)) {
            keys_forget(keys, at, way);
            continue;
        }
        peak = key->frequency > peak ? key->frequency : peak;
        if (key->frequency < reading->least)
            continue;
        reading->count++;
        reading->lowest = key->user < reading->lowest ? key->user : reading->lowest;
        reading->highest = key->user > reading->highest ? key->user : reading->highest;
    }
    keys_peak_is(keys, at, peak);
}

/* Keys that are forgotten in between leave fewer sets. */
static bool is_set_left(const struct keys_reading *reading)
{
    return reading->set < reading->end && reading->set < reading->keys->sets;
}

static void read_some(struct keys_reading *reading, uint32_t work)
{
    for (uint32_t done = 0; done < work && is_set_left(reading); done += KEYS_WAYS)
        read_set(reading);
    if (is_set_left(reading))
        return;
    reading->codes = allocate(reading->count, sizeof *reading->codes);
    reading->next_codes = allocate(reading->count, sizeof *reading->next_codes);
    begin_step(reading, CODE);
}

uint32_t keys_class(uint32_t frequency)
{
    return KEYS_CLASSES - 32 + (uint32_t)__builtin_clz(frequency);
}

static uint64_t code_of(const struct keys_reading *reading, size_t copy, unsigned user_shift)
{
    const struct hot_key *key = &reading->found[copy];
    uint64_t place = (key->scope.id + ((uint64_t)key->scope.type << 59)) * 0x9e3779b97f4a7c15ull;
    uint64_t code = keys_class(key->frequency);
    code = code << PLACE_BITS | place >> (64 - PLACE_BITS);
    code = code << USER_BITS | (key->user - reading->lowest) >> user_shift;
    return code << COPY_BITS | copy;
}

static uint32_t digit_of(uint64_t code, unsigned pass)
{
    return (uint32_t)(code >> (COPY_BITS + pass * PASS_BITS)) & (DIGITS - 1);
}

/* Where each digit begins. */
static void add_up(uint32_t starts[DIGITS])
{
    uint32_t first = 0;
    for (uint32_t digit = 0; digit < DIGITS; digit++) {
        uint32_t count = starts[digit];
        starts[digit] = first;
        first += count;
    }
}

static void code_some(struct keys_reading *reading, uint32_t work)
{
    uint64_t range = reading->highest - reading->lowest;
    unsigned bits = range != 0 ? 64 - (unsigned)__builtin_clzll(range) : 0;
    unsigned user_shift = bits > USER_BITS ? bits - USER_BITS : 0;
    for (; work > 0 && reading->at < reading->count; work--, reading->at++) {
        uint64_t code = code_of(reading, reading->at, user_shift);
        reading->codes[reading->at] = code;
        for (unsigned pass = 0; pass < PASSES; pass++)
            reading->starts[pass][digit_of(code, pass)]++;
    }
    if (reading->at < reading->count)
        return;
    reading->pass = 0;
    begin_step(reading, SORT);
}

/* All keys have the same digit, so the pass would change nothing. */
static bool is_needless(const struct keys_reading *reading)
{
    return reading->starts[reading->pass][digit_of(reading->codes[0], reading->pass)] == reading->count;
}

/* Begins the next pass that does something; false when there is none. */
static bool begin_pass(struct keys_reading *reading)
{
    while (reading->pass < PASSES && is_needless(reading))
        reading->pass++;
    if (reading->pass == PASSES)
        return false;
    add_up(reading->starts[reading->pass]);
    return true;
}

static void sort_some(struct keys_reading *reading, uint32_t work)
{
    if (reading->at == 0 && !begin_pass(reading)) {
        free(reading->next_codes);
        reading->next_codes = NULL;
        reading->sorted = allocate(reading->count, sizeof *reading->sorted);
        begin_step(reading, GIVE);
        return;
    }
    uint32_t *starts = reading->starts[reading->pass];
    for (; work > 0 && reading->at < reading->count; work--, reading->at++) {
        uint64_t code = reading->codes[reading->at];
        reading->next_codes[starts[digit_of(code, reading->pass)]++] = code;
    }
    if (reading->at < reading->count)
        return;
    uint64_t *codes = reading->codes;
    reading->codes = reading->next_codes;
    reading->next_codes = codes;
    reading->pass++;
    reading->at = 0;
}

static void give_some(struct keys_reading *reading, uint32_t work)
{
    const uint64_t copies = (1u << COPY_BITS) - 1;
    for (; work > 0 && reading->at < reading->count; work--, reading->at++)
        reading->sorted[reading->at] = reading->found[reading->codes[reading->at] & copies];
}

/* Without memory for the next step it ends: keys in any order are better than none. */
bool keys_reading_slice(struct keys_reading *reading, uint32_t work)
{
    switch (reading->step) {
    case READ:
        read_some(reading, work);
        return reading->count > 0 || reading->step == READ;
    case CODE:
        if (reading->codes == NULL || reading->next_codes == NULL)
            return false;
        code_some(reading, work);
        return true;
    case SORT:
        sort_some(reading, work);
        return true;
    case GIVE:
        if (reading->sorted == NULL)
            return false;
        give_some(reading, work);
        return reading->at < reading->count;
    }
    return false;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

struct hot_key *keys_reading_take(struct keys_reading *reading, size_t *count)
{
    struct hot_key **from = reading->sorted != NULL ? &reading->sorted : &reading->found, *keys = *from;
    *count = reading->count;
    *from = NULL;
    keys_reading_free(reading);
    return keys;
}

void keys_reading_free(struct keys_reading *reading)
{
    if (reading == NULL)
        return;
    reading->keys->readings--;
    permtab_shm_store64(&reading->keys->header->readings, 0);
    free(reading->found);
    free(reading->codes);
    free(reading->next_codes);
    free(reading->sorted);
    free(reading);
}

/* Notes that a reading begins. Returns the frequency from which on it reads. */
static uint32_t note_beginning(struct keys_header *header)
{
    uint64_t deaths = permtab_shm_load64_relaxed(&header->readings);
    permtab_shm_store64(&header->readings, deaths + 1);
    if (deaths < DEATHS_FREE)
        return 1;
    return deaths < DEATHS_FREE + KEYS_CLASSES ? 2u << (deaths - DEATHS_FREE) : UINT32_MAX;
}

/* One key more than there can be has room: what is not valid is written there. */
int keys_reading_new(struct keys_reading **out, struct keys *keys, uint32_t types)
{
    struct keys_reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return PERMTAB_E_MEMORY;
    reading->found = allocate((size_t)keys->sets * KEYS_WAYS, sizeof *reading->found);
    if (reading->found == NULL) {
        free(reading);
        return PERMTAB_E_MEMORY;
    }
    keys->readings++;
    reading->keys = keys;
    reading->end = keys->sets;
    reading->least = note_beginning(keys->header);
    reading->types = known_types(types);
    reading->lowest = UINT64_MAX;
    *out = reading;
    return 0;
}
