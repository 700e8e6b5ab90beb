/* The auditor's rounds: when entries are read, how many, and the cure of a difference.
 *
 *   on_tick ─► pick a live entry ─► (helper thread) its facts, in one snapshot S ─► on_read
 *                                                                                     │ S ahead of the table:
 *                                                            audit_applied ◄── held ◄─┤ wait for the batch
 *                                                                  └─► conclude ◄─────┘
 *
 * A difference is healed first and reported afterwards. An entry goes alone; its set goes with it when the set is
 * at fault, or when the same set turns up a second time; and everything goes (no lease until the table is rebuilt)
 * when the publisher's own indexes are wrong, or with the third difference in a minute: then the fault is not in
 * one entry.
 *
 * table/audit.c makes the comparison exact. The audit_found_fn tells other caches (Redis, subscribers) what to do. */
#include "proxy/feed/audit.h"

#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/random.h"
#include "proxy/base/timer.h"
#include "proxy/base/trouble.h"
#include "proxy/table/audit.h"
#include "proxy/table/retire.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SECOND_NS      1000000000ull
#define TICKS_A_SECOND 10u /* at most */
#define UNDER_WAY_MAX  16u /* jobs and held ones; clients need the threads more */
#define HELD_NS        (5 * SECOND_NS)
#define RECENT_SETS    8u
#define PATIENCE       3u /* with so many differences within a minute the table goes */
#define PATIENCE_NS    (60 * SECOND_NS)

struct audit_job {
    struct store_job job; /* the audit of one entry */
    struct audit *audit;
    struct audit_question question;
    uint64_t generation; /* of the table's history when the read began */
    struct facts facts;
    bool have_facts;
    uint64_t begun_ns;
    struct audit_job *prev, *next; /* while held */
};

struct suspect {
    uint32_t set;
    uint32_t generation;
};

struct audit {
    struct store_threads *pool;
    struct publisher *publisher;
    struct feed *feed;
    struct counters *counters;
    audit_found_fn found;
    void *context;
    struct event *timer;
    struct audit_dice dice;
    uint32_t a_second;
    uint64_t credit_ns; /* time that has not been spent on entries yet */
    uint64_t ticked_ns;
    struct audit_job *held;
    unsigned under_way; /* being read or held */
    unsigned reading;
    bool closing;

    struct suspect suspects[RECENT_SETS]; /* a ring of sets that differed */
    unsigned next_suspect;
    uint64_t differed_ns[PATIENCE]; /* a ring of times; 0: none */
    unsigned next_differed;

    uint64_t alarmed; /* differences of this alarm */
    time_t alarm_at;  /* of the last one; 0: none */
    char alarm[160];
    struct trouble differences; /* they have no end: the next ones are others */
};

/* ---- differences ------------------------------------------------------------------------------------------------- */

static bool suspected_before(struct audit *audit, const struct audit_finding *finding)
{
    for (unsigned i = 0; i < RECENT_SETS; i++)
        if (audit->suspects[i].set == finding->set && audit->suspects[i].generation == finding->generation)
            return true;
    audit->suspects[audit->next_suspect] = (struct suspect){finding->set, finding->generation};
    audit->next_suspect = (audit->next_suspect + 1) % RECENT_SETS;
    return false;
}

/* Whether this is the third within a minute. */
static bool out_of_patience(struct audit *audit, uint64_t now_ns)
{
    audit->differed_ns[audit->next_differed] = now_ns;
    audit->next_differed = (audit->next_differed + 1) % PATIENCE;
    uint64_t oldest = audit->differed_ns[audit->next_differed];
    if (oldest == 0 || now_ns - oldest > PATIENCE_NS)
        return false;
    memset(audit->differed_ns, 0, sizeof audit->differed_ns); /* the next differences are of another table */
    return true;
}

enum cure { CURE_ENTRY, CURE_SET, CURE_EVERYTHING };

static enum cure choose_cure(struct audit *audit, const struct audit_finding *finding, uint64_t now_ns)
{
    bool again = suspected_before(audit, finding);
    bool impatient = out_of_patience(audit, now_ns);
    switch (finding->fault) {
    case AUDIT_FAULT_ENTRY:
        return impatient ? CURE_EVERYTHING : again ? CURE_SET : CURE_ENTRY;
    case AUDIT_FAULT_SET:
        return impatient ? CURE_EVERYTHING : CURE_SET;
    case AUDIT_FAULT_BOOKS:
        return CURE_EVERYTHING;
    }
    return CURE_EVERYTHING;
}

