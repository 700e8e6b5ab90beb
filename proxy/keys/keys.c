/* Keys in sets of four records, by hash. A key that is noted counts up. One that is new takes a free record of its
 * set; in a full set it takes from the least frequent one what it weighs, and that one's record when nothing is left:
 * keys that come once wear the cold ones away, and hot ones stay ("Space-Saving" turned round; the decrement is that
 * of Misra and Gries, "Finding Repeated Elements", 1982). A hand goes round and halves, so that what was hot last
 * week is not hot for ever.
 *
 * What may happen at any store: the worker dies. The record's word is cleared before its key changes and written last,
 * so a record is there in full or not at all. Nothing depends on that, because each record is checked by its hash,
 * too: memory that a stray store has hit is not believed.
 *
 * Left to others: the memory (memory.c), what is noted (serve/feedback.c, answer/), what is done with it (warm/). */
#include "proxy/keys/keys.h"

#include "proxy/base/random.h"
#include "proxy/keys/private.h"
#include "shm/order.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

/* Each so many notes the hand halves one set: a round of all sets takes a million notes. */
#define NOTES_A_STEP 16u

struct keys {
    struct keys_header *header;
    struct keys_record *records;
    uint64_t seed;
    uint32_t hand; /* the next set to halve */
    uint32_t notes;
    uint64_t noted;
    size_t known; /* records that are not free, about */
};

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* A key with the place that its hash gives it. */
struct place {
    uint64_t user;
    struct scope_key scope;
    uint32_t set;
    uint32_t check;
};

static struct place place_of(const struct keys *keys, uint64_t user, struct scope_key scope)
{
    uint64_t words[3] = {user, scope.id, scope.type};
    uint64_t hash = XXH3_64bits_withSeed(words, sizeof words, keys->seed);
    return (struct place){user, scope, (uint32_t)(hash >> 48), (uint32_t)hash};
}

static struct keys_record *set_at(const struct keys *keys, uint32_t set)
{
    return &keys->records[(size_t)set * KEYS_WAYS];
}

static uint32_t frequency_of(const struct keys_record *record)
{
    return KEYS_WORD_FREQUENCY(permtab_shm_load32_relaxed(&record->word));
}

static bool is_of(const struct keys_record *record, const struct place *place)
{
    uint32_t word = permtab_shm_load32_relaxed(&record->word);
    return word != 0 && KEYS_WORD_TYPE(word) == place->scope.type &&
           permtab_shm_load32_relaxed(&record->check) == place->check &&
           permtab_shm_load64_relaxed(&record->user) == place->user &&
           permtab_shm_load64_relaxed(&record->scope_id) == place->scope.id;
}

static void set_frequency(struct keys_record *record, uint32_t type, uint32_t frequency)
{
    if (frequency > KEYS_FREQUENCY_MAX)
        frequency = KEYS_FREQUENCY_MAX;
    permtab_shm_store32(&record->word, frequency == 0 ? 0 : KEYS_WORD(type, frequency));
}

/* Takes from the frequency, whatever it is of. A frequency that cannot be is rubbish, and the record free. */
static void wear(struct keys_record *record, uint32_t weight)
{
    uint32_t word = permtab_shm_load32_relaxed(&record->word);
    uint32_t frequency = KEYS_WORD_FREQUENCY(word);
    if (frequency > KEYS_FREQUENCY_MAX)
        frequency = 0;
    set_frequency(record, KEYS_WORD_TYPE(word), frequency > weight ? frequency - weight : 0);
}

/* The record is free: its word is 0, and becomes another last. */
static void put(struct keys_record *record, const struct place *place, uint32_t frequency)
{
    permtab_shm_store64(&record->user, place->user);
    permtab_shm_store64(&record->scope_id, place->scope.id);
    permtab_shm_store32(&record->check, place->check);
    set_frequency(record, place->scope.type, frequency);
}

/* The record that a new key may have, or has to wear away first: a free one, else the least frequent. */
static struct keys_record *weakest(struct keys_record *set)
{
    struct keys_record *found = set;
    for (uint32_t way = 1; way < KEYS_WAYS; way++)
        if (frequency_of(&set[way]) < frequency_of(found))
            found = &set[way];
    return found;
}

/* ---- noting ------------------------------------------------------------------------------------------------------ */

