/* SIGHUP: the configuration is loaded again, and each option that differs is named.
 *
 * A wrong one changes nothing. What may change while the worker runs is told to it. Anything else takes a new worker,
 * which is the same as after a crash; when that one dies before its table has had a lease, the configuration that
 * served before is put back. What only a restart of the daemon can change keeps its value. */
#include "proxy/master/private.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/master/channel.h"
#include "proxy/master/notify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct reload {
    struct master *master;
    struct config config;
    unsigned live, others, kept;
    int code;
    struct failure *failure;
};

static void keep(struct reload *reload, const struct config_change *change)
{
    reload->kept++;
    log_warning("permtabd: %s stays %s: only a restart makes it %s", change->name, change->before,
                change->after);
    if (reload->code == 0)
        reload->code = config_set(&reload->config, change->name, change->before, reload->failure);
}

/* First look: what cannot change is put back, and the rest is counted. */
static void on_change(void *context, const struct config_change *change)
{
    struct reload *reload = context;
    switch (change->reload) {
    case CONFIG_FIXED:
        keep(reload, change);
        break;
    case CONFIG_LIVE:
        reload->live++;
        log_info("permtabd: %s is %s now", change->name, change->after);
        break;
    case CONFIG_WORKER:
        reload->others++;
        log_info("permtabd: %s is %s for the next worker", change->name, change->after);
        break;
    }
}

/* Second look: tells the worker that stays. */
static void tell_worker(void *context, const struct config_change *change)
{
    struct reload *reload = context;
    char text[CHANNEL_TEXT_MAX];
    if (change->reload != CONFIG_LIVE || reload->master->worker.channel < 0)
        return;
    (void)snprintf(text, sizeof text, "%s=%s", change->name, change->after);
    if (!channel_tell(reload->master->worker.channel, CHANNEL_OPTION, text))
        log_warning("permtabd: the worker does not hear that %s has changed", change->name);
}

static void set_log_level(const struct config *config)
{
    enum log_level level;
    if (log_level_parse(config->log_level, &level) == 0)
        log_level_set(level);
}

static void put_in_force(struct master *master, const struct config *config)
{
    *master->config = *config;
    set_log_level(master->config);
    bound_socket_resize(&master->socket, master_backlog(master->config));
    bound_socket_resize(&master->ops_socket, master_backlog(master->config));
}

/* The new configuration is in force from here on. */
static void take(struct master *master, struct reload *reload, bool on_trial)
{
    if (on_trial && !master->has_previous) { /* else the one before is on trial, too, and has not served */
        master->previous = *master->config;
        master->has_previous = true;
    } else {
        config_fini(master->config);
    }
    put_in_force(master, &reload->config);
}

static void carry_out(struct master *master, struct reload *reload, uint64_t now_ns)
{
    bool replaces = reload->others > 0 && !master->stopping;
    if (reload->live + reload->others + reload->kept == 0)
        log_info("permtabd: the configuration is what it was");
    if (master->worker.pid != 0)
        config_compare(master->config, &reload->config, tell_worker, reload);
    take(master, reload, replaces && master->worker.ready);
    /* A shorter worker_timeout counts from now: the worker's last beat may be older, and that was in order. */
    master->worker.heard_ns = now_ns;
    if (!replaces)
        return;
    if (master->worker.pid != 0)
        master_replace_worker(master, now_ns);
    else
        pause_ends(&master->pause); /* what kept the last one from starting may be mended now */
}

static void begin_reload(void)
{
    char state[96];
    (void)snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_ns() / 1000);
    notify_supervisor(state);
}

void master_reload(struct master *master, uint64_t now_ns, struct failure *failure)
{
    struct reload reload = {.master = master, .failure = failure};
    const struct child *worker = &master->worker;
    bool settled = master->stopping || worker->pid == 0 || (worker->ready && !worker->leaving);
    if (!master->reload_wanted || !settled)
        return;
    master->reload_wanted = false;
    if (!master->stopping)
        begin_reload();
    reload.code = config_load(&reload.config, master->options->config_path, failure);
    bool loaded = reload.code == 0;
    if (loaded)
        reload.code = master->options->adjust(master->options->context, &reload.config, failure);
    if (reload.code == 0)
        config_compare(master->config, &reload.config, on_change, &reload);
    if (reload.code == 0) {
        carry_out(master, &reload, now_ns);
    } else {
        log_error("permtabd: the configuration was not read again, and nothing changes: %s", failure->text);
        if (loaded)
            config_fini(&reload.config);
    }
    failure->code = 0;
    /* A new worker says it itself. */
    if (!master->stopping && !worker->leaving)
        notify_supervisor("READY=1");
}

void master_keep_configuration(struct master *master)
{
    if (!master->has_previous)
        return;
    config_fini(&master->previous);
    master->has_previous = false;
    log_info("permtabd: the new configuration serves");
}

bool master_restore_configuration(struct master *master, const struct child *worker)
{
    if (!master->has_previous)
        return false;
    log_error("permtabd: the new configuration %s, so the one before is back: %s",
              worker->ready ? "has not answered anybody" : "does not start", master->last_death);
    config_fini(master->config);
    put_in_force(master, &master->previous);
    master->previous = (struct config){0};
    master->has_previous = false;
    return true;
}
