/* The store's URL, taken apart. Pure. A password in the URL is refused, because URLs end up in logs and process
 * lists; store_password_file is for that. */
#include "proxy/store/sql_driver.h"

#include <stdlib.h>
#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Copies `length` bytes, %xx decoded. */
static int part_copy(char *out, size_t size, const char *from, size_t length, const char *what,
                     struct failure *failure)
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        int c = (unsigned char)from[i];
        if (c == '%') {
            int high = i + 2 < length ? hex(from[i + 1]) : -1;
            int low = i + 2 < length ? hex(from[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return failure_set(failure, PERMTAB_E_SYNTAX, "store: the %s has a bad %% escape", what);
            c = high * 16 + low;
            i += 2;
        }
        if (used + 1 >= size)
            return failure_set(failure, PERMTAB_E_SYNTAX, "store: the %s is too long", what);
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return 0;
}

static int sqlite_parse(struct sql_address *out, const char *path, struct failure *failure)
{
    out->dialect = SQL_SQLITE;
    if (path[0] == '\0')
        return failure_set(failure, PERMTAB_E_SYNTAX, "store: \"sqlite:\" needs a path, as in sqlite:/path");
    if (strcmp(path, ":memory:") == 0)
        return failure_set(failure, PERMTAB_E_SYNTAX,
                           "store: a database in memory cannot be shared: give a path, as in sqlite:/path");
    if (strlen(path) >= sizeof(out->path))
        return failure_set(failure, PERMTAB_E_SYNTAX, "store: the path is too long");
    strcpy(out->path, path);
    return 0;
}

static int port_parse(struct sql_address *out, const char *text, size_t length, struct failure *failure)
{
    unsigned long port = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || port > 65535)
            port = 65536;
        else
            port = port * 10 + (unsigned long)(text[i] - '0');
    }
    if (length == 0 || port == 0 || port > 65535)
        return failure_set(failure, PERMTAB_E_SYNTAX, "store: the port is not a number from 1 to 65535");
    out->port = (unsigned)port;
    return 0;
}

/* host, host:port, [v6]:port or nothing. */
static int host_parse(struct sql_address *out, const char *text, size_t length, struct failure *failure)
{
    const char *port = NULL;
    size_t host_length = length;
    if (length > 0 && text[0] == '[') {
        const char *close = memchr(text, ']', length);
        if (!close || (close + 1 < text + length && close[1] != ':'))
            return failure_set(failure, PERMTAB_E_SYNTAX, "store: the host has an unfinished [");
        if (close + 1 < text + length)
            port = close + 2;
        text++;
        host_length = (size_t)(close - text);
        length--;
    } else {
        const char *colon = memchr(text, ':', length);
        if (colon) {
            host_length = (size_t)(colon - text);
            port = colon + 1;
        }
    }
    int code = part_copy(out->host, sizeof(out->host), text, host_length, "host", failure);
    if (code == 0 && port)
        code = port_parse(out, port, (size_t)(text + length - port), failure);
    return code;
}

static int query_parse(struct sql_address *out, const char *query, struct failure *failure)
{
    if (strncmp(query, "socket=", 7) != 0 || strchr(query, '&'))
        return failure_set(
            failure, PERMTAB_E_SYNTAX,
            "store: after the ? only socket=PATH is known, as in mysql://user@/db?socket=/path");
    int code = part_copy(out->socket, sizeof(out->socket), query + 7, strlen(query + 7), "socket", failure);
    if (code == 0 && out->socket[0] != '/')
        return failure_set(failure, PERMTAB_E_SYNTAX, "store: the socket is not an absolute path");
    if (code == 0 && out->host[0] != '\0')
        return failure_set(failure, PERMTAB_E_SYNTAX, "store: give a host or a socket, not both");
    return code;
}

static int mysql_parse(struct sql_address *out, const char *rest, struct failure *failure)
{
    out->dialect = SQL_MYSQL;
    const char *slash = strchr(rest, '/');
    if (!slash)
        return failure_set(failure, PERMTAB_E_SYNTAX, "store: no database: mysql://user@host:3306/database");
    const char *at = memchr(rest, '@', (size_t)(slash - rest));
    if (!at || at == rest)
        return failure_set(failure, PERMTAB_E_SYNTAX, "store: no user: mysql://user@host:3306/database");
    if (memchr(rest, ':', (size_t)(at - rest)))
        return failure_set(failure, PERMTAB_E_SYNTAX,
                           "store: no password in the URL please: put it into store_password_file");
    int code = part_copy(out->user, sizeof(out->user), rest, (size_t)(at - rest), "user", failure);
    if (code == 0)
        code = host_parse(out, at + 1, (size_t)(slash - at - 1), failure);
    const char *query = strchr(slash + 1, '?');
    size_t length = query ? (size_t)(query - slash - 1) : strlen(slash + 1);
    if (code == 0)
        code = part_copy(out->database, sizeof(out->database), slash + 1, length, "database", failure);
    if (code == 0 && out->database[0] == '\0')
        return failure_set(failure, PERMTAB_E_SYNTAX, "store: no database: mysql://user@host:3306/database");
    if (code == 0 && query)
        code = query_parse(out, query + 1, failure);
    if (code == 0 && out->host[0] == '\0' && out->socket[0] == '\0')
        return failure_set(failure, PERMTAB_E_SYNTAX,
                           "store: neither a host nor a socket: mysql://user@/db?socket=/path");
    return code;
}

int sql_address_parse(struct sql_address *out, const char *url, struct failure *failure)
{
    memset(out, 0, sizeof(*out));
    if (!url || url[0] == '\0')
        return failure_set(failure, PERMTAB_E_SYNTAX,
                           "store: empty; sqlite:/path or mysql://user@host/database");
    if (strncmp(url, "sqlite:", 7) == 0)
        return sqlite_parse(out, url + 7, failure);
    if (strncmp(url, "mysql://", 8) == 0)
        return mysql_parse(out, url + 8, failure);
    return failure_set(failure, PERMTAB_E_SYNTAX,
                       "store: neither sqlite:/path nor mysql://user@host:3306/database");
}
