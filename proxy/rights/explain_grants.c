/* The part of an explanation that is about rows: which role grants or denies, which overwrite changes it. The
 * last row that speaks of the permission decides, so each takes the mark from the one before. */
#include "proxy/rights/explain_private.h"

#include <inttypes.h>

#define GRANT_LINES     20u
#define ALL_DENIED_MAX  2u
#define OVERWRITE_LINES 3u /* a level, group and effect; there are up to 15 * 6 of those */

/* ---- what roles grant ------------------------------------------------------------------------------------ */

static bool role_has(const struct reached *reached, uint32_t bit, enum grant_effect effect)
{
    if (!reached_counts(reached))
        return false;
    for (size_t i = 0; i < reached->definition->grant_count; i++)
        if (reached->definition->grants[i].bit == bit && reached->definition->grants[i].effect == effect)
            return true;
    return false;
}

/* Adds a line for each role with that effect, `before` in front of the name and `after` behind the path. Returns
 * how many there are; with NULL for lines it only counts. The first one takes the mark when `decides`. */
static size_t explain_effect(const struct explaining *explaining, const struct permission *permission,
                             enum grant_effect effect, const char *after, bool decides, struct lines *lines)
{
    static const char *const verbs[] = {
        [GRANT_ALLOW] = "allows", [GRANT_ALLOW_OWN] = "allows for own resources", [GRANT_DENY] = "denies"};
    const struct closure *closure = &explaining->closure;
    char role[ROLE_TEXT_SIZE], path[PATH_TEXT_SIZE];
    size_t found = 0;
    for (size_t i = 0; i < closure->count; i++) {
        const struct reached *reached = &closure->items[i];
        if (!role_has(reached, permission->bit, effect))
            continue;
        if (lines != NULL && found < GRANT_LINES)
            lines_add(lines, decides && found == 0, "role %s %s %s%s%s",
                      role_format(reached->role, reached->definition, role), verbs[effect], permission->name,
                      after, path_format(closure, reached, path));
        found++;
    }
    if (lines != NULL && found > GRANT_LINES)
        lines_add(lines, false, "… and %zu more roles that do", found - GRANT_LINES);
    return found;
}

/* Whether allows reach the bitmap (own ones, too, when the question is about own resources), and whether denies do. */
struct all {
    bool any, own, denied;
};

static struct all all_of(const struct explaining *explaining, const struct permission *permission)
{
    struct all all = {false, false, false};
    if (!permission->grants_all || permission->deleted ||
        permission->bit / 64 >= explaining->catalogue->words)
        return all;
    all.any = explain_effect(explaining, permission, GRANT_ALLOW, "", false, NULL) > 0;
    all.own = explaining->own && explain_effect(explaining, permission, GRANT_ALLOW_OWN, "", false, NULL) > 0;
    all.denied =
        (all.any || all.own) && explain_effect(explaining, permission, GRANT_DENY, "", false, NULL) > 0;
    return all;
}

/* Only the first permission that grants all is told. When none does, denied ones are told: people ask why an
 * administrator is none. */
bool explain_all(const struct explaining *explaining, struct lines *lines)
{
    const struct catalogue *catalogue = explaining->catalogue;
    for (size_t i = 0; i < catalogue->count; i++) {
        struct all all = all_of(explaining, &catalogue->permissions[i]);
        if ((all.any || all.own) && !all.denied) {
            explain_effect(explaining, &catalogue->permissions[i], all.any ? GRANT_ALLOW : GRANT_ALLOW_OWN,
                           ", which grants everything", true, lines);
            return true;
        }
    }
    size_t told = 0;
    for (size_t i = 0; i < catalogue->count && told < ALL_DENIED_MAX; i++) {
        if (!all_of(explaining, &catalogue->permissions[i]).denied)
            continue;
        explain_effect(explaining, &catalogue->permissions[i], GRANT_DENY,
                       ", so that it does not grant everything", false, lines);
        told++;
    }
    return false;
}

bool explain_grants(const struct explaining *explaining, const struct permission *permission,
                    struct lines *lines)
{
    bool denied = explain_effect(explaining, permission, GRANT_DENY, "", true, lines) > 0;
    bool any = explain_effect(explaining, permission, GRANT_ALLOW, "", !denied, lines) > 0;
    bool own = explain_effect(explaining, permission, GRANT_ALLOW_OWN, "", !denied && !any && explaining->own,
                              lines);
    bool allowed = any || (own && explaining->own);
    if (!allowed && !denied)
        lines_add(lines, true, "no role allows %s%s", permission->name,
                  explaining->own ? ""
                  : own           ? " for resources of others"
                                  : "");
    return allowed && !denied;
}

/* ---- overwrites ------------------------------------------------------------------------------------------ */

enum overwrite_group { GROUP_DEFAULT, GROUP_ROLE, GROUP_USER, GROUP_COUNT, GROUP_NONE };

static enum overwrite_group group_of(const struct explaining *explaining, const struct facts_overwrite *row)
{
    if (row->subject == OVERWRITE_USER)
        return GROUP_USER;
    const struct reached *reached = closure_find(&explaining->closure, row->role);
    if (reached == NULL || !reached_counts(reached))
        return GROUP_NONE;
    return reached->by_default ? GROUP_DEFAULT : GROUP_ROLE;
}

static void explain_overwrite(const struct explaining *explaining, const struct facts_overwrite *row,
                              const struct permission *permission, bool decides, struct lines *lines)
{
    char scope[SCOPE_TEXT_SIZE], role[ROLE_TEXT_SIZE], path[PATH_TEXT_SIZE] = "";
    const char *verb = row->allow ? "allows" : "denies";
    explain_scope(explaining, row->level, scope);
    if (row->subject == OVERWRITE_USER) {
        lines_add(lines, decides, "overwrite at %s %s %s for user %" PRIu64, scope, verb, permission->name,
                  explaining->facts->user);
        return;
    }
    const struct reached *reached = closure_find(&explaining->closure, row->role);
    lines_add(lines, decides, "overwrite at %s %s %s for role %s%s%s", scope, verb, permission->name,
              role_format(row->role, reached->definition, role), reached->by_default ? ", default" : "",
              path_format(&explaining->closure, reached, path));
}

/* One level, one group, one effect. Returns how many rows there are. */
static size_t explain_rows(const struct explaining *explaining, const struct permission *permission,
                           uint32_t level, enum overwrite_group group, bool allow, struct lines *lines)
{
    const struct facts *facts = explaining->facts;
    size_t found = 0;
    for (size_t i = 0; i < facts->overwrite_count; i++) {
        const struct facts_overwrite *row = &facts->overwrites[i];
        if (row->level != level || row->bit != permission->bit || row->allow != allow ||
            group_of(explaining, row) != group)
            continue;
        if (found < OVERWRITE_LINES)
            explain_overwrite(explaining, row, permission, found == 0, lines);
        found++;
    }
    if (found > OVERWRITE_LINES)
        lines_add(lines, false, "… and %zu more such rows", found - OVERWRITE_LINES);
    return found;
}

bool explain_overwrites(const struct explaining *explaining, const struct permission *permission,
                        bool allowed, struct lines *lines)
{
    for (uint32_t level = 0; level < explaining->facts->chain_count; level++) {
        for (enum overwrite_group group = 0; group < GROUP_COUNT; group++) {
            if (explain_rows(explaining, permission, level, group, false, lines) > 0)
                allowed = false;
            if (explain_rows(explaining, permission, level, group, true, lines) > 0)
                allowed = true;
        }
    }
    return allowed;
}
