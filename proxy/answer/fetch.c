/* A fetch and the read that it waits for are two objects: a thread that hangs at a replica keeps its read, while the
 * fetch goes on to the primary. Replica reads have a little time; the breaker counts those that fail, come late or
 * bring outdated facts, and after enough of them the replica is left alone for a while.
 *
 * What may change while a read is away: the fill may have gone (cancelled), the time may be over (likewise), the table
 * may be made anew (facts are stamped when their read begins, and publisher_fill tells). */
#include "proxy/answer/fetch.h"

#include "proxy/answer/reads.h"
#include "proxy/base/breaker.h"
#include "proxy/base/clock.h"
#include "proxy/base/timer.h"
#include "proxy/base/turn.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define PATIENCE_NS 100000000ull /* for a read of the replica */

struct fetch {
    struct fetches *fetches;
    uint64_t user;
    struct scope_key scope;
    struct fetch_origin origin;
    enum read_lane lane;
    bool whole, refresh;
    struct read *read; /* FETCH_REPLICA, FETCH_PRIMARY */
    struct facts kept; /* FETCH_KEPT */
    fetch_done_fn done;
    void *context;
    struct fetch *prev, *next; /* of `ready` or `impatient` */
};

struct fetches {
    struct fetch_options options;
    struct breaker breaker;
    struct fetch *ready; /* answered from kept facts, to be told */
    unsigned ready_count;
    struct fetch *impatient; /* reads of the replica, the oldest first */
    unsigned whole_reads;    /* so many of the next ones are */
    struct reads *primary, *replica; /* replica: NULL without one */
    struct event *tell;
    struct event *patience;
};

/* ---- one fetch --------------------------------------------------------------------------------------------------- */

/* Takes a fetch off the lists, and leaves its read alone. */
static void unlink_fetch(struct fetch *fetch)
{
    struct fetches *fetches = fetch->fetches;
    if (fetch->origin.from == FETCH_KEPT) {
        DL_DELETE(fetches->ready, fetch);
        fetches->ready_count--;
    }
    if (fetch->origin.from == FETCH_REPLICA)
        DL_DELETE(fetches->impatient, fetch);
}

static void tell(struct fetch *fetch, int code, const char *text, struct facts *facts)
{
    unlink_fetch(fetch);
    fetch->done(fetch->context, code, text, facts, &fetch->origin);
    free(fetch);
}

static void leave_read(struct fetch *fetch)
{
    if (fetch->read != NULL)
        read_cancel(fetch->read);
    fetch->read = NULL;
}

void fetch_cancel(struct fetch *fetch)
{
    unlink_fetch(fetch);
    leave_read(fetch);
    facts_fini(&fetch->kept);
    free(fetch);
}

void fetch_hurry(struct fetch *fetch, enum read_lane lane)
{
    if (lane < fetch->lane)
        fetch->lane = lane;
    if (fetch->read != NULL)
        read_hurry(fetch->read, lane);
}

bool fetch_waits(const struct fetch *fetch)
{
    return fetch->read != NULL && read_waits(fetch->read);
}

static void on_read(void *context, int code, const char *text, struct facts *facts,
                    const struct read_source *source);

static int begin_read(struct fetch *fetch, enum fetch_from from)
{
    struct fetches *fetches = fetch->fetches;
    struct facts_key key = facts_key_of(fetch->user, fetch->scope);
    struct reads *reads = from == FETCH_REPLICA ? fetches->replica : fetches->primary;
    struct places_time time = places_now(fetches->options.places);
    struct read_how how = {.lane = fetch->lane, .whole = fetch->whole, .refresh = fetch->refresh, .time = time};
    int code = read_begin(&fetch->read, reads, &key, how, on_read, fetch);
    if (code == 0)
        fetch->origin =
            (struct fetch_origin){.from = from, .begun_ns = clock_ns(), .cost_ns = fetch->origin.cost_ns, .time = time};
    return code;
}

