/* L2's life. The other files: marker.c keeps it true, with step.c, log.c, contest.c and forget.c; lookup.c,
 * read.c and place.c read; put.c writes; value.c has the bytes of a value. */
#include "proxy/l2/l2.h"

#include "proxy/l2/private.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A reply that takes a quarter of the longest wait counts as slow: a Redis that is always almost too late would
 * slow every miss. */
static struct breaker_options breaker_options_of(uint64_t timeout_ms)
{
    return (struct breaker_options){
        .failures_max = 5,
        .slow_max = 5,
        .slow_ns = timeout_ms * 1000000ull / 4,
        .open_ns = 1000000000ull,
        .open_max_ns = 15000000000ull,
    };
}

int l2_new(struct l2 **out, const struct l2_options *options)
{
    struct l2 *l2 = calloc(1, sizeof *l2);
    struct breaker_options breaker = breaker_options_of(options->timeout_ms);
    *out = NULL;
    if (l2 == NULL)
        return PERMTAB_E_MEMORY;
    l2->flush = evtimer_new(options->base, l2_flush_queued, l2);
    if (l2->flush == NULL || random_source_init(&l2->random) < 0) {
        if (l2->flush != NULL)
            event_free(l2->flush);
        free(l2);
        return PERMTAB_E_MEMORY;
    }
    *out = l2;
    l2->options = *options;
    l2->base = options->base;
    l2->redis = options->redis;
    l2->publisher = options->publisher;
    l2->feed = options->feed;
    l2->pool = options->pool;
    l2->counters = options->counters;
    l2->distrusted = publisher_distrusted(options->publisher);
    l2->queued_tail = &l2->queued;
    breaker_init(&l2->breaker, &breaker);
    (void)l2_key_marker(l2->marker_key, options->prefix);
    (void)snprintf(l2->key_prefix, sizeof l2->key_prefix, "%s", options->prefix);
    (void)snprintf(l2->prefix, sizeof l2->prefix, "%sl2:%d:", options->prefix, L2_FORMAT);
    (void)message_channel(l2->channel, options->prefix);
    (void)snprintf(l2->token, sizeof l2->token, "%016" PRIx64, options->host_id);
    l2->options.prefix = NULL; /* borrowed for this call */
    return 0;
}

void l2_free(struct l2 *l2)
{
    if (l2 == NULL)
        return;
    l2->closing = true;
    l2_lookups_end(l2);
    l2_puts_end(l2);
    change_list_fini(&l2->log);
    event_free(l2->flush);
    free(l2);
}

void l2_connected(struct l2 *l2, bool connected)
{
    l2->marker.pause.until_ns = 0; /* another connection, perhaps another server */
    if (connected)
        l2_marker_pursue(l2);
    else
        l2_marker_disconnected(l2);
}

void l2_applied(struct l2 *l2)
{
    /* distrusted moves when the store was changed behind its log, or was another one for a while: the table was
     * made anew, and the marker may say that L2's values are of the same revision. */
    uint64_t distrusted = publisher_distrusted(l2->publisher);
    if (l2->distrusted != distrusted)
        l2_flush(l2);
    else
        l2_marker_pursue(l2);
    l2->distrusted = distrusted;
    l2_lookups_applied(l2);
    l2_puts_applied(l2);
}

bool l2_epoch(const struct l2 *l2, uint64_t *epoch)
{
    *epoch = l2->marker.known ? l2->marker.epoch : 0;
    return l2->marker.known;
}
