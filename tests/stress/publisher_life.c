/* The feed, the fills and the messages, as a publisher meets them, on a clock of this file's own that moves on with
 * everything that is done, so that no two things are at the same time. Commits come while a batch is being applied,
 * too: its lease counts from the beginning of its poll, and what came since must not be older than the bound.
 *
 * The writer dies in the hook, by a jump out of it. What it held is lost, as it would be; its segment stays as it was,
 * mapped by the readers. */
#include "tests/stress/publisher_life.h"

#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/grow.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/memory_slice.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#define SECOND  1000000000ull
#define PENDING 12

/* One store in so many is the last one of a writer. */
#define DEATHS 4000u

static struct life {
    const struct life_size *size;
    struct life_report *report;
    struct witness witness;
    struct changing_policy policy;
    struct publisher *publisher;
    struct counters counters;
    struct facts pending[PENDING]; /* fills that are under way */
    bool is_pending[PENDING];
    struct facts_slice *slice; /* users of one place who were read together, or NULL */
    uint8_t results[CHANGING_USERS_MAX];
    size_t published; /* of them */
    uint64_t steps; /* that are left */
    jmp_buf death;
    bool mortal; /* jumps are possible */
} life;

/* ---- stores and time --------------------------------------------------------------------------------------------- */

void permtab_store_hook(void);

void permtab_store_hook(void)
{
    const struct map *map;
    enum operation operation = operation_now();
    const char *where = operation_name(operation);
    struct witness_tally *tally = &life.report->tally[operation];
    const struct map_key *moved = operation_moved(&map);
    tally->stores++;
    if (operation == OPERATION_NEW_TABLE)
        return;
    witness_look(&life.witness, tally, where);
    if (moved != NULL)
        witness_expect(&life.witness, map, *moved, where);
    for (uint64_t wakes = witness_draw(&life.witness, 16); wakes > 0; wakes--)
        witness_wake(&life.witness, where);
    if (life.mortal && witness_draw(&life.witness, DEATHS) == 0)
        longjmp(life.death, 1);
}

void operation_segment_made(const struct segment *segment)
{
    witness_attach(&life.witness, segment, life.policy.history);
}

/* The publisher's own clock is the test's. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    (void)clock;
    *out =
        (struct timespec){(time_t)(life.witness.clock_ns / SECOND), (long)(life.witness.clock_ns % SECOND)};
    return 0;
}

/* Nor is anything else random in a history but its seed: where a key lies in the map hangs on it, too. */
ssize_t __wrap_getrandom(void *out, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *out, size_t size, unsigned flags)
{
    (void)flags;
    for (size_t at = 0; at < size; at++)
        ((unsigned char *)out)[at] = (unsigned char)witness_draw(&life.witness, 256);
    return (ssize_t)size;
}

static uint64_t draw(uint64_t below)
{
    return changing_draw(&life.policy, below);
}

static uint64_t tick(void)
{
    return life.witness.clock_ns += 1000;
}

static void note_truth(void)
{
    uint64_t now_ns = tick();
    truth_note(&life.witness.truth, &life.policy, now_ns,
               now_ns > life.witness.staleness_ns ? now_ns - life.witness.staleness_ns : 0);
}

/* No failure is injected here. */
static void must(int code)
{
    if (code < 0)
        abort();
}

static void commit(void)
{
    uint64_t before = life.policy.revision;
    changing_step(&life.policy);
    if (life.policy.revision != before)
        note_truth();
}

static void time_passes(void)
{
    life.witness.clock_ns += draw(draw(4) == 0 ? 2 * SECOND : SECOND / 2);
    uint64_t passed = draw(6);
    life.policy.now += (int64_t)passed;
    if (passed > 0)
        note_truth();
}

/* ---- fills ------------------------------------------------------------------------------------------------------- */

static void read_facts(uint64_t user, struct scope_key scope, struct facts *out)
{
    memory_facts(&life.policy.policy, user, scope, life.policy.now, out);
    out->revision = life.policy.revision;
    out->nonce = changing_nonce(&life.policy, life.policy.revision);
    out->now = life.policy.now;
    out->generation = publisher_generation(life.publisher);
}

static void fill_begin(void)
{
    size_t at = draw(PENDING);
    struct scope_key scope = changing_scope(&life.policy);
    if (life.is_pending[at])
        return;
    if (draw(10) == 0)
        scope.id += 3; /* often one that is not there */
    if (scope.type == 0)
        scope.id = 0;
    read_facts(changing_user(&life.policy), scope, &life.pending[at]);
    life.is_pending[at] = true;
}

static bool publish(struct facts *facts)
{
    struct answer answer = {0};
    enum publisher_outcome outcome = publisher_fill(life.publisher, facts, tick(), &answer);
    if (outcome == PUBLISHER_FILLED)
        answer_fini(&answer);
    return outcome != PUBLISHER_EARLY;
}

static void fill_end(void)
{
    size_t at = draw(PENDING);
    if (!life.is_pending[at] || !publish(&life.pending[at]))
        return;
    facts_fini(&life.pending[at]);
    life.is_pending[at] = false;
}

