/* Many users of one place, most of whom have the same set: the place is found once, a kind passes the fence once and
 * has its set made once, and what is left for each user is the entry.
 *
 * The fence compares what has changed with what was read: with the user, and with what all of the user's kind have. So
 * whoever is named by no change and by no message passes it as any other of the kind does who is not named either. Who
 * is named is read again, alone. By that a turn of the loop has a bound, kinds times changes (WORK_MAX), and not users
 * times changes. */
#include "proxy/table/fill.h"

#include "proxy/table/batch.h"
#include "proxy/table/landing.h"

#include <stdlib.h>
#include <string.h>

/* Changes that a kind may have to be compared with, in the history and in the batch that is being applied. */
#define CHANGES_MAX 256u
/* Rows of kinds, each as often as there are changes, that a call looks at: some milliseconds. Those of further kinds
 * are read again, alone. */
#define WORK_MAX 2000000u
/* A set is made of the rows in each table. */
#define WORK_A_ROW 3u

/* The users that changes since the snapshot name, those of the batch that is being applied, and messages. */
struct named {
    uint64_t users[2 * CHANGES_MAX + HEARD_MAX];
    size_t count;
    bool everybody; /* there are more than have room */
};

enum passing { PASSING_UNKNOWN, PASSING_YES, PASSING_NO };

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
    struct named named;
    uint64_t work;
    uint8_t passes[FACTS_SLICE_KINDS_MAX]; /* enum passing: those of the kind who are not named */
    struct berth first_of[FACTS_SLICE_KINDS_MAX], other_of[FACTS_SLICE_KINDS_MAX];
};

/* ---- the fence --------------------------------------------------------------------------------------------------- */

static void name_user(struct named *named, uint64_t user)
{
    named->everybody |= named->count == sizeof named->users / sizeof *named->users;
    if (!named->everybody)
        named->users[named->count++] = user;
}

static void name_of_change(void *context, const struct change *change)
{
    name_user(context, change->user);
}

static int user_order(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

static void name_all(struct named *named, const struct publisher *publisher, const struct facts *common)
{
    const struct batch *applying = publisher->applying.batch;
    history_each_since(&publisher->history, common->revision, name_of_change, named);
    for (size_t i = 0; applying != NULL && i < applying->changes.count; i++)
        name_user(named, applying->changes.items[i].user);
    for (uint32_t i = 0; i < publisher->heard.count; i++)
        if (!publisher->heard.items[i].of_scope && publisher->heard.items[i].revision > common->revision)
            name_user(named, publisher->heard.items[i].user);
    qsort(named->users, named->count, sizeof *named->users, user_order);
}

static bool is_named(const struct named *named, uint64_t user)
{
    return named->everybody || bsearch(&user, named->users, named->count, sizeof user, user_order) != NULL;
}

static bool is_too_much(struct many *many, const struct facts *kind)
{
    uint64_t rows = 1 + kind->assignment_count + kind->default_count + kind->overwrite_count + kind->roles.count;
    many->work += rows * (WORK_A_ROW + many->named.count);
    return many->work > WORK_MAX;
}

/* Whether a user of the kind, kind->user, passes. A message holds back whoever it is about, however long others of the
 * kind have been held back. */
static bool passes(struct many *many, uint16_t number, struct facts *kind)
{
    if (is_named(&many->named, kind->user))
        return false;
    if (many->passes[number] == PASSING_UNKNOWN) {
        kind->held_back_since_ns = 0;
        bool passed = !is_too_much(many, kind) &&
                      fill_fence(many->publisher, kind, many->now_ns) == PUBLISHER_FILLED;
        many->passes[number] = passed ? PASSING_YES : PASSING_NO;
    }
    return many->passes[number] == PASSING_YES;
}

/* ---- sets and entries -------------------------------------------------------------------------------------------- */

/* The set, which is held until the end; 0: there is none. */
static uint32_t berth(struct many *many, const struct landing *landing, struct berth *berth, struct facts *kind)
{
    struct publisher *publisher = many->publisher;
    struct table *table = landing->table;
    bool first = table == publisher->table;
    if (berth->tried)
        return berth->set;
    berth->tried = true;
    if (first && kind->without_roles && !publisher_knows_roles(publisher, kind))
        return 0;
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
    if (!passes(many, number, kind) || !land(many, kind))
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
    name_all(&many.named, publisher, facts_slice_common(slice));
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
