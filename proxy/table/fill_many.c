/* Many users of one place, most of whom have the same set: the place is found once, a set once for each kind, and what is
 * left for each user is the fence and the entry. */
#include "proxy/table/fill.h"

#include "proxy/table/batch.h"
#include "proxy/table/landing.h"

#include <string.h>

/* Changes that one user may have to be compared with: more of them are read again, or would make a long turn. */
#define CHANGES_MAX 256u

/* The set of each kind in one table, once it was needed. */
struct berth {
    uint32_t set;
    bool tried;
};

struct many {
    struct publisher *publisher;
    struct facts_slice *slice;
    uint64_t now_ns;
    struct landing first, other; /* other.table: NULL without one */
    struct berth first_of[FACTS_SLICE_KINDS_MAX], other_of[FACTS_SLICE_KINDS_MAX];
};

/* The set, which is held until the end; 0: there is none. */
static uint32_t berth(struct many *many, const struct landing *landing, struct berth *berth, struct facts *kind)
{
    struct publisher *publisher = many->publisher;
    struct table *table = landing->table;
    bool first = table == publisher->table;
    if (berth->tried)
        return berth->set;
    berth->tried = true;
    struct role_sources sources = {&table->sets, &kind->roles, first ? NULL : &publisher->table->sets};
    struct inputs inputs;
    size_t misplaced = 0;
    if (fill_build(kind, fill_judged_at(publisher, kind), &sources, &inputs, &misplaced) < 0)
        return 0;
    publisher->counters->misplaced_rows += first ? misplaced : 0;
    berth->set = fill_intern(publisher, &inputs, &sources, many->now_ns);
    if (berth->set != 0)
        set_table_hold(&table->sets, berth->set);
    inputs_fini(&inputs);
    return berth->set;
}

static void leave(struct many *many, struct landing *landing, const struct berth *berths)
{
    if (landing->table == NULL)
        return;
    landing_end(landing);
    for (size_t i = 0; i < many->slice->kind_count; i++)
        if (berths[i].set != 0)
            set_table_drop(&landing->table->sets, berths[i].set, many->now_ns + landing->table->rest_ns);
}

static bool has_room(const struct table *table)
{
    return table_entries(table) < table->entries_max;
}

/* Finds the place in both tables, when the first user has passed the fence: not before it is known that the chain is
 * true, because this makes and unmakes folds. */
static bool land(struct many *many, const struct facts *facts)
{
    struct publisher *publisher = many->publisher;
    if (many->first.table != NULL)
        return true;
    if (publisher->other != NULL && landing_begin(&many->other, publisher->other, facts, many->now_ns) < 0)
        return false;
    if (landing_begin(&many->first, publisher->table, facts, many->now_ns) == 0)
        return true;
    if (many->other.table != NULL)
        landing_end(&many->other);
    many->other.table = NULL;
    return false;
}

/* Users are put anywhere in memory: some ahead are brought near, so that their misses overlap. */
#define AHEAD 8u

static void fetch_ahead(const struct many *many, uint64_t user)
{
    const struct landing *landings[] = {&many->first, &many->other};
    for (size_t i = 0; i < sizeof landings / sizeof *landings && landings[i]->table != NULL; i++) {
        struct scope_key at = landings[i]->target->key;
        entries_fetch_new(&landings[i]->table->entries, (struct map_key){user, at.id, at.type});
    }
}

static enum slice_result fill_one(struct many *many, uint16_t number, uint64_t user)
{
    if (number == FACTS_SLICE_ALONE)
        return SLICE_ALONE;
    struct facts *kind = &many->slice->kinds[number];
    kind->user = user;
    if (fill_fence(many->publisher, kind, many->now_ns) != PUBLISHER_FILLED || !land(many, kind))
        return SLICE_ALONE;
    if (landing_has(&many->first, user))
        return SLICE_RESIDENT;
    if (!has_room(many->publisher->table))
        return SLICE_NO_ROOM;
    uint32_t set = berth(many, &many->first, &many->first_of[number], kind);
    if (set == 0 || !landing_add(&many->first, many->publisher, kind, set, many->now_ns))
        return SLICE_ALONE;
    if (many->other.table != NULL && !landing_has(&many->other, user) &&
        (set = berth(many, &many->other, &many->other_of[number], kind)) != 0)
        (void)landing_add(&many->other, many->publisher, kind, set, many->now_ns);
    return SLICE_FILLED;
}

static void set_all(uint8_t *results, size_t count, enum slice_result result)
{
    for (size_t i = 0; i < count; i++)
        if (results[i] == SLICE_OPEN)
            results[i] = (uint8_t)result;
}

/* What holds for all of them. A batch that is being applied, and has much in it, is waited for. */
static enum publisher_outcome judge(const struct publisher *publisher, const struct facts *common)
{
    const struct batch *applying = publisher->applying.batch;
    if (publisher_rebuilt_since(publisher, common))
        return PUBLISHER_OUTDATED;
    if (common->revision > publisher->at.revision)
        return PUBLISHER_EARLY;
    if (publisher->at.revision - common->revision > CHANGES_MAX)
        return PUBLISHER_OUTDATED;
    return applying != NULL && applying->changes.count > CHANGES_MAX ? PUBLISHER_EARLY : PUBLISHER_FILLED;
}

enum publisher_outcome publisher_fill_many(struct publisher *publisher, struct facts_slice *slice, size_t from,
                                           size_t count, uint64_t now_ns, uint8_t *results)
{
    struct many many = {.publisher = publisher, .slice = slice, .now_ns = now_ns};
    enum publisher_outcome outcome = judge(publisher, facts_slice_common(slice));
    if (outcome != PUBLISHER_FILLED) {
        if (outcome == PUBLISHER_OUTDATED)
            set_all(results + from, count, SLICE_ALONE);
        return outcome;
    }
    for (size_t i = from; i < from + count; i++) {
        if (i + AHEAD < from + count)
            fetch_ahead(&many, slice->users[i + AHEAD]);
        if (results[i] == SLICE_OPEN)
            results[i] = (uint8_t)fill_one(&many, slice->kind_of[i], slice->users[i]);
    }
    leave(&many, &many.first, many.first_of);
    leave(&many, &many.other, many.other_of);
    publisher_count(publisher);
    return PUBLISHER_FILLED;
}
