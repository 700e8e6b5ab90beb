/* A slice is not simply added, because a connection may have found a restored store at the same address before the
 * feed did, and rows missing there are not missing in the history that the table follows. So a slice counts only
 * when the table has come to its snapshot and went through the same nonce there; and never when it is older than
 * the beginning, because changes before that were not added. */
#include "proxy/answer/known_users.h"

#include <string.h>

int known_users_init(struct known_users *known_users, uint64_t users_max, uint64_t seed)
{
    memset(known_users, 0, sizeof *known_users);
    return user_filter_init(&known_users->filter, users_max, seed);
}

void known_users_fini(struct known_users *known_users)
{
    user_filter_fini(&known_users->filter);
}

void known_users_begin(struct known_users *known_users, const struct publisher *publisher)
{
    user_filter_clear(&known_users->filter);
    known_users->state = KNOWN_USERS_COUNTING;
    known_users->generation = publisher_generation(publisher);
    known_users->begun = publisher_position(publisher).revision;
    known_users->seen = known_users->begun;
}

enum known_users_slice known_users_take(struct known_users *known_users, const struct publisher *publisher,
                                        const struct log_position *at, const uint64_t *users, size_t count)
{
    struct log_position applied = publisher_position(publisher);
    if (known_users->state != KNOWN_USERS_COUNTING ||
        known_users->generation != publisher_generation(publisher) || at->store_id != applied.store_id ||
        at->revision < known_users->begun)
        return KNOWN_USERS_FOREIGN;
    if (at->revision > applied.revision)
        return KNOWN_USERS_EARLY;
    if (!history_continues(publisher_history(publisher), at->revision, at->nonce))
        return KNOWN_USERS_FOREIGN;
    for (size_t i = 0; i < count; i++)
        user_filter_add(&known_users->filter, users[i]);
    if (user_filter_overfull(&known_users->filter))
        known_users->state = KNOWN_USERS_OVERFULL;
    return KNOWN_USERS_TAKEN;
}

void known_users_complete(struct known_users *known_users)
{
    if (known_users->state == KNOWN_USERS_COUNTING)
        known_users->state = KNOWN_USERS_COMPLETE;
}

/* Whether the change names a user. An overwrite's row names a user or a role; when it names neither, its subject
 * has the id 0, and may be either. */
static bool names_user(const struct change *change)
{
    return change->kind == CHANGE_ASSIGNMENT ||
           (change->kind == CHANGE_OVERWRITE && (change->user != 0 || change->role == 0));
}

/* Adds the users that changes after `seen` name; false when those are not remembered any more. */
static bool add_named(struct known_users *known_users, const struct history *history, uint64_t to)
{
    for (; known_users->seen < to; known_users->seen++) {
        const struct change *change = history_at(history, known_users->seen + 1);
        if (change == NULL)
            return false;
        if (names_user(change))
            user_filter_add(&known_users->filter, change->user);
    }
    return true;
}

void known_users_applied(struct known_users *known_users, const struct publisher *publisher)
{
    if (known_users->state != KNOWN_USERS_COUNTING && known_users->state != KNOWN_USERS_COMPLETE)
        return;
    uint64_t to = publisher_position(publisher).revision;
    if (known_users->generation != publisher_generation(publisher) ||
        !add_named(known_users, publisher_history(publisher), to))
        known_users->state = KNOWN_USERS_NONE;
    else if (user_filter_overfull(&known_users->filter))
        known_users->state =
            known_users->state == KNOWN_USERS_COMPLETE ? KNOWN_USERS_NONE : KNOWN_USERS_OVERFULL;
}

bool known_users_tell(const struct known_users *known_users, const struct publisher *publisher)
{
    return known_users->state == KNOWN_USERS_COMPLETE &&
           known_users->generation == publisher_generation(publisher) &&
           known_users->seen == publisher_position(publisher).revision;
}

bool known_users_include(const struct known_users *known_users, const struct publisher *publisher,
                         uint64_t user)
{
    return !known_users_tell(known_users, publisher) || user_filter_has(&known_users->filter, user);
}
