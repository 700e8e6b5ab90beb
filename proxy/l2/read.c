/* The script that looks into L2 for up to PAIRS_MAX lookups at once, and its reply for each: facts, word that there
 * is no such scope, or nothing, perhaps because another host is reading it.
 *
 * A value that is not understood to the last byte is a miss, and removed. */
#include "proxy/base/clock.h"
#include "proxy/base/timer.h"
#include "proxy/l2/early_refresh.h"
#include "proxy/l2/lookup.h"
#include "proxy/l2/value.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS_MAX          16u /* of one script: it must not keep Redis busy for long */
#define EARLY_REFRESH_BETA 1.0
#define CHAIN_WORDS        3u

/* One script under way. */
struct reading {
    struct l2 *l2;
    uint64_t sent_ns;
    unsigned count;
    struct l2_lookup *lookups[PAIRS_MAX];
};

static void on_reply(void *context, enum redis_status status, const struct redis_reply *reply);

/* ---- sending ----------------------------------------------------------------------------------------------------- */

void l2_lookup_enqueue(struct l2_lookup *lookup)
{
    struct l2 *l2 = lookup->l2;
    lookup->state = LOOKUP_QUEUED;
    lookup->next_queued = NULL;
    *l2->queued_tail = lookup;
    l2->queued_tail = &lookup->next_queued;
    (void)timer_at_once(l2->flush);
}

/* Makes a script for the next PAIRS_MAX lookups of the queue. */
static struct reading *take_queued(struct l2 *l2)
{
    struct reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return NULL;
    reading->l2 = l2;
    reading->sent_ns = clock_ns();
    while (reading->count < PAIRS_MAX && l2->queued != NULL) {
        struct l2_lookup *lookup = l2->queued;
        l2->queued = lookup->next_queued;
        lookup->state = LOOKUP_SENT;
        lookup->generation = publisher_generation(l2->publisher);
        reading->lookups[reading->count++] = lookup;
    }
    if (l2->queued == NULL)
        l2->queued_tail = &l2->queued;
    return reading;
}

static int send_reading(struct reading *reading)
{
    struct l2 *l2 = reading->l2;
    const struct scope_types *types = &publisher_catalogue(l2->publisher)->types;
    char text[SCOPE_TEXT_SIZE];
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, l2->marker_key);
    redis_args_text(&args, l2->prefix);
    redis_args_u64(&args, L2_VALUE_MAX);
    redis_args_u64(&args, L2_LOCK_MS);
    redis_args_text(&args, l2->token);
    for (unsigned i = 0; i < reading->count; i++) {
        redis_args_u64(&args, reading->lookups[i]->key.user);
        redis_args_text(&args, scope_format(types, facts_key_scope(&reading->lookups[i]->key), text));
    }
    int code = redis_run(l2->redis, redis_script("l2_read"), 1, &args, on_reply, reading);
    redis_args_fini(&args);
    return code;
}

void l2_flush_queued(evutil_socket_t descriptor, short what, void *context)
{
    struct l2 *l2 = context;
    (void)descriptor, (void)what;
    while (l2->queued != NULL) {
        struct reading *reading = take_queued(l2);
        if (reading != NULL && send_reading(reading) == 0)
            continue;
        if (reading == NULL)
            return; /* out of memory: the queue is sent with the next lookup */
        for (unsigned i = 0; i < reading->count; i++)
            l2_lookup_miss(reading->lookups[i]);
        free(reading);
    }
}

/* ---- what comes back --------------------------------------------------------------------------------------------- */

int l2_take_level(const struct catalogue *catalogue, const struct redis_reply *scope,
                  const struct redis_reply *value, uint32_t level, struct facts *facts)
{
    struct facts_scope *at = &facts->chain[level];
    const char *name = redis_reply_text(scope, NULL);
    size_t size;
    const char *text = redis_reply_text(value, &size);
    if (name == NULL || text == NULL || scope_parse(&catalogue->types, name, &at->key) < 0)
        return PERMTAB_E_PROTOCOL;
    if (level == 0 ? at->key.type != 0 : at->key.type <= facts->chain[level - 1].key.type)
        return PERMTAB_E_PROTOCOL;
    facts->chain_count = level + 1;
    return l2_value_take_scope(text, size, level, catalogue->words * 64, facts);
}

/* Takes the facts of a hit: {"hit", ms left, scope, its value, the user's there, parent, …}. *cost_us: the time
 * that reading the rows of the place itself took. */
static int take_facts(struct l2_lookup *lookup, const struct redis_reply *found, struct facts *facts,
                      uint64_t *cost_us)
{
    const struct catalogue *catalogue = publisher_catalogue(lookup->l2->publisher);
    size_t words = redis_reply_count(found) - 2;
    uint32_t levels = (uint32_t)(words / CHAIN_WORDS);
    if (words % CHAIN_WORDS != 0 || levels == 0 || levels > SCOPE_CHAIN_MAX)
        return PERMTAB_E_PROTOCOL;
    for (uint32_t level = 0; level < levels; level++) {
        size_t at = 2 + (size_t)(levels - 1 - level) * CHAIN_WORDS, size = 0;
        const char *rows = redis_reply_text(redis_reply_at(found, at + 2), &size);
        if (rows == NULL)
            return PERMTAB_E_PROTOCOL;
        int code =
            l2_take_level(catalogue, redis_reply_at(found, at), redis_reply_at(found, at + 1), level, facts);
        if (code == 0)
            code = l2_value_take_rows(rows, size, level, catalogue->words * 64, facts, cost_us);
        if (code < 0)
            return code;
    }
    facts->chain[0].plain = false;
    return scope_equal(facts->chain[levels - 1].key, facts->scope) ? 0 : PERMTAB_E_PROTOCOL;
}

