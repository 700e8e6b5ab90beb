/* Changes that messages have told and no poll has confirmed yet: this user, or this scope, changed at that
 * revision. A fill that was read before such a revision must not put back an entry that the message took out. A
 * message may be an invention, so it holds fills back no longer than until a poll that began after it was heard has
 * been applied: that poll has brought the change, or there was none. Plain data. */
#ifndef PERMTAB_TABLE_HEARD_H
#define PERMTAB_TABLE_HEARD_H

#include "proxy/rights/facts.h"

#define HEARD_MAX 1024u /* with more at a time every fill waits for the poll */

struct heard_change {
    bool of_scope; /* false: of a user */
    uint64_t user;
    struct scope_key scope;
    uint64_t revision;
    uint64_t heard_ns;
    bool resident; /* for a scope: entries may be left at or below it (publisher_hear_slice) */
};

struct heard {
    struct heard_change items[HEARD_MAX];
    uint32_t count;
    bool overflowed;
    uint64_t overflowed_ns;
};

void heard_add(struct heard *heard, const struct heard_change *said);
/* To be called when a poll that began at begun_ns has been applied: drops what was heard before. */
void heard_settle(struct heard *heard, uint64_t begun_ns);
/* Whether the facts were read too early to have a change that was heard. */
bool heard_outdates(const struct heard *heard, const struct facts *facts);

#endif
