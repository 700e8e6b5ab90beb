/* Redis' address. A part that is not understood is refused: a typing mistake must not become another server. */
#include "proxy/redis/url.h"

#include <stdlib.h>
#include <string.h>

#define DATABASE_MAX 65535

static int refuse(const char *text, struct failure *failure)
{
    return failure_set(failure, PERMTAB_E_INVALID,
                       "\"%.100s\" is neither redis://[user@]host:port/database nor unix:/path", text);
}

/* Decimal digits alone, the whole text. */
static bool parse_number(const char *text, size_t length, unsigned long max, unsigned long *out)
{
    *out = 0;
    if (length == 0 || length > 6)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *out = *out * 10 + (unsigned long)(text[i] - '0');
    }
    return *out <= max;
}

static bool copy(char *out, size_t size, const char *text, size_t length)
{
    if (length == 0 || length >= size)
        return false;
    memcpy(out, text, length);
    out[length] = 0;
    return true;
}

static bool parse_unix(const char *text, struct redis_url *out)
{
    size_t length = strcspn(text, "?");
    unsigned long database = 0;
    if (text[0] != '/' || !copy(out->path, sizeof out->path, text, length))
        return false;
    if (text[length] &&
        (strncmp(text + length, "?db=", 4) != 0 ||
         !parse_number(text + length + 4, strlen(text + length + 4), DATABASE_MAX, &database)))
        return false;
    out->database = (uint32_t)database;
    return true;
}

/* host[:port], the host perhaps in brackets. */
static bool parse_host(const char *text, size_t length, struct redis_url *out)
{
    const char *end = text + length, *host_end;
    unsigned long port = REDIS_PORT;
    bool bracket = length > 0 && text[0] == '[';
    if (bracket) {
        text++;
        host_end = memchr(text, ']', (size_t)(end - text));
        if (!host_end)
            return false;
    } else {
        host_end = memchr(text, ':', length);
        if (!host_end)
            host_end = end;
    }
    if (!copy(out->host, sizeof out->host, text, (size_t)(host_end - text)))
        return false;
    const char *rest = bracket ? host_end + 1 : host_end;
    if (rest < end &&
        (*rest != ':' || !parse_number(rest + 1, (size_t)(end - rest - 1), 65535, &port) || port == 0))
        return false;
    out->port = (uint16_t)port;
    return true;
}

static bool parse_tcp(const char *text, struct redis_url *out)
{
    size_t length = strcspn(text, "/?#");
    const char *at = memchr(text, '@', length);
    const char *host = at ? at + 1 : text;
    unsigned long database = 0;
    if (at && !copy(out->user, sizeof out->user, text, (size_t)(at - text)))
        return false;
    if (!parse_host(host, length - (size_t)(host - text), out))
        return false;
    const char *rest = text + length;
    if (rest[0] == 0 || strcmp(rest, "/") == 0)
        return true;
    if (rest[0] != '/' || !parse_number(rest + 1, strlen(rest + 1), DATABASE_MAX, &database))
        return false;
    out->database = (uint32_t)database;
    return true;
}

/* user:password@ in the authority. */
static bool has_password(const char *text)
{
    const char *at = memchr(text, '@', strcspn(text, "/?#"));
    return at && memchr(text, ':', (size_t)(at - text));
}

int redis_url_parse(const char *text, struct redis_url *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, out) ? 0 : refuse(text, failure);
    if (strncmp(text, "redis://", 8) != 0)
        return refuse(text, failure);
    if (has_password(text + 8))
        return failure_set(failure, PERMTAB_E_INVALID,
                           "a password does not belong in the URL: use redis_password_file");
    return parse_tcp(text + 8, out) ? 0 : refuse(text, failure);
}
