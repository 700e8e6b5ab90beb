/* A batch of many turns. */
#ifndef PERMTAB_TESTS_UNIT_FEED_FEED_CROWD_H
#define PERMTAB_TESTS_UNIT_FEED_FEED_CROWD_H

#include "proxy/table/fill.h"
#include "tests/unit/feed/feed_fixture.h"

#define CROWD 9000u /* some slices, at a scope that is not in the store */

static const struct scope_key crowded = {1, 1};

static void fill_crowd(struct fixture *fixture)
{
    struct memory_policy policy;
    struct facts facts;
    memory_policy_init(&policy);
    memory_facts(&policy, 1, crowded, 1000, &facts);
    facts.revision = facts.nonce = FIRST;
    facts.generation = publisher_generation(fixture->publisher);
    for (uint64_t user = 1; user <= CROWD; user++) {
        struct answer answer = {0};
        facts.user = user;
        assert_int_equal(publisher_fill(fixture->publisher, &facts, 1, &answer), PUBLISHER_FILLED);
        answer_fini(&answer);
    }
    facts_fini(&facts);
    memory_policy_fini(&policy);
}

/* Serves polls until the first slice of the crowd has gone. */
static void begin_to_disperse(struct fixture *fixture)
{
    serve_polls(fixture, 1);
    fill_crowd(fixture);
    lock();
    fake.kind = CHANGE_SCOPE;
    fake.scope = crowded;
    fake.revision++;
    unlock();
    while (fixture->counters.entries_retired == 0)
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
}

#endif
