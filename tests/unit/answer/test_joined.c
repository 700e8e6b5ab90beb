/* Fills whose facts are read together, from the fill to the table: what changes meanwhile for one of them is no matter
 * of the others, and definitions of roles that were not read are those of the table. The threads are played, and the
 * store is a policy in memory. */
#include "proxy/answer/fill.h"
#include "tests/support/memory_user.h"
#include "tests/unit/table/publisher_fixture.h"

#include <event2/event.h>

#define USERS 40u
#define JOBS  64u

struct read_fixture {
    struct fixture *table; /* revision: of the store, as it is read */
    struct event_base *base;
    struct places places;
    struct fetches *fetches;
    struct fills *fills;
    unsigned answered, failed;
    bool allowed[1000]; /* by user: EDIT */
};

static struct {
    struct read_fixture *fixture;
    struct store_job *jobs[JOBS];
    unsigned submitted, run;
    bool known; /* places are as the table believes */
    unsigned known_reads;
    size_t keys; /* of the last read */
    unsigned user_reads;
} fake;

int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job);
int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now,
                          struct failure *failure);
void __wrap_store_snapshot_end(struct store *store);
int __wrap_store_read_facts_many(struct store *store, const struct facts_key *keys, size_t count,
                                 struct facts *out, struct failure *failure);
int __wrap_store_read_facts_known(struct store *store, const struct store_place *place,
                                  const struct facts_key *keys, size_t count, struct facts *out,
                                  struct failure *failure);
int __wrap_store_read_facts_user(struct store *store, const struct store_place *place, uint64_t user,
                                 struct facts *out, struct failure *failure);
void __wrap_feed_wake(struct feed *feed);

int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job)
{
    (void)pool;
    assert_true(fake.submitted < JOBS);
    fake.jobs[fake.submitted++] = job;
    return 0;
}

int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure)
{
    (void)store, (void)failure;
    *at = (struct log_position){7, fake.fixture->table->revision, 1};
    *now = 1000;
    return 0;
}

void __wrap_store_snapshot_end(struct store *store)
{
    (void)store;
}

int __wrap_store_read_facts_many(struct store *store, const struct facts_key *keys, size_t count,
                                 struct facts *out, struct failure *failure)
{
    (void)store, (void)failure;
    fake.keys = count;
    for (size_t i = 0; i < count; i++)
        read_facts(fake.fixture->table, keys[i].user, facts_key_scope(&keys[i]), &out[i]);
    return 0;
}

int __wrap_store_read_facts_known(struct store *store, const struct store_place *place,
                                  const struct facts_key *keys, size_t count, struct facts *out,
                                  struct failure *failure)
{
    assert_true(place->levels == 2 && scope_equal(place->chain[1], server));
    if (!fake.known)
        return 0;
    fake.known_reads++;
    (void)__wrap_store_read_facts_many(store, keys, count, out, failure);
    for (size_t i = 0; i < count; i++) {
        role_list_fini(&out[i].roles);
        memset(&out[i].roles, 0, sizeof out[i].roles);
        out[i].without_roles = true;
    }
    return 1;
}

int __wrap_store_read_facts_user(struct store *store, const struct store_place *place, uint64_t user,
                                 struct facts *out, struct failure *failure)
{
    (void)store, (void)failure;
    fake.user_reads++;
    int code = memory_read_user(&fake.fixture->table->policy, place, user, 1000, out);
    out->revision = fake.fixture->table->revision;
    out->nonce = 1;
    return code;
}

void __wrap_feed_wake(struct feed *feed)
{
    (void)feed;
}

static int setup_house(void **state, bool keeps)
{
    struct read_fixture *fixture = calloc(1, sizeof *fixture);
    void *table;
    memset(&fake, 0, sizeof fake);
    fake.fixture = fixture;
    (void)setup(&table);
    fixture->table = table;
    memory_role(&fixture->table->policy, 101, "editor", server, false, true);
    memory_grant(&fixture->table->policy, 101, GRANT_ALLOW, EDIT);
    memory_role(&fixture->table->policy, 102, "chief", server, false, true);
    memory_inherit(&fixture->table->policy, 102, 101);
    fixture->base = event_base_new();
    places_init(&fixture->places, fixture->table->publisher);
    struct fetch_options fetches = {.base = fixture->base,
                                    .threads = 4,
                                    .places = keeps ? &fixture->places : NULL,
                                    .publisher = fixture->table->publisher,
                                    .counters = &fixture->table->counters};
    assert_int_equal(fetches_new(&fixture->fetches, &fetches), 0);
    struct fills_options fills = {.base = fixture->base,
                                  .fetches = fixture->fetches,
                                  .publisher = fixture->table->publisher,
                                  .counters = &fixture->table->counters,
                                  .timeout_ms = 60000,
                                  .waiting_max = 1000};
    assert_int_equal(fills_new(&fixture->fills, &fills), 0);
    publisher_renew(fixture->table->publisher, 1);
    *state = fixture;
    return 0;
}

