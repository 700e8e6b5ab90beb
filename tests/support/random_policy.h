/* Small random policies that are full of what is awkward: cycles, diamonds, misplaced and expired rows, rows for
 * roles that are not there, tombstones, circular requirements, owners, permissions that grant all. */
#ifndef PERMTAB_TESTS_SUPPORT_RANDOM_POLICY_H
#define PERMTAB_TESTS_SUPPORT_RANDOM_POLICY_H

#include "tests/support/memory_policy.h"
#include "tests/support/random.h"

#define RANDOM_NOW 1000

void random_policy(struct random *random, struct memory_policy *out);
/* A scope and a user to ask about; now and then ones that do not exist. */
struct scope_key random_scope(struct random *random, const struct memory_policy *policy);
uint64_t random_user(struct random *random);
/* Edits definitions alone: grants, `active`, and inheritance when `inheritance`. Who holds what stays. */
void random_role_edit(struct random *random, struct memory_policy *policy, bool inheritance);

#endif
