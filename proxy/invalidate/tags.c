/* Tags in Redis. The scripts that change tags (conf/redis/tag_*.lua) check the limits, because no other command can
 * come in between; the same scripts keep the set of names. */
#include "proxy/invalidate/tags.h"

#include <stdio.h>
#include <stdlib.h>

#define SLICE 500u

struct tags_call {
    tags_done_fn done; /* NULL once cancelled */
    void *context;
    bool lists;
};

char *tags_key(char *out, const char *prefix, const char *name)
{
    (void)snprintf(out, TAG_KEY_SIZE, "%stag:%s", prefix, name);
    return out;
}

bool tags_may_hold(enum target_kind kind)
{
    return kind == TARGET_USER || kind == TARGET_USER_AT || kind == TARGET_ROLE || kind == TARGET_SCOPE;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* Reads [changed, members]; changed is negative when a limit was met. */
static void read_change(const struct redis_reply *reply, struct tags_result *result)
{
    int64_t changed;
    if (!redis_reply_i64(redis_reply_at(reply, 0), &changed) ||
        !redis_reply_u64(redis_reply_at(reply, 1), &result->members)) {
        result->code = PERMTAB_E_PROTOCOL;
        result->text = "Redis answered something else";
    } else if (changed < 0) {
        result->code = PERMTAB_E_LIMIT;
        result->text = changed == -1 ? "there are 10000 tags already"
                                     : "a tag has at most 100000 members; nothing was added";
    } else {
        result->changed = (uint64_t)changed;
    }
}

_Static_assert(TAGS_MAX == 10000 && TAG_MEMBERS_MAX == 100000, "as the texts above say");

/* Reads [cursor, texts]. */
static void read_list(const struct redis_reply *reply, struct tags_result *result)
{
    size_t size = 0;
    result->cursor = redis_reply_text(redis_reply_at(reply, 0), &size);
    result->texts = redis_reply_at(reply, 1);
    if (result->cursor == NULL || size >= TAG_CURSOR_SIZE || redis_reply_kind(result->texts) != REDIS_ARRAY) {
        result->code = PERMTAB_E_PROTOCOL;
        result->text = "Redis answered something else";
    }
}

static void on_reply(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct tags_call *call = context;
    struct tags_result result = {.text = "", .cursor = "0"};
    size_t size;
    switch (status) {
    case REDIS_OK:
        (call->lists ? read_list : read_change)(reply, &result);
        break;
    case REDIS_ERROR:
        result.code = PERMTAB_E_REFUSED;
        result.text = redis_reply_text(reply, &size);
        break;
    case REDIS_TIMEOUT:
        result.code = PERMTAB_E_TIMEOUT;
        result.text = "Redis did not answer in time; it may have been carried out";
        break;
    case REDIS_LOST:
        result.code = PERMTAB_E_UNREACHABLE;
        result.text = "the connection to Redis broke; it may have been carried out";
        break;
    }
    if (call->done != NULL)
        call->done(call->context, &result);
    free(call);
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

/* Begins a script, or a command when `script` is NULL. */
static int begin(struct tags_call **out, struct redis *redis, const struct redis_script *script,
                 const struct redis_args *args, tags_done_fn done, void *context)
{
    struct tags_call *call = malloc(sizeof *call);
    *out = NULL;
    if (call == NULL)
        return PERMTAB_E_MEMORY;
    *call = (struct tags_call){.done = done, .context = context, .lists = script == NULL};
    int code = script != NULL ? redis_run(redis, script, 2, args, on_reply, call)
                              : redis_send(redis, args, on_reply, call);
    if (code < 0) {
        free(call);
        return code;
    }
    *out = call;
    return 0;
}

static void add_keys(struct redis_args *args, const struct tags_place *place, const char *name)
{
    char key[TAG_KEY_SIZE];
    redis_args_text(args, tags_key(key, place->prefix, name));
    redis_args_print(args, "%stags", place->prefix);
    redis_args_text(args, name);
}

static void add_members(struct redis_args *args, const struct tags_place *place, const struct target *targets,
                        size_t count)
{
    char text[TARGET_TEXT_SIZE];
    for (size_t i = 0; i < count; i++)
        redis_args_text(args, target_format(place->types, &targets[i], text));
}

int tags_add(struct tags_call **out, const struct tags_place *place, const char *name,
             const struct target *targets, size_t count, tags_done_fn done, void *context)
{
    struct redis_args args;
    if (count > TAG_CHANGE_MAX)
        return PERMTAB_E_LIMIT;
    redis_args_init(&args);
    add_keys(&args, place, name);
    redis_args_u64(&args, TAG_MEMBERS_MAX);
    redis_args_u64(&args, TAGS_MAX);
    add_members(&args, place, targets, count);
    int code = begin(out, place->redis, redis_script("tag_add"), &args, done, context);
    redis_args_fini(&args);
    return code;
}

int tags_remove(struct tags_call **out, const struct tags_place *place, const char *name,
                const struct target *targets, size_t count, tags_done_fn done, void *context)
{
    struct redis_args args;
    if (count > TAG_CHANGE_MAX)
        return PERMTAB_E_LIMIT;
    redis_args_init(&args);
    add_keys(&args, place, name);
    add_members(&args, place, targets, count);
    int code = begin(out, place->redis, redis_script("tag_remove"), &args, done, context);
    redis_args_fini(&args);
    return code;
}

int tags_list(struct tags_call **out, const struct tags_place *place, const char *name, const char *cursor,
              tags_done_fn done, void *context)
{
    struct redis_args args;
    char key[TAG_KEY_SIZE];
    redis_args_init(&args);
    redis_args_text(&args, "SSCAN");
    if (name != NULL)
        redis_args_text(&args, tags_key(key, place->prefix, name));
    else
        redis_args_print(&args, "%stags", place->prefix);
    redis_args_text(&args, cursor);
    redis_args_text(&args, "COUNT");
    redis_args_u64(&args, SLICE);
    int code = begin(out, place->redis, NULL, &args, done, context);
    redis_args_fini(&args);
    return code;
}

void tags_cancel(struct tags_call *call)
{
    call->done = NULL;
}
