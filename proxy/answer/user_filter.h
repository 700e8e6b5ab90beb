/* A set of user ids that may say "perhaps" for an id that was never added, and never says "no" for one that was: B.
 * H. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", CACM 13 (1970). 16 bits a user and 11
 * looks: when it holds users_max users, one stranger in 2,000 is taken for known. Nothing can be removed. Pure. */
#ifndef PERMTAB_ANSWER_USER_FILTER_H
#define PERMTAB_ANSWER_USER_FILTER_H

#include "shm/error.h"

#include <stdbool.h>
#include <stdint.h>

struct user_filter {
    uint64_t *words;
    uint64_t bits;
    uint64_t seed;
    uint64_t users; /* added users, as far as they could be told apart */
    uint64_t users_max;
};

/* Makes room for users_max, at least 1: two bytes each. `seed`: random, so that nobody knows ids that are mistaken
 * for known ones. PERMTAB_E_MEMORY. */
int user_filter_init(struct user_filter *filter, uint64_t users_max, uint64_t seed) PERMTAB_MUST_CHECK;
void user_filter_fini(struct user_filter *filter);
void user_filter_clear(struct user_filter *filter);
void user_filter_add(struct user_filter *filter, uint64_t user);
/* False: the user was never added. */
bool user_filter_has(const struct user_filter *filter, uint64_t user);
/* Whether more than users_max were added: the filter says "perhaps" too often. */
bool user_filter_overfull(const struct user_filter *filter);

#endif
