/* Tags: their members are read in slices, and each slice is invalidated before the next is read, so that a tag of a
 * hundred thousand takes no more memory than one of a few hundred. */
#include "proxy/invalidate/private.h"

#include "proxy/invalidate/tags.h"

#include <stdlib.h>
#include <string.h>

#define SLICE_MEMBERS 500u

static void skip_tag(struct invalidation_job *job)
{
    job->next_tag++;
    job->cursor[0] = '\0';
}

/* Reads the members of a slice. Those that are no targets (of a scope type that is not known here) are left out. */
static size_t read_members(struct invalidation_job *job, const struct redis_reply *reply)
{
    const struct scope_types *types = &publisher_catalogue(job->all->options.publisher)->types;
    size_t count = 0, members = redis_reply_count(reply);
    job->members = calloc(members + 1, sizeof *job->members);
    if (job->members == NULL) {
        invalidation_job_trouble(job, PERMTAB_E_MEMORY, "no memory for the members of a tag");
        return 0;
    }
    for (size_t i = 0; i < members; i++) {
        size_t size = 0;
        const char *text = redis_reply_text(redis_reply_at(reply, i), &size);
        struct target *target = &job->members[count];
        if (text != NULL && target_parse(types, text, size, target) == 0 && tags_may_hold(target->kind))
            count++;
        else
            invalidation_job_trouble(job, PERMTAB_E_INVALID, "tag:%s has a member that is no target here",
                                     job->targets[job->next_tag].word);
    }
    return count;
}

static bool take_slice(struct invalidation_job *job, const struct redis_reply *reply)
{
    size_t size = 0;
    const char *cursor = redis_reply_text(redis_reply_at(reply, 0), &size);
    const struct redis_reply *members = redis_reply_at(reply, 1);
    if (cursor == NULL || size >= sizeof job->cursor || redis_reply_kind(members) != REDIS_ARRAY)
        return false;
    memcpy(job->cursor, cursor, size + 1);
    job->tag_empty &= redis_reply_count(members) == 0;
    size_t count = read_members(job, members);
    invalidation_retire_start(job, job->members, count);
    if (count > 0)
        invalidation_wave_start(job, job->members, count);
    return true;
}

static void on_slice(void *context, enum redis_status status, const struct redis_reply *reply, unsigned tries)
{
    struct invalidation_job *job = context;
    const char *word = job->targets[job->next_tag].word;
    job->look = NULL;
    job->result.retries += tries - 1;
    if (status == REDIS_ERROR)
        invalidation_job_trouble(job, PERMTAB_E_REFUSED, "tag:%s: Redis refuses: %.60s", word,
                                 redis_reply_text(reply, NULL));
    else if (status != REDIS_OK)
        invalidation_job_trouble(job, PERMTAB_E_UNREACHABLE, "tag:%s: Redis is away", word);
    if (status != REDIS_OK || !take_slice(job, reply))
        skip_tag(job);
    invalidation_job_check(job);
}

static bool read_slice(struct invalidation_job *job)
{
    const struct invalidation_options *options = &job->all->options;
    char key[TAG_KEY_SIZE];
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "SSCAN");
    redis_args_text(&args, tags_key(key, options->prefix, job->targets[job->next_tag].word));
    redis_args_text(&args, job->cursor[0] != '\0' ? job->cursor : "0");
    redis_args_text(&args, "COUNT");
    redis_args_u64(&args, SLICE_MEMBERS);
    return redis_retry_start(&job->look, options->base, options->redis, &args, on_slice, job) == 0;
}

void invalidation_tag_go_on(struct invalidation_job *job)
{
    free(job->members);
    job->members = NULL;
    while (job->next_tag < job->count && job->look == NULL) {
        if (strcmp(job->cursor, "0") == 0) {
            if (job->tag_empty)
                invalidation_job_trouble(job, PERMTAB_E_NOT_FOUND, "tag:%s names nothing",
                                         job->targets[job->next_tag].word);
            skip_tag(job);
            continue;
        }
        if (job->cursor[0] == '\0')
            job->tag_empty = true;
        if (!read_slice(job)) {
            invalidation_job_trouble(job, PERMTAB_E_MEMORY, "no memory to read a tag");
            skip_tag(job);
        }
    }
}

void invalidation_tag_cancel(struct invalidation_job *job)
{
    if (job->look != NULL)
        redis_retry_cancel(job->look);
    job->look = NULL;
    free(job->members);
    job->members = NULL;
}
