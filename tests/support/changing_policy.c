/* What happens is drawn in two steps: which kind of thing, by the weights of this history, and to what. Some draws come to
 * nothing, for what they would change is not there. */
#include "tests/support/changing_policy.h"

#include "proxy/resolve.h"

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

static uint32_t any_bit(struct changing_policy *changing)
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

static void append(struct change_list *list, struct change change)
{
    struct change *items = realloc(list->items, (list->count + 1) * sizeof *items);
    must(items != NULL);
    items[list->count++] = change;
    list->items = items;
}

static void log_change(struct changing_policy *changing, struct change change)
{
    change.revision = ++changing->revision;
    change.nonce = changing_nonce(changing, change.revision);
    append(&changing->log, change);
}

/* ---- random changes, with the rows that triggers would write ------------------------------------------------------ */

/* Takes item `at` out of a list of the policy. */
#define TAKE(changing, list, at)                                                                             \
    ((changing)->policy.list.items[at] = (changing)->policy.list.items[--(changing)->policy.list.count],     \
     memory_policy_touch(&(changing)->policy))

static void log_overwrite(struct changing_policy *changing, const struct memory_overwrite *row)
{
    struct change change = {.kind = CHANGE_OVERWRITE, .scope = row->scope};
    if (row->subject == OVERWRITE_USER)
        change.user = row->subject_id;
    else
        change.role = row->subject_id;
    log_change(changing, change);
}

static void unassign(struct changing_policy *changing, size_t at)
{
    struct memory_assignment gone = changing->policy.assignments.items[at];
    TAKE(changing, assignments, at);
    log_change(changing,
               (struct change){
                   .kind = CHANGE_ASSIGNMENT, .user = gone.user, .role = gone.role, .scope = gone.scope});
}

static void unoverwrite(struct changing_policy *changing, size_t at)
{
    struct memory_overwrite gone = changing->policy.overwrites.items[at];
    TAKE(changing, overwrites, at);
    log_overwrite(changing, &gone);
}

static void revoke(struct changing_policy *changing, size_t at)
{
    uint64_t role = changing->policy.grants.items[at].role;
    TAKE(changing, grants, at);
    log_change(changing, (struct change){.kind = CHANGE_ROLE_GRANT, .role = role});
}

static void disinherit(struct changing_policy *changing, size_t at)
{
    uint64_t role = changing->policy.parents.items[at].role;
    TAKE(changing, parents, at);
    log_change(changing, (struct change){.kind = CHANGE_ROLE_PARENT, .role = role});
}

static void assign(struct changing_policy *changing)
{
    struct memory_policy *policy = &changing->policy;
    uint64_t user = changing_user(changing), role = changing_role(changing);
    const struct memory_role *definition = memory_role_find(policy, role);
    struct scope_key scope = changing_scope(changing);
    if (definition != NULL && changing_draw(changing, 2) == 0)
        scope = definition->scope; /* most other places are out of place */
    int64_t expires =
        changing_draw(changing, 3) == 0 ? changing->now + (int64_t)changing_draw(changing, 40) : FACTS_NEVER;
    for (size_t i = 0; i < policy->assignments.count; i++)
        if (policy->assignments.items[i].user == user && policy->assignments.items[i].role == role &&
            scope_equal(policy->assignments.items[i].scope, scope))
            return;
    if (definition == NULL || memory_scope_find(policy, scope) == NULL)
        return;
    memory_assign(policy, user, role, scope, expires);
    log_change(changing,
               (struct change){.kind = CHANGE_ASSIGNMENT, .user = user, .role = role, .scope = scope});
}

static void overwrite(struct changing_policy *changing)
{
    bool user = changing_draw(changing, 3) == 0;
    struct memory_overwrite row = {changing_scope(changing), user ? OVERWRITE_USER : OVERWRITE_ROLE,
                                   user ? changing_user(changing) : changing_role(changing),
                                   any_bit(changing), changing_draw(changing, 2) == 0};
    if (row.scope.type == 0 && changing_draw(changing, 8) > 0)
        return; /* else everybody would soon see some, and most of what is of interest is where only some do */
    if (memory_scope_find(&changing->policy, row.scope) == NULL ||
        (!user && memory_role_find(&changing->policy, row.subject_id) == NULL))
        return;
    memory_overwrite(&changing->policy, row.scope, row.subject, row.subject_id, row.bit, row.allow);
    log_overwrite(changing, &row);
}

