/* Commands and their replies, first in, first out. Every command of a connection has the same time limit, so
 * commands that have been told REDIS_TIMEOUT are always at the head of the queue. They stay in it until their reply
 * comes and is thrown away, or the connection ends. link.c keeps the connection up.
 *
 * Scripts are loaded after connecting and run by digest. A server that has forgotten one (SCRIPT FLUSH, or a
 * failover behind the same address) says NOSCRIPT, and has run nothing: the text is sent then, behind the commands
 * that were sent meanwhile. So a script that is sent twice is run, and told, after commands that were sent later.
 * Redis keeps scripts by their text alone, so no other script can be run by mistake. */
#include "proxy/redis/redis.h"

#include "proxy/base/clock.h"
#include "proxy/base/timer.h"
#include "proxy/redis/link.h"
#include "proxy/redis/transaction.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_MAX  65536
#define RETAINED_MAX (16u * 1024 * 1024) /* bytes of scripts' arguments, kept for NOSCRIPT */
#define REPLY_MAX    (16u * 1024 * 1024)
#define DIGEST_SIZE  40

enum pending_kind {
    PENDING_COMMAND,
    PENDING_RUN,  /* by digest: may have to be sent again */
    PENDING_LOAD, /* ours, as is PENDING_PING */
    PENDING_PING,
};

struct pending {
    struct pending *next;
    enum pending_kind kind;
    bool told;
    redis_done_fn done; /* or NULL */
    void *context;
    uint64_t sent_ns;
    const struct redis_script *script; /* of PENDING_RUN and PENDING_LOAD */
    struct redis_args args;            /* of PENDING_RUN: what was sent */
};

struct redis {
    struct redis_link *link;
    uint64_t timeout_ns;
    redis_state_fn on_state;
    void *context;
    bool connected; /* scripts and all */
    bool freed;
    bool half_sent; /* a transaction could not be sent whole: the connection is of no use any more */
    struct pending *head, *tail;
    struct pending *due;              /* the first that has not been told */
    size_t count;                     /* callers' commands, without our own */
    size_t retained;                  /* bytes */
    size_t loading;                   /* scripts */
    struct event *timer;              /* armed while a command is due */
    char (*digests)[DIGEST_SIZE + 1]; /* of redis_scripts; "" when unknown */
};

/* ---- the queue --------------------------------------------------------------------------------------------------- */

static void arm(struct redis *redis, uint64_t delay_ns)
{
    (void)timer_in_ns(redis->timer, delay_ns);
}

static void queue_put(struct redis *redis, struct pending *pending)
{
    pending->next = NULL;
    pending->sent_ns = clock_ns();
    if (redis->tail)
        redis->tail->next = pending;
    else
        redis->head = pending;
    redis->tail = pending;
    if (pending->kind == PENDING_COMMAND || pending->kind == PENDING_RUN)
        redis->count++;
    if (redis->due)
        return; /* it is due earlier, and the timer runs */
    redis->due = pending;
    arm(redis, redis->timeout_ns);
}

static struct pending *queue_take(struct redis *redis)
{
    struct pending *pending = redis->head;
    if (!pending)
        return NULL;
    redis->head = pending->next;
    if (!redis->head)
        redis->tail = NULL;
    if (redis->due == pending)
        redis->due = pending->next; /* the timer finds out by itself */
    if (pending->kind == PENDING_COMMAND || pending->kind == PENDING_RUN)
        redis->count--;
    return pending;
}

static void drop_args(struct redis *redis, struct pending *pending)
{
    redis->retained -= pending->args.size;
    redis_args_fini(&pending->args);
}

static void release(struct redis *redis, struct pending *pending)
{
    drop_args(redis, pending);
    free(pending);
}

static void tell(struct pending *pending, enum redis_status status, const struct redis_reply *reply)
{
    if (!pending->told && pending->done)
        pending->done(pending->context, status, reply);
    pending->told = true;
}

