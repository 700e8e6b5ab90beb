/* A read that is not gathered is a job by itself, at once. Those that are wait in a list until a thread may be used for
 * them, and a job takes as many as it may: what has come while the job before was away goes together.
 *
 * What may change while a job is away: its reads may be cancelled (the job finds nobody), or the table be made anew
 * (facts are stamped when their job begins, and publisher_fill tells). */
#include "proxy/answer/reads.h"

#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/timer.h"
#include "proxy/table/publisher.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <utlist.h>

#define WAITING_MAX  4096u
#define TOGETHER_MAX 64u /* a turn of the loop publishes what a job brings */
#define PLACES_MAX   16u /* each takes statements of its own, and the first of a job waits for the last */
#define GATHERED_MAX 3u  /* jobs at a time that are of gathered reads */
#define SINGLE_NS    200000000ull
#define AGAIN_MS     10u /* after memory or the queue of threads was short */

struct read {
    struct reads *reads;
    struct facts_key key;
    bool alone;           /* with others it was too much */
    struct read_job *job; /* NULL while it waits */
    size_t index;         /* in the job */
    read_done_fn done;
    void *context;
    struct read *prev, *next; /* of those that wait */
};

/* What becomes of one read of a job. */
struct read_item {
    struct read *read; /* NULL: nobody waits for it any more */
    int code;          /* 0: there are facts */
    struct failure failure;
};

struct read_job {
    struct store_job job;
    struct reads *reads;
    bool gathered;
    bool too_much; /* all of it together is; nothing else is wrong */
    uint64_t generation; /* the stamp of the facts */
    uint64_t began_ns;   /* on the thread */
    struct read_source source;
    size_t count;
    struct read_item *items;
    struct facts_key *keys;
    struct facts *facts;
};

struct reads {
    struct reads_options options;
    struct read *waiting; /* gathered ones, the oldest first */
    size_t waiting_count;
    unsigned running, running_gathered; /* jobs */
    uint64_t single_seen_ns;            /* when somebody last waited for a read while others were under way */
    struct event *turn;
};

/* ---- on a thread ------------------------------------------------------------------------------------------------- */

/* A job may be run twice, from its beginning. */
static void forget_facts(struct read_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        if (job->items[i].code == 0)
            facts_fini(&job->facts[i]);
        job->items[i].code = PERMTAB_E_STORE;
    }
}

static void all_fail(struct read_job *job, int code, const struct failure *failure)
{
    assert(code < 0);
    forget_facts(job);
    for (size_t i = 0; i < job->count; i++) {
        job->items[i].code = code;
        job->items[i].failure = *failure;
    }
}

static int job_run(struct store_job *store_job, struct store *store, struct failure *failure)
{
    struct read_job *job = container_of(store_job, struct read_job, job);
    struct log_position at = {0};
    int64_t now;
    forget_facts(job);
    job->began_ns = clock_ns();
    job->too_much = false;
    int code = store == NULL ? failure->code : store_snapshot(store, &at, &now, failure);
    if (code == 0) {
        code = store_read_facts_many(store, job->keys, job->count, job->facts, failure);
        store_snapshot_end(store);
        job->too_much = code == PERMTAB_E_LIMIT && job->count > 1;
    }
    job->source = (struct read_source){at.store_id, (clock_ns() - job->began_ns) / job->count};
    if (code < 0)
        all_fail(job, code, failure);
    for (size_t i = 0; i < job->count && code == 0; i++)
        job->items[i].code = 0;
    return code;
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static void job_free(struct read_job *job)
{
    for (size_t i = 0; i < job->count; i++)
        if (job->items[i].code == 0)
            facts_fini(&job->facts[i]);
    free(job->items);
    free(job->keys);
    free(job->facts);
    free(job);
}

static struct read_job *job_new(struct reads *reads, size_t count)
{
    struct read_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return NULL;
    job->reads = reads;
    job->generation = publisher_generation(reads->options.publisher);
    job->items = calloc(count, sizeof *job->items);
    job->keys = calloc(count, sizeof *job->keys);
    job->facts = calloc(count, sizeof *job->facts);
    if (job->items != NULL && job->keys != NULL && job->facts != NULL)
        return job;
    job_free(job);
    return NULL;
}

static void waiting_remove(struct read *read)
{
    DL_DELETE(read->reads->waiting, read);
    read->reads->waiting_count--;
}

static void tell(struct read *read, int code, const char *text, struct facts *facts,
                 const struct read_source *source)
{
    read->done(read->context, code, text, facts, source);
    free(read);
}

/* The callbacks may cancel other reads, also of this job. */
static void tell_all(struct read_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        struct read_item *item = &job->items[i];
        struct read *read = item->read;
        if (read == NULL)
            continue;
        item->read = NULL;
        if (item->code < 0) {
            tell(read, item->code, item->failure.text, NULL, NULL);
        } else {
            item->code = PERMTAB_E_NOT_FOUND; /* the callee's now */
            job->facts[i].generation = job->generation;
            tell(read, 0, "", &job->facts[i], &job->source);
        }
    }
}

/* Together they are too much: each goes by itself, before those that wait. */
static void give_back(struct read_job *job)
{
    for (size_t i = job->count; i > 0; i--) {
        struct read *read = job->items[i - 1].read;
        if (read == NULL)
            continue;
        read->job = NULL;
        read->alone = true;
        DL_PREPEND(job->reads->waiting, read);
        job->reads->waiting_count++;
    }
}

