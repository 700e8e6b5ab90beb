/* The auditor's look into the table: choose a live entry, judge facts that were read for it as if nothing were
 * known about it, compare with what readers see and with the publisher's own indexes, heal. On the loop's thread;
 * blocks on nothing. */
#ifndef PERMTAB_TABLE_AUDIT_H
#define PERMTAB_TABLE_AUDIT_H

#include "proxy/table/publisher.h"

struct audit_question {
    uint64_t user;
    struct scope_key scope; /* of the entry, or of a scope that is folded into it */
};

/* The state of the choice. Zeroed but for `random`, which should differ from run to run. */
struct audit_dice {
    uint64_t random;
    uint32_t slot;
};
/* Picks a live entry at random; sometimes as it is seen through a fold. Looks at a bounded number of slots: false
 * when none of them held one. */
bool publisher_audit_pick(const struct publisher *publisher, struct audit_dice *dice,
                          struct audit_question *out);

enum audit_outcome {
    AUDIT_AGREES,
    AUDIT_DIFFERS,
    AUDIT_EARLY,  /* the facts are ahead of the table: ask again after the next batch */
    AUDIT_UNSURE, /* the entry is gone, or the facts are outdated or about to be: says nothing */
    AUDIT_FAILED, /* out of memory */
};

/* The part at fault, which must go. */
enum audit_fault {
    AUDIT_FAULT_ENTRY, /* it names a set that its facts do not lead to */
    AUDIT_FAULT_SET,   /* the right set, with wrong bits: all entries that name it are wrong */
    /* the publisher's private indexes: nothing it would do to this table can be relied on */
    AUDIT_FAULT_BOOKS,
};

struct audit_finding {
    enum audit_fault fault;
    bool overgrant; /* readers see a permission that the store does not give */
    uint32_t set;
    uint32_t generation; /* of that set: another one of the same number is another set */
    const char *what;    /* the difference in words */
};

/* Compares at the applied revision. Role definitions come from the facts alone. The table must be leased, because
 * the lease bounds how far a fill's clock may be ahead of the table's. */
enum audit_outcome publisher_audit(const struct publisher *publisher, struct facts *facts,
                                   struct audit_finding *finding);

/* Retires the entry, and the fold it was seen through. The set that the entry names stays held: should the entry
 * have got another set behind our back, that set is not let go once too often. */
void publisher_audit_retire(struct publisher *publisher, const struct audit_question *question,
                            uint64_t now_ns);
/* Closes the set for good, if it is still the same. */
void publisher_audit_abandon(struct publisher *publisher, uint32_t set, uint32_t generation);

#endif
