/* Counting the census: reads all users with rows from the store, slice by slice on a helper thread, with pauses, and begins
 * anew when the census was lost. On the loop's thread, but for the reading itself. */
#ifndef PERMTAB_ANSWER_CENSUS_COUNT_H
#define PERMTAB_ANSWER_CENSUS_COUNT_H

#include "proxy/answer/census.h"
#include "proxy/feed/feed.h"
#include "proxy/store/work.h"

struct census_count;

/* Begins at once. `work` connects to the primary store. */
int census_count_new(struct census_count **out, struct event_base *base, struct work *work,
                     struct publisher *publisher, struct feed *feed, struct census *census,
                     struct counters *counters) PERMTAB_MUST_CHECK;
/* After work_free: a slice may be under way. */
void census_count_free(struct census_count *count);
/* After every poll that was applied, before anybody asks the census. */
void census_count_applied(struct census_count *count);

#endif
