/* Reading the known users: reads all users with rows from the store, slice by slice on a helper thread, with
 * pauses, and begins anew when the filter was lost. On the loop's thread, except the reading itself. */
#ifndef PERMTAB_ANSWER_KNOWN_USERS_READ_H
#define PERMTAB_ANSWER_KNOWN_USERS_READ_H

#include "proxy/answer/known_users.h"
#include "proxy/feed/feed.h"
#include "proxy/store/threads.h"

struct known_users_read;

/* Everything that the options point to is borrowed. */
struct known_users_read_options {
    struct event_base *base;
    struct store_threads *pool; /* of the primary store */
    struct publisher *publisher;
    struct feed *feed;
    struct known_users *known_users;
    struct counters *counters;
};

/* Begins to read a moment after the start. */
int known_users_read_new(struct known_users_read **out,
                         const struct known_users_read_options *options) PERMTAB_MUST_CHECK;
/* To be called after store_threads_free: a slice may be under way. */
void known_users_read_free(struct known_users_read *count);
/* To be called after every poll that was applied, before anybody asks for known users. */
void known_users_read_applied(struct known_users_read *count);

#endif