static void end(struct read_job *job)
{
    job->reads->running--;
    job->reads->running_gathered -= job->gathered;
    if (job->too_much)
        give_back(job);
    else
        tell_all(job);
    job_free(job);
}

static void give_out(struct reads *reads);

static void on_job(struct store_job *store_job)
{
    struct read_job *job = container_of(store_job, struct read_job, job);
    struct reads *reads = job->reads;
    end(job);
    give_out(reads);
}

static void take(struct read_job *job, struct read *read)
{
    job->keys[job->count] = read->key;
    job->items[job->count] = (struct read_item){.read = read, .code = PERMTAB_E_STORE};
    read->job = job;
    read->index = job->count++;
}

/* 0, or the code that says why no thread takes it. */
static int submit(struct read_job *job)
{
    struct reads *reads = job->reads;
    job->job = (struct store_job){.run = job_run, .done = on_job};
    int code = store_threads_submit(reads->options.pool, &job->job);
    if (code < 0)
        return code;
    reads->running++;
    reads->running_gathered += job->gathered;
    reads->options.counters->store_reads++;
    return 0;
}

/* ---- gathered reads ---------------------------------------------------------------------------------------------- */

/* How many of the first go together: one that is to be alone is, and there are not too many places among them. */
static size_t together(const struct reads *reads)
{
    struct scope_key places[PLACES_MAX];
    size_t count = 0, place_count = 0;
    for (const struct read *read = reads->waiting; read != NULL && count < TOGETHER_MAX; read = read->next) {
        struct scope_key scope = facts_key_scope(&read->key);
        size_t place = 0;
        if (read->alone)
            return count > 0 ? count : 1;
        while (place < place_count && !scope_equal(places[place], scope))
            place++;
        if (place == PLACES_MAX)
            break;
        places[place] = scope;
        place_count += place == place_count;
        count++;
    }
    return count;
}

/* False: nothing more can be done now, and the reads wait on. */
static bool begin_some(struct reads *reads)
{
    size_t count = together(reads);
    struct read_job *job = job_new(reads, count);
    if (job == NULL)
        return false;
    job->gathered = true;
    for (struct read *read = reads->waiting; job->count < count; read = read->next)
        take(job, read);
    if (submit(job) < 0) {
        for (size_t i = 0; i < count; i++)
            job->items[i].read->job = NULL;
        job_free(job);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        waiting_remove(job->items[i].read);
    return true;
}

/* How many jobs may be of gathered reads. A quarter of the threads as long as others ask now and then, so that these
 * find a connection and a processor free. All but one when nobody else is there. */
static unsigned gathered_max(const struct reads *reads)
{
    unsigned threads = reads->options.threads;
    unsigned most = clock_ns() - reads->single_seen_ns < SINGLE_NS ? threads / 4 : threads - 1;
    return most == 0 ? 1 : most < GATHERED_MAX ? most : GATHERED_MAX;
}

static void give_out(struct reads *reads)
{
    while (reads->waiting != NULL && reads->running_gathered < gathered_max(reads)) {
        if (!begin_some(reads)) {
            (void)timer_in_ms(reads->turn, AGAIN_MS);
            return;
        }
    }
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    give_out(context);
}

/* ---- one read ---------------------------------------------------------------------------------------------------- */

static int begin_alone(struct read *read)
{
    struct reads *reads = read->reads;
    struct read_job *job = job_new(reads, 1);
    if (job == NULL)
        return PERMTAB_E_MEMORY;
    if (reads->running > 0)
        reads->single_seen_ns = clock_ns();
    take(job, read);
    int code = submit(job);
    if (code < 0) {
        read->job = NULL;
        job_free(job);
    }
    return code;
}

static int begin_gathered(struct read *read)
{
    struct reads *reads = read->reads;
    if (reads->waiting_count >= WAITING_MAX)
        return PERMTAB_E_FULL;
    DL_APPEND(reads->waiting, read);
    reads->waiting_count++;
    event_active(reads->turn, EV_TIMEOUT, 0);
    return 0;
}

int read_begin(struct read **out, struct reads *reads, const struct facts_key *key, bool gather, read_done_fn done,
               void *context)
{
    struct read *read = calloc(1, sizeof *read);
    if (read == NULL)
        return PERMTAB_E_MEMORY;
    *read = (struct read){.reads = reads, .key = *key, .done = done, .context = context};
    int code = gather ? begin_gathered(read) : begin_alone(read);
    if (code < 0)
        free(read);
    else
        *out = read;
    return code;
}

void read_cancel(struct read *read)
{
    if (read->job == NULL)
        waiting_remove(read);
    else
        read->job->items[read->index].read = NULL;
    free(read);
}

void read_hurry(struct read *read)
{
    if (read->job == NULL && begin_alone(read) == 0)
        waiting_remove(read);
}

bool reads_would_begin(const struct reads *reads)
{
    return reads->running < reads->options.threads;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int reads_new(struct reads **out, const struct reads_options *options)
{
    struct reads *reads = calloc(1, sizeof *reads);
    if (reads == NULL)
        return PERMTAB_E_MEMORY;
    reads->options = *options;
    reads->turn = evtimer_new(options->base, on_turn, reads);
    if (reads->turn == NULL) {
        free(reads);
        return PERMTAB_E_MEMORY;
    }
    *out = reads;
    return 0;
}

void reads_free(struct reads *reads)
{
    if (reads == NULL)
        return;
    assert(reads->running == 0 && reads->waiting == NULL);
    event_free(reads->turn);
    free(reads);
}
