/* The memory of keys, and the warm-up from it. Both are hints: a daemon without them starts colder, and that is all. */
#include "proxy/daemon/daemon.h"

#include "proxy/base/log.h"

#include <unistd.h>

/* The master's, which outlive this worker. Without them its own, for when the table is made anew. */
static int open_keys(struct keys **out, int masters, uint64_t store_id)
{
    int descriptor = -1;
    int code = masters >= 0 ? 0 : keys_memfd_new(&descriptor);
    if (code == 0)
        code = keys_open(out, masters >= 0 ? masters : descriptor, store_id);
    if (descriptor >= 0)
        (void)close(descriptor);
    return code;
}

void daemon_open_keys(struct daemon *daemon, uint64_t store_id)
{
    if (open_keys(&daemon->keys, daemon->start->keys, store_id) < 0)
        log_warning("keys: there is no memory for them: the next start will not know what was asked for");
}

static struct warm_settings settings_of(const struct config *config)
{
    return (struct warm_settings){.at_start = config->warm_at_start,
                                  .interval_ms = config->warm_interval_ms,
                                  .budget = config->warm_budget};
}

int daemon_start_warming(struct daemon *daemon, struct failure *failure)
{
    struct warm_options options = {.base = daemon->parts.base,
                                   .publisher = daemon->parts.publisher,
                                   .answering = daemon->parts.answering,
                                   .keys = daemon->keys,
                                   .redis = daemon->config.l2 ? daemon->parts.redis : NULL,
                                   .prefix = daemon->config.redis_prefix,
                                   .entries = daemon->room.entries,
                                   .counters = &daemon->counters,
                                   .settings = settings_of(&daemon->config)};
    int code = warm_new(&daemon->parts.warm, &options);
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}

void daemon_count_keys(struct daemon *daemon)
{
    if (daemon->keys == NULL)
        return;
    daemon->counters.keys_known = keys_known(daemon->keys);
    daemon->counters.keys_bytes = keys_bytes(daemon->keys);
    daemon->counters.keys_noted = keys_notes(daemon->keys);
}

void daemon_set_warming(struct daemon *daemon)
{
    struct warm_settings settings = settings_of(&daemon->config);
    warm_set(daemon->parts.warm, &settings);
}

/* Another store has other users, places and numbers of types. */
void daemon_warm_again(struct daemon *daemon)
{
    if (daemon->keys)
        keys_belong_to(daemon->keys, publisher_position(daemon->parts.publisher).store_id);
    warm_again(daemon->parts.warm);
}
