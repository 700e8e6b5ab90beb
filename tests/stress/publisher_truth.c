/* The slow resolver is asked about every key each time that anything changes. It shares no code with proxy/, so the
 * whole way of a row into the table is compared, not the table's own part of it alone. */
#include "tests/stress/publisher_truth.h"

#include "tests/support/slow_resolver.h"

#include <stdlib.h>
#include <string.h>

void truth_fini(struct truth *truth)
{
    free(truth->versions);
    memset(truth, 0, sizeof *truth);
}

void truth_key(uint32_t number, uint64_t *user, struct scope_key *scope)
{
    static const uint64_t first[] = {0, 1, 10, 100};
    static const uint32_t count[] = {1, 5, 6, 8};
    uint32_t place = number % TRUTH_SCOPES;
    *user = number / TRUTH_SCOPES;
    for (scope->type = 0; place >= count[scope->type]; scope->type++)
        place -= count[scope->type];
    scope->id = first[scope->type] + place;
}

static void resolve_all(struct truth_version *version, uint32_t keys, const struct memory_policy *policy)
{
    for (uint32_t key = 0; key < keys; key++) {
        bool granted[2][CHANGING_PERMISSIONS];
        struct scope_key scope;
        uint64_t user;
        truth_key(key, &user, &scope);
        slow_resolve(policy, user, scope, version->now, granted[0], granted[1]);
        for (uint32_t bit = 0; bit < CHANGING_PERMISSIONS; bit++)
            for (uint32_t own = 0; own < 2; own++)
                version->bits[key][own * 2 + bit / 64] |= (uint64_t)granted[own][bit] << (bit % 64);
    }
}

static void forget(struct truth *truth, uint64_t oldest_ns)
{
    size_t old = 0;
    while (old < truth->count && truth->versions[old].until_ns < oldest_ns)
        old++;
    if (old == 0)
        return;
    truth->count -= old;
    memmove(truth->versions, truth->versions + old, truth->count * sizeof *truth->versions);
}

void truth_note(struct truth *truth, struct changing_policy *policy, uint64_t clock_ns, uint64_t oldest_ns)
{
    forget(truth, oldest_ns);
    struct truth_version *versions = realloc(truth->versions, (truth->count + 1) * sizeof *truth->versions);
    if (versions == NULL)
        abort();
    truth->versions = versions;
    if (truth->count > 0)
        versions[truth->count - 1].until_ns = clock_ns;
    struct truth_version *version = &versions[truth->count++];
    memset(version, 0, sizeof *version);
    version->history = policy->history;
    version->revision = policy->revision;
    version->now = policy->now;
    version->since_ns = clock_ns;
    version->until_ns = UINT64_MAX;
    truth->keys = (uint32_t)policy->users * TRUTH_SCOPES;
    resolve_all(version, truth->keys, &policy->policy);
}

static bool is(const struct truth_version *version, uint32_t key, const uint64_t bits[TRUTH_WORDS])
{
    return memcmp(version->bits[key], bits, sizeof version->bits[key]) == 0;
}

bool truth_allows(const struct truth *truth, const struct truth_window *window, uint32_t key,
                  const uint64_t bits[TRUTH_WORDS])
{
    for (size_t at = truth->count; at > 0 && truth->versions[at - 1].until_ns > window->from_ns; at--) {
        const struct truth_version *version = &truth->versions[at - 1];
        if (version->history == window->history && version->revision >= window->revision &&
            is(version, key, bits))
            return true;
    }
    return false;
}

bool truth_is_newest(const struct truth *truth, uint32_t key, const uint64_t bits[TRUTH_WORDS])
{
    return is(&truth->versions[truth->count - 1], key, bits);
}
