/* A connection to Redis for commands, on the loop: hiredis' parser and formatter over our own bufferevent (hiredis'
 * asynchronous context ends the process on replies it did not expect). Commands are pipelined; replies come in order.
 * The connection keeps itself up: it reconnects with jitter, asks PING when it has been silent, and is given up when
 * a reply is overdue. All calls and callbacks on the loop's thread; nothing blocks. The process ignores SIGPIPE. */
#ifndef PERMTAB_REDIS_REDIS_H
#define PERMTAB_REDIS_REDIS_H

#include "proxy/base/failure.h"
#include "proxy/redis/args.h"
#include "proxy/redis/reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct redis;
struct redis_script;

/* The address of a Redis, and its time limits. */
struct redis_access {
    const char *url;      /* "redis://[user@]host:port/database" or "unix:/path[?db=N]" */
    const char *password; /* or NULL; never logged */
    uint64_t timeout_ms;  /* until a command is told REDIS_TIMEOUT */
    /* ping_ms: a connection silent for so long gets a PING. One that owes a reply and has given none for twice as
     * long is given up, and so is an attempt to connect. */
    uint64_t ping_ms;
};

enum redis_status {
    REDIS_OK,      /* a reply, and not an error */
    REDIS_ERROR,   /* the server refused; the reply's text says why */
    REDIS_TIMEOUT, /* no reply in time: it may have been carried out, or may yet be. reply is NULL */
    REDIS_LOST,    /* the connection ended before the reply: likewise */
};

/* Called once for each command that was accepted, in the order of sending (redis_run: but for scripts that had to be
 * sent twice), from the loop or from redis_free, never from inside redis_send. `reply` is borrowed for the call. A
 * command that timed out is told so at once; its reply, should it come, is thrown away. */
typedef void (*redis_done_fn)(void *context, enum redis_status status, const struct redis_reply *reply);
/* Called after authentication, SELECT and loading of the scripts; and when the connection is gone (after every
 * pending command was told REDIS_LOST). Commands may be sent from inside it. */
typedef void (*redis_state_fn)(void *context, bool connected);

struct redis_options {
    /* Borrowed until redis_free. */
    struct event_base *base;
    redis_state_fn state;
    void *context;
    /* Copied. */
    const struct redis_access *access;
};

/* Begins to connect. PERMTAB_E_INVALID, _MEMORY. */
int redis_new(struct redis **out, const struct redis_options *options,
              struct failure *failure) PERMTAB_MUST_CHECK;
/* Tells pending commands REDIS_LOST; no callback runs after it. May be called from inside any of its callbacks. */
void redis_free(struct redis *redis);

bool redis_connected(const struct redis *redis);
/* Why it is not connected, in one sentence; "" when it is. */
const char *redis_trouble(const struct redis *redis);
/* Commands sent whose reply has not come. */
size_t redis_pending(const struct redis *redis);

/* Sends one command that has one reply: no SUBSCRIBE, no MONITOR, no CLIENT REPLY. done may be NULL.
 * PERMTAB_E_UNREACHABLE when not connected, PERMTAB_E_FULL when too many are pending (65,536) or too much is unsent
 * (16 MiB), PERMTAB_E_MEMORY, PERMTAB_E_INVALID without an argument: then done is not called. The arguments are
 * copied. A reply of more than 16 MiB, 1,000,000 elements or 7 levels ends the connection. */
int redis_send(struct redis *redis, const struct redis_args *args, redis_done_fn done,
               void *context) PERMTAB_MUST_CHECK;
/* Sends MULTI, the commands, EXEC: all of them run or none, with no other command in between. done gets the reply
 * to EXEC: an array of replies. One of them may be a refusal (a key that holds another kind of value), while the
 * other commands were carried out. Or it gets REDIS_ERROR with the words of the first command that was refused, and
 * none was run; but for an account that may not MULTI, each other command was run by itself
 * (findings/redis-py-transaction-without-multi.sh). Failures as redis_send. */
int redis_transaction(struct redis *redis, const struct redis_args *commands, size_t count,
                      redis_done_fn done, void *context) PERMTAB_MUST_CHECK;
/* Runs a script by its digest: args are its keys, `keys` of them, then its further arguments. Should the server
 * have forgotten it (NOSCRIPT), the text is sent, once, and done sees only the second reply. Then the script runs,
 * and is told, after commands that were sent meanwhile, and its time begins anew. PERMTAB_E_FULL also when the
 * arguments of scripts under way pass 16 MiB. A script that is none of redis_scripts goes by its text. */
int redis_run(struct redis *redis, const struct redis_script *script, size_t keys,
              const struct redis_args *args, redis_done_fn done, void *context) PERMTAB_MUST_CHECK;

/* ---- scripts: conf/redis/NAME.lua, compiled in ------------------------------------------------------------------- */

struct redis_script {
    const char *name;
    const char *text;
};
extern const struct redis_script redis_scripts[];
extern const size_t redis_script_count;
/* The script of that name; asserts that there is one. */
const struct redis_script *redis_script(const char *name);

#endif
