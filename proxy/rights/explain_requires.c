/* The part of an explanation that is about `requires`: which requirement is missing, which one that requires in
 * turn, down to a permission that was not granted in the first place, and why it was not. */
#include "proxy/rights/explain_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRES_LINES 20u

/* ---- requires -------------------------------------------------------------------------------------------- */

/* The results for all permissions, without and with `requires`. */
struct outcome {
    uint64_t *bits; /* four bitmaps in one block */
    const uint64_t *before;
    const uint64_t *after;
    uint32_t words;
};

static bool outcome_has(const struct outcome *outcome, const uint64_t *bits, uint32_t bit)
{
    return bit / 64 < outcome->words && bitmap_test(bits, bit);
}

static int outcome_init(struct outcome *out, const struct explaining *explaining)
{
    struct catalogue plain = *explaining->catalogue; /* a copy in which nothing requires anything */
    struct role_list *roles = &explaining->facts->roles;
    size_t words = plain.words;
    int code = PERMTAB_E_MEMORY;
    out->words = plain.words;
    out->bits = calloc(4 * words + 1, sizeof *out->bits);
    plain.permissions = malloc((plain.count + 1) * sizeof *plain.permissions);
    if (out->bits == NULL || plain.permissions == NULL)
        goto out;
    for (size_t i = 0; i < plain.count; i++) {
        plain.permissions[i] = explaining->catalogue->permissions[i];
        plain.permissions[i].requires_count = 0;
    }
    uint64_t *bits = out->bits;
    code = resolve(&plain, &explaining->inputs, role_list_find, roles, bits, bits + words);
    if (code == 0)
        code = resolve(explaining->catalogue, &explaining->inputs, role_list_find, roles, bits + 2 * words,
                       bits + 3 * words);
    out->before = explaining->own ? bits + words : bits;
    out->after = out->before + 2 * words;
out:
    free(plain.permissions);
    if (code < 0) {
        free(out->bits);
        out->bits = NULL;
    }
    return code;
}

/* The chain of missing requirements from a permission down to one that nobody granted. */
struct search {
    uint32_t *bits; /* in the order found; the first is the permission asked for */
    uint32_t *from; /* beside it: which item requires it */
    size_t count;
};

static bool search_has(const uint64_t *seen, uint32_t bit)
{
    return (seen[bit / 64] >> (bit % 64) & 1u) != 0;
}

/* Breadth first over missing requirements, up to one that was not granted. There is one, because the first
 * permission to be cleared lacked one that never was granted. A required bit without a permission ends the search,
 * too. Returns the item found. */
static size_t search_root(struct search *search, const struct explaining *explaining,
                          const struct outcome *outcome, uint64_t *seen)
{
    for (size_t next = 0; next < search->count; next++) {
        const struct permission *permission = catalogue_at(explaining->catalogue, search->bits[next]);
        if (permission == NULL || !outcome_has(outcome, outcome->before, permission->bit))
            return next;
        for (size_t i = 0; i < permission->requires_count; i++) {
            uint32_t bit = permission->requires[i];
            bool outside = bit / 64 >= outcome->words;
            if (outcome_has(outcome, outcome->after, bit) || (!outside && search_has(seen, bit)))
                continue;
            search->bits[search->count] = bit;
            search->from[search->count++] = (uint32_t)next;
            if (outside)
                return search->count - 1;
            seen[bit / 64] |= 1ull << (bit % 64);
        }
    }
    return search->count - 1;
}

/* Adds the reason why a permission was not granted: the line that decided it, without its number. */
static void explain_root(const struct explaining *explaining, uint32_t bit, struct lines *lines)
{
    const struct permission *permission = catalogue_at(explaining->catalogue, bit);
    struct lines inner = {0};
    if (permission == NULL) {
        lines_add(lines, false, "permission number %" PRIu32 " does not exist", bit);
        return;
    }
    if (permission->deleted) {
        lines_add(lines, false, "%s was deleted: it resolves to nothing", permission->name);
        return;
    }
    explain_overwrites(explaining, permission, explain_grants(explaining, permission, &inner), &inner);
    if (!inner.failed)
        lines_add(lines, false, "%s is missing: %s", permission->name,
                  strchr(inner.items[inner.decisive], ' ') + 1);
    lines->failed = lines->failed || inner.failed;
    lines_fini(&inner);
}

static const char *name_of(const struct explaining *explaining, uint32_t bit)
{
    const struct permission *permission = catalogue_at(explaining->catalogue, bit);
    return permission == NULL ? "a permission that does not exist" : permission->name;
}

static void explain_chain(const struct explaining *explaining, const struct search *search, size_t root,
                          struct lines *lines)
{
    size_t length = 0, told = 0;
    for (size_t at = root; at != 0; at = search->from[at])
        search->from[search->count + length++] = (uint32_t)at; /* the room behind `count` is free now */
    for (size_t i = length; i-- > 0 && told < REQUIRES_LINES; told++) {
        size_t at = search->from[search->count + i];
        lines_add(lines, told == 0, "%s requires %s, which is missing",
                  name_of(explaining, search->bits[search->from[at]]), name_of(explaining, search->bits[at]));
    }
    if (length > told)
        lines_add(lines, false, "… and %zu more requirements of requirements", length - told);
    explain_root(explaining, search->bits[root], lines);
}

static int explain_missing(const struct explaining *explaining, const struct permission *permission,
                           const struct outcome *outcome, struct lines *lines)
{
    size_t most = (size_t)outcome->words * 64 + 2;
    struct search search = {.bits = malloc(most * sizeof *search.bits),
                            .from = malloc(2 * most * sizeof *search.from)};
    uint64_t *seen = calloc((size_t)outcome->words + 1, sizeof *seen);
    int code = PERMTAB_E_MEMORY;
    if (search.bits == NULL || search.from == NULL || seen == NULL)
        goto out;
    search.bits[0] = permission->bit;
    search.from[0] = 0;
    search.count = 1;
    seen[permission->bit / 64] |= 1ull << (permission->bit % 64);
    size_t root = search_root(&search, explaining, outcome, seen);
    explain_chain(explaining, &search, root, lines);
    code = 0;
out:
    free(seen);
    free(search.from);
    free(search.bits);
    return code;
}

int explain_requires(const struct explaining *explaining, const struct permission *permission, bool *allowed,
                     struct lines *lines)
{
    struct outcome outcome;
    int code = outcome_init(&outcome, explaining);
    if (code < 0)
        return code;
    bool missing = false;
    for (size_t i = 0; i < permission->requires_count; i++)
        missing = missing || !outcome_has(&outcome, outcome.after, permission->requires[i]);
    if (missing) {
        *allowed = false;
        code = explain_missing(explaining, permission, &outcome, lines);
    } else {
        for (size_t i = 0; i < permission->requires_count && i < REQUIRES_LINES; i++)
            lines_add(lines, false, "%s requires %s, which is there", permission->name,
                      name_of(explaining, permission->requires[i]));
    }
    free(outcome.bits);
    return code;
}
