/* The decision how a question is answered, as a value. Pure: no table, no socket, no clock. */
#ifndef PERMTAB_ANSWER_DECIDE_H
#define PERMTAB_ANSWER_DECIDE_H

#include "proxy/names/scope.h"

#include <stdbool.h>
#include <stdint.h>

/* A question that one permission set can answer: a user at a place, perhaps not older than a write. */
struct question {
    uint64_t user;
    struct scope_key scope;
    uint64_t meaning; /* of its numbers when they were looked up: publisher_names_version */
    bool has_token;
    uint64_t token_store;
    uint64_t token_revision;
};

/* The state of the table when the question is decided. */
struct table_state {
    bool leased;   /* it may be believed */
    bool resident; /* it has the question's entry */
    uint64_t store_id;
    uint64_t revision; /* at which it is true */
    uint64_t meaning;  /* of its bits and numbers */
};

enum decision {
    DECIDE_REPLY, /* from the table */
    DECIDE_FILL,  /* read it from the store first */
    /* the table is behind the token: wake the feed, then fill with facts that are not older */
    DECIDE_CATCH_UP,
    DECIDE_UNKNOWN, /* nobody can vouch for the table now, or it is of another store than the question */
    DECIDE_REFUSE,  /* a token of another store says nothing about this one */
};

enum decision decide(const struct question *question, const struct table_state *state);

#endif
