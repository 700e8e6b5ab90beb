/* A set of user ids that may say "perhaps" of one that was never added, and never "no" of one that was: B. H. Bloom,
 * "Space/Time Trade-offs in Hash Coding with Allowable Errors", CACM 13 (1970). 16 bits a user and 11 looks: when it
 * holds as many as it was made for, one stranger in 2,000 is taken for known. Nothing can be removed. Pure. */
#ifndef PERMTAB_ANSWER_USER_FILTER_H
#define PERMTAB_ANSWER_USER_FILTER_H

#include "shm/error.h"

#include <stdbool.h>
#include <stdint.h>

struct user_filter {
    uint64_t *words;
    uint64_t bits;
    uint64_t seed;
    uint64_t users; /* added, as far as they could be told apart */
    uint64_t users_max;
};

/* Room for users_max, at least 1: two bytes each. `seed`: at random, so that nobody knows ids that are mistaken for known
 * ones. PERMTAB_E_MEMORY. */
int user_filter_init(struct user_filter *filter, uint64_t users_max, uint64_t seed) PERMTAB_MUST_CHECK;
void user_filter_fini(struct user_filter *filter);
void user_filter_clear(struct user_filter *filter);
void user_filter_add(struct user_filter *filter, uint64_t user);
/* False: was never added. */
bool user_filter_has(const struct user_filter *filter, uint64_t user);
/* More were added than it was made for: it says "perhaps" too often. */
bool user_filter_overfull(const struct user_filter *filter);

#endif
