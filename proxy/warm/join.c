/* Between the jobs and what the fleet names: a job for it, once after the start, when Redis can be asked. */
#include "proxy/warm/private.h"

#include "proxy/table/publisher.h"

#include <stdlib.h>

#define PRIORITY_FLEET 3u /* below what this host knows itself */

static uint64_t store_id(void *context)
{
    const struct warm *warm = context;
    return publisher_position(warm->options.publisher).store_id;
}

static uint32_t types(void *context)
{
    const struct warm *warm = context;
    return publisher_catalogue(warm->options.publisher)->types.count;
}

static void on_read(void *context, struct hot_key *keys, size_t count, bool good)
{
    struct warm *warm = context;
    struct job *job = warm->jobs;
    while (job != NULL && !job->pulling)
        job = job->next;
    if (job == NULL) {
        free(keys);
        return;
    }
    job->pulling = false;
    job->keys = keys;
    job->count = count;
    warm->asked_fleet = good;
    if (good || count > 0)
        job_has_keys(job);
    else
        warm_end(job, WARM_FAILED);
    warm_schedule(warm);
}

int join_fleet(struct warm *warm)
{
    struct fleet_keys_options options = {
        .base = warm->options.base,
        .redis = warm->options.redis,
        .keys = warm->options.keys,
        .counters = warm->options.counters,
        .ports = {.context = warm, .store_id = store_id, .types = types, .read = on_read},
        .prefix = warm->options.prefix,
    };
    return warm->options.redis != NULL ? fleet_keys_new(&warm->fleet, &options) : 0;
}

void join_begin(struct warm *warm)
{
    if (warm->fleet == NULL || warm->asked_fleet || !warm->options.settings.at_start ||
        !redis_connected(warm->options.redis))
        return;
    warm->asked_fleet = job_new(warm, WARM_FLEET, PRIORITY_FLEET, "what other hosts are asked for") != NULL;
}

void join_pull(struct job *job)
{
    job->pulling = fleet_keys_read(job->warm->fleet) == 0;
    if (job->pulling)
        return;
    job->warm->asked_fleet = false; /* when it can be asked again */
    warm_end(job, WARM_FAILED);
}
