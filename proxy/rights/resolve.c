/* resolve() makes the two bitmaps of inputs and the present definitions of roles: docs/SEMANTICS.md, steps 2 to 6.
 * Pure; a role edit runs it once for each set that holds the role, so it allocates little and walks nothing twice.
 *
 *     inherited roles → grants → grants_all? stop → overwrites, level by level → requires
 *
 * Why own ⊇ any. `own` starts from the same allows and more, minus the same denies, so it starts as a
 * superset. Each overwrite maps a bitmap x to (x & ~d) | a with the same d and a for both, and requires takes
 * the largest subset that is closed under it; both keep ⊆. Where one of them is replaced by everything, `own`
 * is replaced first or as well. So nothing has to be enforced at the end, and a test checks it on every
 * random policy.
 *
 * inputs.c has judged the facts before (time, place, owner); explain.c says why. */
#include "proxy/rights/resolve.h"

#include "proxy/rights/closure.h"
#include "proxy/rights/requires.h"

#include <stdlib.h>
#include <string.h>

/* The order in which rows of one level are applied; each value is one pass. */
enum phase {
    DEFAULT_DENY,
    DEFAULT_ALLOW,
    ROLE_DENY,
    ROLE_ALLOW,
    USER_DENY,
    USER_ALLOW,
    PHASE_COUNT,
    PHASE_NONE = PHASE_COUNT, /* a row for a role that is not in force */
};

/* Working memory of one call, all in one block but the closure. */
struct resolving {
    const struct catalogue *catalogue;
    uint32_t words;
    struct closure closure;
    uint64_t *live; /* permissions that exist and are not tombstones */
    uint64_t *allow;
    uint64_t *allow_own;
    uint64_t *deny;
    uint8_t *phases; /* of each overwrite row */
};

static void set(uint64_t *bits, uint32_t bit)
{
    bits[bit / 64] |= 1ull << (bit % 64);
}

static bool known(const struct resolving *resolving, uint32_t bit)
{
    return bit / 64 < resolving->words && bitmap_test(resolving->live, bit);
}

static int resolving_init(struct resolving *out, const struct catalogue *catalogue, size_t overwrite_count)
{
    size_t words = catalogue->words;
    memset(out, 0, sizeof *out);
    out->catalogue = catalogue;
    out->words = catalogue->words;
    uint64_t *block = calloc(1, 4 * words * sizeof *block + overwrite_count + 1);
    if (block == NULL)
        return PERMTAB_E_MEMORY;
    out->live = block;
    out->allow = block + words;
    out->allow_own = block + 2 * words;
    out->deny = block + 3 * words;
    out->phases = (uint8_t *)(block + 4 * words);
    for (size_t i = 0; i < catalogue->count; i++)
        if (!catalogue->permissions[i].deleted && catalogue->permissions[i].bit / 64 < words)
            set(out->live, catalogue->permissions[i].bit);
    return 0;
}

static void resolving_fini(struct resolving *resolving)
{
    free(resolving->live);
    closure_fini(&resolving->closure);
}

/* ---- roles ----------------------------------------------------------------------------------------------- */

static void collect_grants(struct resolving *resolving, const struct role *role)
{
    for (size_t i = 0; i < role->grant_count; i++) {
        if (!known(resolving, role->grants[i].bit))
            continue;
        switch (role->grants[i].effect) {
        case GRANT_ALLOW:
            set(resolving->allow, role->grants[i].bit);
            break;
        case GRANT_ALLOW_OWN:
            set(resolving->allow_own, role->grants[i].bit);
            break;
        case GRANT_DENY:
            set(resolving->deny, role->grants[i].bit);
            break;
        }
    }
}

/* Step 4. Only live permissions were collected, so only live ones come out. */
static void grant(struct resolving *resolving, uint64_t *any, uint64_t *own)
{
    for (size_t i = 0; i < resolving->closure.count; i++)
        if (reached_counts(&resolving->closure.items[i]))
            collect_grants(resolving, resolving->closure.items[i].definition);
    for (uint32_t word = 0; word < resolving->words; word++) {
        any[word] = resolving->allow[word] & ~resolving->deny[word];
        own[word] = any[word] | (resolving->allow_own[word] & ~resolving->deny[word]);
    }
}