/* ---- the replica ------------------------------------------------------------------------------------------------- */

static void arm_patience(struct fetches *fetches)
{
    const struct fetch *first = fetches->impatient;
    if (first == NULL)
        return;
    uint64_t now = clock_ns(), due = first->origin.begun_ns + PATIENCE_NS;
    (void)timer_in_ns(fetches->patience, due > now ? due - now : 0);
}

static bool begin_at_replica(struct fetch *fetch)
{
    struct fetches *fetches = fetch->fetches;
    if (fetches->replica == NULL || !reads_would_begin(fetches->replica, fetch->lane) ||
        !breaker_allows(&fetches->breaker, clock_ns()))
        return false;
    if (begin_read(fetch, FETCH_REPLICA) < 0) {
        breaker_failed(&fetches->breaker, clock_ns());
        return false;
    }
    DL_APPEND(fetches->impatient, fetch);
    if (fetches->impatient == fetch)
        arm_patience(fetches);
    return true;
}

/* Begins a fetch again at the primary, because the replica was of no use. */
static void turn_to_primary(struct fetch *fetch)
{
    struct fetches *fetches = fetch->fetches;
    fetches->options.counters->fills_replica_failed++;
    breaker_failed(&fetches->breaker, clock_ns());
    unlink_fetch(fetch);
    leave_read(fetch);
    fetch->origin.from = FETCH_PRIMARY; /* it is in no list now */
    int code = begin_read(fetch, FETCH_PRIMARY);
    if (code < 0)
        tell(fetch, code, "too many requests wait for the store", NULL);
}

static void on_patience(evutil_socket_t descriptor, short what, void *context)
{
    struct fetches *fetches = context;
    uint64_t now = clock_ns();
    (void)descriptor, (void)what;
    while (fetches->impatient != NULL && fetches->impatient->origin.begun_ns + PATIENCE_NS <= now)
        turn_to_primary(fetches->impatient);
    arm_patience(fetches);
}

/* Whether the facts have a later revision than the last distrust. Rows that were changed behind the log, and led to
 * distrust, are at the replica only when a later change of the log is: until then the replica's revision and nonce
 * are those of the table, and its rows are old. */
static bool follows_distrust(const struct publisher *publisher, const struct facts *facts)
{
    return publisher_distrusted(publisher) == 0 ||
           facts->revision > publisher_history(publisher)->complete_from;
}

/* Whether facts of a replica may be shown to the publisher at all. Another store has other revisions, and its facts
 * could look early for ever. */
static bool replica_is_ours(const struct publisher *publisher, const struct facts *facts, uint64_t store_id)
{
    return store_id == publisher_position(publisher).store_id && follows_distrust(publisher, facts);
}

static void on_read(void *context, int code, const char *text, struct facts *facts,
                    const struct read_source *source)
{
    struct fetch *fetch = context;
    fetch->read = NULL;
    fetch->origin.cost_ns += source->cost_ns;
    if (fetch->origin.from != FETCH_REPLICA) {
        tell(fetch, code, text, facts);
    } else if (code == 0 && replica_is_ours(fetch->fetches->options.publisher, facts, source->store_id)) {
        facts->now = 0; /* another clock: ends are judged at the expiry that the table has reached */
        tell(fetch, 0, "", facts);
    } else {
        if (code == 0)
            facts_fini(facts);
        turn_to_primary(fetch);
    }
}

/* ---- what is kept ------------------------------------------------------------------------------------------------ */

static void on_tell(evutil_socket_t descriptor, short what, void *context)
{
    struct fetches *fetches = context;
    uint64_t begun_ns = clock_ns();
    (void)descriptor, (void)what;
    /* Fetches that callbacks begin have the next turn of the loop, so that a flood does not keep this one. */
    for (unsigned left = fetches->ready_count; left > 0 && fetches->ready != NULL; left--) {
        struct facts facts = fetches->ready->kept;
        tell(fetches->ready, 0, "", &facts);
        if (turn_is_over(begun_ns))
            break;
    }
    if (fetches->ready != NULL)
        timer_next_turn(fetches->tell);
}

