/* Orphans: keys of users and scopes are collected from slices, and a thread asks the store which of their owners it
 * still has. Between question and answer the job may end; so the question owns the batch meanwhile, and brings it
 * back to the job that asked, if it is still there.
 *
 * A user who gets a role between the answer and the removal loses a value that is true: a miss, no more. */
#include "proxy/store/orphans.h"
#include "proxy/base/array.h"
#include "proxy/base/container_of.h"
#include "proxy/cleanup/private.h"

#include <stdlib.h>
#include <string.h>

struct cleanup_question {
    struct store_job job;      /* the thread's */
    struct cleanup_job *asker; /* the loop's; NULL: nobody waits for it */
    struct cleanup_batch batch;
    struct failure failure;
    int code;
};

/* ---- the batch --------------------------------------------------------------------------------------------------- */

int cleanup_batch_add(struct cleanup_batch *batch, const struct scope_types *types, const char *key,
                      size_t size)
{
    struct cleanup_owner owner;
    if (batch->count == CLEANUP_BATCH_MAX || !cleanup_owner_parse(types, key, size, &owner))
        return 0;
    char *copy = malloc(size);
    struct cleanup_candidate *item = copy ? array_add(&batch->items, &batch->count, sizeof *item) : NULL;
    if (!item) {
        free(copy);
        return PERMTAB_E_MEMORY;
    }
    memcpy(copy, key, size);
    *item = (struct cleanup_candidate){.owner = owner, .present = true, .size = size, .key = copy};
    return 0;
}

void cleanup_batch_clear(struct cleanup_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        free(batch->items[i].key);
    batch->count = 0;
    batch->next = 0;
}

void cleanup_batch_fini(struct cleanup_batch *batch)
{
    cleanup_batch_clear(batch);
    free(batch->items);
    *batch = (struct cleanup_batch){0};
}

/* ---- the question ------------------------------------------------------------------------------------------------ */

/* Asks for at most STORE_ORPHANS_MAX users or scopes of a batch. Returns where the next ones begin, or a code. */
static int64_t ask_some(struct cleanup_batch *batch, size_t from, bool scopes, struct store *store,
                        struct failure *failure)
{
    struct scope_key keys[STORE_ORPHANS_MAX];
    uint64_t users[STORE_ORPHANS_MAX];
    bool present[STORE_ORPHANS_MAX];
    size_t places[STORE_ORPHANS_MAX], count = 0, at = from;
    for (; at < batch->count && count < STORE_ORPHANS_MAX; at++) {
        const struct cleanup_owner *owner = &batch->items[at].owner;
        if (owner->is_scope != scopes)
            continue;
        keys[count] = owner->scope;
        users[count] = owner->user;
        places[count++] = at;
    }
    int code = scopes ? store_scopes_present(store, keys, count, present, failure)
                      : store_users_present(store, users, count, present, failure);
    if (code < 0)
        return code;
    for (size_t i = 0; i < count; i++)
        batch->items[places[i]].present = present[i];
    return (int64_t)at;
}

static int on_thread(struct store_job *job, struct store *store, struct failure *failure)
{
    struct cleanup_question *question = container_of(job, struct cleanup_question, job);
    question->code = store ? 0 : failure->code;
    for (unsigned scopes = 0; scopes < 2 && question->code == 0; scopes++) {
        int64_t at = 0;
        while (at >= 0 && (size_t)at < question->batch.count)
            at = ask_some(&question->batch, (size_t)at, scopes != 0, store, failure);
        question->code = at < 0 ? (int)at : 0;
    }
    if (question->code != 0)
        question->failure = *failure;
    return question->code;
}

static void on_answer(struct store_job *job)
{
    struct cleanup_question *question = container_of(job, struct cleanup_question, job);
    struct cleanup_job *asker = question->asker;
    if (asker) {
        asker->question = NULL;
        asker->batch = question->batch;
        question->batch = (struct cleanup_batch){0};
        asker->phase = question->code == 0 ? PHASE_UNLINK : PHASE_ASK;
        if (question->code == 0)
            cleanup_job_went_well(asker);
        else
            cleanup_job_trouble(asker, question->code, "the store cannot be asked: %.100s",
                                question->failure.text);
    }
    cleanup_batch_fini(&question->batch);
    free(question);
}

int cleanup_ask(struct cleanup_job *job)
{
    struct cleanup_question *question = calloc(1, sizeof *question);
    if (!question)
        return PERMTAB_E_MEMORY;
    question->job.run = on_thread;
    question->job.done = on_answer;
    question->asker = job;
    question->batch = job->batch;
    int code = store_threads_submit(job->cleanup->pool, &question->job);
    if (code < 0) {
        free(question);
        return code;
    }
    job->batch = (struct cleanup_batch){0};
    job->question = question;
    job->phase = PHASE_ASKING;
    return 0;
}

void cleanup_ask_forget(struct cleanup_job *job)
{
    if (!job->question)
        return;
    job->question->asker = NULL;
    job->question = NULL;
}