static void fill_many(void)
{
    for (uint32_t key = 0; key < life.witness.truth.keys; key++) {
        uint64_t user;
        struct scope_key scope;
        struct facts facts;
        truth_key(key, &user, &scope);
        if (draw(3) == 0)
            continue;
        read_facts(user, scope, &facts);
        (void)publish(&facts);
        facts_fini(&facts);
    }
}

/* Users of one place are read together, and published a few at a time. */
static void slice_begin(void)
{
    uint64_t users[CHANGING_USERS_MAX];
    size_t count = 0;
    struct facts stamp = {.revision = life.policy.revision,
                          .nonce = changing_nonce(&life.policy, life.policy.revision),
                          .now = life.policy.now,
                          .generation = publisher_generation(life.publisher)};
    for (uint64_t user = 0; user < life.policy.users; user++)
        if (draw(4) != 0)
            users[count++] = user;
    if (count > 0)
        life.slice = memory_slice(&life.policy.policy, changing_scope(&life.policy), users, count, &stamp);
    memset(life.results, 0, sizeof life.results);
    life.published = 0;
}

static void slice_on(void)
{
    if (life.slice == NULL) {
        slice_begin();
        return;
    }
    size_t count = 1 + draw(life.slice->count - life.published), until = life.published + count;
    if (publisher_fill_many(life.publisher, life.slice, life.published, count, tick(), life.results) ==
        PUBLISHER_EARLY)
        return;
    for (; life.published < until; life.published++)
        life.report->together += life.results[life.published] == SLICE_FILLED;
    if (life.published < life.slice->count)
        return;
    facts_slice_free(life.slice);
    life.slice = NULL;
}

/* ---- retiring ---------------------------------------------------------------------------------------------------- */

static void hear(void)
{
    struct target target = {.kind = TARGET_USER, .id = changing_user(&life.policy)};
    if (draw(2) == 0)
        target = (struct target){.kind = TARGET_SCOPE, .scope = changing_scope(&life.policy)};
    publisher_hear(life.publisher, &target, life.policy.revision, tick());
    while (publisher_hear_slice(life.publisher, tick(), 1 + draw(6)) && draw(4) != 0)
        ;
}

static void retire_on_demand(void)
{
    struct publisher_retiring retiring;
    uint64_t work = 1 + draw(20), retired = 0;
    switch (draw(4)) {
    case 0:
        publisher_retire_user(life.publisher, changing_user(&life.policy));
        break;
    case 1:
        publisher_retire_user_at(life.publisher, changing_user(&life.policy), changing_scope(&life.policy));
        break;
    case 2:
        publisher_retire_scope_begin(life.publisher, &retiring, changing_scope(&life.policy));
        (void)publisher_retire_scope_slice(life.publisher, &retiring, &work, &retired);
        break;
    default:
        publisher_retire_role(life.publisher, changing_role(&life.policy));
    }
}

static void retire(void)
{
    operation_clearing(OPERATION_RETIRE);
    if (draw(2) == 0)
        hear();
    else
        retire_on_demand();
    operation_clearing(OPERATION_EVICT);
}

/* ---- the feed ---------------------------------------------------------------------------------------------------- */

static void read_batch(struct batch *batch)
{
    struct changing_policy *policy = &life.policy;
    *batch = (struct batch){.at = {7, policy->revision, changing_nonce(policy, policy->revision)},
                            .now = policy->now,
                            .changes = policy->log};
    memset(&policy->log, 0, sizeof policy->log);
    for (size_t i = 0; i < batch->changes.count; i++) {
        enum change_kind kind = batch->changes.items[i].kind;
        batch->has_catalogue |= kind == CHANGE_PERMISSION;
        if (kind == CHANGE_ROLE || kind == CHANGE_ROLE_GRANT || kind == CHANGE_ROLE_PARENT)
            changing_definitions(policy, &batch->roles, batch->changes.items[i].role);
    }
    changing_expired(policy, publisher_expiry(life.publisher), &batch->expired);
    if (batch->has_catalogue)
        memory_catalogue(&policy->policy, 2, &batch->catalogue);
}

/* ---- growth ------------------------------------------------------------------------------------------------------ */

/* The map keeps the size that it was made with, so its windows fill up. */
static void crowd(struct table *table)
{
    table->entries_max = life.size->entries_max;
}

/* A table of another size, larger or smaller: other windows are full in it. */
static void grow_begin(void)
{
    struct publisher_options options = life.publisher->table->options;
    struct table *fresh;
    options.entries = life.size->entries * (1 + draw(3)) / 2 + 1;
    must(table_new(&fresh, &options, 7));
    crowd(fresh);
    if (publisher_grow_begin(life.publisher, fresh) < 0)
        table_free(fresh);
}

