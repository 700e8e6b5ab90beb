/* `requires` to its fixed point, in time proportional to permissions and requirements: clearing a permission
 * looks only at those that require it. Going round the whole catalogue until nothing changes would take as
 * many rounds as the longest chain is long, and there may be 16384 permissions in it.
 *
 * The result is the largest set in which every permission has what it requires. Permissions that require each
 * other in a circle therefore stay as long as all of them are there. */
#include "proxy/rights/requires.h"

#include <stdlib.h>
#include <string.h>

static bool test(const uint64_t *bits, uint32_t bit)
{
    return ((bits[bit / 64] >> (bit % 64)) & 1u) != 0;
}

static void clear(uint64_t *bits, uint32_t bit)
{
    bits[bit / 64] &= ~(1ull << (bit % 64));
}

static uint32_t limit_of(const struct catalogue *catalogue)
{
    return catalogue->words * 64;
}

/* Counts of dependents, then their running sum, then the lists: a counting sort of the edges by what is
 * required. */
static void turn_round(struct requirements *out, uint32_t limit)
{
    const struct catalogue *catalogue = out->catalogue;
    for (size_t i = 0; i < catalogue->count; i++)
        for (size_t j = 0; j < catalogue->permissions[i].requires_count; j++)
            if (catalogue->permissions[i].requires[j] < limit)
                out->first[catalogue->permissions[i].requires[j]]++;
    for (uint32_t bit = 1; bit <= limit; bit++)
        out->first[bit] += out->first[bit - 1];
    for (size_t i = 0; i < catalogue->count; i++)
        for (size_t j = 0; j < catalogue->permissions[i].requires_count; j++)
            if (catalogue->permissions[i].requires[j] < limit)
                out->dependents[--out->first[catalogue->permissions[i].requires[j]]] =
                    catalogue->permissions[i].bit;
}

int requirements_init(struct requirements *out, const struct catalogue *catalogue)
{
    uint32_t limit = limit_of(catalogue);
    size_t edges = 0;
    *out = (struct requirements){.catalogue = catalogue};
    for (size_t i = 0; i < catalogue->count; i++)
        edges += catalogue->permissions[i].requires_count;
    if (edges == 0)
        return 0;
    out->first = calloc((size_t)limit + 1, sizeof *out->first);
    out->dependents = malloc(edges * sizeof *out->dependents);
    out->cleared = malloc(((size_t)limit + 1) * sizeof *out->cleared);
    if (out->first == NULL || out->dependents == NULL || out->cleared == NULL) {
        requirements_fini(out);
        return PERMTAB_E_MEMORY;
    }
    turn_round(out, limit);
    return 0;
}

void requirements_fini(struct requirements *requirements)
{
    free(requirements->cleared);
    free(requirements->dependents);
    free(requirements->first);
    memset(requirements, 0, sizeof *requirements);
}

static bool has_all(const struct permission *permission, const uint64_t *bits, uint32_t limit)
{
    for (size_t i = 0; i < permission->requires_count; i++)
        if (permission->requires[i] >= limit || !test(bits, permission->requires[i]))
            return false;
    return true;
}

void requirements_enforce(struct requirements *requirements, uint64_t *bits)
{
    const struct catalogue *catalogue = requirements->catalogue;
    uint32_t limit = limit_of(catalogue);
    size_t waiting = 0;
    if (requirements->first == NULL)
        return;
    for (size_t i = 0; i < catalogue->count; i++) {
        const struct permission *permission = &catalogue->permissions[i];
        if (permission->bit < limit && test(bits, permission->bit) && !has_all(permission, bits, limit)) {
            clear(bits, permission->bit);
            requirements->cleared[waiting++] = permission->bit;
        }
    }
    while (waiting > 0) { /* a bit is cleared once, so the worklist never holds more than `limit` */
        uint32_t bit = requirements->cleared[--waiting];
        for (uint32_t i = requirements->first[bit]; i < requirements->first[bit + 1]; i++) {
            uint32_t dependent = requirements->dependents[i];
            if (dependent < limit && test(bits, dependent)) {
                clear(bits, dependent);
                requirements->cleared[waiting++] = dependent;
            }
        }
    }
}