static bool begin_with_kept(struct fetch *fetch)
{
    struct fetches *fetches = fetch->fetches;
    if (!strangers_facts(fetches->options.strangers, fetch->user, fetch->scope, &fetch->kept))
        return false;
    struct places_time time = places_now(fetches->options.places);
    fetch->origin = (struct fetch_origin){.from = FETCH_KEPT, .begun_ns = clock_ns(), .time = time};
    DL_APPEND(fetches->ready, fetch);
    fetches->ready_count++;
    timer_next_turn(fetches->tell);
    return true;
}

/* ---- definitions of roles ---------------------------------------------------------------------------------------- */

/* A read without definitions is cheap where the table has those that it needs. Each that fails for want of them lets so
 * many others be read whole at once. */
#define WHOLE_READS 8u

static bool roles_are_known(struct fetches *fetches)
{
    if (fetches->whole_reads == 0)
        return true;
    fetches->whole_reads--;
    return false;
}

static bool roles_are_missing(struct fetches *fetches, const struct facts *facts)
{
    if (!facts->without_roles || publisher_knows_roles(fetches->options.publisher, facts))
        return false;
    fetches->options.counters->fills_roles_missing++;
    fetches->whole_reads = WHOLE_READS;
    return true;
}

/* ---- beginning and judging --------------------------------------------------------------------------------------- */

int fetch_begin(struct fetch **out, struct fetches *fetches, uint64_t user, struct scope_key scope,
                struct fetch_how how, fetch_done_fn done, void *context)
{
    struct fetch *fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL)
        return PERMTAB_E_MEMORY;
    *fetch = (struct fetch){.fetches = fetches,
                            .user = user,
                            .scope = scope,
                            .lane = how.lane,
                            .whole = how.again || !roles_are_known(fetches),
                            .refresh = how.refresh,
                            .done = done,
                            .context = context};
    int code = 0;
    if (how.again || !(begin_with_kept(fetch) || begin_at_replica(fetch)))
        code = begin_read(fetch, FETCH_PRIMARY);
    if (code < 0)
        free(fetch);
    else
        *out = fetch;
    return code;
}

void fetches_guest_begin(struct fetches *fetches, struct read_guest *guest)
{
    read_guest_begin(fetches->primary, guest);
}

uint64_t fetches_warm_ns(const struct fetches *fetches)
{
    uint64_t replica_ns = fetches->replica != NULL ? reads_warm_ns(fetches->replica) : 0;
    return reads_warm_ns(fetches->primary) + replica_ns;
}

static void judge_replica(struct fetches *fetches, const struct facts *facts, struct fetch_origin *origin,
                          enum publisher_outcome *outcome, uint64_t now_ns)
{
    struct counters *counters = fetches->options.counters;
    switch (*outcome) {
    case PUBLISHER_FILLED:
        counters->fills_replica++;
        breaker_succeeded(&fetches->breaker, now_ns, now_ns - origin->begun_ns);
        return;
    case PUBLISHER_EARLY:
        if (!origin->early)
            return;
        /* The facts are still ahead after another poll: perhaps of a history that will never be ours. */
        *outcome = PUBLISHER_OUTDATED;
        break;
    case PUBLISHER_OUTDATED:
        if (publisher_rebuilt_since(fetches->options.publisher, facts))
            return; /* no fault of the replica's */
        break;
    case PUBLISHER_FAILED:
        return;
    }
    counters->fills_replica_outdated++;
    breaker_failed(&fetches->breaker, now_ns);
}