/* A callback may free us; redis_free empties the queue itself. */
static void lose_all(struct redis *redis)
{
    struct pending *pending;
    while ((pending = queue_take(redis)) != NULL) {
        tell(pending, REDIS_LOST, NULL);
        release(redis, pending);
    }
}

static void on_due(evutil_socket_t descriptor, short what, void *context)
{
    struct redis *redis = context;
    struct pending *pending;
    uint64_t now = clock_ns();
    (void)descriptor, (void)what;
    redis_link_enter(redis->link);
    if (redis->half_sent)
        redis_link_break(redis->link, "out of memory within a transaction");
    while ((pending = redis->due) != NULL && now >= pending->sent_ns + redis->timeout_ns) {
        redis_done_fn done = pending->done;
        redis->due = pending->next;
        pending->told = true;
        drop_args(redis, pending);
        if (done) /* may free us, and `pending` with it */
            done(pending->context, REDIS_TIMEOUT, NULL);
    }
    if (redis->due)
        arm(redis, redis->due->sent_ns + redis->timeout_ns - now);
    redis_link_leave(redis->link);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* Takes over the contents of `retained` when it succeeds. */
static int send_kind(struct redis *redis, enum pending_kind kind, const struct redis_args *args,
                     const struct redis_script *script, redis_done_fn done, void *context)
{
    struct pending *pending = calloc(1, sizeof *pending);
    if (!pending)
        return PERMTAB_E_MEMORY;
    pending->kind = kind;
    pending->script = script;
    pending->done = done;
    pending->context = context;
    int code = redis_link_send(redis->link, args);
    if (code < 0) {
        free(pending);
        return code;
    }
    if (kind == PENDING_RUN) {
        pending->args = *args;
        redis->retained += args->size;
    }
    queue_put(redis, pending);
    return 0;
}

int redis_send(struct redis *redis, const struct redis_args *args, redis_done_fn done, void *context)
{
    if (!redis->connected)
        return PERMTAB_E_UNREACHABLE;
    if (redis->count >= PENDING_MAX)
        return PERMTAB_E_FULL;
    return send_kind(redis, PENDING_COMMAND, args, NULL, done, context);
}

/* One command of a transaction. */
static int send_part(struct redis *redis, const struct redis_args *args, redis_done_fn told,
                     struct redis_transaction *transaction)
{
    int code = send_kind(redis, PENDING_COMMAND, args, NULL, told, transaction);
    if (code == 0)
        redis_transaction_expect(transaction);
    return code;
}

static int send_word(struct redis *redis, const char *word, redis_done_fn told,
                     struct redis_transaction *transaction)
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, word);
    int code = send_part(redis, &args, told, transaction);
    redis_args_fini(&args);
    return code;
}

/* Whether all of it can be sent at once. */
static int transaction_fits(const struct redis *redis, const struct redis_args *commands, size_t count)
{
    size_t bytes = 64, arguments = 2;
    if (!redis->connected)
        return PERMTAB_E_UNREACHABLE;
    for (size_t i = 0; i < count; i++) {
        bytes += commands[i].size + 24;
        arguments += commands[i].count;
        if (commands[i].failed)
            return PERMTAB_E_MEMORY;
    }
    bool room = redis->count + count + 2 <= PENDING_MAX && redis_link_room(redis->link, bytes, arguments);
    return room ? 0 : PERMTAB_E_FULL;
}

/* Any command between MULTI and EXEC would be part of the transaction, whoever sends it. So room is looked for
 * first, and should memory give out all the same, nothing else is sent over this connection. */
int redis_transaction(struct redis *redis, const struct redis_args *commands, size_t count,
                      redis_done_fn done, void *context)
{
    int code = transaction_fits(redis, commands, count);
    if (code < 0)
        return code;
    struct redis_transaction *transaction = redis_transaction_new(done, context);
    if (!transaction)
        return PERMTAB_E_MEMORY;
    code = send_word(redis, "MULTI", redis_transaction_queued, transaction);
    bool begun = code == 0;
    for (size_t i = 0; i < count && code == 0; i++)
        code = send_part(redis, &commands[i], redis_transaction_queued, transaction);
    if (code == 0)
        code = send_word(redis, "EXEC", redis_transaction_executed, transaction);
    redis_transaction_seal(transaction, code == 0);
    if (begun && code < 0) {
        redis->connected = false;
        redis->half_sent = true;
        arm(redis, 0);
    }
    return code;
}

