/* Reading the known users: reads all users with rows from the store, slice by slice on a helper thread, with pauses, and begins
 * anew when what is known was lost. On the loop's thread, but for the reading itself. */
#ifndef PERMTAB_ANSWER_KNOWN_USERS_READ_H
#define PERMTAB_ANSWER_KNOWN_USERS_READ_H

#include "proxy/answer/known_users.h"
#include "proxy/feed/feed.h"
#include "proxy/store/threads.h"

struct known_users_read;

/* All of it is borrowed. */
struct known_users_read_options {
    struct event_base *base;
    struct store_threads *pool; /* of the primary store */
    struct publisher *publisher;
    struct feed *feed;
    struct known_users *known_users;
    struct counters *counters;
};

/* Begins at once. */
int known_users_read_new(struct known_users_read **out,
                         const struct known_users_read_options *options) PERMTAB_MUST_CHECK;
/* After store_threads_free: a slice may be under way. */
void known_users_read_free(struct known_users_read *count);
/* After every poll that was applied, before anybody asks who is known. */
void known_users_read_applied(struct known_users_read *count);

#endif
