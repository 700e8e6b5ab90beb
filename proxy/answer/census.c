/* Why a slice is not simply added: a connection may have found a restored store at the same address before the feed did, and
 * what is missing there is not missing in the history that the table follows. So a slice counts only when the table has
 * come to its snapshot and went through the same nonce there; and never when it is older than the beginning,
 * for changes before that were not added. */
#include "proxy/answer/census.h"

#include <string.h>

int census_init(struct census *census, uint64_t users_max, uint64_t seed)
{
    memset(census, 0, sizeof *census);
    return user_filter_init(&census->filter, users_max, seed);
}

void census_fini(struct census *census)
{
    user_filter_fini(&census->filter);
}

void census_begin(struct census *census, const struct publisher *publisher)
{
    user_filter_clear(&census->filter);
    census->state = CENSUS_COUNTING;
    census->generation = publisher_generation(publisher);
    census->begun = publisher_position(publisher).revision;
    census->seen = census->begun;
}

enum census_slice census_take(struct census *census, const struct publisher *publisher,
                              const struct log_position *at, const uint64_t *users, size_t count)
{
    struct log_position applied = publisher_position(publisher);
    if (census->state != CENSUS_COUNTING || census->generation != publisher_generation(publisher) ||
        at->store_id != applied.store_id || at->revision < census->begun)
        return CENSUS_FOREIGN;
    if (at->revision > applied.revision)
        return CENSUS_EARLY;
    if (!history_continues(publisher_history(publisher), at->revision, at->nonce))
        return CENSUS_FOREIGN;
    for (size_t i = 0; i < count; i++)
        user_filter_add(&census->filter, users[i]);
    if (user_filter_overfull(&census->filter))
        census->state = CENSUS_OVERFULL;
    return CENSUS_TAKEN;
}

void census_complete(struct census *census)
{
    if (census->state == CENSUS_COUNTING)
        census->state = CENSUS_COMPLETE;
}

/* An overwrite's row names a user or a role. Neither: its subject has the id 0, and may be either. */
static bool names_user(const struct change *change)
{
    return change->kind == CHANGE_ASSIGNMENT ||
           (change->kind == CHANGE_OVERWRITE && (change->user != 0 || change->role == 0));
}

/* Everything after `seen`; false when that is not remembered any more. */
static bool add_named(struct census *census, const struct history *history, uint64_t to)
{
    for (; census->seen < to; census->seen++) {
        const struct change *change = history_at(history, census->seen + 1);
        if (change == NULL)
            return false;
        if (names_user(change))
            user_filter_add(&census->filter, change->user);
    }
    return true;
}

void census_applied(struct census *census, const struct publisher *publisher)
{
    if (census->state != CENSUS_COUNTING && census->state != CENSUS_COMPLETE)
        return;
    uint64_t to = publisher_position(publisher).revision;
    if (census->generation != publisher_generation(publisher) || !add_named(census, publisher_history(publisher), to))
        census->state = CENSUS_NONE;
    else if (user_filter_overfull(&census->filter))
        census->state = census->state == CENSUS_COMPLETE ? CENSUS_NONE : CENSUS_OVERFULL;
}

bool census_knows(const struct census *census, const struct publisher *publisher, uint64_t user)
{
    return census->state != CENSUS_COMPLETE || census->generation != publisher_generation(publisher) ||
           census->seen != publisher_position(publisher).revision || user_filter_has(&census->filter, user);
}
