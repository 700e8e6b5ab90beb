/* Adding a task: Redis is asked for its clock and the length of the queue, then one transaction writes the task,
 * its place in the queue and its indexes.
 *
 * A transaction whose reply was lost may have been carried out. It is sent again with the same id for a few
 * seconds: a task that is written twice is one task. Should some host have carried it out in between, it is carried
 * out once more, which costs a read of the store. */
#include "proxy/base/container_of.h"
#include "proxy/base/random.h"
#include "proxy/delayed/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 5u

struct delayed_adding {
    struct delayed_call call;
    struct delayed_adding *next; /* among the unsure */
    struct delayed_task task;
    struct delayed_when when;
    bool scheduled;  /* its times are known, and stay when the task is sent again */
    bool repeated;   /* there may be a task with its id */
    uint64_t now_ms; /* Redis' clock when they were computed */
    unsigned tries;
    delayed_added_fn done;
    void *context;
};

/* Ends the adding, and calls its done. */
static void finish(struct delayed_adding *adding, int code, const char *text)
{
    adding->call.delayed->client_calls--;
    adding->done(adding->context, code, text, &adding->task);
    free(adding);
}

/* Whether the command may have been carried out. */
static bool unsure(int code)
{
    return code == PERMTAB_E_TIMEOUT || code == PERMTAB_E_UNREACHABLE;
}

/* The outcome is unknown: the task is added again at the next tick. */
static void try_again(struct delayed_adding *adding, int code, const char *why)
{
    static const char advice[] = "; it may have been added: with the same id it can be repeated";
    struct delayed *delayed = adding->call.delayed;
    char text[FAILURE_TEXT_SIZE + sizeof advice]; /* however long the reason is, the advice is not cut off */
    if (delayed->closed || ++adding->tries >= TRIES_MAX) {
        (void)snprintf(text, sizeof text, "%.*s%s", FAILURE_TEXT_SIZE - 1, why,
                       adding->scheduled ? advice : "");
        finish(adding, code, text);
        return;
    }
    adding->repeated = true;
    adding->next = delayed->unsure;
    delayed->unsure = adding;
}

/* ---- the transaction --------------------------------------------------------------------------------------------- */

struct commands {
    struct redis_args *items;
    size_t count;
};

static struct redis_args *next_command(struct commands *commands, const char *verb, const char *key)
{
    struct redis_args *args = &commands->items[commands->count++];
    redis_args_init(args);
    redis_args_text(args, verb);
    redis_args_text(args, key);
    return args;
}

static void set_field(struct redis_args *args, const char *field, const char *value)
{
    if (value[0]) {
        redis_args_text(args, field);
        redis_args_text(args, value);
    }
}

static void set_number(struct redis_args *args, const char *field, uint64_t value)
{
    redis_args_text(args, field);
    redis_args_u64(args, value);
}

static void live(struct commands *commands, const char *key)
{
    redis_args_u64(next_command(commands, "PEXPIRE", key), DELAYED_KEY_LIFE_MS);
}

/* Removes first a task that is there under the id, with all its indexes: it may have had others, and have been
 * taken. */
static void remove_task(struct delayed *delayed, const struct delayed_task *task, struct commands *commands)
{
    struct redis_args *args = next_command(commands, "EVAL", redis_script("delayed_remove")->text);
    redis_args_text(args, "2");
    redis_args_text(args, delayed->queue);
    redis_args_text(args, delayed->taken);
    redis_args_text(args, delayed->base);
    delayed_remove_args(args, "");
    redis_args_text(args, task->id);
}

enum { TASK_HSET = 0, TASK_ZADD = 2 }; /* their places among the commands that put_task adds */

static void put_task(struct delayed *delayed, const struct delayed_task *task, const char *indexes,
                     struct commands *commands)
{
    char key[DELAYED_KEY_SIZE + DELAYED_ID_SIZE + 8], targets[DELAYED_TARGETS_SIZE];
    (void)snprintf(key, sizeof key, "%stask:%s", delayed->base, task->id);
    struct redis_args *args = next_command(commands, "HSET", key);
    redis_args_text(args, "targets");
    redis_args_text(args, delayed_targets_format(delayed_types(delayed), task, targets));
    redis_args_text(args, "indexes"); /* empty, too: its presence says that the task is there */
    redis_args_text(args, indexes);
    set_number(args, "expires", task->expires_ms);
    set_field(args, "reason", task->reason);
    set_field(args, "condition", task->condition);
    if (task->has_revision) {
        set_number(args, "revision", task->revision);
        set_number(args, "store", task->store_id);
    }
    live(commands, key);
    args = next_command(commands, "ZADD", delayed->queue);
    redis_args_u64(args, task->due_ms);
    redis_args_text(args, task->id);
    live(commands, delayed->queue);
}

static void put_indexes(struct delayed *delayed, const struct delayed_task *task, char *indexes,
                        struct commands *commands)
{
    char key[DELAYED_KEY_SIZE + DELAYED_INDEX_SIZE];
    char *rest = indexes;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (!line[0])
            continue;
        (void)snprintf(key, sizeof key, "%sby:%s", delayed->base, line);
        redis_args_text(next_command(commands, "SADD", key), task->id);
        live(commands, key);
    }
}

/* Checks the replies for the task itself and its place in the queue: without one of them no host would ever carry
 * it out. An index whose key somebody has made another kind of value costs only finding the task by it. */
