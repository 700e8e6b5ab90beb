/* A link: a port on 127.0.0.1, and the server that its connections are passed on to. */
#ifndef PERMTAB_E2E_LINK_H
#define PERMTAB_E2E_LINK_H

#include "tests/e2e/proxy/flow.h"

#include <stdio.h>

struct event_base;
struct link;

/* The kind tells what a connection must have said to be a marked one: subscriptions of Redis, fills of MariaDB. */
enum link_kind { LINK_RAW, LINK_REDIS, LINK_MYSQL };
enum link_part { LINK_UNMARKED, LINK_MARKED, LINK_ALL };

struct links {
    struct event_base *base;
    struct dice dice;
    struct link *first;
};

/* Listens on a port that the system chooses, which is returned; negative on failure. */
int link_add(struct links *links, const char *name, uint16_t target_port, enum link_kind kind);
struct link *link_find(struct links *links, const char *name);
struct rules *link_rules(struct link *link, bool marked);
/* Makes changed rules count for the connections there are. */
void link_apply(struct link *link);
/* Resets connections. */
void link_cut(struct link *link, enum link_part part);
void link_print(const struct link *link, FILE *out);
void links_fini(struct links *links);

#endif