static void judge_stranger(struct fetches *fetches, const struct facts *facts,
                           const struct fetch_origin *origin, enum publisher_outcome outcome)
{
    bool kept = origin->from == FETCH_KEPT;
    /* a read that began before an invalidation may be of before it */
    bool of_now = fetches->options.places == NULL || places_hold(fetches->options.places, origin->time);
    if (outcome == PUBLISHER_FILLED && of_now)
        strangers_learn(fetches->options.strangers, facts);
    else if (outcome == PUBLISHER_OUTDATED && kept)
        strangers_forget(fetches->options.strangers, facts->scope);
    fetches->options.counters->strangers_answered += kept && outcome == PUBLISHER_FILLED;
}

int fetch_is_known(const struct fetches *fetches, const struct facts *facts)
{
    const struct strangers *strangers = fetches->options.strangers;
    if (facts->chain_count == 0)
        return PERMTAB_E_NOT_FOUND;
    if (strangers == NULL || !facts_name_no_user(facts))
        return 0;
    if (strangers_include(strangers, facts->user))
        return PERMTAB_E_NOT_FOUND;
    return strangers_can_tell(strangers) ? 0 : PERMTAB_E_BUSY;
}

enum publisher_outcome fetch_publish(struct fetches *fetches, struct facts *facts,
                                     struct fetch_origin *origin, uint64_t now_ns, struct answer *answer)
{
    facts->stranger = strangers_include(fetches->options.strangers, facts->user);
    enum publisher_outcome outcome = PUBLISHER_OUTDATED;
    bool missing = roles_are_missing(fetches, facts);
    bool ended = facts->place_revision != 0 && !places_hold(fetches->options.places, origin->time);
    if (!missing && !ended)
        outcome = publisher_fill(fetches->options.publisher, facts, now_ns, answer);
    if (outcome == PUBLISHER_FILLED && origin->from == FETCH_PRIMARY)
        places_learn(fetches->options.places, facts, origin->time);
    if (origin->from == FETCH_REPLICA && !missing) /* else it is no fault of the replica's */
        judge_replica(fetches, facts, origin, &outcome, now_ns);
    if (facts->stranger || origin->from == FETCH_KEPT)
        judge_stranger(fetches, facts, origin, outcome);
    origin->early = outcome == PUBLISHER_EARLY;
    return outcome;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int make_reads(struct fetches *fetches)
{
    struct reads_options options = {.base = fetches->options.base,
                                    .pool = fetches->options.primary,
                                    .threads = fetches->options.threads,
                                    .publisher = fetches->options.publisher,
                                    .places = fetches->options.places,
                                    .counters = fetches->options.counters};
    int code = reads_new(&fetches->primary, &options);
    options.pool = fetches->options.replica;
    options.places = NULL;
    if (code == 0 && options.pool != NULL)
        code = reads_new(&fetches->replica, &options);
    return code;
}

int fetches_new(struct fetches **out, const struct fetch_options *options)
{
    static const struct breaker_options breaker = BREAKER_DEFAULTS;
    struct fetches *fetches = calloc(1, sizeof *fetches);
    if (fetches == NULL)
        return PERMTAB_E_MEMORY;
    fetches->options = *options;
    breaker_init(&fetches->breaker, &breaker);
    fetches->tell = evtimer_new(options->base, on_tell, fetches);
    fetches->patience = evtimer_new(options->base, on_patience, fetches);
    int code = fetches->tell == NULL || fetches->patience == NULL ? PERMTAB_E_MEMORY : make_reads(fetches);
    if (code < 0) {
        fetches_free(fetches);
        return code;
    }
    *out = fetches;
    return 0;
}

void fetches_free(struct fetches *fetches)
{
    if (fetches == NULL)
        return;
    assert(fetches->ready == NULL && fetches->impatient == NULL);
    reads_free(fetches->primary);
    reads_free(fetches->replica);
    if (fetches->tell != NULL)
        event_free(fetches->tell);
    if (fetches->patience != NULL)
        event_free(fetches->patience);
    free(fetches);
}
