/* A marker that another installation keeps: another store under the same prefix, or another history of this one, as
 * when staging was restored from a dump of production and not given a prefix of its own.
 *
 * A marker of another history is no proof of that: it may be of the history that this store had before it was
 * restored itself. So it is replaced, and Redis counts how often that has happened under this prefix: CONTESTS_MAX
 * times within CONTEST_MS and no more. Both sides use the same count, so the side that came last finds it used up:
 * it took the marker, the other took it back, both once more, and now the side that came last leaves L2 to the
 * other. It logs that once, reads from its store alone, and looks again after a pause. It stays out while the
 * other's marker moves; it may try to take a marker that stood still for a whole pause. */
#include "proxy/base/clock.h"
#include "proxy/l2/private.h"

#include <inttypes.h>
#include <string.h>

#define CONTESTS_MAX  4u /* even, so that the side that began is refused */
#define CONTEST_MS    600000u
#define YIELD_NS      60000000000ull
#define YIELD_MAX_NS  3600000000000ull
#define YIELD_CALM_NS (2 * YIELD_MAX_NS) /* a contest after so long is a new one */

void l2_contest_args(const struct l2 *l2, struct redis_args *args)
{
    redis_args_u64(args, l2->options.contests_max != 0 ? l2->options.contests_max : CONTESTS_MAX);
    redis_args_u64(args, CONTEST_MS);
}

static void yield(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    uint64_t now = clock_ns();
    uint64_t first_ns = l2->options.yield_ms != 0 ? l2->options.yield_ms * 1000000 : YIELD_NS;
    bool same_store = marker->at.store_id == publisher_position(l2->publisher).store_id;
    marker->yielded = true;
    marker->rival = marker->at;
    marker->rival_epoch = marker->epoch;
    marker->suspect_since_ns = 0;
    pause_begins(&marker->yielding, now, first_ns, YIELD_MAX_NS);
    l2_marker_lose(l2);
    l2->counters->l2_contested = 1;
    (void)trouble_happens(
        &marker->contest, LOG_LEVEL_WARNING, now,
        "l2: %s (%016" PRIx64 ") uses the prefix \"%s\" in Redis too, and L2 is left to it: "
        "give each store a redis_prefix of its own",
        same_store ? "another history of this store, perhaps a restored copy," : "another store",
        marker->at.store_id, l2->key_prefix);
}

static void end_yielding(struct l2 *l2)
{
    l2->marker.yielded = false;
    l2->counters->l2_contested = 0;
    trouble_ends(&l2->marker.contest, clock_ns(), "l2: the prefix is used by this store alone again");
}

bool l2_contest_yields(const struct l2 *l2)
{
    return l2->marker.yielded && pause_lasts(&l2->marker.yielding, clock_ns());
}

bool l2_contest_stays_out(struct l2 *l2)
{
    const struct l2_marker *marker = &l2->marker;
    bool stood_still =
        marker->rival_epoch == marker->epoch && memcmp(&marker->rival, &marker->at, sizeof marker->at) == 0;
    if (!marker->yielded || stood_still)
        return false;
    yield(l2);
    return true;
}

void l2_contest_lost(struct l2 *l2)
{
    yield(l2);
}

void l2_contest_won(struct l2 *l2)
{
    /* The fleet logs at most CONTESTS_MAX of these lines, so no struct trouble counts them. */
    log_warning("l2: the marker was not of this store's log: a new epoch has begun");
    end_yielding(l2);
}

void l2_contest_over(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    if (marker->yielded)
        end_yielding(l2);
    if (clock_ns() - marker->yielding.until_ns > YIELD_CALM_NS && !pause_lasts(&marker->yielding, clock_ns()))
        pause_ends(&marker->yielding);
}
