/* A publisher whose store is a policy in memory. */
#include "tests/support/memory_publisher.h"

#include "proxy/table/fill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND 1000000000ull
#define NOW    1000

struct publisher *memory_publisher(struct memory_policy *policy, uint32_t entries, uint32_t folds,
                                   struct counters *counters)
{
    struct publisher_options options = {.permissions_max = 64,
                                        .entries = entries,
                                        .sets = 100,
                                        .folds = folds,
                                        .max_staleness_ns = 2 * SECOND};
    struct log_position at = {7, 1, 1};
    struct catalogue catalogue;
    struct publisher *publisher;
    memory_catalogue(policy, 1, &catalogue);
    assert_int_equal(publisher_new(&publisher, &options, &at, NOW, &catalogue, counters, NULL), 0);
    return publisher;
}

void memory_read(const struct publisher *publisher, struct memory_policy *policy, uint64_t revision,
                 uint64_t user, struct scope_key scope, struct facts *out)
{
    memory_facts(policy, user, scope, NOW, out);
    out->generation = publisher_generation(publisher);
    out->revision = revision;
    out->nonce = 1;
    out->now = NOW;
}

void memory_fill(struct publisher *publisher, struct memory_policy *policy, uint64_t revision, uint64_t user,
                 struct scope_key scope)
{
    struct facts facts;
    struct answer answer = {0};
    memory_read(publisher, policy, revision, user, scope, &facts);
    assert_int_equal(publisher_fill(publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
}

bool memory_resident(struct publisher *publisher, uint64_t user, struct scope_key scope)
{
    struct answer answer;
    if (!publisher_lookup(publisher, user, scope, &answer))
        return false;
    answer_fini(&answer);
    return true;
}
