/* The life of a publisher, and of its successors, on a policy that changes: what stress_publisher_killed lets
 * happen. */
#ifndef PERMTAB_TESTS_STRESS_PUBLISHER_LIFE_H
#define PERMTAB_TESTS_STRESS_PUBLISHER_LIFE_H

#include "tests/stress/publisher_operations.h"
#include "tests/stress/publisher_witness.h"

struct life_size {
    const char *name;
    uint64_t entries;     /* that the map is made for */
    uint64_t entries_max; /* that are put in */
    uint32_t sets, folds;
};

struct life_report {
    struct witness_tally tally[OPERATION_COUNT];
    uint64_t slept, deaths, wrong;
    uint64_t together; /* users who were published with others of one place */
    char said[512];
};

/* Ends early after a wrong answer. */
void life_run(const struct life_size *size, uint64_t seed, uint64_t steps, struct life_report *report);

#endif
