/* Looks into L2: one lookup for all that miss the same key, and all lookups of a turn of the loop in as few scripts
 * as possible.
 *
 *   queued ─► sent ─► hit      ─► publisher_fill ─► FILLED    everybody is answered
 *               ▲     │                            EARLY     held until the table is where the marker is
 *               │     │                            OUTDATED  missed
 *               │     ├ another host reads it ─► waiting 20 ms ─┐ at most ten times
 *               └─────┼─────────────────────────────────────────┘
 *                     └ else missed: the asker goes to the store
 *
 * A value is never believed for being there: it is true at the marker's revision, which came with it in one step,
 * and publisher_fill asks the history whether that still holds at the table's revision. What may change while a
 * lookup is away: waits are cancelled (the lookup goes on without them), the table is rebuilt or replaced
 * (publisher_fill sees that by the stamp of the facts, made when the script was sent), Redis goes away (all
 * missed).
 *
 * Roles are not kept in L2. When one is not resident here, the lookup has missed. */
#include "proxy/l2/lookup.h"
#include "proxy/base/clock.h"
#include "proxy/base/timer.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <utlist.h>

#define LOOKUPS_MAX 4096u
#define HOLD_MS     50u /* for the table to reach the marker's revision */

struct l2_wait {
    struct l2_lookup *lookup;
    uint64_t revision;
    l2_done_fn done;
    void *context;
    struct l2_wait *prev, *next;
};

/* ---- the end of a lookup ----------------------------------------------------------------------------------------- */

/* Calls done of every wait, and frees the lookup. The callbacks may ask again, or cancel one another. */
static void finish(struct l2_lookup *lookup, enum l2_outcome outcome, const struct answer *answer)
{
    HASH_DEL(lookup->l2->by_key, lookup);
    if (lookup->state == LOOKUP_HELD)
        facts_fini(&lookup->facts);
    while (lookup->waits != NULL) {
        struct l2_wait *wait = lookup->waits;
        bool good = outcome == L2_ANSWERED && answer->revision >= wait->revision;
        DL_DELETE(lookup->waits, wait);
        wait->done(wait->context, good ? L2_ANSWERED : L2_MISSED, good ? answer : NULL);
        free(wait);
    }
    if (lookup->timer != NULL)
        event_free(lookup->timer);
    free(lookup);
}

void l2_lookup_miss(struct l2_lookup *lookup)
{
    lookup->l2->counters->l2_misses++;
    finish(lookup, L2_MISSED, NULL);
}

static void on_timer(evutil_socket_t descriptor, short what, void *context);

bool l2_lookup_wake_in(struct l2_lookup *lookup, unsigned ms)
{
    if (lookup->timer == NULL)
        lookup->timer = evtimer_new(lookup->l2->base, on_timer, lookup);
    return lookup->timer != NULL && timer_in_ms(lookup->timer, ms) == 0;
}

/* ---- what was found ---------------------------------------------------------------------------------------------- */

/* Waits HOLD_MS in all, however many polls come meanwhile: the table may never reach the marker's revision. */
static bool wait_on(struct l2_lookup *lookup)
{
    bool waits = lookup->timer != NULL && evtimer_pending(lookup->timer, NULL);
    return waits || l2_lookup_wake_in(lookup, HOLD_MS);
}

void l2_lookup_publish(struct l2_lookup *lookup, struct facts *facts)
{
    struct l2 *l2 = lookup->l2;
    struct answer answer = {0};
    facts->unasked = !lookup->asked;
    /* whatever the facts are: L2 is about to be forgotten */
    enum publisher_outcome outcome = PUBLISHER_OUTDATED;
    if (!l2->marker.flush)
        outcome = publisher_knows_roles(l2->publisher, facts)
                      ? publisher_fill(l2->publisher, facts, clock_ns(), &answer)
                      : PUBLISHER_FAILED;
    switch (outcome) {
    case PUBLISHER_FILLED:
        l2->counters->l2_hits++;
        facts_fini(facts);
        finish(lookup, L2_ANSWERED, &answer);
        answer_fini(&answer);
        return;
    case PUBLISHER_EARLY:
        lookup->facts = *facts;
        lookup->state = LOOKUP_HELD;
        feed_wake(l2->feed);
        if (!wait_on(lookup))
            l2_lookup_miss(lookup);
        return;
    case PUBLISHER_OUTDATED:
        l2->counters->l2_outdated++;
        facts_fini(facts);
        l2_lookup_miss(lookup);
        return;
    case PUBLISHER_FAILED:
        l2->counters->l2_roles_missing++;
        facts_fini(facts);
        l2_lookup_miss(lookup);
        return;
    }
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* The wait for another host, or for the table, is over: looks again, or sends the asker to the store. */
static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct l2_lookup *lookup = context;
    (void)descriptor, (void)what;
    if (lookup->state == LOOKUP_WAITING && lookup->waits != NULL && lookup->l2->marker.known)
        l2_lookup_enqueue(lookup);
    else
        l2_lookup_miss(lookup);
}

void l2_lookups_applied(struct l2 *l2)
{
    struct l2_lookup *lookup, *next;
    /* Callbacks may start lookups, which are queued and left alone; none but this one is freed. */
    HASH_ITER(hh, l2->by_key, lookup, next)
    {
        if (lookup->state == LOOKUP_HELD) {
            struct facts facts = lookup->facts;
            lookup->state = LOOKUP_SENT;
            l2_lookup_publish(lookup, &facts);
        }
    }
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static struct l2_lookup *find_or_start(struct l2 *l2, uint64_t user, struct scope_key scope)
{
    struct facts_key key = facts_key_of(user, scope);
    struct l2_lookup *lookup;
    HASH_FIND(hh, l2->by_key, &key, sizeof key, lookup);
    if (lookup != NULL)
        return lookup;
    if (HASH_COUNT(l2->by_key) >= LOOKUPS_MAX || !breaker_allows(&l2->breaker, clock_ns()))
        return NULL;
    lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL)
        return NULL;
    lookup->l2 = l2;
    lookup->key = key;
    HASH_ADD(hh, l2->by_key, key, sizeof lookup->key, lookup);
    if (!HASH_ADDED(lookup)) {
        free(lookup);
        return NULL;
    }
    l2_lookup_enqueue(lookup);
    return lookup;
}

struct l2_wait *l2_lookup_start(struct l2 *l2, uint64_t user, struct scope_key scope, uint64_t revision,
                                bool warms, l2_done_fn done, void *context)
{
    if (!l2->options.values || !l2->marker.known || l2->marker.flush || l2->closing ||
        !redis_connected(l2->redis))
        return NULL;
    struct l2_wait *wait = calloc(1, sizeof *wait);
    struct l2_lookup *lookup = wait != NULL ? find_or_start(l2, user, scope) : NULL;
    if (lookup == NULL) {
        free(wait);
        return NULL;
    }
    lookup->asked |= !warms;
    wait->lookup = lookup;
    wait->revision = revision;
    wait->done = done;
    wait->context = context;
    DL_APPEND(lookup->waits, wait);
    return wait;
}

void l2_lookup_cancel(struct l2_wait *wait)
{
    DL_DELETE(wait->lookup->waits, wait);
    free(wait);
}

/* Ends all lookups: Redis is gone, so none is away any more. */
void l2_lookups_end(struct l2 *l2)
{
    struct l2_lookup *lookup, *next;
    HASH_ITER(hh, l2->by_key, lookup, next)
    {
        assert(lookup->state != LOOKUP_SENT);
        finish(lookup, L2_MISSED, NULL);
    }
    l2->queued = NULL;
}