static int look_at_replies(const struct delayed_adding *adding, const struct redis_reply *replies,
                           struct failure *failure)
{
    const size_t first = adding->repeated ? 1 : 0, needed[] = {first + TASK_HSET, first + TASK_ZADD};
    for (size_t i = 0; i < 2; i++) {
        const struct redis_reply *reply = redis_reply_at(replies, needed[i]);
        if (redis_reply_kind(reply) != REDIS_INTEGER)
            return failure_set(failure, PERMTAB_E_REFUSED, "Redis refused: %s",
                               redis_reply_text(reply, NULL) ? redis_reply_text(reply, NULL) : "");
    }
    return 0;
}

static void on_written(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    struct delayed_adding *adding = container_of(call, struct delayed_adding, call);
    struct delayed *delayed = call->delayed;
    struct failure failure = {0};
    int code = delayed_outcome(delayed, status, reply, &failure);
    if (unsure(code)) {
        try_again(adding, code, failure.text);
        return;
    }
    if (code == 0)
        code = look_at_replies(adding, reply, &failure);
    if (code == 0 && !delayed->closed) {
        delayed_count(delayed, DELAYED_added, 1);
        delayed_wake_in(delayed, adding->task.due_ms - adding->now_ms);
    }
    finish(adding, code, failure.text);
}

static int write_task(struct delayed_adding *adding)
{
    struct delayed *delayed = adding->call.delayed;
    struct commands commands = {0};
    char *indexes = delayed_indexes(delayed_types(delayed), &adding->task);
    if (!indexes)
        return PERMTAB_E_MEMORY;
    int code = PERMTAB_E_MEMORY;
    commands.items = calloc(5 + 2 * (DELAYED_TARGETS_MAX * 2 + 1), sizeof *commands.items);
    if (commands.items) {
        if (adding->repeated)
            remove_task(delayed, &adding->task, &commands);
        put_task(delayed, &adding->task, indexes, &commands);
        put_indexes(delayed, &adding->task, indexes, &commands);
        adding->call.done = on_written;
        code = redis_transaction(delayed->options.redis, commands.items, commands.count, delayed_on_reply,
                                 &adding->call);
        for (size_t i = 0; i < commands.count; i++)
            redis_args_fini(&commands.items[i]);
    }
    free(commands.items);
    free(indexes);
    if (code == 0)
        delayed->calls++;
    return code;
}

/* ---- its times --------------------------------------------------------------------------------------------------- */

/* The reply of delayed_look.lua without a sample: the clock, and the length of the queue. */
static void on_looked(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    struct delayed_adding *adding = container_of(call, struct delayed_adding, call);
    struct delayed *delayed = call->delayed;
    struct failure failure = {0};
    int code = delayed_outcome(delayed, status, reply, &failure);
    if (unsure(code)) {
        try_again(adding, code, failure.text);
        return;
    }
    if (code == 0 && delayed_u64_at(reply, 1) >= delayed->options.queue_max)
        code = failure_set(&failure, PERMTAB_E_FULL, "the queue has no room: %llu tasks",
                           (unsigned long long)delayed_u64_at(reply, 1));
    adding->now_ms = code == 0 ? delayed_u64_at(reply, 0) : 0;
    if (code == 0)
        code = delayed_schedule(&adding->task, &adding->when, adding->now_ms, &failure);
    if (code == 0 && (code = write_task(adding)) < 0)
        failure_set(&failure, code, "%s",
                    code == PERMTAB_E_MEMORY ? "out of memory" : "Redis takes no more just now");
    if (code < 0)
        finish(adding, code, failure.text);
    else
        adding->scheduled = true;
}

static int look(struct delayed_adding *adding)
{
    struct redis_args args;
    delayed_args(adding->call.delayed, &args);
    redis_args_u64(&args, DELAYED_OVERDUE_MS);
    redis_args_u64(&args, 0);
    redis_args_u64(&args, 0);
    adding->call.done = on_looked;
    return delayed_run_script(adding->call.delayed, "delayed_look", &args, &adding->call);
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

int delayed_add(struct delayed *delayed, const struct delayed_task *task, const struct delayed_when *when,
                delayed_added_fn done, void *context)
{
    unsigned char random[16];
    int code;
    struct delayed_adding *adding = delayed_call_new(delayed, sizeof *adding, &code);
    if (!adding)
        return code;
    adding->call.delayed = delayed;
    adding->task = *task;
    adding->when = *when;
    adding->done = done;
    adding->context = context;
    adding->repeated = task->id[0] != '\0';
    if (!adding->repeated) {
        if (random_bytes(random, sizeof random) < 0) {
            free(adding);
            return PERMTAB_E_SYSTEM;
        }
        delayed_id_format(random, adding->task.id);
    }
    return delayed_call_begun(delayed, look(adding), adding);
}

void delayed_add_again(struct delayed *delayed)
{
    struct delayed_adding *next = delayed->unsure;
    delayed->unsure = NULL;
    while (next) {
        struct delayed_adding *adding = next;
        next = adding->next;
        int code = adding->scheduled ? write_task(adding) : look(adding);
        if (code < 0)
            try_again(adding, code, "Redis takes nothing just now");
    }
}

void delayed_adding_end(struct delayed *delayed)
{
    while (delayed->unsure) {
        struct delayed_adding *adding = delayed->unsure;
        delayed->unsure = adding->next;
        finish(adding, PERMTAB_E_UNREACHABLE, "the sidecar is stopping");
    }
}
