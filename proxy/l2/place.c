/* The script that looks for many users at one place, and its reply, which becomes kinds of a slice. Only what is whole
 * and the like of others is taken: whoever has no value, a spoilt one, or more than roles without an end is left alone,
 * to be looked for by a lookup of their own. So nothing is counted here, locked or removed.
 *
 * What may change while it is away: nobody wants it any more (it has no slice then), or Redis goes away (all are left
 * alone). What has changed in the table is for the fence. */
#include "proxy/base/clock.h"
#include "proxy/l2/lookup.h"
#include "proxy/l2/value.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS_USUAL 8u   /* so many times L2_PLACE_USERS_MAX values are read at once */
#define COMMON_MAX   128u /* rows that everybody has in common: they are copied for each kind */

struct l2_place {
    struct l2 *l2;
    uint64_t sent_ns;
    struct facts_slice *slice; /* NULL: nobody wants it */
    l2_place_fn done;
    void *context;
};

static bool reads_places(const struct l2 *l2)
{
    return l2->options.values && l2->marker.known && !l2->marker.flush && !l2->closing &&
           redis_connected(l2->redis) && breaker_state(&l2->breaker) == BREAKER_CLOSED;
}

/* How many levels a place has is only known once somebody there is in the table. */
size_t l2_place_max(const struct l2 *l2, struct scope_key scope)
{
    struct scope_key chain[SCOPE_CHAIN_MAX];
    uint32_t levels = publisher_chain(l2->publisher, scope, chain);
    if (!reads_places(l2))
        return 0;
    return levels > LEVELS_USUAL ? L2_PLACE_USERS_MAX * LEVELS_USUAL / levels : L2_PLACE_USERS_MAX;
}

bool l2_place_counts(const struct l2 *l2, uint64_t epoch)
{
    return l2->marker.known && !l2->marker.flush && l2->marker.epoch == epoch;
}

/* ---- what comes back --------------------------------------------------------------------------------------------- */

/* Takes {scope, its value, its parent, …}, from the scope up to global, as what all users have in common. */
static int take_chain(const struct l2 *l2, const struct redis_reply *found, struct facts *common)
{
    const struct catalogue *catalogue = publisher_catalogue(l2->publisher);
    size_t count = redis_reply_count(found);
    uint32_t levels = (uint32_t)(count / 2);
    if (count % 2 != 0 || count == 0 || count / 2 > SCOPE_CHAIN_MAX)
        return PERMTAB_E_PROTOCOL;
    for (uint32_t level = 0; level < levels; level++) {
        size_t at = 2 * (size_t)(levels - 1 - level);
        const struct redis_reply *value = redis_reply_at(found, at + 1);
        int code = l2_take_level(catalogue, redis_reply_at(found, at), value, level, common);
        if (code < 0)
            return code;
    }
    common->chain[0].plain = false;
    if (!scope_equal(common->chain[levels - 1].key, common->scope))
        return PERMTAB_E_PROTOCOL;
    return common->default_count + common->overwrite_count <= COMMON_MAX ? 0 : PERMTAB_E_LIMIT;
}

/* Whether the rows are roles without an end, and nothing else. */
static bool is_of_a_kind(const struct facts *rows)
{
    for (size_t i = 0; i < rows->assignment_count; i++)
        if (rows->assignments[i].expires_at != FACTS_NEVER)
            return false;
    return rows->overwrite_count == 0;
}

/* Takes a user's rows, one text for each scope from the place up, or leaves the user alone. PERMTAB_E_MEMORY. */
static int take_user(struct facts_slice *slice, uint64_t user, const struct redis_reply *found, size_t first,
                     uint32_t bits)
{
    uint32_t levels = facts_slice_common(slice)->chain_count;
    struct facts rows = {0};
    uint64_t cost_us;
    int code = 0;
    for (uint32_t level = 0; level < levels && code == 0; level++) {
        size_t size;
        const char *text = redis_reply_text(redis_reply_at(found, first + levels - 1 - level), &size);
        code =
            text != NULL ? l2_value_take_rows(text, size, level, bits, &rows, &cost_us) : PERMTAB_E_NOT_FOUND;
    }
    bool good = code == 0 && is_of_a_kind(&rows);
    code = 0;
    if (!good)
        facts_slice_set_alone(slice, user);
    for (size_t i = 0; good && code == 0 && i < rows.assignment_count; i++)
        code = facts_slice_assign(slice, user, rows.assignments[i].role, rows.assignments[i].level);
    facts_fini(&rows);
    return code;
}

static int take_all(const struct l2 *l2, struct facts_slice *slice, const struct redis_reply *reply,
                    const struct log_position *at)
{
    const struct redis_reply *found = redis_reply_at(reply, 2);
    uint32_t bits = publisher_catalogue(l2->publisher)->words * 64;
    struct facts *common = facts_slice_common(slice);
    common->scope = slice->scope;
    common->revision = at->revision;
    common->nonce = at->nonce;
    common->without_roles = true;
    int code = take_chain(l2, redis_reply_at(reply, 1), common);
    if (code == 0 && redis_reply_count(found) != slice->count * common->chain_count)
        code = PERMTAB_E_PROTOCOL;
    for (size_t i = 0; i < slice->count && code == 0; i++)
        code = take_user(slice, slice->users[i], found, i * common->chain_count, bits);
    return code == 0 ? facts_slice_finish(slice) : code;
}

static void on_reply(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct l2_place *place = context;
    struct l2 *l2 = place->l2;
    struct log_position at;
    uint64_t epoch = 0;
    l2_note_health(l2, status, place->sent_ns);
    if (status == REDIS_OK && l2_marker_seen(l2, redis_reply_at(reply, 0), 0, &at) && place->slice != NULL &&
        at.store_id == publisher_position(l2->publisher).store_id && !l2->marker.flush &&
        take_all(l2, place->slice, reply, &at) == 0)
        epoch = l2->marker.epoch;
    if (place->slice != NULL)
        place->done(place->context, epoch);
    free(place);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static int send_place(struct l2_place *place)
{
    struct l2 *l2 = place->l2;
    const struct facts_slice *slice = place->slice;
    const struct scope_types *types = &publisher_catalogue(l2->publisher)->types;
    char text[SCOPE_TEXT_SIZE];
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, l2->marker_key);
    redis_args_text(&args, l2->prefix);
    redis_args_u64(&args, L2_VALUE_MAX);
    redis_args_text(&args, scope_format(types, slice->scope, text));
    for (size_t i = 0; i < slice->count; i++)
        redis_args_u64(&args, slice->users[i]);
    int code = redis_run(l2->redis, redis_script("l2_place"), 1, &args, on_reply, place);
    redis_args_fini(&args);
    return code;
}

int l2_place_read(struct l2_place **out, struct l2 *l2, struct facts_slice *slice, l2_place_fn done,
                  void *context)
{
    assert(slice->count <= L2_PLACE_USERS_MAX);
    *out = NULL;
    if (!reads_places(l2))
        return PERMTAB_E_UNREACHABLE;
    struct l2_place *place = malloc(sizeof *place);
    if (place == NULL)
        return PERMTAB_E_MEMORY;
    *place =
        (struct l2_place){.l2 = l2, .sent_ns = clock_ns(), .slice = slice, .done = done, .context = context};
    int code = send_place(place);
    if (code < 0)
        free(place);
    else
        *out = place;
    return code;
}

void l2_place_leave(struct l2_place *place)
{
    place->slice = NULL;
}
