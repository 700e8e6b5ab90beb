/* L2's keys that no command can name: the clean-up sweeps those that a prefix or a pattern means, one target after
 * the other; for `all` L2 begins another epoch.
 *
 * Every host hears a message in plain text, and one of them is enough to sweep: the one that takes a short lock,
 * which the message's digest names. The same text within the lock's time finds it taken: the keys were swept a
 * moment ago. */
#include "proxy/invalidate/private.h"

#include <inttypes.h>

#define LOCK_MS 2000u

static void go_on(struct invalidation_job *job);

static void on_swept(void *context, int code, const struct cleanup_status *status)
{
    struct invalidation_job *job = context;
    job->sweep = 0;
    job->result.keys += status->keys_removed;
    if (code != 0)
        invalidation_job_trouble(job, code, "L2 was not swept to its end: %.150s", status->text);
    go_on(job);
    invalidation_job_check(job);
}

static void go_on(struct invalidation_job *job)
{
    const struct invalidation_ports *ports = &job->all->options.ports;
    while (job->sweep == 0 && job->next_glob < job->tag_first) {
        const struct target *target = &job->targets[job->next_glob++];
        int64_t number = ports->sweep(ports->context, target, on_swept, job);
        if (number > 0)
            job->sweep = number;
        else
            invalidation_job_trouble(job, (int)number, "L2 is not swept: %s",
                                     number == PERMTAB_E_FULL ? "too many clean-ups wait"
                                                              : "there are too many stars in a pattern");
    }
}

static bool names_all(const struct invalidation_job *job)
{
    for (size_t i = 0; i < job->glob_first; i++)
        if (job->targets[i].kind == TARGET_ALL)
            return true;
    return false;
}

static void begin(struct invalidation_job *job)
{
    const struct invalidation_ports *ports = &job->all->options.ports;
    if (names_all(job) && ports->flush != NULL)
        ports->flush(ports->context);
    if (ports->sweep != NULL)
        go_on(job);
}

static void on_lock(void *context, enum redis_status status, const struct redis_reply *reply, unsigned tries)
{
    struct invalidation_job *job = context;
    job->lock = NULL;
    job->result.retries += tries - 1;
    if (status != REDIS_OK)
        invalidation_job_trouble(job, PERMTAB_E_UNREACHABLE, "Redis did not say whether another host sweeps");
    else if (redis_reply_kind(reply) != REDIS_NIL)
        begin(job);
    invalidation_job_check(job);
}

static void take_lock(struct invalidation_job *job)
{
    const struct invalidation_options *options = &job->all->options;
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "SET");
    redis_args_print(&args, "%sinvalidate:lock:%016" PRIx64, options->prefix, job->digest);
    redis_args_print(&args, "%016" PRIx64, options->host_id);
    redis_args_text(&args, "NX");
    redis_args_text(&args, "PX");
    redis_args_u64(&args, LOCK_MS);
    if (redis_retry_start(&job->lock, options->base, options->redis, &args, on_lock, job) < 0)
        invalidation_job_trouble(job, PERMTAB_E_MEMORY, "no memory to sweep L2");
}

void invalidation_sweep_start(struct invalidation_job *job)
{
    const struct invalidation_options *options = &job->all->options;
    bool needed = job->glob_first < job->tag_first || names_all(job);
    if (!needed || options->ports.epoch == NULL)
        return;
    if (!redis_connected(options->redis))
        invalidation_job_trouble(job, PERMTAB_E_UNREACHABLE, "Redis is away: %.150s",
                                 redis_trouble(options->redis));
    else if (job->digest != 0)
        take_lock(job);
    else
        begin(job);
}

bool invalidation_sweep_busy(const struct invalidation_job *job)
{
    return job->lock != NULL || job->sweep != 0;
}

void invalidation_sweep_cancel(struct invalidation_job *job)
{
    const struct invalidation_ports *ports = &job->all->options.ports;
    if (job->lock != NULL)
        redis_retry_cancel(job->lock);
    job->lock = NULL;
    if (job->sweep != 0)
        ports->sweep_forget(ports->context, job->sweep);
    job->sweep = 0;
}
