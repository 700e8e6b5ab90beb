/* A policy in memory that changes at random, each change with the change rows that the store's triggers would
 * write: what tests of properties let happen.
 *
 * Each one draws for itself how often each kind of thing happens in it, many of them never, and how many users,
 * roles and permissions there are: rare coincidences, of which most bugs are made, are common in some of them
 * (Groce and others, "Swarm Testing", ISSTA 2012). Rows that point to nothing are among what happens: references
 * are not enforced everywhere. */
#ifndef PERMTAB_TESTS_SUPPORT_CHANGING_POLICY_H
#define PERMTAB_TESTS_SUPPORT_CHANGING_POLICY_H

#include "proxy/store/store.h"
#include "tests/support/memory_policy.h"

#define CHANGING_USERS_MAX   6 /* 0 is one of them, as it is of roles */
#define CHANGING_ROLES_MAX   8
#define CHANGING_PERMISSIONS 70
#define CHANGING_HAPPENINGS  17

struct changing_policy {
    uint64_t random;
    uint64_t users, roles, bits; /* how many */
    unsigned weight[CHANGING_HAPPENINGS], weights;
    uint64_t focus_role; /* during a burst */
    struct scope_key focus_scope;
    bool focused;
    uint64_t history;            /* makes nonces */
    struct memory_policy policy; /* as committed */
    uint64_t revision;
    int64_t now;            /* the store's clock */
    struct change_list log; /* of what was committed; whoever reads it may take the rows away */
};

/* A small policy at some revision, with an empty log. fini it. */
void changing_begin(struct changing_policy *changing, uint64_t seed);
void changing_fini(struct changing_policy *changing);
/* Something happens, or nothing. */
void changing_step(struct changing_policy *changing);

uint64_t changing_draw(struct changing_policy *changing, uint64_t below);
uint64_t changing_user(struct changing_policy *changing);
/* global, server:1-2, category:10-12 or channel:100-104: type numbers 0 to 3. It may be gone. */
struct scope_key changing_scope(struct changing_policy *changing);
uint64_t changing_role(struct changing_policy *changing);
/* The nonce of a revision that is committed now. */
uint64_t changing_nonce(const struct changing_policy *changing, uint64_t revision);
/* These collect what a batch brings: the role's definition and those of its ancestors, unless they are there;
 * assignments that ended after `from`; whether the catalogue is named. */
void changing_definitions(struct changing_policy *changing, struct role_list *roles, uint64_t id);
void changing_expired(struct changing_policy *changing, int64_t from, struct change_list *out);

#endif
