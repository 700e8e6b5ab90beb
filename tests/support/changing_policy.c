/* The next thing to happen is drawn in two steps: which kind of thing, by the weights of this history, and to what.
 * Some draws come to nothing, for what they would change is not there. */
#include "tests/support/changing_policy.h"

#include "tests/support/changing_private.h"

#include "proxy/rights/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum happening {
    ASSIGN,
    UNASSIGN, /* each of the first four makes rows, and the next one takes them away again */
    OVERWRITE,
    UNOVERWRITE,
    GRANT,
    REVOKE,
    INHERIT,
    DISINHERIT,
    ROLE,         /* appears, is moved, made a default role, activated, or not any more */
    ROLE_REPLACE, /* moved by REPLACE, which names the new place alone */
    ROLE_DELETE,  /* with all that refers to it */
    ROLE_VANISH,  /* without */
    SCOPE,
    SCOPE_DELETE,
    SCOPE_VANISH,
    CATALOGUE,
    BURST, /* several changes of one role or one scope */
    HAPPENINGS
};
_Static_assert(HAPPENINGS == CHANGING_HAPPENINGS, "a weight each");

static void must(bool condition)
{
    if (!condition)
        abort();
}

uint64_t changing_draw(struct changing_policy *changing, uint64_t below)
{
    changing->random ^= changing->random << 13;
    changing->random ^= changing->random >> 7;
    changing->random ^= changing->random << 17;
    return (changing->random * 0x2545f4914f6cdd1dull >> 33) % below;
}

static const struct scope_key global = {0, 0};

uint64_t changing_nonce(const struct changing_policy *changing, uint64_t revision)
{
    return changing->history << 32 | revision;
}

uint64_t changing_user(struct changing_policy *changing)
{
    return changing_draw(changing, changing->users);
}

uint64_t changing_role(struct changing_policy *changing)
{
    return changing->focused && changing_draw(changing, 4) > 0 ? changing->focus_role
                                                               : changing_draw(changing, changing->roles);
}

uint32_t changing_bit(struct changing_policy *changing)
{
    return (uint32_t)changing_draw(changing, changing->bits);
}

/* server 1-2, category 10-12, channel 100-104: type numbers 1, 2, 3 */
struct scope_key changing_scope(struct changing_policy *changing)
{
    if (changing->focused && changing_draw(changing, 4) > 0)
        return changing->focus_scope;
    switch (changing_draw(changing, 5)) {
    case 0:
        return global;
    case 1:
        return (struct scope_key){1 + changing_draw(changing, 2), 1};
    case 2:
        return (struct scope_key){10 + changing_draw(changing, 3), 2};
    default:
        return (struct scope_key){100 + changing_draw(changing, 5), 3};
    }
}

void change_append(struct change_list *list, struct change change)
{
    struct change *items = realloc(list->items, (list->count + 1) * sizeof *items);
    must(items != NULL);
    items[list->count++] = change;
    list->items = items;
}

void change_log(struct changing_policy *changing, struct change change)
{
    change.revision = ++changing->revision;
    change.nonce = changing_nonce(changing, change.revision);
    change_append(&changing->log, change);
}

/* ---- which thing happens ----------------------------------------------------------------------------------------- */

static void burst(struct changing_policy *changing)
{
    if (changing->focused)
        return;
    changing->focus_role = changing_role(changing);
    changing->focus_scope = changing_scope(changing);
    changing->focused = true;
    for (uint64_t left = 2 + changing_draw(changing, 10); left > 0; left--)
        changing_step(changing);
    changing->focused = false;
}

static enum happening any_happening(struct changing_policy *changing)
{
    uint64_t left = changing_draw(changing, changing->weights);
    enum happening happening = ASSIGN;
    for (; left >= changing->weight[happening]; happening++)
        left -= changing->weight[happening];
    return happening;
}

/* Calls `change` with the place of any row of a list that has one. */
#define ANY(changing, list, change)                                                                          \
    do {                                                                                                     \
        if ((changing)->policy.list.count > 0)                                                               \
            change(changing, changing_draw(changing, (changing)->policy.list.count));                        \
    } while (0)

void changing_step(struct changing_policy *changing)
{
    switch (any_happening(changing)) {
    case ASSIGN:
        change_assign(changing);
        break;
    case UNASSIGN:
        ANY(changing, assignments, change_unassign);
        break;
    case OVERWRITE:
        change_overwrite(changing);
        break;
    case UNOVERWRITE:
        ANY(changing, overwrites, change_unoverwrite);
        break;
    case GRANT:
        change_grant(changing);
        break;
    case REVOKE:
        ANY(changing, grants, change_revoke);
        break;
    case INHERIT:
        change_inherit(changing);
        break;
    case DISINHERIT:
        ANY(changing, parents, change_disinherit);
        break;
    case ROLE:
        change_role_put(changing, false);
        break;
    case ROLE_REPLACE:
        change_role_put(changing, true);
        break;
    case ROLE_DELETE:
        change_role_delete(changing, false);
        break;
    case ROLE_VANISH:
        change_role_delete(changing, true);
        break;
    case SCOPE:
        change_scope_put(changing);
        break;
    case SCOPE_DELETE:
        change_scope_delete(changing, false);
        break;
    case SCOPE_VANISH:
        change_scope_delete(changing, true);
        break;
    case CATALOGUE:
        change_catalogue(changing);
        break;
    case BURST:
        burst(changing);
        break;
    case HAPPENINGS:
        break;
    }
}

