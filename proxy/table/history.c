/* The fence of fills. A ring of the last changes, searched from the newest backwards: a fill is usually a few
 * changes old, so a search looks at a few rows. When it would look at many, or the ring no longer reaches back far
 * enough, the answer is "perhaps not" and the fill is read again, which costs time and no truth.
 *
 * This file only tells whether a change could touch facts that were read; batch.c has the meaning of a change for
 * resident entries. */
#include "proxy/table/history.h"

#include <stdlib.h>

int history_init(struct history *history, const struct log_position *at)
{
    history->ring = calloc(HISTORY_SIZE, sizeof *history->ring);
    if (history->ring == NULL)
        return PERMTAB_E_MEMORY;
    history_reset(history, at);
    return 0;
}

void history_fini(struct history *history)
{
    free(history->ring);
    history->ring = NULL;
}

void history_reset(struct history *history, const struct log_position *at)
{
    history->next = 0;
    history->count = 0;
    history->complete_from = at->revision;
    history->from_nonce = at->nonce;
}

void history_add(struct history *history, const struct change *change)
{
    struct change *slot = &history->ring[history->next];
    if (history->count == HISTORY_SIZE) {
        history->complete_from = slot->revision;
        history->from_nonce = slot->nonce;
    } else {
        history->count++;
    }
    *slot = *change;
    history->next = (history->next + 1) % HISTORY_SIZE;
}

const struct change *history_at(const struct history *history, uint64_t revision)
{
    if (history->count == 0)
        return NULL;
    uint32_t newest = (history->next + HISTORY_SIZE - 1) % HISTORY_SIZE;
    uint64_t last = history->ring[newest].revision;
    if (revision > last || last - revision >= history->count)
        return NULL;
    return &history->ring[(newest + HISTORY_SIZE - (uint32_t)(last - revision)) % HISTORY_SIZE];
}

bool history_continues(const struct history *history, uint64_t revision, uint64_t nonce)
{
    const struct change *change = history_at(history, revision);
    if (change != NULL)
        return change->nonce == nonce;
    return revision == history->complete_from && nonce == history->from_nonce;
}

/* The level of the scope on the chain; -1 when it is not there. */
static int chain_level(const struct facts *facts, struct scope_key scope)
{
    for (uint32_t level = 0; level < facts->chain_count; level++)
        if (scope_equal(facts->chain[level].key, scope))
            return (int)level;
    return -1;
}

static bool names_role(const struct facts *facts, uint64_t role)
{
    if (role_list_find((void *)(uintptr_t)&facts->roles, role) != NULL)
        return true;
    /* A missing role is an absence that was read. */
    for (size_t i = 0; i < facts->assignment_count; i++)
        if (facts->assignments[i].role == role)
            return true;
    for (size_t i = 0; i < facts->default_count; i++)
        if (facts->defaults[i].role == role) /* for facts of L2, which bring no definitions */
            return true;
    for (size_t i = 0; i < facts->overwrite_count; i++)
        if (facts->overwrites[i].subject == OVERWRITE_ROLE && facts->overwrites[i].role == role)
            return true;
    for (size_t i = 0; i < facts->roles.count; i++)
        for (size_t k = 0; k < facts->roles.items[i].parent_count; k++)
            if (facts->roles.items[i].parents[k] == role)
                return true;
    return false;
}

static bool touches(const struct change *change, const struct facts *facts)
{
    int level = chain_level(facts, change->scope);
    bool was_plain = level >= 0 && facts->chain[level].plain;
    switch (change->kind) {
    case CHANGE_PERMISSION:
    case CHANGE_SCOPE_TYPE:
        return false; /* facts name bits and numbers, which never change their meaning */
    case CHANGE_SCOPE:
        return level >= 0 || facts->chain_count == 0; /* some scope was missing, perhaps this one */
    case CHANGE_ROLE:
        return level >= 0 || names_role(facts, change->role);
    case CHANGE_ROLE_GRANT:
    case CHANGE_ROLE_PARENT:
        return names_role(facts, change->role);
    case CHANGE_ASSIGNMENT:
        return change->user == facts->user || was_plain;
    case CHANGE_OVERWRITE:
        return level >= 0 && (change->user == 0 || change->user == facts->user || was_plain);
    case CHANGE_STORE:
        return true;
    }
    return true;
}

/* Whether it can have changed what the place brings to every user. A user's overwrite does only where the place is
 * taken to have none: elsewhere each user's own are looked for. */
static bool touches_place(const struct change *change, const struct facts *facts)
{
    int level = chain_level(facts, change->scope);
    if (change->kind == CHANGE_ASSIGNMENT)
        return level >= 0 && facts->chain[level].plain;
    if (change->kind == CHANGE_OVERWRITE)
        return level >= 0 &&
               (change->user == 0 || facts->chain[level].spares_users || facts->chain[level].plain);
    return touches(change, facts);
}

bool changes_concern(const struct change_list *changes, const struct facts *facts)
{
    if (changes->count > HISTORY_SCAN)
        return true;
    for (size_t i = 0; i < changes->count; i++)
        if (touches(&changes->items[i], facts))
            return true;
    return false;
}

typedef bool (*touches_fn)(const struct change *change, const struct facts *facts);

/* Whether no change after that revision of this very history touches the facts. */
static bool untouched_since(const struct history *history, uint64_t revision, uint64_t nonce,
                            const struct facts *facts, touches_fn touched)
{
    if (revision < history->complete_from)
        return false;
    uint32_t at = history->next;
    for (uint32_t seen = 0; seen < history->count; seen++) {
        at = (at + HISTORY_SIZE - 1) % HISTORY_SIZE;
        const struct change *change = &history->ring[at];
        if (change->revision <= revision)
            return change->revision == revision && change->nonce == nonce;
        if (seen == HISTORY_SCAN || touched(change, facts))
            return false;
    }
    return revision == history->complete_from && nonce == history->from_nonce;
}

bool history_still_true(const struct history *history, const struct facts *facts)
{
    return untouched_since(history, facts->revision, facts->nonce, facts, touches) &&
           (facts->place_revision == 0 ||
            untouched_since(history, facts->place_revision, facts->place_nonce, facts, touches_place));
}

void history_each_since(const struct history *history, uint64_t revision, history_each_fn each, void *context)
{
    uint32_t at = history->next;
    for (uint32_t seen = 0; seen < history->count; seen++) {
        at = (at + HISTORY_SIZE - 1) % HISTORY_SIZE;
        if (history->ring[at].revision <= revision)
            return;
        each(context, &history->ring[at]);
    }
}
