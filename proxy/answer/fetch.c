/* A fetch and the job of a thread are two objects: a thread that hangs at a replica keeps its job, while the fetch
 * goes on to the primary. Replica reads have a little time; the breaker counts those that fail, come late or bring
 * outdated facts, and after enough of them the replica is left alone for a while.
 *
 * What may change while a read is away: the fill may have gone (cancelled: the job finds nobody), the time may be
 * over (likewise), the table may be made anew (facts are stamped when their read begins, and publisher_fill tells). */
#include "proxy/answer/fetch.h"

#include "proxy/base/breaker.h"
#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/timer.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define PATIENCE_NS 100000000ull /* for a read of the replica */

struct fetch_job {
    struct store_job job;
    struct fetches *fetches;
    struct fetch *fetch; /* NULL: no fetch waits for the job any more */
    enum fetch_from from;
    uint64_t user;
    struct scope_key scope;
    uint64_t generation; /* the stamp of the facts */
    uint64_t store_id;   /* of the store that the facts were read from */
    struct facts facts;
    bool have_facts;
    struct failure failure;
};

struct fetch {
    struct fetches *fetches;
    uint64_t user;
    struct scope_key scope;
    struct fetch_origin origin;
    struct fetch_job *job; /* FETCH_REPLICA, FETCH_PRIMARY */
    struct facts kept;     /* FETCH_KEPT */
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
    unsigned replica_running;
    struct event *tell;
    struct event *patience;
};

/* ---- on a thread ------------------------------------------------------------------------------------------------- */

static int job_run(struct store_job *store_job, struct store *store, struct failure *failure)
{
    struct fetch_job *job = container_of(store_job, struct fetch_job, job);
    struct log_position at;
    int64_t now;
    if (store == NULL) {
        job->failure = *failure;
        return failure->code;
    }
    int code = store_snapshot(store, &at, &now, &job->failure);
    if (code < 0)
        return code;
    code = store_read_facts(store, job->user, job->scope, &job->facts, &job->failure);
    store_snapshot_end(store);
    if (code < 0)
        return code;
    job->have_facts = true;
    job->facts.generation = job->generation;
    job->store_id = at.store_id;
    /* A replica has another clock: ends are judged at the expiry that the table has reached. */
    if (job->from == FETCH_REPLICA)
        job->facts.now = 0;
    return 0;
}

/* ---- one fetch --------------------------------------------------------------------------------------------------- */

/* Takes a fetch off the lists, and leaves its job alone. */
static void unlink_fetch(struct fetch *fetch)
{
    struct fetches *fetches = fetch->fetches;
    if (fetch->origin.from == FETCH_KEPT) {
        DL_DELETE(fetches->ready, fetch);
        fetches->ready_count--;
    }
    if (fetch->origin.from == FETCH_REPLICA)
        DL_DELETE(fetches->impatient, fetch);
    if (fetch->job != NULL)
        fetch->job->fetch = NULL;
    fetch->job = NULL;
}

static void tell(struct fetch *fetch, int code, const char *text, struct facts *facts)
{
    unlink_fetch(fetch);
    fetch->done(fetch->context, code, text, facts, &fetch->origin);
    free(fetch);
}

void fetch_cancel(struct fetch *fetch)
{
    unlink_fetch(fetch);
    facts_fini(&fetch->kept);
    free(fetch);
}

static void on_job(struct store_job *store_job);

