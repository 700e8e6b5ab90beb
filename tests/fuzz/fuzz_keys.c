/* libFuzzer's entry for the memory of the keys: keys are noted, workers die and open it again, and between that
 * somebody writes into it anything anywhere: records and header. The hottest keys are always sorted, within their
 * bounds, each there once, and every one was noted: rubbish never becomes a key. */
#include "proxy/keys/private.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/keys_hottest.h"

#include <fcntl.h>
#include <sys/mman.h>

#define TYPES   3u
#define USERS   64u
#define SCOPES  4u
#define HOTTEST 512u

struct memory {
    int descriptor;
    char *bytes;
};

static struct memory memory;
static bool noted[USERS][SCOPES][TYPES];
static struct keys_order orders[KEYS_ORDERS_MAX];

#define SLOTS (KEYS_SETS_FIRST * KEYS_WAYS)

static struct keys_set *set_at(size_t slot)
{
    return (struct keys_set *)(void *)(memory.bytes + KEYS_PAGE) + slot / KEYS_WAYS;
}

/* The first record that is in use from the place `from` on, or that place. */
static size_t used_slot(size_t from)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (set_at((from + i) % SLOTS)->words[(from + i) % KEYS_WAYS] != 0)
            return (from + i) % SLOTS;
    return from % SLOTS;
}

static void copy_record(size_t to, size_t from)
{
    set_at(to)->words[to % KEYS_WAYS] = set_at(from)->words[from % KEYS_WAYS];
    set_at(to)->checks[to % KEYS_WAYS] = set_at(from)->checks[from % KEYS_WAYS];
    set_at(to)->names[to % KEYS_WAYS] = set_at(from)->names[from % KEYS_WAYS];
}

/* What a stray store, or a worker that died in the middle, may leave. */
static void scribble(struct choices *choices)
{
    uint64_t kind = choose(choices, 1);
    size_t slot = used_slot(choose(choices, 2)), way = slot % KEYS_WAYS;
    struct keys_set *set = set_at(slot);
    switch (kind % 8) {
    case 0:
        copy_record(choose(choices, 2) % SLOTS, slot);
        return;
    case 1: /* the same key again in its set */
        copy_record(slot ^ (1 + kind / 8 % (KEYS_WAYS - 1)), slot);
        return;
    case 2:
        set->words[way] = (uint32_t)choose(choices, 4);
        return;
    case 3:
        set->words[way] ^= 1u << kind / 8 % 32;
        return;
    case 4:
        set->names[way].user = choose(choices, 2);
        return;
    case 5:
        set->names[way].scope_id = choose(choices, 1);
        return;
    case 6:
        set->checks[way] = (uint32_t)choose(choices, 4);
        return;
    default: /* words of the header, rarely the seed: nothing is left of the keys after that */
        if (kind / 8 >= 16)
            memory.bytes[choose(choices, 2) % sizeof(struct keys_header)] = (char)choose(choices, 1);
        else if (kind / 8 < 8)
            memory.bytes[kind / 8 % 4 * 8 + choose(choices, 1) % 8] = (char)choose(choices, 1);
        return;
    }
}

static void note(struct keys *keys, struct choices *choices)
{
    uint64_t user = choose(choices, 1) % USERS, scope = choose(choices, 1) % SCOPES;
    uint32_t type = (uint32_t)choose(choices, 1) % 20, weight = (uint32_t)choose(choices, 1);
    keys_note(keys, user, (struct scope_key){scope, type}, weight < 250 ? weight : UINT32_MAX - weight);
    if (type < TYPES && weight != 0)
        noted[user][scope][type] = true;
}

static void look(struct keys *keys, size_t max)
{
    static struct hot_key hot[HOTTEST];
    static bool seen[USERS][SCOPES][TYPES];
    size_t count = keys_hottest(keys, TYPES, hot, max);
    must(count <= max);
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < count; i++) {
        struct scope_key scope = hot[i].scope;
        must(hot[i].user < USERS && scope.id < SCOPES && scope.type < TYPES);
        must(noted[hot[i].user][scope.id][scope.type] && !seen[hot[i].user][scope.id][scope.type]);
        must(hot[i].frequency > 0 && hot[i].frequency <= KEYS_FREQUENCY_MAX);
        must(i == 0 || keys_class(hot[i].frequency) >= keys_class(hot[i - 1].frequency));
        seen[hot[i].user][scope.id][scope.type] = true;
    }
    static struct hot_key top[HOTTEST];
    size_t few = max < 20 ? max : 20, found = keys_top(keys, TYPES, top, few);
    must(found == (count < few ? count : few));
    for (size_t i = 0; i < found; i++) {
        must(i == 0 || top[i].frequency <= top[i - 1].frequency);
        must(keys_class(top[i].frequency) == keys_class(hot[i].frequency));
    }
}

/* An order is there as it was noted, or not at all. */
static void look_at_orders(const struct keys *keys)
{
    for (unsigned place = 0; place < KEYS_ORDERS_MAX; place++) {
        struct keys_order order;
        if (keys_order(keys, place, &order))
            must(orders[place].id == order.id && orders[place].kind == order.kind &&
                 orders[place].starts == order.starts && orders[place].scope.id == order.scope.id);
    }
}

static void note_order(struct keys *keys, struct choices *choices)
{
    unsigned place = (unsigned)choose(choices, 1) % KEYS_ORDERS_MAX;
    uint64_t id = choose(choices, 2);
    orders[place] = (struct keys_order){.kind = id % 256, .starts = id / 256 % 4, .id = id, .scope = {id / 3, id % 3}};
    keys_note_order(keys, place, id % 5 == 0 ? NULL : &orders[place]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choices choices = choices_of(data, size);
    struct keys *keys;
    if (memory.bytes == NULL) {
        must(keys_memfd_new(&memory.descriptor) == 0);
        memory.bytes = mmap(NULL, KEYS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory.descriptor, 0);
        must(memory.bytes != MAP_FAILED);
    }
    /* Whatever the last input has left goes, the header too. */
    must(fallocate(memory.descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)KEYS_SIZE) == 0);
    must(keys_open(&keys, memory.descriptor, 2) == 0);
    memset(noted, 0, sizeof noted);
    for (unsigned looks = 0, opens = 0; choices_left(&choices);) {
        uint64_t kind = choose(&choices, 1);
        if (kind >= 252 && opens++ < 3) {
            keys_free(keys);
            must(keys_open(&keys, memory.descriptor, 2) == 0);
        } else if (kind >= 248 && looks++ < 3) {
            look(keys, choose(&choices, 2) % (HOTTEST + 1));
        } else if (kind >= 240) {
            note_order(keys, &choices);
            look_at_orders(keys);
        } else if (kind >= 160) {
            scribble(&choices);
        } else {
            note(keys, &choices);
        }
    }
    look(keys, HOTTEST);
    look_at_orders(keys);
    keys_free(keys);
    return 0;
}
