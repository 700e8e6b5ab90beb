/* All keys of a job are read in one snapshot; of a place that is known in one statement, and a single one of a place
 * that is kept in a smaller one. On a thread, but for making and freeing it. */
#include "proxy/answer/read_job.h"

#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"

#include <assert.h>
#include <stdlib.h>

/* A job may be run twice, from its beginning. */
static void forget_facts(struct read_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        if (job->items[i].code == 0)
            facts_fini(&job->facts[i]);
        job->items[i].code = PERMTAB_E_STORE;
    }
    job->bytes = 0;
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

static void all_succeed(struct read_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        job->items[i].code = 0;
        job->bytes += facts_size(&job->facts[i]);
    }
}

static int read_in_snapshot(struct read_job *job, struct store *store, struct failure *failure)
{
    struct log_position at;
    int64_t now;
    int code = store_snapshot(store, &at, &now, failure);
    if (code < 0)
        return code;
    size_t done = 0;
    while (done < job->count) {
        size_t count = job->count - done < STORE_FACTS_MANY ? job->count - done : STORE_FACTS_MANY;
        if ((code = store_read_facts_many(store, job->keys + done, count, job->facts + done, failure)) < 0)
            break;
        done += count;
    }
    store_snapshot_end(store);
    for (size_t i = 0; code < 0 && i < done; i++)
        facts_fini(&job->facts[i]);
    return code;
}

static int read_all(struct read_job *job, struct store *store, struct failure *failure)
{
    int known = 0;
    if (job->of_user)
        known = store_read_facts_user(store, &job->place, job->keys[0].user, job->facts, failure);
    job->partial = known > 0;
    if (known == 0 && job->place.levels > 0)
        known = store_read_facts_known(store, &job->place, job->keys, job->count, job->facts, failure);
    int code = known == 0 ? read_in_snapshot(job, store, failure) : known < 0 ? known : 0;
    job->too_much = code == PERMTAB_E_LIMIT && job->count > 1;
    return code;
}

static int run(struct store_job *store_job, struct store *store, struct failure *failure)
{
    struct read_job *job = container_of(store_job, struct read_job, job);
    forget_facts(job);
    uint64_t began_ns = clock_ns();
    job->too_much = false;
    int code = store == NULL ? failure->code : read_all(job, store, failure);
    uint64_t cost_ns = (clock_ns() - began_ns) / job->count;
    job->source = (struct read_source){store == NULL ? 0 : store->store_id, cost_ns};
    if (code < 0)
        all_fail(job, code, failure);
    else
        all_succeed(job);
    return code;
}

void read_job_free(struct read_job *job)
{
    if (job == NULL)
        return;
    for (size_t i = 0; i < job->count; i++)
        if (job->items[i].code == 0)
            facts_fini(&job->facts[i]);
    free(job->items);
    free(job->keys);
    free(job->facts);
    free(job);
}

struct read_job *read_job_new(struct reads *reads, size_t room, enum read_lane lane, uint64_t generation)
{
    struct read_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return NULL;
    job->job.run = run;
    job->reads = reads;
    job->lane = lane;
    job->generation = generation;
    job->items = calloc(room, sizeof *job->items);
    job->keys = calloc(room, sizeof *job->keys);
    job->facts = calloc(room, sizeof *job->facts);
    if (job->items != NULL && job->keys != NULL && job->facts != NULL)
        return job;
    read_job_free(job);
    return NULL;
}

void read_job_take(struct read_job *job, struct read *read, const struct facts_key *key)
{
    job->keys[job->count] = *key;
    job->items[job->count++] = (struct read_item){.read = read, .code = PERMTAB_E_STORE};
}
