/* Retiring in slices: what is true between two of them, what may happen there, and that nothing is left after the
 * last. Random histories with slices are in test_publisher_property.c, whole passes over the table in
 * test_publisher_scan.c. */
#include "proxy/table/audit.h"
#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull
#define USERS  200u
#define WORK   50u

enum { SEND };

static const struct scope_key global = {0, 0}, server = {1, 1}, other = {2, 1}, channel = {100, 3},
                              plain = {101, 3};

struct fixture {
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    struct batch batch;
    uint64_t revision; /* of the policy */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct publisher_options options = {
        .permissions_max = 64, .entries = 5000, .sets = 100, .folds = 10, .max_staleness_ns = 2 * SECOND};
    struct log_position at = {7, 1, 1};
    struct catalogue catalogue;
    memory_policy_init(&f->policy);
    memory_permission(&f->policy, "message.send");
    memory_scope(&f->policy, server, global, NULL);
    memory_scope(&f->policy, other, global, NULL);
    memory_scope(&f->policy, channel, server, NULL);
    memory_scope(&f->policy, plain, server, NULL);
    memory_role(&f->policy, 100, "member", server, true, true);
    memory_role(&f->policy, 200, "member", other, true, true);
    memory_role(&f->policy, 300, "guest", other, false, true);
    memory_grant(&f->policy, 100, GRANT_ALLOW, SEND);
    memory_grant(&f->policy, 300, GRANT_ALLOW, SEND);
    memory_overwrite(&f->policy, channel, OVERWRITE_ROLE, 100, SEND, false);
    memory_catalogue(&f->policy, 1, &catalogue);
    f->revision = 1;
    assert_int_equal(publisher_new(&f->publisher, &options, &at, 1000, &catalogue, &f->counters, NULL), 0);
    publisher_renew(f->publisher, SECOND);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    publisher_free(f->publisher);
    batch_fini(&f->batch);
    memory_policy_fini(&f->policy);
    free(f);
    return 0;
}

static void read_facts(struct fixture *f, uint64_t user, struct scope_key scope, struct facts *facts)
{
    memory_facts(&f->policy, user, scope, 1000, facts);
    facts->revision = f->revision;
    facts->nonce = 1;
    facts->generation = publisher_generation(f->publisher);
}

static enum publisher_outcome fill(struct fixture *f, uint64_t user, struct scope_key scope)
{
    struct facts facts;
    struct answer answer = {0};
    read_facts(f, user, scope, &facts);
    enum publisher_outcome outcome = publisher_fill(f->publisher, &facts, SECOND, &answer);
    facts_fini(&facts);
    answer_fini(&answer);
    return outcome;
}

/* 1 allowed, 0 denied, -1 not resident. */
static int resident(struct fixture *f, uint64_t user, struct scope_key scope)
{
    struct answer answer;
    if (!publisher_lookup(f->publisher, user, scope, &answer))
        return -1;
    int allowed = bitmap_test(answer.any, SEND);
    answer_fini(&answer);
    return allowed;
}

static unsigned count(struct fixture *f, struct scope_key scope)
{
    unsigned found = 0;
    for (uint64_t user = 1; user <= USERS; user++)
        found += resident(f, user, scope) >= 0;
    return found;
}

/* Everybody at both servers and at the channel of the first. */
static void fill_all(struct fixture *f)
{
    for (uint64_t user = 1; user <= USERS; user++) {
        assert_int_equal(fill(f, user, server), PUBLISHER_FILLED);
        assert_int_equal(fill(f, user, channel), PUBLISHER_FILLED);
        assert_int_equal(fill(f, user, other), PUBLISHER_FILLED);
    }
    assert_int_equal(fill(f, 1, plain), PUBLISHER_FILLED);
    assert_int_equal(f->counters.folds, 1);
}

