/* Definitions of roles are kept with the facts. They may be used, because the publisher takes the resident
 * definition where there is one, and one of the facts' otherwise; and facts pass the history's fence only if no
 * change since their revision names a role of theirs. So facts that pass have the present definitions. Those that were
 * read without are published only where the table has them all (fetch_publish).
 *
 * Facts that were just published are true at the applied revision, and are noted as such. So the history since then
 * is short, however long ago they were read, and the fence costs little. A change row names each user who got rows
 * since, which puts the user among the known users. */
#include "proxy/answer/strangers.h"

#include "proxy/table/fill.h"
#include "proxy/table/retire.h"

#include <string.h>

void strangers_init(struct strangers *strangers, const struct known_users *known_users,
                    const struct publisher *publisher)
{
    memset(strangers, 0, sizeof *strangers);
    strangers->known_users = known_users;
    strangers->publisher = publisher;
}

void strangers_fini(struct strangers *strangers)
{
    kept_drop_all(&strangers->kept);
}

/* Finds the kept facts of a scope. Drops all kept facts first when the table was made anew, or when somebody asked
 * for a place or a role to be read again. */
static struct facts *find(struct strangers *strangers, struct scope_key scope)
{
    return kept_find(&strangers->kept, scope, publisher_kept_version(strangers->publisher));
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
    const struct facts *kept = strangers != NULL ? find(strangers, scope) : NULL;
    if (kept == NULL || !strangers_include(strangers, user) || facts_copy(out, kept) < 0)
        return false;
    out->user = user;
    kept_use(&strangers->kept, scope);
    return true;
}

/* Keeps a copy, in the place of what is kept of the scope. NULL: it is not kept. */
static struct facts *put(struct strangers *strangers, const struct facts *facts)
{
    struct facts copy;
    if (facts->broken || !facts_name_no_user(facts) || !kept_takes(facts))
        return NULL;
    if (facts_copy(&copy, facts) < 0) {
        strangers_forget(strangers, facts->scope);
        return NULL;
    }
    return kept_put(&strangers->kept, &copy);
}

void strangers_learn(struct strangers *strangers, const struct facts *facts)
{
    struct log_position at = publisher_position(strangers->publisher);
    struct facts *kept = find(strangers, facts->scope);
    bool same = kept != NULL && kept->revision == facts->revision && kept->nonce == facts->nonce &&
                publisher_still_true(strangers->publisher, kept);
    if (!same)
        kept = put(strangers, facts);
    if (kept != NULL)
        facts_true_at(kept, at.revision, at.nonce);
}

void strangers_forget(struct strangers *strangers, struct scope_key scope)
{
    (void)find(strangers, scope);
    kept_drop(&strangers->kept, scope);
}
