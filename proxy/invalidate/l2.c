/* The wave: commands to Redis for targets that are named exactly, first messages for the other hosts, then the
 * removal of L2's keys in batches. A few commands are under way at a time, each repeated with back-off. A batch
 * that Redis goes on refusing is taken apart, so that one key that it will not remove does not keep the others;
 * when Redis does not answer at all, the rest is given up: keys left there end with their time to live. */
#include "proxy/invalidate/private.h"

#include "proxy/names/l2_keys.h"

#include <stdlib.h>
#include <string.h>

#define COMMANDS_MAX    8u
#define MESSAGE_TARGETS 500u /* as long as targets can be, they fit into MESSAGE_SIZE_MAX */

_Static_assert(MESSAGE_TARGETS *TARGET_TEXT_SIZE + 128 <= MESSAGE_SIZE_MAX, "a message holds its targets");

struct command {
    struct invalidation_wave *wave;
    struct command *next;
    struct redis_retry *retry;
    size_t first, end; /* of the targets */
    size_t keys;       /* 0: a message */
};

struct range {
    size_t first, end;
};

struct invalidation_wave {
    struct invalidation_job *job;
    const struct target *targets;
    size_t count;
    size_t told; /* up to here messages were sent */
    size_t next; /* up to here keys were sent */
    /* batches that were refused; a new one is sent only when there are none */
    struct range singles[COMMANDS_MAX];
    size_t single_count;
    struct command *commands;
    unsigned under_way;
    bool given_up;
};

