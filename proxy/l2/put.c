/* Puts: facts that this host has read from the store, for the other hosts.
 *
 * The script keeps a value only if the marker stands exactly where the host's table stands, at which the facts were
 * found to be true; and only in the epoch in which they were read: another host may have begun the next one because
 * rows were changed behind the log, which no revision shows. When the marker is ahead, because another host saw a
 * change sooner, the facts are kept until the table is there, too; or the other way round. If no change has touched
 * them meanwhile, they are stamped with the new revision and sent again. */
#include "proxy/base/clock.h"
#include "proxy/l2/early_refresh.h"
#include "proxy/l2/private.h"
#include "proxy/l2/value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <utlist.h>

#define PUTTING_MAX  1024u
#define LATE_MAX     256u
#define TRIES_MAX    3u
#define STRANGERS_MS 30000u /* users without rows, and scopes that do not exist, are remembered briefly */

struct l2_late {
    struct l2 *l2;
    struct facts facts;
    uint64_t epoch; /* in which the facts were read */
    uint64_t cost_us;
    bool refresh;
    unsigned tries;
    struct l2_late *prev, *next; /* once the put is late */
};

static void drop(struct l2_late *put)
{
    facts_fini(&put->facts);
    free(put);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static bool has_rows(const struct facts *facts)
{
    if (facts->assignment_count > 0)
        return true;
    for (size_t i = 0; i < facts->overwrite_count; i++)
        if (facts->overwrites[i].subject == OVERWRITE_USER)
            return true;
    return false;
}

/* Adds a value; false when it is larger than a value may be. */
static bool add_value(struct redis_args *args, struct wire_buffer *value)
{
    bool fits = !value->failed && value->size <= L2_VALUE_MAX;
    if (fits)
        redis_args_bytes(args, value->data, value->size);
    wire_buffer_clear(value);
    return fits;
}

static bool add_level(struct redis_args *args, struct wire_buffer *value, const struct scope_types *types,
                      const struct l2_late *put, uint32_t level)
{
    const struct facts *facts = &put->facts;
    char text[SCOPE_TEXT_SIZE];
    redis_args_text(args, scope_format(types, facts->chain[level].key, text));
    redis_args_text(args, level == 0 ? "" : scope_format(types, facts->chain[level - 1].key, text));
    redis_args_text(args, facts->chain[level].plain ? "1" : "0");
    l2_value_pack_scope(value, facts, level);
    if (!add_value(args, value))
        return false;
    l2_value_pack_rows(value, facts, level, put->cost_us);
    return add_value(args, value);
}

static bool add_levels(struct redis_args *args, const struct scope_types *types, const struct l2_late *put)
{
    char text[SCOPE_TEXT_SIZE];
    struct wire_buffer value;
    bool fits = true;
    if (put->facts.chain_count == 0) {
        redis_args_text(args, scope_format(types, put->facts.scope, text));
        redis_args_text(args, "-");
        for (unsigned i = 0; i < 3; i++)
            redis_args_text(args, "");
        return true;
    }
    wire_buffer_init(&value);
    for (uint32_t level = put->facts.chain_count; fits && level > 0; level--)
        fits = add_level(args, &value, types, put, level - 1);
    wire_buffer_fini(&value);
    return fits;
}

static void on_put(void *context, enum redis_status status, const struct redis_reply *reply);

static uint64_t life(struct l2 *l2, bool brief)
{
    return jitter_ms(brief && STRANGERS_MS < l2->options.ttl_ms ? STRANGERS_MS : l2->options.ttl_ms,
                     random_source_next(&l2->random));
}

/* Sends a put, and takes it over. */
static void send_put(struct l2 *l2, struct l2_late *put)
{
    const struct facts *facts = &put->facts;
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, l2->marker_key);
    redis_args_text(&args, l2->prefix);
    redis_args_print(&args, "%016" PRIx64, publisher_position(l2->publisher).store_id);
    redis_args_revision(&args, facts->revision);
    redis_args_u64(&args, facts->nonce);
    redis_args_print(&args, "%016" PRIx64, put->epoch);
    redis_args_u64(&args, life(l2, !has_rows(facts)));
    redis_args_u64(&args, life(l2, facts->chain_count == 0));
    redis_args_text(&args, l2->token);
    redis_args_text(&args, put->refresh ? "1" : "0");
    redis_args_u64(&args, facts->user);
    bool fits = add_levels(&args, &publisher_catalogue(l2->publisher)->types, put);
    put->tries++;
    if (!fits)
        l2->counters->l2_oversized++;
    if (fits && redis_run(l2->redis, redis_script("l2_put"), 1, &args, on_put, put) == 0)
        l2->putting++;
    else
        drop(put);
    redis_args_fini(&args);
}