/* Only what a client asks for: nobody would miss what the warm-up finds, and its budget does not pay for a refresh. */
static void refresh_early(struct l2_lookup *lookup, const struct redis_reply *found, uint64_t cost_us)
{
    struct l2 *l2 = lookup->l2;
    int64_t left_ms;
    if (!lookup->asked || l2->options.refresh == NULL ||
        !redis_reply_i64(redis_reply_at(found, 1), &left_ms) || left_ms < 0 ||
        !early_refresh_due((uint64_t)left_ms * 1000, cost_us, EARLY_REFRESH_BETA,
                           random_source_next(&l2->random)))
        return;
    l2->counters->l2_refreshes++;
    l2->options.refresh(l2->options.context, lookup->key.user, facts_key_scope(&lookup->key));
}

/* Removes a spoilt value: a put does not replace a scope that is there, so it would stay until its time to live is
 * over. */
static void discard(struct l2_lookup *lookup, const struct redis_reply *found)
{
    struct l2 *l2 = lookup->l2;
    const struct scope_types *types = &publisher_catalogue(l2->publisher)->types;
    char key[L2_KEY_SIZE];
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "UNLINK");
    redis_args_text(&args, l2_key_user(key, l2->key_prefix, l2->marker.epoch, lookup->key.user));
    for (size_t at = 2; at < redis_reply_count(found); at += CHAIN_WORDS) {
        const char *text = redis_reply_text(redis_reply_at(found, at), NULL);
        struct scope_key scope;
        if (text != NULL && scope_parse(types, text, &scope) == 0)
            redis_args_text(&args, l2_key_scope(key, l2->key_prefix, l2->marker.epoch, types, scope));
    }
    if (redis_send(l2->redis, &args, NULL, NULL) < 0)
        l2->counters->l2_errors++;
    redis_args_fini(&args);
}

static void take_hit(struct l2_lookup *lookup, const struct redis_reply *found, const struct log_position *at)
{
    struct facts facts = {0};
    uint64_t cost_us = 0;
    facts.user = lookup->key.user;
    facts.scope = facts_key_scope(&lookup->key);
    facts.generation = lookup->generation;
    facts.revision = at->revision;
    facts.nonce = at->nonce;
    if (take_facts(lookup, found, &facts, &cost_us) < 0) {
        lookup->l2->counters->l2_corrupt++;
        discard(lookup, found);
        facts_fini(&facts);
        l2_lookup_miss(lookup);
        return;
    }
    refresh_early(lookup, found, cost_us);
    l2_lookup_publish(lookup, &facts);
}

/* Facts without a chain say that the scope is not in the store. */
static void take_absent(struct l2_lookup *lookup, const struct log_position *at)
{
    struct facts facts = {.user = lookup->key.user,
                          .scope = facts_key_scope(&lookup->key),
                          .generation = lookup->generation,
                          .revision = at->revision,
                          .nonce = at->nonce};
    l2_lookup_publish(lookup, &facts);
}

static void take_miss(struct l2_lookup *lookup, const struct redis_reply *found)
{
    int64_t ours;
    if (lookup->waits == NULL || !redis_reply_i64(redis_reply_at(found, 1), &ours) || ours != 0 ||
        lookup->tries == L2_LOCK_TRIES) {
        l2_lookup_miss(lookup);
        return;
    }
    lookup->tries++;
    lookup->state = LOOKUP_WAITING;
    lookup->l2->counters->l2_lock_waits++;
    if (!l2_lookup_wake_in(lookup, L2_LOCK_RETRY_MS / 2 + (unsigned)(random_source_next(&lookup->l2->random) %
                                                                     L2_LOCK_RETRY_MS)))
        l2_lookup_miss(lookup);
}

static void take_result(struct l2_lookup *lookup, const struct redis_reply *found,
                        const struct log_position *at)
{
    const char *word = redis_reply_text(redis_reply_at(found, 0), NULL);
    if (word == NULL) {
        lookup->l2->counters->l2_corrupt++;
        l2_lookup_miss(lookup);
    } else if (strcmp(word, "hit") == 0) {
        take_hit(lookup, found, at);
    } else if (strcmp(word, "absent") == 0) {
        take_absent(lookup, at);
    } else if (strcmp(word, "miss") == 0) {
        take_miss(lookup, found);
    } else if (strcmp(word, "large") == 0) {
        lookup->l2->counters->l2_oversized++;
        l2_lookup_miss(lookup);
    } else {
        lookup->l2->counters->l2_corrupt++;
        l2_lookup_miss(lookup);
    }
}

void l2_note_health(struct l2 *l2, enum redis_status status, uint64_t sent_ns)
{
    uint64_t now = clock_ns();
    if (status == REDIS_OK) {
        breaker_succeeded(&l2->breaker, now, now - sent_ns);
    } else {
        l2->counters->l2_errors++;
        breaker_failed(&l2->breaker, now);
    }
    l2->counters->l2_breaker_open = breaker_state(&l2->breaker) != BREAKER_CLOSED;
}

static void on_reply(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct reading *reading = context;
    struct l2 *l2 = reading->l2;
    struct log_position at;
    l2_note_health(l2, status, reading->sent_ns);
    bool usable = status == REDIS_OK && l2_marker_seen(l2, redis_reply_at(reply, 0), 0, &at) &&
                  at.store_id == publisher_position(l2->publisher).store_id;
    for (unsigned i = 0; i < reading->count; i++) {
        if (usable)
            take_result(reading->lookups[i], redis_reply_at(reply, i + 1), &at);
        else
            l2_lookup_miss(reading->lookups[i]);
    }
    free(reading);
}