/* A quarter to three quarters of what may happen do not; what makes rows comes with what takes them away. Rows that
 * point to nothing are for one history in four. */
static void draw_weights(struct changing_policy *changing)
{
    bool dangling = changing_draw(changing, 4) == 0;
    uint64_t none = 1 + changing_draw(changing, 3);
    for (enum happening happening = ASSIGN; happening < HAPPENINGS; happening++)
        changing->weight[happening] =
            (unsigned)(changing_draw(changing, 4) < none ? 0 : 1 + changing_draw(changing, 8));
    changing->weight[ASSIGN]++;
    changing->weight[ROLE]++;
    if (!dangling)
        changing->weight[ROLE_VANISH] = changing->weight[SCOPE_VANISH] = 0;
    /* Things that empty the policy or the table are rarer. */
    static const enum happening rare[] = {ROLE_REPLACE, ROLE_DELETE,  ROLE_VANISH, SCOPE,
                                          SCOPE_DELETE, SCOPE_VANISH, CATALOGUE};
    for (size_t i = 0; i < sizeof rare / sizeof rare[0]; i++)
        changing->weight[rare[i]] = (changing->weight[rare[i]] + 3) / 4;
    for (enum happening happening = ASSIGN; happening <= INHERIT;
         happening = (enum happening)(happening + 2)) {
        changing->weight[happening] *= 4;
        changing->weight[happening + 1] = changing->weight[happening] - changing->weight[happening] / 4;
    }
    changing->weights = 0;
    for (enum happening happening = ASSIGN; happening < HAPPENINGS; happening++)
        changing->weights += changing->weight[happening];
}

void changing_definitions(struct changing_policy *changing, struct role_list *roles, uint64_t id)
{
    struct role role;
    if (role_list_find(roles, id) != NULL)
        return;
    for (size_t i = 0; i < roles->count; i++)
        if (roles->items[i].id == id)
            return;
    if (!memory_definition(&changing->policy, id, &role))
        return;
    struct role *added = role_list_add(roles);
    must(added != NULL);
    *added = role;
    for (size_t i = 0; i < role.parent_count; i++) {
        uint64_t parent = role.parents[i];
        changing_definitions(changing, roles, parent);
    }
}
void changing_expired(struct changing_policy *changing, int64_t from, struct change_list *out)
{
    for (size_t i = 0; i < changing->policy.assignments.count; i++) {
        const struct memory_assignment *row = &changing->policy.assignments.items[i];
        if (row->expires_at > from && row->expires_at <= changing->now)
            change_append(out, (struct change){.kind = CHANGE_ASSIGNMENT,
                                               .user = row->user,
                                               .role = row->role,
                                               .scope = row->scope});
    }
}

/* ---- its life ---------------------------------------------------------------------------------------------------- */

static void put_first_rows(struct changing_policy *changing)
{
    struct memory_policy *policy = &changing->policy;
    for (int i = 0; i < CHANGING_PERMISSIONS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "p.n%d", i);
        memory_permission(policy, name);
    }
    for (uint64_t id = 1; id <= 2; id++)
        memory_scope(policy, (struct scope_key){id, 1}, global, NULL);
    for (uint64_t id = 10; id <= 12; id++)
        memory_scope(policy, (struct scope_key){id, 2}, (struct scope_key){1 + id % 2, 1}, NULL);
    for (uint64_t id = 100; id <= 104; id++)
        memory_scope(policy, (struct scope_key){id, 3}, (struct scope_key){10 + id % 3, 2}, NULL);
    for (uint64_t id = 0; id < changing->roles; id++) {
        struct scope_key scope = changing_draw(changing, 2) == 0 ? global : changing_scope(changing);
        memory_role(policy, id, "role", scope, changing_draw(changing, 6) == 0, true);
        memory_grant(policy, id, GRANT_ALLOW, changing_bit(changing));
    }
    for (int i = 0; i < 12; i++) {
        change_assign(changing);
        if (changing->weight[OVERWRITE] > 0 && changing_draw(changing, 3) == 0)
            change_overwrite(changing);
    }
}

void changing_begin(struct changing_policy *changing, uint64_t seed)
{
    memset(changing, 0, sizeof *changing);
    changing->random = seed;
    changing->revision = 1;
    changing->users = 2 + changing_draw(changing, CHANGING_USERS_MAX - 1);
    changing->roles = 2 + changing_draw(changing, CHANGING_ROLES_MAX - 1);
    changing->bits = changing_draw(changing, 2) == 0 ? CHANGING_PERMISSIONS : 3;
    draw_weights(changing);
    changing->now = 1000;
    memory_policy_init(&changing->policy);
    put_first_rows(changing);
    change_list_fini(&changing->log);
}

void changing_fini(struct changing_policy *changing)
{
    change_list_fini(&changing->log);
    memory_policy_fini(&changing->policy);
}