static void heal(struct audit *audit, const struct audit_job *job, const struct audit_finding *finding,
                 enum cure cure, uint64_t now_ns)
{
    switch (cure) {
    case CURE_SET:
        publisher_audit_abandon(audit->publisher, finding->set, finding->generation);
        publisher_audit_retire(audit->publisher, &job->question, now_ns);
        break;
    case CURE_ENTRY:
        publisher_audit_retire(audit->publisher, &job->question, now_ns);
        break;
    case CURE_EVERYTHING: /* answers are unknown meanwhile: nobody can tell which other entries are wrong */
        publisher_end_lease(audit->publisher, OWN_FAULT); /* the audit_found_fn deals with L2 */
        feed_rebuild(audit->feed);
        audit->counters->audit_rebuilds++;
        break;
    }
}

static void raise_alarm(struct audit *audit)
{
    time_t now = time(NULL);
    if (audit->alarm_at == 0 || now - audit->alarm_at > AUDIT_ALARM_SECONDS)
        audit->alarmed = 0;
    audit->alarmed++;
    audit->alarm_at = now;
}

static void report(struct audit *audit, const struct audit_job *job, const struct audit_finding *finding,
                   enum cure cure)
{
    static const char *const done[] = {
        [CURE_ENTRY] = "the entry is retired",
        [CURE_SET] = "the set is closed for good",
        [CURE_EVERYTHING] = "the table is rebuilt",
    };
    char scope[SCOPE_TEXT_SIZE];
    (void)trouble_happens(
        &audit->differences, LOG_LEVEL_ERROR, clock_ns(),
        "audit: user %" PRIu64 " at %s differs from the store at revision %" PRIu64 ": %s%s; %s",
        job->question.user,
        scope_format(&publisher_catalogue(audit->publisher)->types, job->question.scope, scope),
        publisher_position(audit->publisher).revision, finding->what,
        finding->overgrant ? ", and it was allowed too much" : "", done[cure]);
    audit->counters->audit_differences++;
    audit->counters->audit_overgrants += finding->overgrant;
    raise_alarm(audit);
}

static void on_difference(struct audit *audit, const struct audit_job *job,
                          const struct audit_finding *finding)
{
    uint64_t now_ns = clock_ns();
    enum cure cure = choose_cure(audit, finding, now_ns);
    publisher_outdate_kept(audit->publisher); /* it may come from there, or come again */
    heal(audit, job, finding, cure, now_ns);
    report(audit, job, finding, cure);
    audit->found(audit->context, job->question.user, cure != CURE_ENTRY);
}

const char *audit_alarm(struct audit *audit, time_t now)
{
    struct tm utc;
    char at[32];
    if (audit == NULL || audit->alarm_at == 0 || now - audit->alarm_at > AUDIT_ALARM_SECONDS)
        return "";
    (void)gmtime_r(&audit->alarm_at, &utc);
    (void)strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &utc);
    (void)snprintf(audit->alarm, sizeof audit->alarm,
                   "the auditor found %" PRIu64 " difference%s, the last at %s", audit->alarmed,
                   audit->alarmed == 1 ? "" : "s", at);
    return audit->alarm;
}

/* ---- one entry --------------------------------------------------------------------------------------------------- */

static void job_free(struct audit_job *job)
{
    job->audit->under_way--;
    if (job->have_facts)
        facts_fini(&job->facts);
    free(job);
}

/* The last job to come back, or audit_free itself, frees what they share. */
static void audit_end(struct audit *audit)
{
    if (!audit->closing || audit->reading > 0)
        return;
    event_free(audit->timer);
    free(audit);
}

/* Reads the entry's facts, on a helper thread. */
static int job_run(struct store_job *base, struct store *store, struct failure *failure)
{
    struct audit_job *job = container_of(base, struct audit_job, job);
    struct log_position at;
    int64_t now;
    int code = store == NULL ? failure->code : store_snapshot(store, &at, &now, failure);
    if (code < 0)
        return code;
    code = store_read_facts(store, job->question.user, job->question.scope, &job->facts, failure);
    store_snapshot_end(store);
    if (code < 0)
        return code;
    job->facts.generation = job->generation;
    job->have_facts = true;
    return 0;
}

