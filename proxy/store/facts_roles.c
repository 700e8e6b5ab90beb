/* The roles of facts: definitions are read once for all of them, and each gets copies of those that it needs. */
#include "proxy/store/store.h"

#include "proxy/store/private.h"

#include <stdlib.h>

static int no_memory(struct failure *failure)
{
    return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
}

/* All roles of a read, and which of them one member's facts need. */
struct choice {
    const struct role_list *all; /* sorted */
    bool *chosen;                /* of each */
    size_t *indices;             /* of those that are chosen */
    size_t count;
};

/* Bytes that the copies of one read may take; beyond it users are read one by one. */
#define COPIES_MAX 4194304u

static size_t role_bytes(const struct role *role)
{
    return sizeof *role + role->parent_count * sizeof *role->parents + role->grant_count * sizeof *role->grants;
}

static void choose(struct choice *choice, uint64_t role)
{
    const struct role *found = role_list_find((void *)(uintptr_t)choice->all, role);
    if (!found)
        return;
    size_t index = (size_t)(found - choice->all->items);
    if (choice->chosen[index])
        return;
    choice->chosen[index] = true;
    choice->indices[choice->count++] = index;
}

/* Chooses the roles that are held or default, and their ancestors. A role that is only named by an overwrite, and not
 * held, has no say. */
static void choose_all(struct choice *choice, const struct facts *facts)
{
    for (size_t i = 0; i < facts->assignment_count; i++)
        choose(choice, facts->assignments[i].role);
    for (size_t i = 0; i < facts->default_count; i++)
        choose(choice, facts->defaults[i].role);
    for (size_t i = 0; i < choice->count; i++) {
        const struct role *role = &choice->all->items[choice->indices[i]];
        for (size_t parent = 0; parent < role->parent_count; parent++)
            choose(choice, role->parents[parent]);
    }
}

/* *bytes: what may be copied still. */
static int roles_give(struct choice *choice, struct facts *facts, size_t *bytes)
{
    int code = 0;
    choice->count = 0;
    choose_all(choice, facts);
    for (size_t i = 0; i < choice->count; i++) {
        const struct role *from = &choice->all->items[choice->indices[i]];
        choice->chosen[choice->indices[i]] = false;
        if (code == 0 && role_bytes(from) > *bytes)
            code = PERMTAB_E_LIMIT;
        struct role *role = code == 0 ? role_list_add(&facts->roles) : NULL;
        if (code == 0 && !role)
            code = PERMTAB_E_MEMORY;
        if (code == 0 && (code = role_copy(role, from)) < 0)
            facts->roles.count--; /* role_copy has cleaned up after itself */
        *bytes -= code == 0 ? role_bytes(from) : 0;
    }
    role_list_sort(&facts->roles);
    return code;
}

static int each_gets_roles(struct facts *facts, size_t count, const struct role_list *all,
                           struct failure *failure)
{
    struct choice choice = {.all = all};
    size_t bytes = COPIES_MAX;
    int code = 0;
    choice.chosen = calloc(all->count, sizeof(*choice.chosen));
    choice.indices = calloc(all->count, sizeof(*choice.indices));
    if (!choice.chosen || !choice.indices)
        code = PERMTAB_E_MEMORY;
    for (size_t i = 0; i < count && code == 0; i++)
        code = roles_give(&choice, &facts[i], &bytes);
    free(choice.chosen);
    free(choice.indices);
    if (code == PERMTAB_E_LIMIT)
        return failure_set(failure, code, "more than %u bytes of roles for one read", COPIES_MAX);
    return code < 0 ? no_memory(failure) : 0;
}

int store_give_roles(struct store *store, struct facts *facts, size_t count, struct failure *failure)
{
    struct role_list all;
    size_t total = 0, used = 0;
    for (size_t i = 0; i < count; i++)
        total += facts[i].assignment_count + facts[i].default_count;
    if (total == 0)
        return 0;
    uint64_t *ids = calloc(total, sizeof(*ids));
    if (!ids)
        return no_memory(failure);
    for (size_t member = 0; member < count; member++) {
        for (size_t i = 0; i < facts[member].assignment_count; i++)
            ids[used++] = facts[member].assignments[i].role;
        for (size_t i = 0; i < facts[member].default_count; i++)
            ids[used++] = facts[member].defaults[i].role;
    }
    size_t most = count == 1 ? STORE_ROLES_MAX : STORE_TOGETHER_MAX;
    int code = store_read_roles_up_to(store, ids, total, most, &all, failure);
    free(ids);
    if (code < 0)
        return code;
    if (count == 1) {
        facts->roles = all;
        return 0;
    }
    if (all.count > 0)
        code = each_gets_roles(facts, count, &all, failure);
    role_list_fini(&all);
    return code;
}
