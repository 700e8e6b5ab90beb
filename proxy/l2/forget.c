/* L2 without a marker, or with a new one, on purpose: the store was changed behind its log, an operator says so, or
 * the auditor has found this host's own answers wrong. */
#include "proxy/base/clock.h"
#include "proxy/l2/private.h"

#define ERASE_TRIES_MAX 16u            /* in a row */
#define DOUBT_NS        60000000000ull /* a fleet survives an empty L2 so often, though its store feels it */

static void on_erased(void *context, enum redis_status status, const struct redis_reply *reply);

/* Erases the marker, whatever it is. The marker last seen may be old; then the script returns the present one. */
static void erase(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    struct redis_args args;
    if (marker->seen_size == 0)
        l2_marker_note(l2, NULL, 0);
    redis_args_init(&args);
    redis_args_text(&args, l2->marker_key);
    redis_args_bytes(&args, marker->seen, marker->seen_size);
    marker->asking = redis_run(l2->redis, redis_script("l2_begin"), 1, &args, on_erased, l2) == 0;
    redis_args_fini(&args);
}

static void on_erased(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct l2 *l2 = context;
    struct l2_marker *marker = &l2->marker;
    struct log_position at;
    uint64_t epoch;
    int64_t done = -1;
    bool leased = publisher_leased(l2->publisher, clock_ns());
    marker->asking = false;
    if (status == REDIS_ERROR)
        l2_marker_refused(l2, reply);
    if (status == REDIS_OK && redis_reply_i64(redis_reply_at(reply, 0), &done))
        l2_marker_note(l2, done ? NULL : reply, 1);
    if (done == 0 && l2_marker_read(l2, reply, 1, &at, &epoch))
        l2_marker_know(l2, &at, epoch); /* this epoch ends */
    l2_marker_lose(l2);
    if (done == 1) {
        marker->erased = marker->erasing;
        l2_marker_end_epoch(marker);
    } else if (done == 0 && !leased && marker->erase_tries++ < ERASE_TRIES_MAX) {
        /* at once: other hosts move the marker, and with the next news it would have been moved again */
        erase(l2);
    }
    if (leased)
        l2_marker_pursue(l2);
}

void l2_erase_if_distrusted(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    uint64_t distrusted = publisher_distrusted(l2->publisher);
    if (distrusted == l2->distrusted || distrusted == marker->erased ||
        publisher_leased(l2->publisher, clock_ns()) || marker->asking || !redis_connected(l2->redis))
        return;
    marker->erasing = distrusted;
    marker->erase_tries = 0;
    erase(l2);
}

/* Asks for a new epoch. One that is being begun already does not count, because other hosts may put values into it
 * that they have read before now. */
static void want_epoch(struct l2_marker *marker)
{
    marker->flush = true;
    marker->beginning = false;
    marker->begun_ns = 0;
}

void l2_flush(struct l2 *l2)
{
    want_epoch(&l2->marker);
    l2->marker.flush_ns = 0;
    l2_marker_pursue(l2);
}

void l2_flush_sparingly(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    uint64_t now = clock_ns();
    if (marker->flush)
        return;
    want_epoch(marker);
    marker->flush_ns = now > marker->doubt_ns ? now : marker->doubt_ns;
    marker->doubt_ns = marker->flush_ns + DOUBT_NS;
    l2_marker_pursue(l2); /* and so does each poll that is applied */
}