static void hear(struct fixture *f, struct scope_key scope, uint64_t revision, uint64_t now_ns)
{
    struct target target = {.kind = TARGET_SCOPE, .scope = scope};
    (void)publisher_hear(f->publisher, &target, revision, now_ns);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static void a_message_is_obeyed_slice_by_slice(void **state)
{
    struct fixture *f = *state;
    unsigned slices = 1;
    fill_all(f);
    hear(f, server, 2, 2 * SECOND);
    while (publisher_hear_slice(f->publisher, 2 * SECOND, WORK)) {
        assert_in_range(f->counters.entries_retired, 1, slices * WORK);
        assert_int_equal(count(f, server) + count(f, channel), 2 * USERS - f->counters.entries_retired);
        /* A poll that began before the message proves nothing about it, and keeps the lease. */
        publisher_renew(f->publisher, SECOND + slices);
        slices++;
    }
    assert_true(slices >= 2 * USERS / WORK);
    assert_int_equal(count(f, server) + count(f, channel), 0);
    assert_int_equal(resident(f, 1, plain), -1);
    assert_int_equal(f->counters.folds, 0);
    assert_int_equal(count(f, other), USERS);
    assert_false(publisher_hear_slice(f->publisher, 2 * SECOND, WORK));
}

static void a_fill_cannot_outrun_the_slices(void **state)
{
    struct fixture *f = *state;
    fill_all(f);
    hear(f, server, 2, 2 * SECOND);
    assert_int_equal(fill(f, 1000, server), PUBLISHER_EARLY); /* before the first slice, too */
    while (publisher_hear_slice(f->publisher, 2 * SECOND, WORK)) {
        assert_int_equal(fill(f, 1, server), PUBLISHER_EARLY);
        assert_int_equal(fill(f, 1, channel), PUBLISHER_EARLY);
        assert_int_equal(fill(f, 1, other), PUBLISHER_FILLED);
    }
    assert_int_equal(fill(f, 1, server), PUBLISHER_EARLY);
    publisher_renew(f->publisher, 2 * SECOND + 1);
    assert_int_equal(fill(f, 1, server), PUBLISHER_FILLED);
}

static void a_second_message_is_not_lost(void **state)
{
    struct fixture *f = *state;
    struct target user = {.kind = TARGET_USER, .id = 5};
    fill_all(f);
    hear(f, server, 2, 2 * SECOND);
    assert_true(publisher_hear_slice(f->publisher, 2 * SECOND, WORK));
    hear(f, other, 3, 2 * SECOND);
    assert_int_equal(fill(f, 1, other), PUBLISHER_EARLY);
    (void)publisher_hear(f->publisher, &user, 4, 2 * SECOND);
    assert_int_equal(resident(f, 5, other), -1);
    hear(f, server, 5, 2 * SECOND); /* the same again */
    while (publisher_hear_slice(f->publisher, 2 * SECOND, WORK))
        ;
    assert_int_equal(count(f, server) + count(f, channel) + count(f, other), 0);
}

static void a_poll_ends_what_an_invention_began(void **state)
{
    struct fixture *f = *state;
    fill_all(f);
    hear(f, server, 2, 2 * SECOND);
    assert_true(publisher_hear_slice(f->publisher, 2 * SECOND, WORK));
    publisher_renew(f->publisher, 2 * SECOND + 1);
    uint64_t left = count(f, server) + count(f, channel);
    assert_false(publisher_hear_slice(f->publisher, 2 * SECOND, WORK));
    assert_int_equal(count(f, server) + count(f, channel), left);
}

/* ---- on demand --------------------------------------------------------------------------------------------------- */

static void nothing_filled_meanwhile_is_left(void **state)
{
    struct fixture *f = *state;
    struct publisher_retiring retiring;
    uint64_t next = 1000, retired = 0, work = WORK;
    fill_all(f);
    publisher_retire_scope_begin(f->publisher, &retiring, server);
    while (publisher_retire_scope_slice(f->publisher, &retiring, &work, &retired)) {
        work = WORK;
        assert_int_equal(fill(f, next++, channel), PUBLISHER_FILLED);
        assert_int_equal(fill(f, next++, server), PUBLISHER_FILLED);
        assert_int_equal(fill(f, next++, plain), PUBLISHER_FILLED);
    }
    assert_true(next >= 1000 + 3 * (2 * USERS / WORK - 1));
    assert_int_equal(count(f, server) + count(f, channel), 0);
    for (uint64_t user = 1000; user < next; user++)
        assert_int_equal(resident(f, user, channel) + resident(f, user, server) + resident(f, user, plain),
                         -3);
    publisher_renew(f->publisher, SECOND);
    assert_int_equal(f->counters.folds, 0);
    assert_int_equal(f->counters.entries, USERS);
}

/* A pattern that means a place meets it in one slot, and is not done with it in one slice. What is retired in that
 * slice is not what lies in that slot, so it is not done with the slot either. */
static bool is_server(void *context, struct scope_key scope)
{
    (void)context;
    return scope_equal(scope, server);
}

static void a_place_takes_many_slices_of_a_pass(void **state)
{
    struct fixture *f = *state;
    struct publisher_match match = {.scope = is_server};
    struct publisher_scan scan;
    uint64_t retired = 0, before = 0;
    fill_all(f);
    publisher_scan_begin(f->publisher, &scan, &match);
    while (publisher_scan_slice(f->publisher, &scan, 3, &match, &retired)) {
        assert_in_range(retired - before, 0, 3);
        before = retired;
    }
    assert_int_equal(retired, 2 * USERS);
    assert_int_equal(count(f, server) + count(f, channel), 0);
    assert_int_equal(count(f, other), USERS);
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

static void begin_batch(struct fixture *f, struct change change, int64_t now)
{
    batch_fini(&f->batch);
    change.revision = ++f->revision;
    change.nonce = 1;
    f->batch = (struct batch){.at = {7, f->revision, 1}, .now = now};
    f->batch.changes.items = malloc(sizeof change);
    f->batch.changes.items[0] = change;
    f->batch.changes.count = 1;
    assert_int_equal(publisher_batch_begin(f->publisher, &f->batch, NULL), 0);
}

static int slice(struct fixture *f)
{
    return publisher_batch_slice(f->publisher, SECOND, WORK, NULL);
}

static uint64_t applied_in_table(const struct fixture *f)
{
    return permtab_shm_load64_relaxed(&f->publisher->table->segment.header->beat.applied_revision);
}

static void a_batch_counts_when_its_last_slice_is_done(void **state)
{
    struct fixture *f = *state;
    uint64_t deadline = publisher_deadline(f->publisher);
    unsigned slices = 1;
    fill_all(f);
    begin_batch(f, (struct change){.kind = CHANGE_SCOPE, .scope = server}, 1000);
    for (; slice(f) == 1; slices++) {
        assert_true(count(f, server) + count(f, channel) >= 2 * USERS - slices * WORK);
        assert_int_equal(publisher_position(f->publisher).revision, 1);
        assert_int_equal(applied_in_table(f), 1);
        assert_int_equal(publisher_deadline(f->publisher), deadline);
    }
    assert_true(slices >= 2 * USERS / WORK);
    assert_int_equal(count(f, server) + count(f, channel), 0);
    assert_int_equal(count(f, other), USERS);
    assert_int_equal(applied_in_table(f), 2);
    assert_int_equal(f->counters.entries_retired, 2 * USERS);
}

static void fills_of_what_a_batch_touches_are_read_again(void **state)
{
    struct fixture *f = *state;
    fill_all(f);
    begin_batch(f, (struct change){.kind = CHANGE_SCOPE, .scope = server}, 1000);
    f->revision = 1; /* as the facts that are on their way */
    assert_int_equal(slice(f), 1);
    do {
        assert_int_equal(fill(f, 1, server), PUBLISHER_OUTDATED);
        assert_int_equal(fill(f, 1000, channel), PUBLISHER_OUTDATED);
        assert_int_equal(fill(f, 1000, other), PUBLISHER_FILLED);
    } while (slice(f) == 1);
    assert_int_equal(resident(f, 1, server), -1);
    assert_int_equal(resident(f, 1000, channel), -1);
    assert_int_equal(resident(f, 1000, other), 0);
    assert_int_equal(fill(f, 1, server), PUBLISHER_OUTDATED); /* of revision 1 still */
    f->revision = 2;
    assert_int_equal(fill(f, 1, server), PUBLISHER_FILLED);
}

/* A guest's assignment ended long before the batch's clock, and his entry is gone with the first slice. Facts whose
 * clock is older do not bring it back; and the auditor, who would judge by the older clock, says nothing. */
static void what_has_ended_does_not_come_back(void **state)
{
    struct fixture *f = *state;
    struct audit_finding finding;
    struct facts facts;
    fill_all(f);
    memory_assign(&f->policy, 3000, 300, other, 10000000);
    assert_int_equal(fill(f, 3000, other), PUBLISHER_FILLED);
    assert_int_equal(resident(f, 3000, other), 1);
    begin_batch(f, (struct change){.kind = CHANGE_SCOPE, .scope = server}, 20000000);
    f->batch.expired.items = calloc(1, sizeof(struct change));
    f->batch.expired.items[0] = (struct change){.kind = CHANGE_ASSIGNMENT, .user = 3000, .scope = other};
    f->batch.expired.count = 1;
    f->revision = 1;
    assert_int_equal(slice(f), 1);
    assert_int_equal(resident(f, 3000, other), -1);
    assert_int_equal(fill(f, 3000, other), PUBLISHER_FILLED);
    assert_int_equal(resident(f, 3000, other), 0);
    read_facts(f, 3000, other, &facts);
    assert_int_equal(publisher_audit(f->publisher, &facts, &finding), AUDIT_UNSURE);
    facts_fini(&facts);
    while (slice(f) == 1)
        ;
    assert_int_equal(publisher_expiry(f->publisher), 20000000);
    assert_int_equal(resident(f, 3000, other), 0);
}

/* The store says something else by then, and the rows are read again. */
static void a_forgotten_batch_leaves_holes_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    fill_all(f);
    begin_batch(f, (struct change){.kind = CHANGE_SCOPE, .scope = server}, 1000);
    assert_int_equal(slice(f), 1);
    publisher_batch_forget(f->publisher);
    assert_int_equal(publisher_position(f->publisher).revision, 1);
    uint64_t left = count(f, server) + count(f, channel);
    assert_true(left > 0 && left < 2 * USERS);
    f->revision = 1;
    assert_int_equal(fill(f, 1, server), PUBLISHER_FILLED);
    begin_batch(f, (struct change){.kind = CHANGE_SCOPE, .scope = server}, 1000);
    while (slice(f) == 1)
        ;
    assert_int_equal(publisher_position(f->publisher).revision, 2);
    assert_int_equal(count(f, server) + count(f, channel), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_message_is_obeyed_slice_by_slice),
        T(a_fill_cannot_outrun_the_slices),
        T(a_second_message_is_not_lost),
        T(a_poll_ends_what_an_invention_began),
        T(nothing_filled_meanwhile_is_left),
        T(a_place_takes_many_slices_of_a_pass),
        T(a_batch_counts_when_its_last_slice_is_done),
        T(fills_of_what_a_batch_touches_are_read_again),
        T(what_has_ended_does_not_come_back),
        T(a_forgotten_batch_leaves_holes_and_nothing_else),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
