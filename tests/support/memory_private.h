/* Functions that memory_policy.c and memory_facts.c share. */
#ifndef PERMTAB_TESTS_SUPPORT_MEMORY_PRIVATE_H
#define PERMTAB_TESTS_SUPPORT_MEMORY_PRIVATE_H

#include "tests/support/memory_policy.h"

void memory_die(const char *what) __attribute__((noreturn));
/* `items` with room for one more after `count`. */
void *memory_grown(void *items, size_t count, size_t *capacity, size_t size);
char *memory_text(const char *text);
void memory_sort(struct memory_policy *policy);

/* The place in its list where the rows of that key begin. */
size_t memory_first_parent(struct memory_policy *policy, uint64_t role);
size_t memory_first_grant(struct memory_policy *policy, uint64_t role);
size_t memory_first_assignment(struct memory_policy *policy, uint64_t user);
size_t memory_first_overwrite(struct memory_policy *policy, struct scope_key scope);

#endif
