/* The publisher's lease, and what a rebuild, another history or another catalogue leaves of what was read before. */
#include "tests/unit/table/publisher_fixture.h"

static void lease_follows_the_poll(void **state)
{
    struct fixture *fixture = *state;
    assert_false(publisher_leased(fixture->publisher, SECOND));
    publisher_renew(fixture->publisher, 10 * SECOND);
    /* The deadline is never later than max_staleness after the poll began; a little shorter for the coarse clock. */
    assert_true(publisher_deadline(fixture->publisher) <= 12 * SECOND - 20000000ull);
    assert_true(publisher_deadline(fixture->publisher) >= 12 * SECOND - 200000000ull);
    publisher_renew(fixture->publisher, 9 * SECOND); /* never back */
    assert_true(publisher_deadline(fixture->publisher) >= 12 * SECOND - 200000000ull);
    publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
    publisher_renew(fixture->publisher, 20 * SECOND);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
}

static void distrust_is_counted_once_a_table(void **state)
{
    struct fixture *fixture = *state;
    struct log_position at = {8, 1, 5};
    for (uint64_t tables = 1; tables <= 3; tables++) {
        struct catalogue catalogue;
        publisher_end_lease(fixture->publisher, OWN_FAULT);
        assert_int_equal(publisher_distrusted(fixture->publisher), tables - 1);
        publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED); /* another reason than the first */
        assert_int_equal(publisher_distrusted(fixture->publisher), tables);
        publisher_end_lease(fixture->publisher, OWN_FAULT);
        publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED);
        assert_int_equal(publisher_distrusted(fixture->publisher), tables);
        memory_catalogue(&fixture->policy, 1, &catalogue);
        assert_int_equal(publisher_rebuild(fixture->publisher, &at, 900, &catalogue, NULL, NULL), 0);
        assert_int_equal(publisher_distrusted(fixture->publisher), tables);
    }
}

static void rebuild_forgets_everything(void **state)
{
    struct fixture *fixture = *state;
    struct log_position at = {8, 1, 5};
    struct catalogue catalogue;
    struct facts facts;
    struct answer answer = {0};
    uint64_t generation = publisher_generation(fixture->publisher);
    uint64_t id = publisher_segment(fixture->publisher)->header->identity.segment_id;
    fill_well(fixture, 1, server);
    publisher_renew(fixture->publisher, SECOND);
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 900, &catalogue, NULL, NULL), 0);
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    assert_int_not_equal(publisher_generation(fixture->publisher), generation);
    assert_int_not_equal(publisher_segment(fixture->publisher)->header->identity.segment_id, id);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
    assert_int_equal(publisher_expiry(fixture->publisher), 900);
    read_facts(fixture, 1, server, &facts);
    facts.nonce = 5;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
}

static void rebuild_here(struct fixture *fixture)
{
    struct log_position at = publisher_position(fixture->publisher);
    struct catalogue catalogue;
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 1000, &catalogue, NULL, NULL), 0);
}

/* The reason of a rebuild may be one that neither revision nor nonce tells: rows that were changed behind the log. */
static void facts_read_before_a_rebuild_are_outdated(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 1, server, &facts);
    rebuild_here(fixture);
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    assert_false(publisher_still_true(fixture->publisher, &facts));
    facts.revision = 2; /* nor do they become true with the next batch */
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts.revision = 1;
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    facts.generation = publisher_generation(fixture->publisher);
    assert_true(publisher_still_true(fixture->publisher, &facts));
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
}

/* A source of facts that forgets the stamp publishes nothing. */
static void facts_without_a_stamp_are_outdated(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 1, server, &facts);
    facts.generation = 0;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts_fini(&facts);
}

/* A connection that fills may find a restored store before the feed does: the same revision, another history. */
static void facts_of_another_history_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 1, server, &facts);
    facts.nonce = 9;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    /* Nor when the revision is one of the past. */
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 3, .role = 100, .scope = server});
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 3, .role = 100, .scope = server});
    for (facts.revision = 1; facts.revision <= 3; facts.revision++)
        assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts.nonce = 1;
    for (facts.revision = 1; facts.revision <= 3; facts.revision++) {
        assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
        answer_fini(&answer);
    }
    facts_fini(&facts);
}

static uint64_t catalogue_of(const struct fixture *fixture)
{
    return publisher_segment(fixture->publisher)->header->beat.catalogue;
}

/* A client keeps its names while the catalogue's number stays. The store that took the old one's place may stand at
 * the same revision and have other bits. */
static void another_history_has_another_catalogue(void **state)
{
    struct fixture *fixture = *state;
    struct log_position at = {7, 1, 5};
    struct catalogue catalogue;
    uint64_t number = catalogue_of(fixture), meaning = publisher_names_version(fixture->publisher);
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 900, &catalogue, NULL, NULL), 0);
    assert_int_not_equal(catalogue_of(fixture), number);
    assert_int_equal(publisher_names_version(fixture->publisher), meaning); /* all bits are as they were */
    strcpy(fixture->policy.permissions.items[SEND].name, "message.edit");
    strcpy(fixture->policy.permissions.items[EDIT].name, "message.send");
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 900, &catalogue, NULL, NULL), 0);
    assert_int_not_equal(publisher_names_version(fixture->publisher), meaning);
}

/* The triggers of the store refuse it; who gets round them must not stop the sidecar. */
static void renamed_bits_are_no_batch(void **state)
{
    struct fixture *fixture = *state;
    struct batch batch = {.at = {7, 2, 1}, .now = 1000, .has_catalogue = true};
    struct failure failure;
    strcpy(fixture->policy.permissions.items[SEND].name, "message.fake");
    memory_catalogue(&fixture->policy, 1, &batch.catalogue);
    publisher_renew(fixture->publisher, SECOND);
    assert_int_equal(publisher_batch(fixture->publisher, &batch, SECOND, &failure), PERMTAB_E_SCHEMA);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
    assert_int_equal(publisher_position(fixture->publisher).revision, 1);
    batch_fini(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(lease_follows_the_poll),
        T(distrust_is_counted_once_a_table),
        T(rebuild_forgets_everything),
        T(facts_of_another_history_are_refused),
        T(facts_read_before_a_rebuild_are_outdated),
        T(facts_without_a_stamp_are_outdated),
        T(another_history_has_another_catalogue),
        T(renamed_bits_are_no_batch),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
