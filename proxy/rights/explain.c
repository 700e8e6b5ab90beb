/* explain() tells why a decision is what it is: docs/SEMANTICS.md for one permission, step by step, each with the
 * row that made it. It walks the facts by itself, in the order in which people think of them, instead of
 * instrumenting resolve(), which must stay small. resolve() is asked only for the results of other permissions,
 * when this one requires them. A property test compares the two.
 *
 *     place → roles held                          here
 *           → grants_all → grants → overwrites    explain_grants.c
 *           → requires                            explain_requires.c
 *
 * Every part limits its lines: a policy may have thousands of rows, and a reader has one screen. */
#include "proxy/rights/explain.h"
#include "proxy/rights/explain_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HELD_LINES    60u
#define IGNORED_LINES 20u

const char *explain_scope(const struct explaining *explaining, uint32_t level, char text[SCOPE_TEXT_SIZE])
{
    return scope_format(&explaining->catalogue->types, explaining->facts->chain[level].key, text);
}

/* ---- the place ------------------------------------------------------------------------------------------- */

/* True when the place decides. */
static bool explain_place(const struct explaining *explaining, const struct permission *permission,
                          struct lines *lines, bool *allowed)
{
    const struct facts *facts = explaining->facts;
    char text[SCOPE_TEXT_SIZE];
    *allowed = false;
    if (permission->deprecated)
        lines_add(lines, false, "%s is deprecated; it resolves all the same", permission->name);
    if (facts->chain_count == 0) {
        lines_add(lines, true, "%s, or a scope above it, is not in the store: nothing is allowed there",
                  scope_format(&explaining->catalogue->types, facts->scope, text));
        return true;
    }
    if (permission->deleted) {
        lines_add(lines, true, "%s was deleted: it resolves to nothing", permission->name);
        return true;
    }
    for (uint32_t level = 0; level < facts->chain_count; level++) {
        if (facts->chain[level].has_owner && facts->chain[level].owner == facts->user) {
            lines_add(lines, true, "user %" PRIu64 " owns %s: every permission", facts->user,
                      explain_scope(explaining, level, text));
            *allowed = true;
            return true;
        }
    }
    return false;
}

/* ---- the roles held -------------------------------------------------------------------------------------- */

static void explain_default(const struct explaining *explaining, const struct facts_default *held,
                            struct lines *lines)
{
    char scope[SCOPE_TEXT_SIZE], role[ROLE_TEXT_SIZE];
    const struct role *definition = role_list_find(&explaining->facts->roles, held->role);
    lines_add(lines, false, "role %s held at %s, default%s", role_format(held->role, definition, role),
              explain_scope(explaining, held->level, scope),
              definition != NULL && definition->active ? "" : ", but inactive: it grants nothing");
}

static bool counts(const struct explaining *explaining, const struct facts_assignment *assignment)
{
    const struct role *definition = role_list_find(&explaining->facts->roles, assignment->role);
    return assignment->expires_at > explaining->now &&
           facts_well_placed(explaining->facts, assignment, definition);
}

static void explain_assigned(const struct explaining *explaining, const struct facts_assignment *assignment,
                             struct lines *lines)
{
    char scope[SCOPE_TEXT_SIZE], role[ROLE_TEXT_SIZE], until[TIME_TEXT_SIZE] = "";
    const struct role *definition = role_list_find(&explaining->facts->roles, assignment->role);
    bool ends = assignment->expires_at != FACTS_NEVER;
    lines_add(lines, false, "role %s held at %s, assigned%s%s%s",
              role_format(assignment->role, definition, role),
              explain_scope(explaining, assignment->level, scope), ends ? " until " : "",
              ends ? time_format(assignment->expires_at, until) : "",
              definition != NULL && definition->active ? "" : ", but inactive: it grants nothing");
}