static void grant(struct changing_policy *changing)
{
    uint64_t role = changing_role(changing);
    if (memory_role_find(&changing->policy, role) == NULL)
        return;
    memory_grant(&changing->policy, role, (enum grant_effect)changing_draw(changing, 3), any_bit(changing));
    log_change(changing, (struct change){.kind = CHANGE_ROLE_GRANT, .role = role});
}

static void inherit(struct changing_policy *changing)
{
    uint64_t role = changing_role(changing), parent = changing_draw(changing, changing->roles);
    if (memory_role_find(&changing->policy, role) == NULL ||
        memory_role_find(&changing->policy, parent) == NULL)
        return;
    memory_inherit(&changing->policy, role, parent); /* cycles too */
    log_change(changing, (struct change){.kind = CHANGE_ROLE_PARENT, .role = role});
}

static void role_put(struct changing_policy *changing, bool replaces)
{
    struct memory_policy *policy = &changing->policy;
    uint64_t id = changing_role(changing);
    const struct memory_role *before = memory_role_find(policy, id);
    struct scope_key old_scope = before != NULL ? before->scope : global;
    struct memory_role after = before != NULL ? *before : (struct memory_role){.id = id, .active = true};
    bool existed = before != NULL;
    if (!existed || replaces || changing_draw(changing, 3) == 0)
        after.scope = changing_scope(changing);
    if (memory_scope_find(policy, after.scope) == NULL)
        return;
    if (changing_draw(changing, 2) == 0)
        after.is_default = !after.is_default;
    if (changing_draw(changing, 2) == 0)
        after.active = !after.active;
    for (size_t i = 0; i < policy->roles.count; i++) {
        struct memory_role *row = &policy->roles.items[i];
        if (row->id == id) {
            row->scope = after.scope;
            row->is_default = after.is_default;
            row->active = after.active;
        }
    }
    if (!existed)
        memory_role(policy, id, "role", after.scope, after.is_default, after.active);
    memory_policy_touch(policy);
    if (existed && !replaces && !scope_equal(old_scope, after.scope))
        log_change(changing, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = old_scope});
    log_change(changing, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = after.scope});
}

static void role_delete(struct changing_policy *changing, bool vanishes)
{
    struct memory_policy *policy = &changing->policy;
    uint64_t id = changing_role(changing);
    for (size_t i = policy->assignments.count; !vanishes && i-- > 0;)
        if (policy->assignments.items[i].role == id)
            unassign(changing, i);
    for (size_t i = policy->overwrites.count; !vanishes && i-- > 0;)
        if (policy->overwrites.items[i].subject == OVERWRITE_ROLE &&
            policy->overwrites.items[i].subject_id == id)
            unoverwrite(changing, i);
    for (size_t i = policy->grants.count; !vanishes && i-- > 0;)
        if (policy->grants.items[i].role == id)
            revoke(changing, i);
    for (size_t i = policy->parents.count; !vanishes && i-- > 0;)
        if (policy->parents.items[i].role == id || policy->parents.items[i].parent == id)
            disinherit(changing, i);
    for (size_t i = policy->roles.count; i-- > 0;) {
        if (policy->roles.items[i].id == id) {
            struct scope_key scope = policy->roles.items[i].scope;
            free(policy->roles.items[i].name);
            TAKE(changing, roles, i);
            log_change(changing, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = scope});
        }
    }
}

static void scope_put(struct changing_policy *changing)
{
    struct memory_policy *policy = &changing->policy;
    struct scope_key key = changing_scope(changing);
    struct scope_key parent = global;
    uint64_t owner = changing_user(changing);
    if (key.type > 1 && changing_draw(changing, 3) > 0)
        parent = (struct scope_key){1 + changing_draw(changing, 2), 1};
    if (key.type == 3 && changing_draw(changing, 2) == 0)
        parent = (struct scope_key){10 + changing_draw(changing, 3), 2};
    if (key.type == 0 || memory_scope_find(policy, parent) == NULL)
        return;
    memory_scope(policy, key, parent, changing_draw(changing, 5) == 0 ? &owner : NULL);
    memory_policy_touch(policy);
    log_change(changing, (struct change){.kind = CHANGE_SCOPE, .scope = key});
}

