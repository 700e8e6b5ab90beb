/* One step of the marker: the values of L2 that the change rows from one revision to another touch, for
 * l2_advance.lua to remove, and the message that tells of them. Definitions of roles are not in L2, so an edit of a
 * role, which may concern a million users, is a step that removes nothing. */
#include "proxy/l2/private.h"
#include "proxy/names/message.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define OPERATIONS_MAX 512u /* changes of one script: it must not keep Redis busy for long */

void l2_args_hex(struct redis_args *args, uint64_t value)
{
    redis_args_print(args, "%016" PRIx64, value);
}

struct changes {
    struct redis_args *args;
    struct message *message;
    const struct scope_types *types;
    unsigned operations;
    bool unnamed; /* too many to name in a message */
};

static void name(struct changes *changes, enum target_kind kind, uint64_t id, struct scope_key scope)
{
    struct message *message = changes->message;
    if (changes->unnamed || message->count == OPERATIONS_MAX) {
        changes->unnamed = true;
        return;
    }
    message->targets[message->count++] = (struct target){.kind = kind, .id = id, .scope = scope};
}

static void operation(struct changes *changes, const char *verb, uint64_t user, struct scope_key scope)
{
    char text[SCOPE_TEXT_SIZE];
    bool rows = strcmp(verb, "rows") == 0;
    redis_args_text(changes->args, verb);
    if (rows)
        redis_args_u64(changes->args, user);
    redis_args_text(changes->args, scope_format(changes->types, scope, text));
    if (!rows)
        redis_args_text(changes->args, "");
    changes->operations++;
}

static void rows_changed(struct changes *changes, const struct change *change)
{
    operation(changes, "rows", change->user, change->scope);
    operation(changes, "plain", 0, change->scope);
    name(changes, TARGET_USER, change->user, change->scope);
}

static void scope_changed(struct changes *changes, const struct change *change)
{
    operation(changes, "scope", 0, change->scope);
    name(changes, TARGET_SCOPE, 0, change->scope);
}

/* Adds the values of L2 that a change row touches. */
static void touch(struct changes *changes, const struct change *change)
{
    switch (change->kind) {
    case CHANGE_ASSIGNMENT:
        rows_changed(changes, change);
        return;
    case CHANGE_OVERWRITE:
        if (change->user != 0) {
            rows_changed(changes, change);
            return;
        }
        /* The overwrite is of a role, or of the user 0: the row does not say which. */
        operation(changes, "rows", 0, change->scope);
        scope_changed(changes, change);
        return;
    case CHANGE_SCOPE:
        scope_changed(changes, change);
        return;
    case CHANGE_ROLE:
        /* The role may be in the list of default roles of its scope. Only the poll can tell which users that
         * concerns. */
        operation(changes, "scope", 0, change->scope);
        return;
    case CHANGE_ROLE_GRANT:
    case CHANGE_ROLE_PARENT:
    case CHANGE_PERMISSION:
    case CHANGE_SCOPE_TYPE:
    case CHANGE_STORE: /* marker.c makes a new epoch of it */
        return;
    }
}

void l2_step_args(const struct l2 *l2, const struct log_position *from, const struct log_position *to,
                  struct redis_args *args)
{
    struct target targets[OPERATIONS_MAX];
    struct message message = {
        .kind = MESSAGE_CHANGED, .store_id = to->store_id, .from = from->revision, .targets = targets};
    struct redis_args operations;
    struct changes changes = {&operations, &message, &publisher_catalogue(l2->publisher)->types, 0, false};
    struct log_position end = *from;
    redis_args_init(args);
    redis_args_init(&operations);
    while (end.revision < to->revision && changes.operations < OPERATIONS_MAX) {
        const struct change *change = l2_log_at(l2, end.revision + 1);
        if (change->kind == CHANGE_STORE)
            break;
        touch(&changes, change);
        end.revision = change->revision;
        end.nonce = change->nonce;
    }
    message.to = end.revision;
    if (changes.unnamed)
        message.count = 0;
    char *text = message_format(changes.types, &message);
    redis_args_text(args, l2->marker_key);
    redis_args_text(args, l2->prefix);
    l2_args_hex(args, from->store_id);
    redis_args_revision(args, from->revision);
    redis_args_u64(args, from->nonce);
    redis_args_revision(args, end.revision);
    redis_args_u64(args, end.nonce);
    redis_args_text(args, l2->channel);
    redis_args_text(args, text != NULL ? text : "poke");
    for (size_t i = 0; i < operations.count; i++)
        redis_args_bytes(args, operations.bytes + operations.items[i].at, operations.items[i].size);
    args->failed = args->failed || operations.failed;
    redis_args_fini(&operations);
    free(text);
}