/* Copies the arguments of `args` from number `from` on. */
static void copy_args(struct redis_args *to, const struct redis_args *args, size_t from)
{
    to->failed |= args->failed;
    for (size_t i = from; i < args->count; i++)
        redis_args_bytes(to, args->bytes + args->items[i].at, args->items[i].size);
}

/* The digest of a script; "" when it is none of ours, or not loaded. */
static const char *digest_of(const struct redis *redis, const struct redis_script *script)
{
    for (size_t i = 0; i < redis_script_count; i++) {
        if (&redis_scripts[i] == script)
            return redis->digests[i];
    }
    return "";
}

int redis_run(struct redis *redis, const struct redis_script *script, size_t keys,
              const struct redis_args *args, redis_done_fn done, void *context)
{
    struct redis_args full;
    if (!redis->connected)
        return PERMTAB_E_UNREACHABLE;
    assert(keys <= args->count || args->failed);
    if (redis->count >= PENDING_MAX || redis->retained + args->size > RETAINED_MAX)
        return PERMTAB_E_FULL;
    const char *digest = digest_of(redis, script);
    enum pending_kind kind = digest[0] ? PENDING_RUN : PENDING_COMMAND;
    redis_args_init(&full);
    redis_args_text(&full, digest[0] ? "EVALSHA" : "EVAL");
    redis_args_text(&full, digest[0] ? digest : script->text);
    redis_args_u64(&full, keys);
    copy_args(&full, args, 0);
    int code = send_kind(redis, kind, &full, script, done, context);
    if (code < 0 || kind != PENDING_RUN)
        redis_args_fini(&full);
    return code;
}

/* Sends the text of a script after NOSCRIPT. The command goes to the end of the queue, and gets the same time
 * again. */
static bool run_by_text(struct redis *redis, struct pending *pending)
{
    struct redis_args full;
    redis_args_init(&full);
    redis_args_text(&full, "EVAL");
    redis_args_text(&full, pending->script->text);
    copy_args(&full, &pending->args, 2);
    int code = redis_link_send(redis->link, &full);
    redis_args_fini(&full);
    if (code < 0)
        return false;
    drop_args(redis, pending);
    pending->kind = PENDING_COMMAND;
    queue_put(redis, pending);
    return true;
}

/* ---- the connection ---------------------------------------------------------------------------------------------- */

static void become_ready(struct redis *redis)
{
    redis->connected = true;
    redis_link_ready(redis->link);
    if (redis->on_state)
        redis->on_state(redis->context, true);
}

static int send_load(struct redis *redis, const struct redis_script *script)
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "SCRIPT");
    redis_args_text(&args, "LOAD");
    redis_args_text(&args, script->text);
    int code = send_kind(redis, PENDING_LOAD, &args, script, NULL, NULL);
    redis_args_fini(&args);
    return code;
}

static void on_open(void *context)
{
    struct redis *redis = context;
    redis->loading = redis_script_count;
    for (size_t i = 0; i < redis_script_count; i++) {
        redis->digests[i][0] = 0;
        if (send_load(redis, &redis_scripts[i]) < 0) {
            redis_link_break(redis->link, "out of memory");
            return;
        }
    }
    if (redis->loading == 0)
        become_ready(redis);
}

static void on_loaded(struct redis *redis, const struct redis_script *script, const struct redis_reply *reply)
{
    size_t size;
    const char *text = redis_reply_text(reply, &size);
    if (redis_reply_kind(reply) != REDIS_TEXT || size != DIGEST_SIZE) {
        redis_link_break(redis->link, "SCRIPT LOAD of %s is refused: %.180s", script->name,
                         text ? text : "not by a text");
        return;
    }
    memcpy(redis->digests[script - redis_scripts], text, DIGEST_SIZE + 1);
    if (--redis->loading == 0)
        become_ready(redis);
}

