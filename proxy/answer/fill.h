/* Fills: a missing (user, scope) is read from the store once, however many ask (single-flight); the publisher
 * fences the facts, and the fill is repeated when it raced with a change. On the loop's thread. */
#ifndef PERMTAB_ANSWER_FILL_H
#define PERMTAB_ANSWER_FILL_H

#include "proxy/answer/fetch.h"
#include "proxy/base/counters.h"
#include "proxy/feed/feed.h"
#include "proxy/table/publisher.h"

struct fills;
struct l2;
struct fill_wait; /* a wait for a fill */

/* code 0: `answer` is good and borrowed for the call. Else a failure: PERMTAB_E_STORE, _TIMEOUT, _LIMIT, _MEMORY,
 * _FULL. */
typedef void (*fill_done_fn)(void *context, int code, const char *text, const struct answer *answer);

/* Everything that the options point to is borrowed. */
struct fills_options {
    struct event_base *base;
    struct fetches *fetches;
    struct publisher *publisher;
    struct feed *feed;
    struct l2 *l2; /* facts that were read are put there, too; NULL: nowhere */
    struct counters *counters;
    uint64_t timeout_ms;
    size_t waiting_max;
};

int fills_new(struct fills **out, const struct fills_options *options) PERMTAB_MUST_CHECK;
/* Calls done of every wait with PERMTAB_E_UNREACHABLE. */
void fills_free(struct fills *fills);

/* `revision`: the answer must not be older (0: any). `lane`: who waits; a fill that nobody but READ_WARM waits for
 * displaces no entry (PERMTAB_E_FULL), and is not made for a user without rows (PERMTAB_E_NOT_FOUND). `done` is called
 * later, never from inside; the wait can be cancelled until then. NULL when waiting_max is reached or memory is
 * short. */
struct fill_wait *fill_request(struct fills *fills, uint64_t user, struct scope_key scope, uint64_t revision,
                               enum read_lane lane, fill_done_fn done, void *context);
void fill_cancel(struct fill_wait *wait);
/* Inside of `done`: whether what it is told has been read from the store, or its replica; not kept from before. */
bool fill_was_read(const struct fill_wait *wait);
/* Reads again a value that L2 is about to forget; nobody waits for it. Does nothing when it is being read, or when
 * there is much to read. */
void fill_refresh(struct fills *fills, uint64_t user, struct scope_key scope);
/* Publishes fills that were early, as many as go into a turn of the loop; the others in the next ones. To be called
 * after each batch of the feed. */
void fills_applied(struct fills *fills, uint64_t revision);

#endif