/* Step 3, for what roles give: overwrites come later and cannot make anybody an administrator. */
static bool grants_all(const struct resolving *resolving, const uint64_t *bits)
{
    const struct catalogue *catalogue = resolving->catalogue;
    for (size_t i = 0; i < catalogue->count; i++)
        if (catalogue->permissions[i].grants_all && known(resolving, catalogue->permissions[i].bit) &&
            bitmap_test(bits, catalogue->permissions[i].bit))
            return true;
    return false;
}

static void give_all(const struct resolving *resolving, uint64_t *bits)
{
    memcpy(bits, resolving->live, resolving->words * sizeof *bits);
}

/* ---- overwrites ------------------------------------------------------------------------------------------ */

static enum phase phase_of(const struct resolving *resolving, const struct input_overwrite *row)
{
    if (!known(resolving, row->bit))
        return PHASE_NONE;
    if (row->subject == OVERWRITE_USER)
        return row->allow ? USER_ALLOW : USER_DENY;
    const struct reached *reached = closure_find(&resolving->closure, row->role);
    if (reached == NULL || !reached_counts(reached))
        return PHASE_NONE;
    if (reached->by_default)
        return row->allow ? DEFAULT_ALLOW : DEFAULT_DENY;
    return row->allow ? ROLE_ALLOW : ROLE_DENY;
}

/* Step 5 for the rows [first, end), which are one level's. Rows of one phase commute. */
static void overwrite_level(const struct resolving *resolving, const struct inputs *inputs, size_t first,
                            size_t end, uint64_t *any, uint64_t *own)
{
    for (uint8_t phase = 0; phase < PHASE_COUNT; phase++) {
        for (size_t i = first; i < end; i++) {
            if (resolving->phases[i] != phase)
                continue;
            uint32_t word = inputs->overwrites[i].bit / 64;
            uint64_t mask = 1ull << (inputs->overwrites[i].bit % 64);
            any[word] = inputs->overwrites[i].allow ? any[word] | mask : any[word] & ~mask;
            own[word] = inputs->overwrites[i].allow ? own[word] | mask : own[word] & ~mask;
        }
    }
}

static void overwrite(struct resolving *resolving, const struct inputs *inputs, uint64_t *any, uint64_t *own)
{
    for (size_t i = 0; i < inputs->overwrite_count; i++)
        resolving->phases[i] = (uint8_t)phase_of(resolving, &inputs->overwrites[i]);
    for (size_t first = 0; first < inputs->overwrite_count;) {
        size_t end = first + 1;
        while (end < inputs->overwrite_count &&
               inputs->overwrites[end].level == inputs->overwrites[first].level)
            end++;
        overwrite_level(resolving, inputs, first, end, any, own);
        first = end;
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static int resolve_roles(struct resolving *resolving, const struct inputs *inputs, role_find_fn find,
                         void *context, uint64_t *any, uint64_t *own)
{
    struct requirements requirements = {0};
    int code =
        closure_build(&resolving->closure, inputs->held, inputs->held_count, CLOSURE_ACTIVE, find, context);
    if (code < 0)
        return code;
    grant(resolving, any, own);
    bool own_all = grants_all(resolving, own);
    if (grants_all(resolving, any)) {
        give_all(resolving, any);
        give_all(resolving, own);
        return 0;
    }
    code = requirements_init(&requirements, resolving->catalogue);
    if (code < 0)
        return code;
    overwrite(resolving, inputs, any, own);
    requirements_enforce(&requirements, any);
    requirements_enforce(&requirements, own);
    if (own_all) /* an own-only allow grants all: everything in `own`, and nothing of it in `any` */
        give_all(resolving, own);
    requirements_fini(&requirements);
    return 0;
}

int resolve(const struct catalogue *catalogue, const struct inputs *inputs, role_find_fn find, void *context,
            uint64_t *any, uint64_t *own)
{
    struct resolving resolving;
    memset(any, 0, catalogue->words * sizeof *any);
    memset(own, 0, catalogue->words * sizeof *own);
    if (!inputs->exists)
        return 0;
    int code = resolving_init(&resolving, catalogue, inputs->overwrite_count);
    if (code < 0)
        return code;
    if (inputs->owner) {
        give_all(&resolving, any);
        give_all(&resolving, own);
    } else {
        code = resolve_roles(&resolving, inputs, find, context, any, own);
    }
    resolving_fini(&resolving);
    return code;
}
