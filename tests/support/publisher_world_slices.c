/* Slices in the random life of a publisher: read now, published later and bit by bit, between anything else that
 * happens. */
#include "tests/support/publisher_world.h"

#include "tests/support/memory_slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t draw(struct publisher_world *world, uint64_t below)
{
    return changing_draw(&world->past, below);
}

static void drop(struct world_slice *slice)
{
    facts_slice_free(slice->facts);
    *slice = (struct world_slice){0};
}

void publisher_world_slice_begin(struct publisher_world *world)
{
    struct world_slice *slice = &world->slices_read[draw(world, WORLD_SLICES)];
    struct scope_key scope = changing_scope(&world->past);
    uint64_t users[WORLD_SLICE_USERS];
    size_t count = 0;
    if (slice->facts != NULL)
        return;
    for (uint64_t user = 0; user < WORLD_SLICE_USERS; user++)
        if (draw(world, 4) != 0)
            users[count++] = user;
    struct facts stamp = {.revision = world->past.revision,
                          .nonce = changing_nonce(&world->past, world->past.revision),
                          .now = world->past.now,
                          .generation = publisher_generation(world->publisher)};
    *slice = (struct world_slice){0};
    if (count > 0)
        slice->facts = memory_slice(&world->past.policy, scope, users, count, &stamp);
}

/* Whether all who are of a kind have to be filled now, as far as there is room. */
static bool is_fresh(const struct publisher_world *world, const struct facts *common)
{
    return common->generation == publisher_generation(world->publisher) &&
           common->revision == world->publisher->at.revision && common->nonce == world->publisher->at.nonce &&
           world->applying_now == 0;
}

static void look_at(struct publisher_world *world, struct world_slice *slice, size_t index, bool fresh)
{
    const struct facts *common = facts_slice_common(slice->facts);
    uint64_t user = slice->facts->users[index];
    bool alone = slice->facts->kind_of[index] == FACTS_SLICE_ALONE;
    struct answer answer;
    switch ((enum slice_result)slice->results[index]) {
    case SLICE_FILLED:
        assert_false(alone);
        assert_int_equal(common->generation, publisher_generation(world->publisher));
        assert_true(publisher_lookup(world->publisher, user, slice->facts->scope, &answer));
        publisher_world_compare(world, user, slice->facts->scope, &answer, publisher_world_latest(world, common));
        answer_fini(&answer);
        world->slice_filled++;
        world->slice_late += common->revision < world->publisher->at.revision;
        break;
    case SLICE_RESIDENT:
        assert_false(alone);
        world->slice_resident++;
        break;
    case SLICE_ALONE:
        if (fresh && !alone)
            world->slice_short++;
        world->slice_alone++;
        break;
    case SLICE_NO_ROOM:
        world->slice_no_room++;
        break;
    case SLICE_OPEN:
    case SLICE_STRANGER:
    case SLICE_LATER:
        fail();
    }
}

static bool has_closed_set(const struct table *table)
{
    return table->sets.abandoned > 0;
}

/* Beside the first table too, where there was a set for it. An entry of a closed set is left for the sweep. */
static void look_beside(struct publisher_world *world, struct world_slice *slice, size_t index, uint64_t before)
{
    struct table *other = world->publisher->other;
    struct facts facts = {.user = slice->facts->users[index], .scope = slice->facts->scope};
    if (slice->results[index] != SLICE_FILLED || other == NULL || before + WORLD_SLICE_USERS > other->entries_max ||
        other->folding.folds == other->options.folds || other->sets.pool.indices.free_count == 0 ||
        has_closed_set(other))
        return;
    publisher_world_found(world, &facts, world->counters.sets_exhausted);
    world->slice_beside++;
}

/* A message about somebody of the slice, or its place: who is meant is not filled then. */
static uint64_t hear(struct publisher_world *world, const struct facts_slice *facts, bool *of_scope)
{
    const struct facts *common = &facts->kinds[0];
    uint64_t user = facts->users[draw(world, facts->count)];
    *of_scope = draw(world, 2) == 0;
    heard_add(&world->publisher->heard,
              &(struct heard_change){.of_scope = *of_scope,
                                     .user = user,
                                     .scope = common->chain[draw(world, common->chain_count)].key,
                                     .revision = common->revision + 1,
                                     .heard_ns = world->clock_ns});
    return user;
}

static void assert_held_back(const struct facts_slice *facts, const uint8_t *before, const uint8_t *results,
                             bool of_scope, uint64_t user)
{
    for (size_t i = 0; i < facts->count; i++)
        if (before[i] == SLICE_OPEN && (of_scope || facts->users[i] == user))
            assert_true(results[i] == SLICE_OPEN || results[i] == SLICE_ALONE);
}

void publisher_world_slice_on(struct publisher_world *world)
{
    struct world_slice *slice = &world->slices_read[draw(world, WORLD_SLICES)];
    if (slice->facts == NULL)
        return;
    size_t left = slice->facts->count - slice->published, count = 1 + draw(world, left);
    bool of_scope, heard = draw(world, 8) == 0;
    uint64_t meant = heard ? hear(world, slice->facts, &of_scope) : 0;
    const struct table *other = world->publisher->other;
    uint64_t beside = other != NULL ? table_entries(other) : 0;
    bool fresh = !heard && is_fresh(world, facts_slice_common(slice->facts));
    uint8_t before[WORLD_SLICE_USERS];
    memcpy(before, slice->results, sizeof before);
    enum publisher_outcome outcome = publisher_fill_many(world->publisher, slice->facts, slice->published, count,
                                                         world->clock_ns, slice->results);
    if (heard) {
        assert_held_back(slice->facts, before, slice->results, of_scope, meant);
        heard_settle(&world->publisher->heard, UINT64_MAX);
        world->slice_held++;
    }
    if (outcome == PUBLISHER_EARLY) {
        assert_true(facts_slice_common(slice->facts)->revision > world->publisher->at.revision);
        return;
    }
    for (size_t i = slice->published; i < slice->published + count; i++) {
        look_at(world, slice, i, fresh);
        look_beside(world, slice, i, beside);
    }
    publisher_world_filled(world);
    slice->published += count;
    if (slice->published == slice->facts->count)
        drop(slice);
}

void publisher_world_slices_restamp(struct publisher_world *world)
{
    for (size_t i = 0; i < WORLD_SLICES; i++)
        if (world->slices_read[i].facts != NULL && draw(world, 2) == 0)
            memory_slice_stamp(world->slices_read[i].facts, publisher_generation(world->publisher));
}

void publisher_world_slices_end(struct publisher_world *world)
{
    for (size_t i = 0; i < WORLD_SLICES; i++)
        drop(&world->slices_read[i]);
}
