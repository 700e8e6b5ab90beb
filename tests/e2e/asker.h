/* A handle with the names that it asks with, for the programs of this folder that are many processes. */
#ifndef PERMTAB_TESTS_E2E_ASKER_H
#define PERMTAB_TESTS_E2E_ASKER_H

#include "client/permtab.h"

struct asker {
    struct permtab *table;
    permtab_type type;
    permtab_perm send;
};

/* Opens the table for message.send at places of that type. 0, or a code. */
static inline int asker_open(struct asker *asker, const char *socket, const char *type, uint32_t open_ms,
                             uint32_t check_ms)
{
    struct permtab_options options = {
        .size = sizeof options, .open_ms = open_ms, .check_ms = check_ms, .server_uid = -1};
    int code = permtab_open(&asker->table, socket, &options);
    if (code == 0)
        code = permtab_permission(asker->table, "message.send", &asker->send);
    if (code == 0)
        code = permtab_scope_type(asker->table, type, &asker->type);
    return code;
}

#endif
