/* Commands to Redis. They are seen where libevent takes them over: what begins like a command of RESP, and nothing
 * else that we send does. A command that fails is made one that Redis does not know, so that it answers with an error,
 * and in a transaction refuses all of it; or it is not sent, as if there were no room. */
#include "tests/fault/state.h"

#include <ctype.h>
#include <errno.h>
#include <event2/buffer.h>
#include <string.h>

enum { REFUSED = 1, NOT_SENT = 2 };

/* The first letter of the command's name: "*2\r\n$4\r\nHGET…". NULL: this is none. */
static char *name_of(const struct evbuffer_iovec *part)
{
    char *text = part->iov_base, *end = text + part->iov_len;
    if (part->iov_len < 12 || text[0] != '*' || !isdigit((unsigned char)text[1]))
        return NULL;
    char *length = memchr(text, '$', part->iov_len);
    char *name = length ? memchr(length, '\n', (size_t)(end - length)) : NULL;
    return name && name + 1 < end && isalpha((unsigned char)name[1]) ? name + 1 : NULL;
}

FAULT_PUBLIC int evbuffer_commit_space(struct evbuffer *buffer, struct evbuffer_iovec *parts, int count)
{
    char *name = count == 1 ? name_of(&parts[0]) : NULL;
    int due = name ? FAULT_DUE(FAULT_REDIS, "redis command", REFUSED, NOT_SENT) : 0;
    if (due == REFUSED)
        *name = *name == 'X' ? 'Y' : 'X';
    return due == NOT_SENT ? -1 : FAULT_NEXT(evbuffer_commit_space)(buffer, parts, count);
}
