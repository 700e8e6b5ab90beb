/* Inputs: the part of the facts that decides, in one canonical form, so that all users whose facts come to the same
 * share one permission set. The place of a role, its end and the user are judged here and then forgotten.
 *
 * The meaning of a role is left out on purpose: it is looked up when the inputs are resolved, and an edit of a role
 * changes no inputs. Therefore overwrite rows are kept for every role that could be reached, through inactive
 * roles, too; resolve.c decides whether they count. */
#include "proxy/rights/closure.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- held roles ------------------------------------------------------------------------------------------ */

static int held_compare(const void *a, const void *b)
{
    const struct held_role *left = a, *right = b;
    if (left->role != right->role)
        return left->role < right->role ? -1 : 1;
    return (int)right->by_default - (int)left->by_default;
}

/* Makes held roles sorted, each once; a role held both ways is held by default. */
static void held_normalise(struct inputs *inputs)
{
    if (inputs->held_count == 0)
        return;
    qsort(inputs->held, inputs->held_count, sizeof *inputs->held, held_compare);
    size_t kept = 1;
    for (size_t i = 1; i < inputs->held_count; i++)
        if (inputs->held[i].role != inputs->held[kept - 1].role)
            inputs->held[kept++] = inputs->held[i];
    inputs->held_count = kept;
}

static int collect_held(struct inputs *out, const struct facts *facts, int64_t now, role_find_fn find,
                        void *context, size_t *misplaced)
{
    size_t most = facts->default_count + facts->assignment_count;
    if (most == 0)
        return 0;
    out->held = malloc(most * sizeof *out->held);
    if (out->held == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < facts->default_count; i++)
        out->held[out->held_count++] =
            (struct held_role){.role = facts->defaults[i].role, .by_default = true};
    for (size_t i = 0; i < facts->assignment_count; i++) {
        const struct facts_assignment *assignment = &facts->assignments[i];
        assert(assignment->level < facts->chain_count);
        if (assignment->expires_at <= now)
            continue;
        if (!facts_well_placed(facts, assignment, find(context, assignment->role))) {
            ++*misplaced;
            continue;
        }
        out->held[out->held_count++] = (struct held_role){.role = assignment->role};
        if (assignment->expires_at < out->first_expiry)
            out->first_expiry = assignment->expires_at;
    }
    held_normalise(out);
    return 0;
}

/* ---- overwrites ------------------------------------------------------------------------------------------ */

static int overwrite_compare(const void *a, const void *b)
{
    const struct input_overwrite *left = a, *right = b;
    if (left->level != right->level)
        return left->level < right->level ? -1 : 1;
    if (left->subject != right->subject)
        return left->subject < right->subject ? -1 : 1;
    if (left->role != right->role)
        return left->role < right->role ? -1 : 1;
    if (left->bit != right->bit)
        return left->bit < right->bit ? -1 : 1;
    return (int)left->allow - (int)right->allow;
}

/* Makes overwrites sorted, each once, with levels renumbered: inputs name no scope, or two channels with the same
 * rows would not share. */
static void overwrites_normalise(struct inputs *inputs)
{
    if (inputs->overwrite_count == 0)
        return;
    struct input_overwrite *rows = inputs->overwrites;
    qsort(rows, inputs->overwrite_count, sizeof *rows, overwrite_compare);
    size_t kept = 1;
    for (size_t i = 1; i < inputs->overwrite_count; i++)
        if (overwrite_compare(&rows[i], &rows[kept - 1]) != 0)
            rows[kept++] = rows[i];
    inputs->overwrite_count = kept;

    uint32_t number = 0, level = rows[0].level;
    for (size_t i = 0; i < kept; i++) {
        if (rows[i].level != level) {
            level = rows[i].level;
            number++;
        }
        rows[i].level = number;
    }
}

static int collect_overwrites(struct inputs *out, const struct facts *facts, role_find_fn find, void *context)
{
    struct closure closure = {0};
    int code = 0;
    if (facts->overwrite_count == 0)
        return 0;
    out->overwrites = malloc(facts->overwrite_count * sizeof *out->overwrites);
    if (out->overwrites == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < facts->overwrite_count && !out->overwrites_seen; i++)
        out->overwrites_seen = facts->overwrites[i].subject == OVERWRITE_ROLE;
    if (out->overwrites_seen)
        code = closure_build(&closure, out->held, out->held_count, CLOSURE_ALL, find, context);
    if (code < 0)
        goto out;
    for (size_t i = 0; i < facts->overwrite_count; i++) {
        const struct facts_overwrite *row = &facts->overwrites[i];
        assert(row->level < facts->chain_count);
        bool of_role = row->subject == OVERWRITE_ROLE;
        if (of_role && closure_find(&closure, row->role) == NULL)
            continue;
        out->overwrites[out->overwrite_count++] = (struct input_overwrite){.level = row->level,
                                                                           .subject = row->subject,
                                                                           .role = of_role ? row->role : 0,
                                                                           .bit = row->bit,
                                                                           .allow = row->allow};
    }
    overwrites_normalise(out);
out:
    closure_fini(&closure);
    return code;
}

