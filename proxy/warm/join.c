/* Between the jobs and what the fleet names: a job for it, once after the start, when Redis can be asked. */
#include "proxy/warm/private.h"

#include "proxy/base/clock.h"
#include "proxy/base/timer.h"
#include "proxy/table/grow.h"
#include "proxy/table/publisher.h"

#include <event2/event.h>
#include <stdlib.h>

#define PRIORITY_FLEET 3u /* below what this host knows itself */
#define TRIES          3u /* of reading, for a table: it may be what ends the connection, and L2 has the same one */
#define FIRST_PAUSE_NS 2000000000ull
#define LAST_PAUSE_NS  60000000000ull

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

/* What the table will have room for. */
static uint64_t most(void *context)
{
    const struct warm *warm = context;
    uint64_t capacity = publisher_capacity(warm->options.publisher);
    return capacity > warm->options.entries ? capacity : warm->options.entries;
}

/* A reading has failed: again after a pause that grows, which a new connection does not shorten. */
static void rest(struct warm *warm)
{
    warm->asked_fleet = false;
    if (++warm->fleet_tries == TRIES)
        return;
    pause_begins(&warm->fleet_pause, clock_ns(), FIRST_PAUSE_NS, LAST_PAUSE_NS);
    (void)timer_in_ns(warm->rejoin, FIRST_PAUSE_NS);
}

static void on_rejoin(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    warm_connected(context);
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
    if (!good)
        rest(warm);
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
        .ports = {.context = warm, .store_id = store_id, .types = types, .most = most, .read = on_read},
        .prefix = warm->options.prefix,
    };
    if (warm->options.redis == NULL)
        return 0;
    warm->rejoin = evtimer_new(warm->options.base, on_rejoin, warm);
    return warm->rejoin != NULL ? fleet_keys_new(&warm->fleet, &options) : PERMTAB_E_MEMORY;
}

void join_begin(struct warm *warm)
{
    if (warm->fleet == NULL || warm->asked_fleet || !warm->options.settings.at_start ||
        !redis_connected(warm->options.redis))
        return;
    uint64_t now_ns = clock_ns();
    if (warm->fleet_tries >= TRIES)
        return;
    if (pause_lasts(&warm->fleet_pause, now_ns)) { /* the loop's own time is a little behind, so a timer may be early */
        (void)timer_in_ns(warm->rejoin, warm->fleet_pause.until_ns - now_ns);
        return;
    }
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