static int setup_reads(void **state)
{
    return setup_house(state, false);
}

static int setup_kept(void **state)
{
    return setup_house(state, true);
}

static int teardown_reads(void **state)
{
    struct read_fixture *fixture = *state;
    assert_int_equal(fake.run, fake.submitted);
    fills_free(fixture->fills);
    fetches_free(fixture->fetches);
    places_fini(&fixture->places);
    void *table = fixture->table;
    (void)teardown(&table);
    event_base_free(fixture->base);
    free(fixture);
    return 0;
}

struct asked {
    struct read_fixture *fixture;
    uint64_t user;
};

static void on_filled(void *context, int code, const char *text, const struct answer *answer)
{
    struct asked *asked = context;
    (void)text;
    asked->fixture->answered += code == 0;
    asked->fixture->failed += code < 0;
    if (code == 0)
        asked->fixture->allowed[asked->user] = bitmap_test(answer->any, EDIT);
    free(asked);
}

static void ask(struct read_fixture *fixture, uint64_t user)
{
    struct asked *asked = malloc(sizeof *asked);
    *asked = (struct asked){fixture, user};
    assert_non_null(fill_request(fixture->fills, user, server, 0, READ_LIST, on_filled, asked));
}

static void turn(struct read_fixture *fixture)
{
    assert_true(event_base_loop(fixture->base, EVLOOP_NONBLOCK) >= 0);
}

/* What the threads do with the jobs that there are; the loop knows nothing of it yet. */
static unsigned threads_read(void)
{
    static struct store store = {.store_id = 7};
    struct failure failure = {0};
    for (unsigned i = fake.run; i < fake.submitted; i++)
        assert_int_equal(fake.jobs[i]->run(fake.jobs[i], &store, &failure), 0);
    return fake.submitted;
}

static void loop_hears(struct read_fixture *fixture, unsigned until)
{
    while (fake.run < until) {
        struct store_job *job = fake.jobs[fake.run++];
        job->done(job);
    }
    turn(fixture);
}

static void all_of_it(struct read_fixture *fixture)
{
    turn(fixture);
    while (fake.run < fake.submitted)
        loop_hears(fixture, threads_read());
}

static void one_that_changed_is_read_again(void **state)
{
    struct read_fixture *fixture = *state;
    for (uint64_t user = 1; user <= USERS; user++)
        ask(fixture, user);
    turn(fixture);
    unsigned jobs = threads_read();
    assert_int_equal(jobs, 3);
    memory_assign(&fixture->table->policy, 7, 101, server, FACTS_NEVER);
    apply(fixture->table,
          (struct change){.kind = CHANGE_ASSIGNMENT, .user = 7, .role = 101, .scope = server});
    loop_hears(fixture, jobs);
    assert_int_equal(fixture->answered, USERS - 1);
    assert_int_equal(fixture->table->counters.fills_repeated, 1);
    all_of_it(fixture);
    assert_int_equal(fake.submitted, jobs + 1);
    assert_int_equal(fake.keys, 1);
    assert_int_equal(fixture->answered, USERS);
    for (uint64_t user = 1; user <= USERS; user++)
        assert_int_equal(fixture->allowed[user], user == 7);
    assert_int_equal(fixture->table->counters.store_reads, jobs + 1);
}

/* The store is ahead of the table by a change to one of them: all wait for it, and nobody reads again. */
static void what_is_ahead_waits_for_the_table(void **state)
{
    struct read_fixture *fixture = *state;
    memory_assign(&fixture->table->policy, 7, 101, server, FACTS_NEVER);
    fixture->table->revision = 2;
    for (uint64_t user = 1; user <= USERS; user++)
        ask(fixture, user);
    all_of_it(fixture);
    assert_int_equal(fixture->answered, 0);
    fixture->table->revision = 1;
    apply(fixture->table,
          (struct change){.kind = CHANGE_ASSIGNMENT, .user = 7, .role = 101, .scope = server});
    fills_applied(fixture->fills, 2);
    while (fixture->answered < USERS)
        turn(fixture);
    assert_true(fixture->allowed[7]);
    assert_int_equal(fixture->table->counters.fills_repeated, 0);
}

