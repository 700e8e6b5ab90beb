/* A publisher over a policy in memory: three nested scopes, and five members who may send. */
#ifndef PERMTAB_TESTS_UNIT_TABLE_PUBLISHER_FIXTURE_H
#define PERMTAB_TESTS_UNIT_TABLE_PUBLISHER_FIXTURE_H

#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/memory_publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull

enum { SEND, EDIT, PIN };

static const struct scope_key global = {0, 0}, server = {1, 1}, category = {10, 2}, channel = {100, 3};

struct fixture {
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    uint64_t revision;
};

static inline int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    memory_policy_init(&fixture->policy);
    memory_permission(&fixture->policy, "message.send");
    memory_permission(&fixture->policy, "message.edit");
    memory_permission(&fixture->policy, "message.pin");
    memory_scope(&fixture->policy, server, global, NULL);
    memory_scope(&fixture->policy, category, server, NULL);
    memory_scope(&fixture->policy, channel, category, NULL);
    memory_role(&fixture->policy, 100, "member", server, false, true);
    memory_grant(&fixture->policy, 100, GRANT_ALLOW, SEND);
    for (uint64_t user = 1; user <= 5; user++)
        memory_assign(&fixture->policy, user, 100, server, FACTS_NEVER);
    fixture->revision = 1;
    fixture->publisher = memory_publisher(&fixture->policy, 1000, 10, &fixture->counters);
    *state = fixture;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *fixture = *state;
    publisher_free(fixture->publisher);
    memory_policy_fini(&fixture->policy);
    free(fixture);
    return 0;
}

static inline void read_facts(struct fixture *fixture, uint64_t user, struct scope_key scope,
                              struct facts *facts)
{
    memory_read(fixture->publisher, &fixture->policy, fixture->revision, user, scope, facts);
}

static inline enum publisher_outcome fill(struct fixture *fixture, uint64_t user, struct scope_key scope,
                                          struct answer *answer)
{
    struct facts facts;
    read_facts(fixture, user, scope, &facts);
    enum publisher_outcome outcome = publisher_fill(fixture->publisher, &facts, SECOND, answer);
    facts_fini(&facts);
    return outcome;
}

static inline void fill_well(struct fixture *fixture, uint64_t user, struct scope_key scope)
{
    memory_fill(fixture->publisher, &fixture->policy, fixture->revision, user, scope);
}

static inline void apply(struct fixture *fixture, struct change change)
{
    struct batch batch = {.at = {7, ++fixture->revision, 1}, .now = 1000};
    struct role role;
    change.revision = fixture->revision;
    change.nonce = 1;
    batch.changes.items = malloc(sizeof change);
    batch.changes.items[0] = change;
    batch.changes.count = 1;
    if (memory_definition(&fixture->policy, change.role, &role))
        *role_list_add(&batch.roles) = role;
    assert_int_equal(publisher_batch(fixture->publisher, &batch, SECOND, NULL), 0);
    batch_fini(&batch);
}

/* 1 allowed, 0 denied, -1 not resident. */
static inline int resident(struct fixture *fixture, uint64_t user, struct scope_key scope, uint32_t bit)
{
    struct answer answer;
    if (!publisher_lookup(fixture->publisher, user, scope, &answer))
        return -1;
    int allowed = bitmap_test(answer.any, bit);
    answer_fini(&answer);
    return allowed;
}

#endif
