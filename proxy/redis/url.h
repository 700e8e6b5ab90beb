/* The address of Redis, as the configuration gives it. Pure.
 *
 *     redis://[user@]host[:port][/database]       host: a name, an IPv4 address, or [IPv6]
 *     unix:/path[?db=database] */
#ifndef PERMTAB_REDIS_URL_H
#define PERMTAB_REDIS_URL_H

#include "proxy/base/failure.h"

#include <stdbool.h>
#include <stdint.h>

#define REDIS_PORT     6379
#define REDIS_PATH_MAX 107

struct redis_url {
    char host[256]; /* "" when it is a Unix socket */
    char path[REDIS_PATH_MAX + 1];
    char user[128]; /* "" for the default one */
    uint16_t port;
    uint32_t database;
};

/* PERMTAB_E_INVALID with a sentence; a password in the URL is refused, for it would be logged. */
int redis_url_parse(const char *text, struct redis_url *out, struct failure *failure) PERMTAB_MUST_CHECK;

#endif
