/* uthash keeps the order of adding, so what is used is taken out and added again. */
#include "proxy/answer/kept.h"

#include "proxy/base/hash.h"

#include <stdlib.h>

#define SCOPES_MAX 4096u
#define BYTES_MAX  (32u << 20)
#define ONE_MAX    (256u << 10)

struct kept_key {
    uint64_t id;
    uint64_t type;
};

struct kept_facts {
    struct kept_key key;
    struct facts facts;
    size_t bytes;
    UT_hash_handle hh;
};

static void item_free(struct kept_facts *item)
{
    facts_fini(&item->facts);
    free(item);
}

static void item_remove(struct kept *kept, struct kept_facts *item)
{
    HASH_DEL(kept->facts, item);
    kept->count--;
    kept->bytes -= item->bytes;
}

static void item_drop(struct kept *kept, struct kept_facts *item)
{
    item_remove(kept, item);
    item_free(item);
}

/* False: there is no memory, and it is no longer there. */
static bool item_add(struct kept *kept, struct kept_facts *item)
{
    HASH_ADD(hh, kept->facts, key, sizeof item->key, item);
    if (HASH_ADDED(item)) {
        kept->count++;
        kept->bytes += item->bytes;
        return true;
    }
    item_free(item);
    return false;
}

static struct kept_facts *item_find(const struct kept *kept, struct scope_key scope)
{
    struct kept_key key = {scope.id, scope.type};
    struct kept_facts *item;
    HASH_FIND(hh, kept->facts, &key, sizeof key, item);
    return item;
}

struct facts *kept_find(struct kept *kept, struct scope_key scope, uint64_t version)
{
    if (kept->version != version)
        kept_drop_all(kept);
    kept->version = version;
    struct kept_facts *item = item_find(kept, scope);
    return item != NULL ? &item->facts : NULL;
}

void kept_use(struct kept *kept, struct scope_key scope)
{
    struct kept_facts *item = item_find(kept, scope);
    if (item == NULL)
        return;
    item_remove(kept, item);
    (void)item_add(kept, item);
}

struct facts *kept_put(struct kept *kept, struct facts *facts)
{
    struct kept_facts *item = calloc(1, sizeof *item);
    kept_drop(kept, facts->scope);
    if (item == NULL) {
        facts_fini(facts);
        return NULL;
    }
    item->key = (struct kept_key){facts->scope.id, facts->scope.type};
    item->bytes = sizeof *item + facts_size(facts);
    item->facts = *facts;
    if (!item_add(kept, item))
        return NULL;
    while (kept->facts != item && (kept->count > SCOPES_MAX || kept->bytes > BYTES_MAX))
        item_drop(kept, kept->facts);
    return &item->facts;
}

void kept_drop(struct kept *kept, struct scope_key scope)
{
    struct kept_facts *item = item_find(kept, scope);
    if (item != NULL)
        item_drop(kept, item);
}

void kept_drop_all(struct kept *kept)
{
    while (kept->facts != NULL)
        item_drop(kept, kept->facts);
}

bool kept_takes(const struct facts *facts)
{
    return facts_size(facts) <= ONE_MAX;
}