static int submit(struct fetch *fetch, enum fetch_from from)
{
    struct fetches *fetches = fetch->fetches;
    struct fetch_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return PERMTAB_E_MEMORY;
    *job = (struct fetch_job){.fetches = fetches,
                              .fetch = fetch,
                              .from = from,
                              .user = fetch->user,
                              .scope = fetch->scope,
                              .generation = publisher_generation(fetches->options.publisher),
                              .job = {.run = job_run, .done = on_job}};
    struct store_threads *pool = from == FETCH_REPLICA ? fetches->options.replica : fetches->options.primary;
    int code = store_threads_submit(pool, &job->job);
    if (code < 0) {
        free(job);
        return code;
    }
    fetch->job = job;
    fetch->origin = (struct fetch_origin){.from = from, .begun_ns = clock_ns()};
    fetches->replica_running += from == FETCH_REPLICA;
    return 0;
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
    if (fetches->options.replica == NULL || fetches->replica_running >= fetches->options.replica_threads ||
        !breaker_allows(&fetches->breaker, clock_ns()))
        return false;
    if (submit(fetch, FETCH_REPLICA) < 0) {
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
    fetch->origin.from = FETCH_PRIMARY; /* it is in no list now */
    int code = submit(fetch, FETCH_PRIMARY);
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

/* Whether a job's facts may be shown to the publisher at all. Another store has other revisions, and its facts
 * could look early for ever. */
static bool replica_is_ours(const struct fetch_job *job)
{
    const struct publisher *publisher = job->fetches->options.publisher;
    return job->have_facts && job->store_id == publisher_position(publisher).store_id &&
           follows_distrust(publisher, &job->facts);
}

static void on_job(struct store_job *store_job)
{
    struct fetch_job *job = container_of(store_job, struct fetch_job, job);
    struct fetch *fetch = job->fetch;
    job->fetches->replica_running -= job->from == FETCH_REPLICA;
    if (fetch == NULL) {
        /* No fetch waits. */
    } else if (job->from == FETCH_REPLICA && !replica_is_ours(job)) {
        turn_to_primary(fetch);
    } else if (job->have_facts) {
        job->have_facts = false; /* the callee's now */
        tell(fetch, 0, "", &job->facts);
    } else {
        tell(fetch, job->failure.code, job->failure.text, NULL);
    }
    if (job->have_facts)
        facts_fini(&job->facts);
    free(job);
}

/* ---- what is kept ------------------------------------------------------------------------------------------------ */

static void on_tell(evutil_socket_t descriptor, short what, void *context)
{
    struct fetches *fetches = context;
    (void)descriptor, (void)what;
    /* Fetches that callbacks begin have the next turn of the loop, so that a flood does not keep this one. */
    for (unsigned left = fetches->ready_count; left > 0 && fetches->ready != NULL; left--) {
        struct facts facts = fetches->ready->kept;
        tell(fetches->ready, 0, "", &facts);
    }
    if (fetches->ready != NULL)
        event_active(fetches->tell, EV_TIMEOUT, 0);
}

static bool begin_with_kept(struct fetch *fetch)
{
    struct fetches *fetches = fetch->fetches;
    if (!strangers_facts(fetches->options.strangers, fetch->user, fetch->scope, &fetch->kept))
        return false;
    fetch->origin = (struct fetch_origin){.from = FETCH_KEPT, .begun_ns = clock_ns()};
    DL_APPEND(fetches->ready, fetch);
    fetches->ready_count++;
    event_active(fetches->tell, EV_TIMEOUT, 0);
    return true;
}

/* ---- beginning and judging --------------------------------------------------------------------------------------- */

int fetch_begin(struct fetch **out, struct fetches *fetches, uint64_t user, struct scope_key scope,
                bool again, fetch_done_fn done, void *context)
{
    struct fetch *fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL)
        return PERMTAB_E_MEMORY;
    *fetch =
        (struct fetch){.fetches = fetches, .user = user, .scope = scope, .done = done, .context = context};
    int code = 0;
    if (again || !(begin_with_kept(fetch) || begin_at_replica(fetch)))
        code = submit(fetch, FETCH_PRIMARY);
    if (code < 0)
        free(fetch);
    else
        *out = fetch;
    return code;
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
    if (outcome == PUBLISHER_FILLED)
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
    enum publisher_outcome outcome = publisher_fill(fetches->options.publisher, facts, now_ns, answer);
    if (origin->from == FETCH_REPLICA)
        judge_replica(fetches, facts, origin, &outcome, now_ns);
    if (facts->stranger || origin->from == FETCH_KEPT)
        judge_stranger(fetches, facts, origin, outcome);
    origin->early = outcome == PUBLISHER_EARLY;
    return outcome;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

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
    if (fetches->tell == NULL || fetches->patience == NULL) {
        fetches_free(fetches);
        return PERMTAB_E_MEMORY;
    }
    *out = fetches;
    return 0;
}

void fetches_free(struct fetches *fetches)
{
    if (fetches == NULL)
        return;
    assert(fetches->replica_running == 0 && fetches->ready == NULL && fetches->impatient == NULL);
    if (fetches->tell != NULL)
        event_free(fetches->tell);
    if (fetches->patience != NULL)
        event_free(fetches->patience);
    free(fetches);
}