/* Redis is full, or the account may not write: without a pause each miss would try it in vain. */
static void puts_refused(struct l2 *l2, const struct redis_reply *reply)
{
    uint64_t now = clock_ns();
    const char *text = redis_reply_text(reply, NULL);
    pause_begins(&l2->put_pause, now, L2_PAUSE_NS, L2_PAUSE_MAX_NS);
    (void)trouble_happens(&l2->put_trouble, LOG_LEVEL_WARNING, now, "l2: Redis refuses values: %s",
                          text != NULL ? text : "no reason given");
}

static void puts_taken(struct l2 *l2)
{
    pause_ends(&l2->put_pause);
    trouble_ends(&l2->put_trouble, clock_ns(), "l2: Redis takes values again");
}

static void on_put(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct l2_late *put = context;
    struct l2 *l2 = put->l2;
    struct log_position at;
    int64_t kept;
    l2->putting--;
    if (status != REDIS_OK || !redis_reply_i64(redis_reply_at(reply, 0), &kept)) {
        if (status == REDIS_ERROR)
            puts_refused(l2, reply);
        l2->counters->l2_errors++;
        drop(put);
    } else if (kept) {
        puts_taken(l2);
        l2->counters->l2_puts++;
        drop(put);
    } else {
        l2->counters->l2_puts_refused++;
        if (!l2->closing && l2_marker_seen(l2, reply, 1, &at) && put->epoch == l2->marker.epoch &&
            put->tries < TRIES_MAX && l2->late_count < LATE_MAX) {
            DL_APPEND(l2->late, put);
            l2->late_count++;
        } else {
            drop(put);
        }
    }
}

/* ---- what others call -------------------------------------------------------------------------------------------- */

void l2_put(struct l2 *l2, struct facts *facts, uint64_t epoch, uint64_t cost_us, bool refresh)
{
    bool usable = l2->options.values && l2->marker.known && epoch == l2->marker.epoch && !l2->closing &&
                  redis_connected(l2->redis) && breaker_state(&l2->breaker) == BREAKER_CLOSED &&
                  l2->putting < PUTTING_MAX && !facts->broken && !pause_lasts(&l2->put_pause, clock_ns());
    struct l2_late *put = usable ? calloc(1, sizeof *put) : NULL;
    if (put == NULL) {
        facts_fini(facts);
        return;
    }
    struct log_position at = publisher_position(l2->publisher);
    put->l2 = l2;
    put->facts = *facts;
    facts_true_at(&put->facts, at.revision, at.nonce); /* as publisher_fill has just found */
    put->epoch = epoch;
    put->cost_us = cost_us;
    put->refresh = refresh;
    send_put(l2, put);
}

/* Sends late puts again: the table may have reached the marker's revision. A put whose facts have changed meanwhile
 * is dropped. */
void l2_puts_applied(struct l2 *l2)
{
    struct log_position at = publisher_position(l2->publisher);
    struct l2_late *put, *next;
    DL_FOREACH_SAFE(l2->late, put, next)
    {
        DL_DELETE(l2->late, put);
        l2->late_count--;
        if (publisher_still_true(l2->publisher, &put->facts)) {
            facts_true_at(&put->facts, at.revision, at.nonce);
            send_put(l2, put);
        } else {
            drop(put);
        }
    }
}

void l2_puts_end(struct l2 *l2)
{
    struct l2_late *put, *next;
    DL_FOREACH_SAFE(l2->late, put, next)
    {
        DL_DELETE(l2->late, put);
        drop(put);
    }
}