/* What the two tables are in decides what can happen next. */
static void grow(void)
{
    operation_begin(OPERATION_GROW);
    if (life.publisher->other_is == OTHER_NEXT)
        (void)publisher_grow_slice(life.publisher, tick(), draw(4) == 0 ? UINT64_MAX : 1 + draw(40));
    else if (publisher_retired_segment(life.publisher) == 0)
        grow_begin();
    else if (draw(8) == 0) /* for longer than the bound: what is not written through becomes too old */
        publisher_retired_release(life.publisher);
    else
        publisher_tend(life.publisher, tick());
    operation_end();
}

/* ---- what comes between the slices of a batch -------------------------------------------------------------------- */

static void between_slices(void)
{
    operation_clearing(OPERATION_EVICT);
    for (uint64_t left = draw(4); left > 0; left--)
        fill_end();
    if (draw(2) == 0)
        slice_on();
    if (draw(3) == 0)
        commit();
    if (draw(6) == 0)
        time_passes();
    if (draw(8) == 0)
        retire();
    if (draw(4) == 0)
        grow();
    operation_clearing(OPERATION_REVOKE);
}

static void poll_store(void)
{
    struct batch batch;
    struct failure failure;
    int code;
    uint64_t begun_ns = tick();
    uint64_t work = draw(2) == 0 ? UINT64_MAX : 1 + draw(6);
    read_batch(&batch);
    must(publisher_batch_begin(life.publisher, &batch, &failure));
    operation_clearing(OPERATION_REVOKE);
    while ((code = publisher_batch_slice(life.publisher, tick(), work, &failure)) == 1)
        between_slices();
    must(code);
    operation_clearing(OPERATION_RETIRE);
    publisher_renew(life.publisher, begun_ns);
    operation_clearing(OPERATION_EVICT);
    batch_fini(&batch);
}

/* ---- beginnings and ends ----------------------------------------------------------------------------------------- */

static struct log_position position(void)
{
    return (struct log_position){7, life.policy.revision, changing_nonce(&life.policy, life.policy.revision)};
}

static void rebuild(void)
{
    struct catalogue catalogue;
    struct failure failure;
    if (draw(2) == 0) { /* the store was replaced by another one */
        life.policy.history++;
        note_truth();
    }
    struct log_position at = position();
    uint64_t begun_ns = tick();
    memory_catalogue(&life.policy.policy, 2, &catalogue);
    operation_begin(OPERATION_REBUILD);
    must(publisher_rebuild(life.publisher, &at, life.policy.now, &catalogue, NULL, &failure));
    operation_end();
    crowd(life.publisher->table);
    change_list_fini(&life.policy.log);
    publisher_renew(life.publisher, begun_ns);
}

/* A worker starts: its table is empty, true at the revision that it reads, and leased from that read. */
static void start(void)
{
    struct publisher_options options = {.permissions_max = 128,
                                        .entries = life.size->entries,
                                        .sets = life.size->sets,
                                        .folds = life.size->folds,
                                        .max_staleness_ns = life.witness.staleness_ns};
    struct log_position at = position();
    struct catalogue catalogue;
    struct failure failure;
    uint64_t begun_ns = tick();
    memory_catalogue(&life.policy.policy, 2, &catalogue);
    must(
        publisher_new(&life.publisher, &options, &at, life.policy.now, &catalogue, &life.counters, &failure));
    life.witness.lag_ns = life.publisher->lag_ns;
    change_list_fini(&life.policy.log);
    crowd(life.publisher->table);
    publisher_renew(life.publisher, begun_ns);
}

/* Fills that were under way die with the writer. */
static void bury(void)
{
    life.report->deaths++;
    operation_reset();
    memset(life.is_pending, 0, sizeof life.is_pending);
    memset(&life.policy.log, 0, sizeof life.policy.log);
    life.publisher = NULL;
    life.slice = NULL;
}

static void step(void)
{
    uint64_t drawn = draw(1000);
    if (draw(2) == 0)
        slice_on();
    if (drawn < 280)
        commit();
    else if (drawn < 500)
        poll_store();
    else if (drawn < 560)
        fill_many();
    else if (drawn < 640)
        grow();
    else if (drawn < 680)
        time_passes();
    else if (drawn < 720)
        retire();
    else if (drawn < 726)
        rebuild();
    else if (drawn < 860)
        fill_begin();
    else
        fill_end();
}

void life_run(const struct life_size *size, uint64_t seed, uint64_t steps, struct life_report *report)
{
    memset(&life, 0, sizeof life);
    life.size = size;
    life.report = report;
    life.steps = steps;
    witness_init(&life.witness, seed ^ 0x9e3779b97f4a7c15ull);
    life.witness.clock_ns = SECOND;
    life.witness.staleness_ns = 2 * SECOND;
    changing_begin(&life.policy, seed);
    note_truth();
    operation_reset();
    if (setjmp(life.death) != 0)
        bury();
    life.mortal = false;
    start();
    life.mortal = true;
    while (life.steps > 0 && life.witness.wrong == 0 && life.witness.table_count < WITNESS_TABLES) {
        life.steps--;
        step();
    }
    life.report->slept = life.witness.slept;
    life.report->wrong = life.witness.wrong;
    memcpy(life.report->said, life.witness.said, sizeof life.report->said);
}