/* A place is known once somebody was read for there. Roles that the table has are not read again; others are. */
static void roles_that_the_table_has_are_not_read(void **state)
{
    struct read_fixture *fixture = *state;
    fake.known = true;
    memory_assign(&fixture->table->policy, 7, 101, server, FACTS_NEVER);
    memory_assign(&fixture->table->policy, 8, 101, server, FACTS_NEVER);
    ask(fixture, 1);
    all_of_it(fixture);
    assert_int_equal(fake.known_reads, 0);
    ask(fixture, 2);
    all_of_it(fixture);
    assert_int_equal(fake.known_reads, 1);
    assert_int_equal(fake.submitted, 2);
    ask(fixture, 7); /* nobody here has that role yet */
    all_of_it(fixture);
    assert_int_equal(fake.submitted, 4);
    assert_true(fixture->allowed[7]);
    assert_int_equal(fixture->table->counters.fills_roles_missing, 1);
    for (uint64_t user = 20; user < 28; user++) { /* after that some are read whole at once */
        ask(fixture, user);
        all_of_it(fixture);
    }
    assert_int_equal(fake.known_reads, 2);
    assert_int_equal(fake.submitted, 12);
    ask(fixture, 8);
    all_of_it(fixture);
    assert_int_equal(fake.known_reads, 3);
    assert_int_equal(fake.submitted, 13);
    assert_true(fixture->allowed[8]);
    assert_int_equal(fixture->table->counters.fills_roles_missing, 1);
    assert_int_equal(fixture->failed, 0);
}

/* The definitions that count are those that the table has when the facts are published. */
static void a_role_changes_meanwhile(void **state)
{
    struct read_fixture *fixture = *state;
    fake.known = true;
    for (uint64_t user = 7; user < 10; user++)
        memory_assign(&fixture->table->policy, user, 102, server, FACTS_NEVER);
    ask(fixture, 7);
    all_of_it(fixture);
    assert_true(fixture->allowed[7]);
    ask(fixture, 8);
    turn(fixture);
    unsigned jobs = threads_read();
    assert_int_equal(fake.known_reads, 1);
    for (size_t i = 0; i < fixture->table->policy.grants.count;
         i++) /* of the ancestor, which the facts do not name */
        if (fixture->table->policy.grants.items[i].role == 101)
            fixture->table->policy.grants.items[i].effect = GRANT_DENY;
    apply(fixture->table, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 101});
    assert_int_equal(resident(fixture->table, 7, server, EDIT), 0);
    loop_hears(fixture, jobs);
    all_of_it(fixture);
    assert_int_equal(fixture->answered, 2);
    assert_false(fixture->allowed[8]);
    assert_int_equal(resident(fixture->table, 8, server, EDIT), 0);
}

/* A single one of a place that is kept has rows of the user read alone; several go together, as ever; and who has an
 * overwrite is read as usual. */
static void one_of_a_kept_place(void **state)
{
    struct read_fixture *fixture = *state;
    fake.known = true;
    memory_assign(&fixture->table->policy, 7, 101, server, FACTS_NEVER);
    memory_assign(&fixture->table->policy, 8, 101, server, FACTS_NEVER);
    memory_overwrite(&fixture->table->policy, server, OVERWRITE_USER, 9, EDIT, true);
    ask(fixture, 7);
    all_of_it(fixture);
    assert_int_equal(fake.user_reads, 0);
    ask(fixture, 8);
    all_of_it(fixture);
    assert_int_equal(fake.user_reads, 1);
    assert_int_equal(fake.known_reads, 0);
    assert_true(fixture->allowed[8]);
    ask(fixture, 9);
    all_of_it(fixture);
    assert_int_equal(fake.user_reads, 2);
    assert_int_equal(fake.known_reads, 1);
    assert_true(fixture->allowed[9]);
    for (uint64_t user = 20; user < 30; user++)
        ask(fixture, user);
    all_of_it(fixture);
    assert_int_equal(fake.user_reads, 2);
    assert_int_equal(fixture->answered, 13);
    assert_int_equal(fixture->table->counters.fills_repeated, 0);
}

/* What is kept goes while the rows are being read: all of it is read then, once. */
static void kept_goes_meanwhile(void **state)
{
    struct read_fixture *fixture = *state;
    fake.known = true;
    memory_assign(&fixture->table->policy, 8, 101, server, FACTS_NEVER);
    ask(fixture, 8);
    all_of_it(fixture);
    ask(fixture, 7);
    turn(fixture);
    unsigned jobs = threads_read();
    assert_int_equal(fake.user_reads, 1);
    memory_role(&fixture->table->policy, 103, "everyone", server, true, true); /* the log does not tell */
    memory_inherit(&fixture->table->policy, 103, 101);
    (void)publisher_retire_user(fixture->table->publisher, 7);
    loop_hears(fixture, jobs);
    assert_int_equal(fixture->answered, 1);
    all_of_it(fixture);
    assert_int_equal(fake.submitted, jobs + 1);
    assert_int_equal(fixture->answered, 2);
    assert_true(fixture->allowed[7]);
    assert_int_equal(fake.user_reads, 1);
    assert_int_equal(fixture->table->counters.fills_repeated, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_reads, teardown_reads)
        T(one_that_changed_is_read_again),
        T(what_is_ahead_waits_for_the_table),
        T(roles_that_the_table_has_are_not_read),
        T(a_role_changes_meanwhile),
#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, setup_kept, teardown_reads)
        T(one_of_a_kept_place),
        T(kept_goes_meanwhile),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