/* What refers to it goes first, or, as where references are not enforced, stays and points to nothing. */
static void scope_delete(struct changing_policy *changing, bool vanishes)
{
    struct memory_policy *policy = &changing->policy;
    struct scope_key key = changing_scope(changing);
    for (size_t i = policy->assignments.count; !vanishes && i-- > 0;)
        if (scope_equal(policy->assignments.items[i].scope, key))
            unassign(changing, i);
    for (size_t i = policy->overwrites.count; !vanishes && i-- > 0;)
        if (scope_equal(policy->overwrites.items[i].scope, key))
            unoverwrite(changing, i);
    if (key.type == 0)
        return;
    for (size_t i = 0; !vanishes && i < policy->scopes.count; i++)
        if (scope_equal(policy->scopes.items[i].parent, key))
            return;
    for (size_t i = 0; !vanishes && i < policy->roles.count; i++)
        if (scope_equal(policy->roles.items[i].scope, key))
            return;
    for (size_t i = policy->scopes.count; i-- > 0;) {
        if (scope_equal(policy->scopes.items[i].key, key)) {
            TAKE(changing, scopes, i);
            log_change(changing, (struct change){.kind = CHANGE_SCOPE, .scope = key});
        }
    }
}

static void change_catalogue(struct changing_policy *changing)
{
    struct memory_permission *permission = &changing->policy.permissions.items[any_bit(changing)];
    switch (changing_draw(changing, 3)) {
    case 0:
        permission->grants_all = !permission->grants_all;
        break;
    case 1:
        permission->deleted = changing_draw(changing, 4) == 0 || permission->deleted;
        break;
    default:
        memory_requires(&changing->policy, any_bit(changing), any_bit(changing));
    }
    log_change(changing, (struct change){.kind = CHANGE_PERMISSION});
}

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
        assign(changing);
        break;
    case UNASSIGN:
        ANY(changing, assignments, unassign);
        break;
    case OVERWRITE:
        overwrite(changing);
        break;
    case UNOVERWRITE:
        ANY(changing, overwrites, unoverwrite);
        break;
    case GRANT:
        grant(changing);
        break;
    case REVOKE:
        ANY(changing, grants, revoke);
        break;
    case INHERIT:
        inherit(changing);
        break;
    case DISINHERIT:
        ANY(changing, parents, disinherit);
        break;
    case ROLE:
        role_put(changing, false);
        break;
    case ROLE_REPLACE:
        role_put(changing, true);
        break;
    case ROLE_DELETE:
        role_delete(changing, false);
        break;
    case ROLE_VANISH:
        role_delete(changing, true);
        break;
    case SCOPE:
        scope_put(changing);
        break;
    case SCOPE_DELETE:
        scope_delete(changing, false);
        break;
    case SCOPE_VANISH:
        scope_delete(changing, true);
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

/* A quarter to three quarters of what may happen do not; what makes rows comes with what takes them away. Rows that point to nothing are for
 * one history in four. */
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
    /* What empties the policy or the table is rarer. */
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
    for (size_t i = 0; i < added->parent_count; i++) {
        uint64_t parent = role.parents[i];
        changing_definitions(changing, roles, parent);
    }
}
void changing_expired(struct changing_policy *changing, int64_t from, struct change_list *out)
{
    for (size_t i = 0; i < changing->policy.assignments.count; i++) {
        const struct memory_assignment *row = &changing->policy.assignments.items[i];
        if (row->expires_at > from && row->expires_at <= changing->now)
            append(out,
                   (struct change){
                       .kind = CHANGE_ASSIGNMENT, .user = row->user, .role = row->role, .scope = row->scope});
    }
}

/* ---- its life ----------------------------------------------------------------------------------------------------- */

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
        memory_grant(policy, id, GRANT_ALLOW, any_bit(changing));
    }
    for (int i = 0; i < 12; i++) {
        assign(changing);
        if (changing->weight[OVERWRITE] > 0 && changing_draw(changing, 3) == 0)
            overwrite(changing);
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