static bool has_key(const struct target *target)
{
    return target->kind == TARGET_USER || target->kind == TARGET_USER_AT || target->kind == TARGET_SCOPE;
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static void add_key(struct redis_args *args, const struct invalidation_wave *wave, uint64_t epoch,
                    const struct target *target)
{
    const struct invalidations *all = wave->job->all;
    const struct scope_types *types = &publisher_catalogue(all->options.publisher)->types;
    char key[L2_KEY_SIZE];
    if (target->kind == TARGET_SCOPE)
        redis_args_text(args, l2_key_scope(key, all->options.prefix, epoch, types, target->scope));
    else
        redis_args_text(args, l2_key_user(key, all->options.prefix, epoch, target->id));
}

/* Adds keys from command->first on, at most `batch` of them and not behind `end`; command->end is where it stopped.
 * A user at one place is a field, and a command of its own. */
static void build_removal(struct redis_args *args, struct command *command, size_t batch, size_t end,
                          uint64_t epoch)
{
    const struct invalidation_wave *wave = command->wave;
    const struct scope_types *types = &publisher_catalogue(wave->job->all->options.publisher)->types;
    size_t at = command->first;
    for (; at < end && command->keys < batch; at++) {
        const struct target *target = &wave->targets[at];
        if (!has_key(target))
            continue;
        bool field = target->kind == TARGET_USER_AT;
        if (field && command->keys > 0)
            break;
        if (command->keys == 0)
            redis_args_text(args, field ? "HDEL" : "UNLINK");
        add_key(args, wave, epoch, target);
        command->keys++;
        if (field) {
            char scope[SCOPE_TEXT_SIZE];
            redis_args_text(args, scope_format(types, target->scope, scope));
            at++;
            break;
        }
    }
    command->end = at;
}

static bool build_message(struct redis_args *args, const struct command *command)
{
    struct invalidations *all = command->wave->job->all;
    struct message message = {
        .kind = MESSAGE_INVALIDATE,
        .origin = all->options.host_id,
        .number = ++all->number,
        .targets = (struct target *)(uintptr_t)(command->wave->targets + command->first),
        .count = command->end - command->first,
    };
    char *text = message_format(&publisher_catalogue(all->options.publisher)->types, &message);
    if (text == NULL)
        return false;
    redis_args_text(args, "PUBLISH");
    redis_args_text(args, all->channel);
    redis_args_text(args, text);
    free(text);
    return true;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void on_answer(void *context, enum redis_status status, const struct redis_reply *reply,
                      unsigned tries);

static struct command *command_new(struct invalidation_wave *wave, size_t first)
{
    struct command *command = calloc(1, sizeof *command);
    if (command != NULL) {
        command->wave = wave;
        command->first = command->end = first;
    }
    return command;
}

static bool send_command(struct command *command, struct redis_args *args)
{
    struct invalidation_wave *wave = command->wave;
    const struct invalidation_options *options = &wave->job->all->options;
    if (redis_retry_start(&command->retry, options->base, options->redis, args, on_answer, command) < 0)
        return false;
    command->next = wave->commands;
    wave->commands = command;
    wave->under_way++;
    return true;
}

/* send_message and send_removal return false when nothing was sent. */
static bool send_message(struct invalidation_wave *wave)
{
    struct redis_args args;
    struct command *command = command_new(wave, wave->told);
    size_t left = wave->count - wave->told;
    wave->told += left < MESSAGE_TARGETS ? left : MESSAGE_TARGETS;
    redis_args_init(&args);
    if (command != NULL)
        command->end = wave->told;
    if (command != NULL && build_message(&args, command) && send_command(command, &args)) {
        wave->job->hosts_told = true;
        return true;
    }
    redis_args_fini(&args);
    free(command);
    wave->job->hosts_untold = true;
    invalidation_job_trouble(wave->job, PERMTAB_E_MEMORY, "no memory to tell the other hosts");
    return false;
}

static void redis_is_away(struct invalidation_job *job)
{
    const char *trouble = redis_trouble(job->all->options.redis);
    invalidation_job_trouble(job, PERMTAB_E_UNREACHABLE, "Redis is away: %.150s",
                             trouble[0] != '\0' ? trouble : "it does not answer");
}

/* Sends the removal of at most `batch` keys from *first on and not behind `end`. */
static bool send_removal(struct invalidation_wave *wave, size_t *first, size_t end, size_t batch)
{
    struct redis_args args;
    uint64_t epoch;
    const struct invalidation_ports *ports = &wave->job->all->options.ports;
    if (!ports->epoch(ports->context, &epoch)) { /* this host reads nothing of L2 now; others may */
        wave->given_up = true;
        if (redis_connected(wave->job->all->options.redis))
            invalidation_job_trouble(wave->job, PERMTAB_E_UNREACHABLE,
                                     "L2's marker is not known here: no key was removed");
        else
            redis_is_away(wave->job);
        return false;
    }
    struct command *command = command_new(wave, *first);
    bool sent = false;
    redis_args_init(&args);
    if (command != NULL) {
        build_removal(&args, command, batch, end, epoch);
        sent = command->keys > 0 && send_command(command, &args);
        if (sent || command->keys == 0)
            *first = command->end;
    }
    if (sent)
        return true;
    if (command == NULL || command->keys > 0) {
        wave->given_up = true;
        invalidation_job_trouble(wave->job, PERMTAB_E_MEMORY, "no memory to remove keys of L2");
    }
    redis_args_fini(&args);
    free(command);
    return false;
}

static bool send_single(struct invalidation_wave *wave)
{
    struct range *range = &wave->singles[wave->single_count - 1];
    bool sent = send_removal(wave, &range->first, range->end, 1);
    wave->job->result.singles += sent;
    if (range->first == range->end)
        wave->single_count--;
    return sent;
}

static void pump(struct invalidation_wave *wave)
{
    const struct invalidation_job *job = wave->job;
    while (wave->under_way < COMMANDS_MAX && !wave->given_up) {
        if (wave->told < wave->count)
            (void)send_message(wave);
        else if (wave->single_count > 0)
            (void)send_single(wave);
        else if (wave->next < wave->count)
            (void)send_removal(wave, &wave->next, wave->count, job->batch);
        else
            return;
    }
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

static size_t count_keys(const struct invalidation_wave *wave, size_t first, size_t end)
{
    size_t keys = 0;
    for (size_t i = first; i < end; i++)
        keys += has_key(&wave->targets[i]);
    return keys;
}

static void count_given_up(struct invalidation_wave *wave)
{
    struct invalidation_job *job = wave->job;
    job->hosts_untold |= wave->told < wave->count;
    job->result.failed += count_keys(wave, wave->next, wave->count);
    for (size_t i = 0; i < wave->single_count; i++)
        job->result.failed += count_keys(wave, wave->singles[i].first, wave->singles[i].end);
}

/* Ends and frees a wave; false while it is still under way. */
static bool end_wave(struct invalidation_wave *wave)
{
    if (wave->under_way > 0)
        return false;
    if (wave->given_up)
        count_given_up(wave);
    wave->job->wave = NULL;
    free(wave);
    return true;
}

static void on_failure(struct command *command, enum redis_status status, const struct redis_reply *reply)
{
    struct invalidation_wave *wave = command->wave;
    struct invalidation_job *job = wave->job;
    bool refused = status == REDIS_ERROR;
    if (refused && command->keys > 1) {
        wave->singles[wave->single_count++] = (struct range){command->first, command->end};
        return;
    }
    job->hosts_untold |= command->keys == 0;
    job->result.failed += command->keys;
    if (refused) {
        invalidation_job_trouble(job, PERMTAB_E_REFUSED, "Redis refuses: %.120s",
                                 redis_reply_text(reply, NULL));
    } else {
        redis_is_away(job);
        wave->given_up = true;
    }
}

static void take_command(struct invalidation_wave *wave, const struct command *command)
{
    struct command **at = &wave->commands;
    while (*at != command)
        at = &(*at)->next;
    *at = command->next;
    wave->under_way--;
}

static void on_answer(void *context, enum redis_status status, const struct redis_reply *reply,
                      unsigned tries)
{
    struct command *command = context;
    struct invalidation_wave *wave = command->wave;
    struct invalidation_job *job = wave->job;
    int64_t removed;
    take_command(wave, command);
    job->result.retries += tries - 1;
    if (status != REDIS_OK)
        on_failure(command, status, reply);
    else if (command->keys > 0 && redis_reply_i64(reply, &removed) && removed > 0)
        job->result.keys += (uint64_t)removed;
    free(command);
    pump(wave);
    if (end_wave(wave))
        invalidation_job_check(job);
}

void invalidation_wave_start(struct invalidation_job *job, const struct target *targets, size_t count)
{
    struct invalidation_wave *wave = calloc(1, sizeof *wave);
    bool in_l2 = job->in_l2 && job->all->options.ports.epoch != NULL;
    if (wave == NULL) {
        job->hosts_untold = true;
        invalidation_job_trouble(job, PERMTAB_E_MEMORY, "no memory to tell the other hosts");
        return;
    }
    wave->job = job;
    wave->targets = targets;
    wave->count = count;
    wave->told = job->tell_hosts ? 0 : count;
    wave->next = in_l2 ? 0 : count;
    job->wave = wave;
    pump(wave);
    (void)end_wave(wave);
}

void invalidation_wave_cancel(struct invalidation_wave *wave)
{
    while (wave->commands != NULL) {
        struct command *command = wave->commands;
        wave->commands = command->next;
        redis_retry_cancel(command->retry);
        free(command);
    }
    wave->job->hosts_untold = true;
    free(wave);
}
