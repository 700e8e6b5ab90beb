/* The census: which users have rows of their own (an assignment or an overwrite, anywhere), as a filter that is true at the
 * table's revision. Whoever is not in it is a stranger, and has everywhere what the place gives to anybody.
 *
 * It is counted in slices of ids, read one after the other, each in a snapshot of its own (census_count.c). A user has rows at the
 * applied revision only if the slice with that id had it, or a change after that slice's snapshot names it. Every change
 * since the beginning is added, whatever it did, so the filter holds a superset of those who have rows at any
 * revision since then. No I/O here; on the loop's thread. */
#ifndef PERMTAB_ANSWER_CENSUS_H
#define PERMTAB_ANSWER_CENSUS_H

#include "proxy/answer/user_filter.h"
#include "proxy/table/publisher.h"

enum census_state {
    CENSUS_NONE,     /* to be counted anew */
    CENSUS_COUNTING, /* slices are being taken */
    CENSUS_COMPLETE, /* good, as long as census_applied keeps up with the table */
    CENSUS_OVERFULL, /* more users than it has room for: of no use */
};

struct census {
    struct user_filter filter;
    enum census_state state;
    uint64_t generation; /* of the table's history that it belongs to */
    uint64_t begun;      /* applied revision when the counting began */
    uint64_t seen;       /* changes up to here are in it */
};

int census_init(struct census *census, uint64_t users_max, uint64_t seed) PERMTAB_MUST_CHECK;
void census_fini(struct census *census);

/* Empties it and begins to count. What is read from the primary store from now on may be brought to census_take. */
void census_begin(struct census *census, const struct publisher *publisher);

enum census_slice {
    CENSUS_TAKEN,
    CENSUS_EARLY,   /* the snapshot is ahead of the table: bring it again after the next batch */
    CENSUS_FOREIGN, /* the snapshot is of another history, or the census was lost meanwhile: begin anew */
};
/* The ids of users with rows, of one slice, read in one snapshot at `at`. */
enum census_slice census_take(struct census *census, const struct publisher *publisher,
                              const struct log_position *at, const uint64_t *users, size_t count);
/* All slices are taken. */
void census_complete(struct census *census);

/* After every batch, before anybody asks: whom the changes name is added. A census of another history, or one that
 * missed changes, is lost; so is a complete one that has outgrown its room, for users may have gone since. */
void census_applied(struct census *census, const struct publisher *publisher);

/* False: the user has no rows at the applied revision. True in doubt. */
bool census_knows(const struct census *census, const struct publisher *publisher, uint64_t user);

#endif