/* Compares and frees the job; false, without doing either, when it is too early. */
static bool conclude(struct audit_job *job)
{
    struct audit *audit = job->audit;
    struct audit_finding finding;
    uint64_t now_ns = clock_ns();
    enum audit_outcome outcome = AUDIT_UNSURE;
    if (publisher_leased(audit->publisher, now_ns))
        outcome = publisher_audit(audit->publisher, &job->facts, &finding);
    switch (outcome) {
    case AUDIT_EARLY:
        if (now_ns - job->begun_ns < HELD_NS)
            return false;
        audit->counters->audit_skipped++;
        break;
    case AUDIT_AGREES:
        audit->counters->audit_checks++;
        break;
    case AUDIT_DIFFERS:
        audit->counters->audit_checks++;
        on_difference(audit, job, &finding);
        break;
    case AUDIT_UNSURE:
    case AUDIT_FAILED:
        audit->counters->audit_skipped++;
        break;
    }
    job_free(job);
    return true;
}

static void on_read(struct store_job *base)
{
    struct audit_job *job = container_of(base, struct audit_job, job);
    struct audit *audit = job->audit;
    audit->reading--;
    if (audit->closing || !job->have_facts) {
        audit->counters->audit_skipped += !audit->closing;
        job_free(job);
        audit_end(audit);
    } else if (!conclude(job)) {
        DL_APPEND(audit->held, job);
    }
}

void audit_applied(struct audit *audit)
{
    struct audit_job *job, *next;
    if (audit == NULL)
        return;
    DL_FOREACH_SAFE(audit->held, job, next)
    {
        DL_DELETE(audit->held, job);
        if (!conclude(job))
            DL_PREPEND(audit->held, job); /* in front of `next`: each job is asked once */
    }
}

static bool begin_one(struct audit *audit, uint64_t now_ns)
{
    struct audit_job *job = calloc(1, sizeof *job);
    if (job == NULL || !publisher_audit_pick(audit->publisher, &audit->dice, &job->question)) {
        free(job);
        return false;
    }
    job->audit = audit;
    job->generation = publisher_generation(audit->publisher);
    job->begun_ns = now_ns;
    job->job.run = job_run;
    job->job.done = on_read;
    if (store_threads_submit(audit->pool, &job->job) < 0) {
        free(job);
        return false;
    }
    audit->under_way++;
    audit->reading++;
    return true;
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

/* Begins the audits of one tick. Audits that did not fit into their time are left out: an auditor that catches up
 * would be a burst for the store. */
static void on_tick(evutil_socket_t descriptor, short what, void *context)
{
    struct audit *audit = context;
    uint64_t now_ns = clock_ns(), each_ns = SECOND_NS / audit->a_second;
    (void)descriptor, (void)what;
    audit->credit_ns += now_ns - audit->ticked_ns;
    audit->ticked_ns = now_ns;
    if (audit->credit_ns > SECOND_NS)
        audit->credit_ns = SECOND_NS;
    while (audit->credit_ns >= each_ns && audit->under_way < UNDER_WAY_MAX &&
           publisher_leased(audit->publisher, now_ns)) {
        audit->credit_ns -= each_ns;
        if (!begin_one(audit, now_ns))
            break;
    }
}

static int start_timer(struct audit *audit, struct event_base *base)
{
    uint32_t ticks = audit->a_second < TICKS_A_SECOND ? audit->a_second : TICKS_A_SECOND;
    audit->timer = event_new(base, -1, EV_PERSIST, on_tick, audit);
    if (audit->timer == NULL || timer_in_us(audit->timer, 1000000 / ticks) < 0)
        return PERMTAB_E_MEMORY;
    return 0;
}

int audit_new(struct audit **out, const struct audit_options *options)
{
    struct audit *audit = calloc(1, sizeof *audit);
    if (audit == NULL)
        return PERMTAB_E_MEMORY;
    audit->pool = options->pool;
    audit->publisher = options->publisher;
    audit->feed = options->feed;
    audit->counters = options->counters;
    audit->found = options->found;
    audit->context = options->context;
    audit->a_second = options->entries_a_second;
    audit->ticked_ns = clock_ns();
    if (random_bytes(&audit->dice.random, sizeof audit->dice.random) < 0)
        audit->dice.random = audit->ticked_ns;
    if (start_timer(audit, options->base) < 0) {
        if (audit->timer != NULL)
            event_free(audit->timer);
        free(audit);
        return PERMTAB_E_MEMORY;
    }
    *out = audit;
    return 0;
}

void audit_free(struct audit *audit)
{
    struct audit_job *job, *next;
    if (audit == NULL)
        return;
    audit->closing = true;
    (void)event_del(audit->timer);
    DL_FOREACH_SAFE(audit->held, job, next)
    {
        DL_DELETE(audit->held, job);
        job_free(job);
    }
    audit_end(audit);
}