/* A PING has its place in the order of commands: any answer but PONG means that replies and commands have come
 * apart. */
static void on_pong(struct redis *redis, const struct redis_reply *reply)
{
    const char *text = redis_reply_text(reply, NULL);
    if (redis_reply_kind(reply) != REDIS_REFUSAL && !(text && strcmp(text, "PONG") == 0))
        redis_link_break(redis->link, "a PING was answered by something else");
}

static void on_answered(struct redis *redis, struct pending *pending, const struct redis_reply *reply)
{
    const char *text = redis_reply_text(reply, NULL);
    bool refused = redis_reply_kind(reply) == REDIS_REFUSAL;
    if (pending->kind == PENDING_RUN && refused && !pending->told && strncmp(text, "NOSCRIPT", 8) == 0 &&
        run_by_text(redis, pending))
        return;
    tell(pending, refused ? REDIS_ERROR : REDIS_OK, reply);
    release(redis, pending);
}

static void on_reply(void *context, const struct redis_reply *reply)
{
    struct redis *redis = context;
    struct pending *pending = queue_take(redis);
    if (!pending) {
        redis_link_break(redis->link, "a reply to nothing");
        return;
    }
    redis_link_settle(redis->link);
    switch (pending->kind) {
    case PENDING_COMMAND:
    case PENDING_RUN:
        on_answered(redis, pending, reply);
        return;
    case PENDING_LOAD:
        on_loaded(redis, pending->script, reply);
        break;
    case PENDING_PING:
        on_pong(redis, reply);
        break;
    }
    release(redis, pending);
}

static void on_ping(void *context)
{
    struct redis *redis = context;
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "PING");
    (void)!send_kind(redis, PENDING_PING, &args, NULL, NULL, NULL); /* failed: the next look sends one */
    redis_args_fini(&args);
}

static void on_closed(void *context)
{
    struct redis *redis = context;
    bool was_connected = redis->connected || redis->half_sent;
    redis->connected = redis->half_sent = false;
    lose_all(redis);
    if (was_connected && !redis->freed && redis->on_state)
        redis->on_state(redis->context, false);
}

static void on_freed(void *context)
{
    struct redis *redis = context;
    event_free(redis->timer);
    free(redis->digests);
    free(redis);
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

int redis_new(struct redis **out, const struct redis_options *options, struct failure *failure)
{
    int code = PERMTAB_E_MEMORY;
    *out = NULL;
    struct redis *redis = calloc(1, sizeof *redis);
    if (!redis)
        return failure_set(failure, code, "out of memory");
    redis->timeout_ns = options->access->timeout_ms * 1000000;
    redis->on_state = options->state;
    redis->context = options->context;
    redis->timer = evtimer_new(options->base, on_due, redis);
    redis->digests = calloc(redis_script_count + 1, sizeof *redis->digests);
    struct redis_link_options link = {
        .base = options->base,
        .events = {on_open, on_reply, on_ping, on_closed, on_freed, redis},
        .access = options->access,
        .name = "redis",
        .reply_max = REPLY_MAX,
    };
    if (redis->timer && redis->digests)
        code = redis_link_new(&redis->link, &link, failure);
    else
        failure_set(failure, code, "out of memory");
    if (code < 0) {
        if (redis->timer)
            event_free(redis->timer);
        free(redis->digests);
        free(redis);
        return code;
    }
    *out = redis;
    return 0;
}

void redis_free(struct redis *redis)
{
    if (!redis)
        return;
    redis_link_enter(redis->link);
    redis->connected = false;
    redis->freed = true;
    redis_link_free(redis->link);
    lose_all(redis);
    (void)event_del(redis->timer);
    redis_link_leave(redis->link);
}

bool redis_connected(const struct redis *redis)
{
    return redis->connected;
}

const char *redis_trouble(const struct redis *redis)
{
    return redis_link_trouble(redis->link);
}

size_t redis_pending(const struct redis *redis)
{
    return redis->count;
}