static void explain_ignored(const struct explaining *explaining, const struct facts_assignment *assignment,
                            struct lines *lines)
{
    char scope[SCOPE_TEXT_SIZE], home[SCOPE_TEXT_SIZE], role[ROLE_TEXT_SIZE], until[TIME_TEXT_SIZE];
    const struct role *definition = role_list_find(&explaining->facts->roles, assignment->role);
    role_format(assignment->role, definition, role);
    explain_scope(explaining, assignment->level, scope);
    if (assignment->expires_at <= explaining->now)
        lines_add(lines, false, "role %s assigned at %s ended %s: ignored", role, scope,
                  time_format(assignment->expires_at, until));
    else if (definition == NULL)
        lines_add(lines, false, "role %s assigned at %s does not exist: ignored", role, scope);
    else
        lines_add(lines, false,
                  "role %s assigned at %s is a role of %s, which is not there or above: ignored", role, scope,
                  scope_format(&explaining->catalogue->types, definition->scope, home));
}

static void explain_roles(const struct explaining *explaining, struct lines *lines)
{
    const struct facts *facts = explaining->facts;
    char scope[SCOPE_TEXT_SIZE];
    size_t held = 0, ignored = 0;
    for (size_t i = 0; i < facts->default_count; i++)
        if (held++ < HELD_LINES)
            explain_default(explaining, &facts->defaults[i], lines);
    for (size_t i = 0; i < facts->assignment_count; i++)
        if (counts(explaining, &facts->assignments[i]) && held++ < HELD_LINES)
            explain_assigned(explaining, &facts->assignments[i], lines);
    for (size_t i = 0; i < facts->assignment_count; i++)
        if (!counts(explaining, &facts->assignments[i]) && ignored++ < IGNORED_LINES)
            explain_ignored(explaining, &facts->assignments[i], lines);
    if (held == 0)
        lines_add(lines, false, "user %" PRIu64 " holds no role at %s or above", facts->user,
                  scope_format(&explaining->catalogue->types, facts->scope, scope));
    if (held > HELD_LINES)
        lines_add(lines, false, "… and %zu more roles held", held - HELD_LINES);
    if (ignored > IGNORED_LINES)
        lines_add(lines, false, "… and %zu more assignments ignored", ignored - IGNORED_LINES);
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static int explain_steps(struct explaining *explaining, const struct permission *permission,
                         struct lines *lines, bool *allowed)
{
    if (explain_place(explaining, permission, lines, allowed))
        return 0;
    struct role_list *roles = &explaining->facts->roles;
    int code =
        inputs_build(&explaining->inputs, explaining->facts, explaining->now, role_list_find, roles, NULL);
    if (code == 0)
        code = closure_build(&explaining->closure, explaining->inputs.held, explaining->inputs.held_count,
                             CLOSURE_ACTIVE, role_list_find, roles);
    if (code < 0)
        return code;
    explain_roles(explaining, lines);
    if (explain_all(explaining, lines)) {
        *allowed = true;
        return 0;
    }
    *allowed = explain_grants(explaining, permission, lines);
    *allowed = explain_overwrites(explaining, permission, *allowed, lines);
    if (*allowed && permission->requires_count > 0)
        return explain_requires(explaining, permission, allowed, lines);
    return 0;
}

int explain(struct explanation *out, const struct catalogue *catalogue, struct facts *facts, int64_t now,
            uint32_t bit, bool own)
{
    const struct permission *permission = catalogue_at(catalogue, bit);
    struct explaining explaining = {.catalogue = catalogue, .facts = facts, .now = now, .own = own};
    struct lines lines = {0};
    memset(out, 0, sizeof *out);
    if (permission == NULL || bit / 64 >= catalogue->words)
        return PERMTAB_E_NO_PERMISSION;
    role_list_sort(&facts->roles);
    out->deprecated = permission->deprecated;
    int code = explain_steps(&explaining, permission, &lines, &out->allowed);
    if (code == 0 && lines.failed)
        code = PERMTAB_E_MEMORY;
    closure_fini(&explaining.closure);
    inputs_fini(&explaining.inputs);
    if (code < 0) {
        lines_fini(&lines);
        memset(out, 0, sizeof *out);
        return code;
    }
    out->lines = lines.items;
    out->line_count = lines.count;
    out->decisive = lines.decisive;
    return 0;
}

void explanation_fini(struct explanation *explanation)
{
    for (size_t i = 0; i < explanation->line_count; i++)
        free(explanation->lines[i]);
    free(explanation->lines);
    memset(explanation, 0, sizeof *explanation);
}
