/* What a policy in memory gave, and when: a version for each revision and each reading of the store's clock, with the
 * time at which it came into force and the time at which the next one took its place. An answer of a table is held
 * against the versions that its reader may be told of. */
#ifndef PERMTAB_TESTS_STRESS_PUBLISHER_TRUTH_H
#define PERMTAB_TESTS_STRESS_PUBLISHER_TRUTH_H

#include "tests/support/changing_policy.h"

#include <stdbool.h>
#include <stdint.h>

/* Every user at every place that changing_policy knows, and at places that are never there. */
#define TRUTH_SCOPES 20u
#define TRUTH_KEYS   (CHANGING_USERS_MAX * TRUTH_SCOPES)
#define TRUTH_WORDS  4u /* any, any, own, own */

struct truth_version {
    uint64_t history, revision;
    int64_t now; /* the store's clock */
    uint64_t since_ns, until_ns;
    uint64_t bits[TRUTH_KEYS][TRUTH_WORDS];
};

struct truth {
    struct truth_version *versions; /* oldest first; those that nobody may be told of any more are dropped */
    size_t count;
    uint32_t keys; /* those of the users that there are */
};

void truth_fini(struct truth *truth);
void truth_key(uint32_t number, uint64_t *user, struct scope_key *scope);
/* The policy has just become what it is now. `oldest_ns`: what ceased to hold before may be forgotten. */
void truth_note(struct truth *truth, struct changing_policy *policy, uint64_t clock_ns, uint64_t oldest_ns);

/* The versions that a reader may be told of: of that history, in force at some time since `from_ns`, and not older
 * than `revision`. */
struct truth_window {
    uint64_t history, revision, from_ns;
};
bool truth_allows(const struct truth *truth, const struct truth_window *window, uint32_t key,
                  const uint64_t bits[TRUTH_WORDS]);
/* Whether it is what the policy says now. */
bool truth_is_newest(const struct truth *truth, uint32_t key, const uint64_t bits[TRUTH_WORDS]);

#endif
