/* The known users: those that have rows of their own (an assignment or an overwrite, anywhere), as a filter that is
 * true at the table's revision. A user that is not in it is a stranger, and has at each place the permissions that
 * the place gives to anybody.
 *
 * The users are counted in slices of ids, read one after the other, each in a snapshot of its own
 * (known_users_read.c). A user has rows at the applied revision only if the slice with that id had it, or a change
 * after that slice's snapshot names it. Every change since the beginning is added, whatever it did, so the filter
 * holds a superset of the users with rows at any revision since then. No I/O here; on the loop's thread. */
#ifndef PERMTAB_ANSWER_KNOWN_USERS_H
#define PERMTAB_ANSWER_KNOWN_USERS_H

#include "proxy/answer/user_filter.h"
#include "proxy/table/publisher.h"

enum known_users_state {
    KNOWN_USERS_NONE,     /* the users are to be counted anew */
    KNOWN_USERS_COUNTING, /* slices are being taken */
    KNOWN_USERS_COMPLETE, /* good, as long as known_users_applied keeps up with the table */
    KNOWN_USERS_OVERFULL, /* more users than it has room for: of no use */
};

struct known_users {
    struct user_filter filter;
    enum known_users_state state;
    uint64_t generation; /* of the table's history that the filter belongs to */
    uint64_t begun;      /* applied revision when the counting began */
    uint64_t seen;       /* changes up to here are in it */
};

int known_users_init(struct known_users *known_users, uint64_t users_max, uint64_t seed) PERMTAB_MUST_CHECK;
void known_users_fini(struct known_users *known_users);

/* Empties the filter and begins to count. Slices read from the primary store from now on may be given to
 * known_users_take. */
void known_users_begin(struct known_users *known_users, const struct publisher *publisher);

enum known_users_slice {
    KNOWN_USERS_TAKEN,
    KNOWN_USERS_EARLY, /* the snapshot is ahead of the table: give it again after the next batch */
    /* the snapshot is of another history, or the filter was lost meanwhile: begin anew */
    KNOWN_USERS_FOREIGN,
};
/* Takes one slice: ids of users with rows, read in one snapshot at `at`. */
enum known_users_slice known_users_take(struct known_users *known_users, const struct publisher *publisher,
                                        const struct log_position *at, const uint64_t *users, size_t count);
/* To be called when all slices are taken. */
void known_users_complete(struct known_users *known_users);

/* Adds the users that changes name. To be called after every batch; until then, as while l2_applied tells those who
 * wait for L2, every user counts as known. A filter of another history, or one that missed changes, is lost; so is a
 * complete one that has outgrown its room, because users may have gone since. */
void known_users_applied(struct known_users *known_users, const struct publisher *publisher);

/* Whether known_users_include tells known users from others. */
bool known_users_tell(const struct known_users *known_users, const struct publisher *publisher);
/* False: the user has no rows at the applied revision. True in doubt. */
bool known_users_include(const struct known_users *known_users, const struct publisher *publisher,
                         uint64_t user);

#endif
