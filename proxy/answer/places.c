/* A place is kept without definitions of roles: those of the table count, and facts that need others are read whole
 * (fetch_publish). Nor does it keep anything that ends: assignments alone do, and they are the user's.
 *
 * What changes while a read is away: what is kept may go, and be learned anew. What is there when the read is back may
 * be another than that which it began with; it was true at some moment since, and facts that are completed are held
 * against all changes since the beginning. So they pass only if it was the same all the time. */
#include "proxy/answer/places.h"

#include "proxy/base/clock.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"
#include "proxy/table/retire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Rows that everybody has in common: they are copied for each miss. A place with more is read. */
#define ROWS_MAX 1024u
/* Each user of a list brings the place with them: it is copied for the first. */
#define LEARN_AGAIN_NS 10000000ull

void places_init(struct places *places, const struct publisher *publisher)
{
    *places = (struct places){.publisher = publisher};
}

void places_fini(struct places *places)
{
    kept_drop_all(&places->kept);
}

struct places_time places_now(const struct places *places)
{
    uint64_t version = places != NULL ? publisher_places_version(places->publisher) : 0;
    return (struct places_time){.version = version, .began_ns = clock_ns()};
}

bool places_hold(const struct places *places, struct places_time time)
{
    return places != NULL && publisher_places_version(places->publisher) == time.version;
}

static struct facts *find(struct places *places, struct scope_key scope)
{
    struct facts *kept = kept_find(&places->kept, scope, publisher_places_version(places->publisher));
    if (kept == NULL || clock_ns() - kept->place_read_ns < PLACES_AGE_NS)
        return kept;
    kept_drop(&places->kept, scope);
    return NULL;
}

/* Those that are kept and true; else they go. They are known to be true at the applied revision then, so the next
 * question has little history to ask. */
static struct facts *find_true(struct places *places, struct scope_key scope)
{
    struct facts *kept = find(places, scope);
    struct log_position at = publisher_position(places->publisher);
    if (kept == NULL)
        return NULL;
    if (!publisher_still_true(places->publisher, kept)) {
        kept_drop(&places->kept, scope);
        return NULL;
    }
    facts_true_at(kept, at.revision, at.nonce);
    kept->place_revision = at.revision;
    kept->place_nonce = at.nonce;
    return kept;
}

bool places_find(struct places *places, struct scope_key scope, struct store_place *out)
{
    const struct facts *kept = places != NULL ? find_true(places, scope) : NULL;
    if (kept == NULL)
        return false;
    *out = (struct store_place){.at = publisher_position(places->publisher), .levels = kept->chain_count};
    out->spares_users = true;
    for (uint32_t level = 0; level < kept->chain_count; level++) {
        out->chain[level] = kept->chain[level].key;
        out->spares_users = out->spares_users && kept->chain[level].spares_users;
    }
    kept_use(&places->kept, scope);
    return true;
}

/* ---- giving it to a user ----------------------------------------------------------------------------------------- */

static bool fits(const struct facts *kept, const struct store_place *place, const struct facts *facts)
{
    bool same = kept->generation == facts->generation && kept->chain_count == place->levels;
    bool spares = true;
    for (uint32_t level = 0; same && level < kept->chain_count; level++) {
        same = scope_equal(kept->chain[level].key, place->chain[level]);
        spares = spares && kept->chain[level].spares_users;
    }
    return same && (spares || !place->spares_users);
}

/* Whether somebody has a role where nobody has any. */
static bool disproves(const struct facts *facts, const struct facts *kept)
{
    for (size_t i = 0; i < facts->assignment_count; i++)
        if (kept->chain[facts->assignments[i].level].plain)
            return true;
    return false;
}

static void *copy_rows(const void *rows, size_t size, bool *failed)
{
    void *copy = size > 0 ? malloc(size) : NULL;
    if (copy != NULL)
        memcpy(copy, rows, size);
    *failed = *failed || (size > 0 && copy == NULL);
    return copy;
}

bool places_complete(struct places *places, const struct store_place *place, struct places_time time,
                     struct facts *facts)
{
    bool failed = false;
    assert(facts->default_count == 0 && facts->overwrite_count == 0);
    const struct facts *kept = places_hold(places, time) ? find(places, facts->scope) : NULL;
    if (kept == NULL || !fits(kept, place, facts))
        return false;
    if (disproves(facts, kept)) {
        kept_drop(&places->kept, facts->scope);
        return false;
    }
    facts->defaults = copy_rows(kept->defaults, kept->default_count * sizeof *kept->defaults, &failed);
    facts->overwrites =
        copy_rows(kept->overwrites, kept->overwrite_count * sizeof *kept->overwrites, &failed);
    if (failed)
        return false;
    facts->default_count = kept->default_count;
    facts->overwrite_count = kept->overwrite_count;
    facts->chain_count = kept->chain_count;
    memcpy(facts->chain, kept->chain, sizeof facts->chain);
    facts->place_revision = place->at.revision;
    facts->place_nonce = place->at.nonce;
    return true;
}

/* ---- learning ---------------------------------------------------------------------------------------------------- */

static bool may_be_learned(const struct places *places, const struct facts *facts, struct places_time time)
{
    return places_hold(places, time) && facts->place_revision == 0 && facts->chain_count > 0 &&
           !facts->broken && facts->default_count + facts->overwrite_count <= ROWS_MAX;
}

/* Copies what is everybody's. */
static bool copy_place(struct facts *out, const struct facts *facts, uint64_t read_ns)
{
    bool failed = false;
    *out = (struct facts){.revision = facts->revision,
                          .nonce = facts->nonce,
                          .place_revision = facts->revision,
                          .place_nonce = facts->nonce,
                          .place_read_ns = read_ns,
                          .generation = facts->generation,
                          .scope = facts->scope,
                          .without_roles = true,
                          .chain_count = facts->chain_count,
                          .default_count = facts->default_count};
    memcpy(out->chain, facts->chain, sizeof out->chain);
    out->defaults = copy_rows(facts->defaults, facts->default_count * sizeof *facts->defaults, &failed);
    out->overwrites =
        copy_rows(facts->overwrites, facts->overwrite_count * sizeof *facts->overwrites, &failed);
    for (size_t i = 0; !failed && i < facts->overwrite_count; i++)
        if (facts->overwrites[i].subject == OVERWRITE_ROLE)
            out->overwrites[out->overwrite_count++] = facts->overwrites[i];
    if (failed)
        facts_fini(out);
    return !failed;
}

/* The fence has let them pass for their user. What they say of the place is of when they were read: somebody may have
 * the first overwrite there since, and find_true tells. What is kept may be true by the log, and yet not what they say,
 * because of a change behind the log: so the later read counts. */
void places_learn(struct places *places, const struct facts *facts, struct places_time time)
{
    struct facts copy;
    if (places == NULL || places->idle || !may_be_learned(places, facts, time))
        return;
    const struct facts *kept = find_true(places, facts->scope);
    if ((kept != NULL && time.began_ns < kept->place_read_ns + LEARN_AGAIN_NS) ||
        !copy_place(&copy, facts, time.began_ns))
        return;
    if (kept_takes(&copy))
        (void)kept_put(&places->kept, &copy);
    else
        facts_fini(&copy);
}