static void wear_away(struct keys *keys, struct keys_record *record, uint32_t weight)
{
    bool was = permtab_shm_load32_relaxed(&record->word) != 0;
    wear(record, weight);
    if (was && permtab_shm_load32_relaxed(&record->word) == 0 && keys->known > 0)
        keys->known--;
}

static void turn_hand(struct keys *keys)
{
    if (++keys->notes % NOTES_A_STEP != 0)
        return;
    struct keys_record *set = set_at(keys, keys->hand++ % KEYS_SETS);
    for (uint32_t way = 0; way < KEYS_WAYS; way++)
        wear_away(keys, &set[way], (frequency_of(&set[way]) + 1) / 2);
}

void keys_note(struct keys *keys, uint64_t user, struct scope_key scope, uint32_t weight)
{
    if (scope.type >= PERMTAB_SHM_SCOPE_TYPES || weight == 0)
        return;
    if (weight > KEYS_FREQUENCY_MAX)
        weight = KEYS_FREQUENCY_MAX;
    struct place place = place_of(keys, user, scope);
    struct keys_record *set = set_at(keys, place.set);
    turn_hand(keys);
    keys->noted++;
    for (uint32_t way = 0; way < KEYS_WAYS; way++) {
        if (is_of(&set[way], &place)) {
            set_frequency(&set[way], scope.type, frequency_of(&set[way]) + weight);
            return;
        }
    }
    struct keys_record *record = weakest(set);
    if (permtab_shm_load32_relaxed(&record->word) != 0)
        wear_away(keys, record, weight);
    if (permtab_shm_load32_relaxed(&record->word) == 0) {
        put(record, &place, weight);
        keys->known++;
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

/* ---- reading what is there --------------------------------------------------------------------------------------- */

/* A record's key, if it is one: type and frequency in their bounds, the hash right, and the only one in its set. */
static bool valid(const struct keys *keys, uint32_t set, uint32_t way, uint32_t types, struct hot_key *out)
{
    const struct keys_record *record = &set_at(keys, set)[way];
    uint32_t word = permtab_shm_load32_relaxed(&record->word);
    *out = (struct hot_key){.user = permtab_shm_load64_relaxed(&record->user),
                            .scope = {permtab_shm_load64_relaxed(&record->scope_id), KEYS_WORD_TYPE(word)},
                            .frequency = KEYS_WORD_FREQUENCY(word)};
    if (out->frequency == 0 || out->frequency > KEYS_FREQUENCY_MAX || out->scope.type >= types)
        return false;
    struct place place = place_of(keys, out->user, out->scope);
    for (uint32_t before = 0; before < way; before++)
        if (is_of(&set_at(keys, set)[before], &place))
            return false;
    return place.set == set && place.check == permtab_shm_load32_relaxed(&record->check);
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

/* Most records are passed over by their frequency alone. */
size_t keys_top(const struct keys *keys, uint32_t types, struct hot_key *out, size_t max)
{
    size_t count = 0;
    types = types < PERMTAB_SHM_SCOPE_TYPES ? types : PERMTAB_SHM_SCOPE_TYPES;
    for (uint32_t slot = 0; slot < KEYS_SLOTS && max > 0; slot++) {
        struct hot_key key;
        uint32_t frequency = frequency_of(&keys->records[slot]);
        if (frequency == 0 || (count == max && frequency <= out[max - 1].frequency))
            continue;
        if (valid(keys, slot / KEYS_WAYS, slot % KEYS_WAYS, types, &key))
            count = put_among(out, count, max, &key);
    }
    return count;
}

/* What is noted between two slices may be in the reading or not, and counts from the next one on. A key has one set,
 * which is read in one piece, so it is not found twice. */
struct keys_reading {
    struct keys *keys;
    uint32_t types;
    uint32_t slot;          /* the next one to read */
    struct hot_key *found;  /* as they come */
    struct hot_key *sorted; /* by counting */
    size_t count, placed;
    uint32_t at[KEYS_FREQUENCY_MAX + 1]; /* how many have each frequency; then, where the next one of it goes */
};

/* Frees what is not valid. */
static void read_set(struct keys_reading *reading)
{
    struct keys *keys = reading->keys;
    for (uint32_t way = 0; way < KEYS_WAYS; way++, reading->slot++) {
        struct keys_record *record = &keys->records[reading->slot];
        struct hot_key *key = &reading->found[reading->count];
        if (permtab_shm_load32_relaxed(&record->word) == 0)
            continue;
        if (valid(keys, reading->slot / KEYS_WAYS, way, reading->types, key)) {
            reading->at[key->frequency]++;
            reading->count++;
        } else {
            permtab_shm_store32(&record->word, 0);
            keys->known -= keys->known > 0;
        }
    }
}

/* The most frequent ones first. */
static void give_places(struct keys_reading *reading)
{
    uint32_t first = 0;
    for (uint32_t frequency = KEYS_FREQUENCY_MAX; frequency > 0; frequency--) {
        uint32_t count = reading->at[frequency];
        reading->at[frequency] = first;
        first += count;
    }
}

bool keys_reading_slice(struct keys_reading *reading, uint32_t work)
{
    uint64_t end = (uint64_t)reading->slot + work;
    if (reading->slot < KEYS_SLOTS) {
        while (reading->slot < KEYS_SLOTS && reading->slot < end)
            read_set(reading);
        if (reading->slot == KEYS_SLOTS)
            give_places(reading);
        return true;
    }
    for (; work > 0 && reading->placed < reading->count; work--, reading->placed++) {
        const struct hot_key *key = &reading->found[reading->placed];
        reading->sorted[reading->at[key->frequency]++] = *key;
    }
    return reading->placed < reading->count;
}

struct hot_key *keys_reading_take(struct keys_reading *reading, size_t *count)
{
    struct hot_key *sorted = reading->sorted;
    *count = reading->placed;
    reading->sorted = NULL;
    keys_reading_free(reading);
    return sorted;
}

void keys_reading_free(struct keys_reading *reading)
{
    if (reading == NULL)
        return;
    free(reading->found);
    free(reading->sorted);
    free(reading);
}

/* Pages that are not written take no memory. One key more than there can be: what is not valid is written there. */
int keys_reading_new(struct keys_reading **out, struct keys *keys, uint32_t types)
{
    struct keys_reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return PERMTAB_E_MEMORY;
    reading->keys = keys;
    reading->types = types < PERMTAB_SHM_SCOPE_TYPES ? types : PERMTAB_SHM_SCOPE_TYPES;
    reading->found = malloc((KEYS_SLOTS + 1) * sizeof *reading->found);
    reading->sorted = malloc(KEYS_SLOTS * sizeof *reading->sorted);
    if (reading->found == NULL || reading->sorted == NULL) {
        keys_reading_free(reading);
        return PERMTAB_E_MEMORY;
    }
    *out = reading;
    return 0;
}

/* ---- the table's room -------------------------------------------------------------------------------------------- */

static uint64_t room_check(const struct keys *keys, uint64_t entries, uint64_t counts)
{
    uint64_t words[3] = {entries, counts, keys->header->store_id};
    return XXH3_64bits_withSeed(words, sizeof words, keys->seed);
}

struct keys_room keys_room(const struct keys *keys)
{
    const struct keys_header *header = keys->header;
    uint64_t entries = permtab_shm_load64_relaxed(&header->room_entries);
    uint64_t counts = permtab_shm_load64_relaxed(&header->room_counts);
    if (entries > KEYS_ENTRIES_MAX ||
        permtab_shm_load64_relaxed(&header->room_check) != room_check(keys, entries, counts))
        return (struct keys_room){0};
    return (struct keys_room){entries, (uint32_t)counts, (uint32_t)(counts >> 32)};
}

void keys_note_room(struct keys *keys, const struct keys_room *room)
{
    struct keys_header *header = keys->header;
    uint64_t counts = room->sets | (uint64_t)room->folds << 32;
    permtab_shm_store64(&header->room_entries, room->entries);
    permtab_shm_store64(&header->room_counts, counts);
    permtab_shm_store64(&header->room_check, room_check(keys, room->entries, counts));
}

/* ---- orders ------------------------------------------------------------------------------------------------------ */

static uint64_t order_check(const struct keys *keys, unsigned place, uint64_t id, uint64_t scope_id, uint64_t words)
{
    uint64_t all[5] = {id, scope_id, words, place, keys->header->store_id};
    uint64_t hash = XXH3_64bits_withSeed(all, sizeof all, keys->seed);
    return hash != 0 ? hash : 1;
}

bool keys_order(const struct keys *keys, unsigned place, struct keys_order *out)
{
    const struct keys_order_record *record = &keys->header->orders[place];
    uint64_t check = permtab_shm_load64_relaxed(&record->check);
    uint64_t id = permtab_shm_load64_relaxed(&record->id), words = permtab_shm_load64_relaxed(&record->words);
    uint64_t scope_id = permtab_shm_load64_relaxed(&record->scope_id);
    *out = (struct keys_order){.kind = (uint8_t)words,
                               .priority = (uint8_t)(words >> 8),
                               .starts = (uint8_t)(words >> 16),
                               .id = id,
                               .scope = {scope_id, (uint8_t)(words >> 24)}};
    return check != 0 && check == order_check(keys, place, id, scope_id, words) &&
           out->scope.type < PERMTAB_SHM_SCOPE_TYPES;
}

void keys_note_order(struct keys *keys, unsigned place, const struct keys_order *order)
{
    struct keys_order_record *record = &keys->header->orders[place];
    permtab_shm_store64(&record->check, 0);
    if (order == NULL)
        return;
    uint64_t words = (uint8_t)order->kind | (uint64_t)(uint8_t)order->priority << 8 |
                     (uint64_t)(uint8_t)order->starts << 16 | (uint64_t)(uint8_t)order->scope.type << 24;
    permtab_shm_store64(&record->id, order->id);
    permtab_shm_store64(&record->scope_id, order->scope.id);
    permtab_shm_store64(&record->words, words);
    permtab_shm_store64(&record->check, order_check(keys, place, order->id, order->scope.id, words));
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static bool header_good(const struct keys_header *header, uint64_t store_id)
{
    return header->magic == KEYS_MAGIC && header->layout == KEYS_LAYOUT &&
           header->record_size == sizeof(struct keys_record) && header->sets == KEYS_SETS &&
           header->store_id == store_id;
}

/* Forgets everything, and writes a header of its own. */
static void begin_anew(struct keys *keys, uint64_t store_id)
{
    struct keys_header *header = keys->header;
    permtab_shm_store64(&header->magic, 0);
    for (uint32_t slot = 0; slot < KEYS_SLOTS; slot++)
        permtab_shm_store32(&keys->records[slot].word, 0);
    header->layout = KEYS_LAYOUT;
    header->record_size = sizeof(struct keys_record);
    header->sets = KEYS_SETS;
    header->store_id = store_id;
    header->seed = keys->seed;
    permtab_shm_store64(&header->room_check, 0);
    for (unsigned place = 0; place < KEYS_ORDERS_MAX; place++)
        permtab_shm_store64(&header->orders[place].check, 0);
    permtab_shm_store64(&header->magic, KEYS_MAGIC);
}

void keys_belong_to(struct keys *keys, uint64_t store_id)
{
    if (!header_good(keys->header, store_id))
        begin_anew(keys, store_id);
    keys->seed = keys->header->seed;
    keys->known = 0;
    for (uint32_t slot = 0; slot < KEYS_SLOTS; slot++)
        keys->known += permtab_shm_load32_relaxed(&keys->records[slot].word) != 0;
}

int keys_open(struct keys **out, int descriptor, uint64_t store_id)
{
    *out = NULL;
    if (!keys_memfd_is_ours(descriptor))
        return PERMTAB_E_INVALID;
    struct keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL)
        return PERMTAB_E_MEMORY;
    void *mapping = mmap(NULL, KEYS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (mapping == MAP_FAILED) {
        free(keys);
        return errno == ENOMEM ? PERMTAB_E_MEMORY : PERMTAB_E_SYSTEM;
    }
    keys->header = mapping;
    keys->records = (struct keys_record *)(void *)((char *)mapping + KEYS_PAGE);
    /* The hand begins anywhere: workers that die young must not halve the same sets again and again. */
    uint64_t chance[2];
    int code = random_bytes(chance, sizeof chance);
    if (code < 0) {
        keys_free(keys);
        return code;
    }
    keys->seed = chance[0];
    keys->hand = (uint32_t)chance[1];
    keys_belong_to(keys, store_id);
    *out = keys;
    return 0;
}

void keys_free(struct keys *keys)
{
    if (keys == NULL)
        return;
    (void)munmap(keys->header, KEYS_SIZE);
    free(keys);
}
