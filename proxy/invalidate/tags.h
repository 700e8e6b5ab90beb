/* Tags: named sets of targets, kept in Redis for all hosts. `invalidate tag:NAME` invalidates the members of that
 * moment. On the loop's thread; nothing blocks.
 *
 *     PREFIXtag:NAME   set: texts of targets
 *     PREFIXtags       set: names of the tags that have members */
#ifndef PERMTAB_INVALIDATE_TAGS_H
#define PERMTAB_INVALIDATE_TAGS_H

#include "proxy/names/target.h"
#include "proxy/redis/redis.h"

#define TAG_KEY_SIZE    256
#define TAGS_MAX        10000u  /* names */
#define TAG_MEMBERS_MAX 100000u /* of a tag */
#define TAG_CHANGE_MAX  1000u   /* members added or removed at once */
#define TAG_CURSOR_SIZE 24

/* Writes the key of a tag into `out`, of TAG_KEY_SIZE, and returns it. */
char *tags_key(char *out, const char *prefix, const char *name);
/* Whether a tag may hold targets of this kind: users, users at a place, roles and scopes, which name their entries
 * exactly. */
bool tags_may_hold(enum target_kind kind);

/* The result of a call. code: 0; PERMTAB_E_LIMIT (too many tags or members: nothing was changed),
 * PERMTAB_E_UNREACHABLE, PERMTAB_E_REFUSED; `text` says why. `changed`: members added, removed. `texts` is an array
 * of names or members, borrowed; `cursor` is "0" when there are no more. */
struct tags_result {
    int code;
    const char *text;
    uint64_t changed;
    uint64_t members; /* that the tag has now */
    const struct redis_reply *texts;
    const char *cursor;
};
typedef void (*tags_done_fn)(void *context, const struct tags_result *result);

struct tags_call; /* a call under way */

/* The place of tags. `redis` may be disconnected. */
struct tags_place {
    struct redis *redis;
    const char *prefix;
    const struct scope_types *types;
};

/* Each of these functions begins a call; `done` is called once, later, unless it is cancelled.
 * PERMTAB_E_UNREACHABLE, _LIMIT (more than TAG_CHANGE_MAX), _FULL, _MEMORY: then nothing was begun. */
int tags_add(struct tags_call **out, const struct tags_place *place, const char *name,
             const struct target *targets, size_t count, tags_done_fn done, void *context) PERMTAB_MUST_CHECK;
/* Without targets it removes the whole tag. */
int tags_remove(struct tags_call **out, const struct tags_place *place, const char *name,
                const struct target *targets, size_t count, tags_done_fn done,
                void *context) PERMTAB_MUST_CHECK;
/* Lists some hundred members from `cursor` on ("0": the first), or names of tags when `name` is NULL. Some may come
 * twice. */
int tags_list(struct tags_call **out, const struct tags_place *place, const char *name, const char *cursor,
              tags_done_fn done, void *context) PERMTAB_MUST_CHECK;
/* After it done is not called; a command that was sent is carried out. */
void tags_cancel(struct tags_call *call);

#endif
