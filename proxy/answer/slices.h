/* Slices: thousands of users at one place, read together for the warm-up and published in shares of a turn of the loop.
 * What a slice cannot do for a user is for an ask of that user alone. On the loop's thread. */
#ifndef PERMTAB_ANSWER_SLICES_H
#define PERMTAB_ANSWER_SLICES_H

#include "proxy/answer/answer.h"

struct counters;
struct fetches;
struct l2;
struct slices;

/* Everything that the options point to is borrowed. */
struct slices_options {
    struct event_base *base;
    struct fetches *fetches;
    struct publisher *publisher;
    struct feed *feed;
    struct l2 *l2; /* NULL: no slice is begun from there */
    struct counters *counters;
};

int slices_new(struct slices **out, const struct slices_options *options) PERMTAB_MUST_CHECK;
/* To be called after store_threads_free, and when every slice was told of or cancelled. NULL does nothing. */
void slices_free(struct slices *slices);

/* answering_slice. */
int slice_begin(struct slice **out, struct slices *slices, enum slice_source source, struct scope_key scope,
                const uint64_t *users, size_t count, slice_done_fn done, void *context) PERMTAB_MUST_CHECK;
void slice_cancel(struct slice *slice);
/* answering_slice_max. */
size_t slice_max(const struct slices *slices, enum slice_source source, struct scope_key scope);

/* To be called after each batch of the feed: some may have been ahead of the table. */
void slices_applied(struct slices *slices);

#endif
