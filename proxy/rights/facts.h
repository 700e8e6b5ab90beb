/* Facts: all that the store says about one user at one place, read in one snapshot. Made by store_read_facts and by
 * policy tests, and consumed by the resolver; plain data. */
#ifndef PERMTAB_RIGHTS_FACTS_H
#define PERMTAB_RIGHTS_FACTS_H

#include "proxy/rights/catalogue.h"

#define FACTS_NEVER INT64_MAX

struct facts_scope {
    struct scope_key key;
    bool has_owner;
    uint64_t owner;
    bool plain; /* no owner, overwrites, assignments (of anybody), roles of its own; never true for global */
    bool spares_users; /* no user has an overwrite there; false when that is not known */
};

/* A row of the assignments of this user at a scope of the chain, expired ones included. */
struct facts_assignment {
    uint64_t role;
    uint32_t level;     /* index into chain */
    int64_t expires_at; /* microseconds UTC, FACTS_NEVER when it has no end */
};

/* A role of a scope of the chain that is default. */
struct facts_default {
    uint64_t role;
    uint32_t level;
};

enum overwrite_subject { OVERWRITE_ROLE = 0, OVERWRITE_USER = 1 };

/* One overwritten permission. User rows are this user's alone; role rows are all of the scope's. */
struct facts_overwrite {
    uint32_t level;
    enum overwrite_subject subject;
    uint64_t role; /* 0 for OVERWRITE_USER */
    uint32_t bit;
    bool allow; /* else deny */
};

/* The user and scope of facts as a key that can be hashed: without padding. */
struct facts_key {
    uint64_t user;
    uint64_t scope_id;
    uint64_t scope_type;
};

struct facts {
    uint64_t revision; /* of the snapshot */
    uint64_t nonce;    /* of the change row of that revision: which history it was read in */
    /* What the place brings was kept, and was true at this revision; the user's rows alone were read at the one above.
     * 0: all of it was. */
    uint64_t place_revision, place_nonce;
    /* Of what is kept of a place: when the read that brought it began. */
    uint64_t place_read_ns;
    /* generation: publisher_generation when the read began; the file that begins a read stamps its facts.
     * publisher_fill takes no facts that are not stamped, or were stamped before the table was made anew. */
    uint64_t generation;
    /* the store's clock in that snapshot, microseconds UTC; 0: judge them as facts_judged_at says */
    int64_t now;
    /* since when messages have kept these from being published (publisher_fill); 0: not at all */
    uint64_t held_back_since_ns;
    /* read for the warm-up, or to refresh L2, and nobody waits: no miss, and no other entry goes for it */
    bool unasked;
    /* `roles` was not read: may be published only where the table has the definitions (publisher_knows_roles) */
    bool without_roles;
    uint64_t user;
    struct scope_key scope;
    uint32_t chain_count; /* 0: the scope, or one above it, is not in the store */
    bool stranger;        /* the user has no rows anywhere: the entry is one of those that go first */
    /* the scope is in the store, and its chain does not lead to global: never kept in the table */
    bool broken;
    struct facts_scope chain[SCOPE_CHAIN_MAX]; /* from global down; the last is `scope` */
    struct facts_assignment *assignments;
    size_t assignment_count;
    struct facts_default *defaults;
    size_t default_count;
    struct facts_overwrite *overwrites; /* sorted by level */
    size_t overwrite_count;
    struct role_list roles; /* every role named above, and all ancestors, each once */
};

static inline struct facts_key facts_key_of(uint64_t user, struct scope_key scope)
{
    return (struct facts_key){user, scope.id, scope.type};
}

static inline struct scope_key facts_key_scope(const struct facts_key *key)
{
    return (struct scope_key){key->scope_id, (uint32_t)key->scope_type};
}

void facts_fini(struct facts *facts);
/* All of it has been found to be true at that revision. */
static inline void facts_true_at(struct facts *facts, uint64_t revision, uint64_t nonce)
{
    facts->revision = revision;
    facts->nonce = nonce;
    facts->place_revision = facts->place_nonce = 0;
}
/* The time at which ends are judged, wherever they are: the clock of the facts' snapshot, unless the table has been
 * told that expiry is applied further (the store's clock went back, or the facts have no clock of their own). */
static inline int64_t facts_judged_at(const struct facts *facts, int64_t expiry)
{
    return facts->now > expiry ? facts->now : expiry;
}
/* Deep copy. PERMTAB_E_MEMORY. */
int facts_copy(struct facts *out, const struct facts *from) PERMTAB_MUST_CHECK;
/* Whether no row among them is a user's. */
bool facts_name_no_user(const struct facts *facts);
/* The memory that facts take, about, in bytes. */
size_t facts_size(const struct facts *facts);
/* Whether the assigned role belongs to the place of its assignment: its own scope is on the chain, at the
 * assignment or above. A role of server:1 means nothing at server:2 or at global. False without a definition. */
bool facts_well_placed(const struct facts *facts, const struct facts_assignment *assignment,
                       const struct role *definition);

#endif
