/* Definitions of roles are kept with the facts. They may be used, because the publisher takes the resident
 * definition where there is one, and one of the facts' otherwise; and facts pass the history's fence only if no
 * change since their revision names a role of theirs. So facts that pass have the present definitions. Those that were
 * read without are published only where the table has them all (fetch_publish).
 *
 * Facts that were just published are true at the applied revision, and are noted as such. So the history since then
 * is short, however long ago they were read, and the fence costs little. A change row names each user who got rows
 * since, which puts the user among the known users.
 *
 * A few thousand scopes and a bounded number of bytes are kept; the least recently used go first. */
#include "proxy/answer/strangers.h"

#include "proxy/base/hash.h"
#include "proxy/table/retire.h"

#include <stdlib.h>
#include <string.h>

#define SCOPES_MAX 4096u
#define BYTES_MAX  (32u << 20)
#define ONE_MAX    (256u << 10) /* larger facts are not kept: they would displace hundreds of others */

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

void strangers_init(struct strangers *strangers, const struct known_users *known_users,
                    const struct publisher *publisher)
{
    memset(strangers, 0, sizeof *strangers);
    strangers->known_users = known_users;
    strangers->publisher = publisher;
}

static void kept_free(struct kept_facts *kept)
{
    facts_fini(&kept->facts);
    free(kept);
}

static void drop(struct strangers *strangers, struct kept_facts *kept)
{
    HASH_DEL(strangers->kept, kept);
    strangers->count--;
    strangers->bytes -= kept->bytes;
    kept_free(kept);
}

/* Makes it the last used: uthash keeps the order of adding. False: there is no memory, and it is no longer there. */
static bool add_last(struct strangers *strangers, struct kept_facts *kept)
{
    HASH_ADD(hh, strangers->kept, key, sizeof kept->key, kept);
    if (HASH_ADDED(kept)) {
        strangers->count++;
        strangers->bytes += kept->bytes;
        return true;
    }
    kept_free(kept);
    return false;
}

void strangers_fini(struct strangers *strangers)
{
    while (strangers->kept != NULL)
        drop(strangers, strangers->kept);
}

void strangers_forget_all(struct strangers *strangers)
{
    strangers_fini(strangers);
}

/* Finds the kept facts of a scope. Drops all kept facts first when the table was made anew, or when somebody asked
 * for a place or a role to be read again. */
static struct kept_facts *find(struct strangers *strangers, struct scope_key scope)
{
    struct kept_key key = {scope.id, scope.type};
    struct kept_facts *kept;
    uint64_t version = publisher_kept_version(strangers->publisher);
    if (strangers->kept_version != version)
        strangers_forget_all(strangers);
    strangers->kept_version = version;
    HASH_FIND(hh, strangers->kept, &key, sizeof key, kept);
    return kept;
}

bool strangers_include(const struct strangers *strangers, uint64_t user)
{
    return strangers != NULL && !known_users_include(strangers->known_users, strangers->publisher, user);
}

bool strangers_can_tell(const struct strangers *strangers)
{
    return known_users_tell(strangers->known_users, strangers->publisher);
}

bool strangers_facts(struct strangers *strangers, uint64_t user, struct scope_key scope, struct facts *out)
{
    struct kept_facts *kept = strangers != NULL ? find(strangers, scope) : NULL;
    if (kept == NULL || !strangers_include(strangers, user) || facts_copy(out, &kept->facts) < 0)
        return false;
    out->user = user;
    HASH_DEL(strangers->kept, kept);
    strangers->count--;
    strangers->bytes -= kept->bytes;
    (void)add_last(strangers, kept);
    return true;
}

static struct kept_facts *copy_of(const struct facts *facts)
{
    struct kept_facts *kept = calloc(1, sizeof *kept);
    if (kept == NULL || facts_copy(&kept->facts, facts) < 0) {
        free(kept);
        return NULL;
    }
    kept->key = (struct kept_key){facts->scope.id, facts->scope.type};
    kept->bytes = sizeof *kept + facts_size(facts);
    return kept;
}

void strangers_learn(struct strangers *strangers, const struct facts *facts)
{
    struct log_position at = publisher_position(strangers->publisher);
    struct kept_facts *kept = find(strangers, facts->scope);
    bool same = kept != NULL && kept->facts.revision == facts->revision && kept->facts.nonce == facts->nonce;
    if (!same) {
        if (facts->broken || !facts_name_no_user(facts) || facts_size(facts) > ONE_MAX)
            return;
        if (kept != NULL)
            drop(strangers, kept);
        kept = copy_of(facts);
        if (kept == NULL || !add_last(strangers, kept))
            return;
    }
    kept->facts.revision = at.revision;
    kept->facts.nonce = at.nonce;
    while (strangers->count > SCOPES_MAX || strangers->bytes > BYTES_MAX)
        drop(strangers, strangers->kept);
}

void strangers_forget(struct strangers *strangers, struct scope_key scope)
{
    struct kept_facts *kept = find(strangers, scope);
    if (kept != NULL)
        drop(strangers, kept);
}