/* ---- inputs ---------------------------------------------------------------------------------------------- */

int inputs_build(struct inputs *out, const struct facts *facts, int64_t now, role_find_fn find, void *context,
                 size_t *misplaced)
{
    size_t ignored = 0;
    int code = 0;
    memset(out, 0, sizeof *out);
    out->first_expiry = FACTS_NEVER;
    out->exists = facts->chain_count > 0;
    for (uint32_t level = 0; level < facts->chain_count; level++)
        out->owner =
            out->owner || (facts->chain[level].has_owner && facts->chain[level].owner == facts->user);
    if (out->exists && !out->owner) {
        code = collect_held(out, facts, now, find, context, &ignored);
        if (code == 0)
            code = collect_overwrites(out, facts, find, context);
    }
    if (code < 0)
        inputs_fini(out);
    if (misplaced != NULL)
        *misplaced = ignored;
    return code;
}

void inputs_fini(struct inputs *inputs)
{
    free(inputs->overwrites);
    free(inputs->held);
    memset(inputs, 0, sizeof *inputs);
}

/* A copy of an array; NULL for an empty one. */
static void *copy_of(const void *items, size_t count, size_t size, bool *failed)
{
    void *copy = count > 0 ? malloc(count * size) : NULL;
    if (copy != NULL)
        memcpy(copy, items, count * size);
    *failed |= count > 0 && copy == NULL;
    return copy;
}

int inputs_copy(struct inputs *out, const struct inputs *from)
{
    bool failed = false;
    *out = *from;
    out->held = copy_of(from->held, from->held_count, sizeof *from->held, &failed);
    out->overwrites = copy_of(from->overwrites, from->overwrite_count, sizeof *from->overwrites, &failed);
    if (failed)
        inputs_fini(out);
    return failed ? PERMTAB_E_MEMORY : 0;
}

bool inputs_equal(const struct inputs *a, const struct inputs *b)
{
    if (a->exists != b->exists || a->owner != b->owner || a->held_count != b->held_count ||
        a->overwrite_count != b->overwrite_count)
        return false;
    for (size_t i = 0; i < a->held_count; i++)
        if (held_compare(&a->held[i], &b->held[i]) != 0)
            return false;
    for (size_t i = 0; i < a->overwrite_count; i++)
        if (overwrite_compare(&a->overwrites[i], &b->overwrites[i]) != 0)
            return false;
    return true;
}

/* Hashes row by row through words without padding, because the bytes in the holes of the structs are undefined. */
uint64_t inputs_hash(const struct inputs *inputs)
{
    uint64_t head[3] = {(uint64_t)inputs->exists | (uint64_t)inputs->owner << 1, inputs->held_count,
                        inputs->overwrite_count};
    uint64_t hash = XXH3_64bits(head, sizeof head);
    for (size_t i = 0; i < inputs->held_count; i++) {
        uint64_t words[2] = {inputs->held[i].role, inputs->held[i].by_default};
        hash = XXH3_64bits_withSeed(words, sizeof words, hash);
    }
    for (size_t i = 0; i < inputs->overwrite_count; i++) {
        const struct input_overwrite *row = &inputs->overwrites[i];
        uint64_t kind = (uint64_t)row->level << 2 | (uint64_t)row->subject << 1 | (uint64_t)row->allow;
        uint64_t words[2] = {row->role, kind << 32 | row->bit};
        hash = XXH3_64bits_withSeed(words, sizeof words, hash);
    }
    return hash;
}

int inputs_roles(const struct inputs *inputs, role_find_fn find, void *find_context,
                 void (*visit)(void *context, uint64_t role), void *visit_context)
{
    struct closure closure;
    int code = closure_build(&closure, inputs->held, inputs->held_count, CLOSURE_ALL, find, find_context);
    for (size_t i = 0; code == 0 && i < closure.count; i++)
        visit(visit_context, closure.items[i].role);
    closure_fini(&closure);
    return code;
}
