/* What the tests of L2's single promises have a host do: follow the store, read, put and look. */
#ifndef PERMTAB_TESTS_UNIT_L2_STEPS_H
#define PERMTAB_TESTS_UNIT_L2_STEPS_H

#include "tests/unit/l2_hosts.h"

static const struct scope_key nowhere = {999, 1}; /* what L2 says of it names no roles */

/* As poll_store, without a store that is perhaps replaced meanwhile. */
static inline void follow(struct host *host)
{
    uint64_t begun = clock_ns(), revision = host->world->past.revision;
    do
        commit_something(host->world);
    while (host->world->past.revision == revision);
    apply_batch(host);
    remember_applied(host);
    publish_renew(host->publish, begun);
    host->l2->marker.begun_ns = 0;
    l2_applied(host->l2);
}

/* Reads for a user; *epoch: that of L2 meanwhile. */
static inline void read_rows(struct host *host, uint64_t user, struct scope_key scope, struct facts *facts,
                             uint64_t *epoch)
{
    struct world *world = host->world;
    assert_true(l2_epoch(host->l2, epoch));
    memory_facts(&world->past.policy, user, scope, world->past.now, facts);
    facts->revision = world->past.revision;
    facts->nonce = nonce_at(world, world->past.revision);
    facts->now = world->past.now;
}

static inline void publish_and_put(struct host *host, struct facts *facts, uint64_t epoch, uint64_t cost_us)
{
    struct answer answer = {0};
    assert_int_equal(publish_facts(host->publish, facts, clock_ns(), &answer), PUBLISH_FILLED);
    answer_fini(&answer);
    l2_put(host->l2, facts, epoch, cost_us, false);
}

static inline void put(struct host *host, uint64_t user, struct scope_key scope, uint64_t cost_us)
{
    struct facts facts;
    uint64_t epoch;
    read_rows(host, user, scope, &facts, &epoch);
    publish_and_put(host, &facts, epoch, cost_us);
}

static inline void on_looked(void *context, enum l2_outcome outcome, const struct answer *answer)
{
    (void)answer;
    *(enum l2_outcome *)context = outcome;
}

static inline struct l2_look *look_for(struct host *host, enum l2_outcome *outcome)
{
    *outcome = (enum l2_outcome)99;
    return l2_look(host->l2, 1, nowhere, 0, on_looked, outcome);
}

static inline void forget_values(struct world *world)
{
    ask_redis(world,
              "EVAL \"for _, k in ipairs(redis.call('KEYS', 'p:*{*')) do redis.call('DEL', k) end\" 0");
}

#endif
