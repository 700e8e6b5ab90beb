/* What a descriptor is for is told by what it is bound to, never by its position: a unit may list its sockets in any
 * order, and a stored descriptor may come before or after them. */
#include "proxy/master/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_DESCRIPTOR 3

static bool read_number(const char *text, long *out)
{
    char *end = NULL;
    errno = 0;
    *out = text ? strtol(text, &end, 10) : 0;
    return text && end != text && *end == 0 && errno == 0 && *out >= 0;
}

/* Copies the next of the names, which colons separate. */
static void next_name(const char **names, char out[INHERITED_NAME_SIZE])
{
    size_t length = strcspn(*names, ":");
    (void)snprintf(out, INHERITED_NAME_SIZE, "%.*s", (int)length, *names);
    *names += (*names)[length] ? length + 1 : length;
}

static int take_all(struct inherited *out, long count, const char *names, struct failure *failure)
{
    if (count > INHERITED_MAX)
        return failure_set(failure, PERMTAB_E_INVALID, "LISTEN_FDS: %ld descriptors are more than %d", count,
                           INHERITED_MAX);
    for (long i = 0; i < count; i++) {
        int descriptor = FIRST_DESCRIPTOR + (int)i;
        if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0)
            return failure_set(failure, PERMTAB_E_INVALID, "LISTEN_FDS: descriptor %d is not open",
                               descriptor);
        out->items[out->count].descriptor = descriptor;
        next_name(&names, out->items[out->count++].name);
    }
    return 0;
}

int inherited_read(struct inherited *out, struct failure *failure)
{
    const char *names = getenv("LISTEN_FDNAMES");
    const char *number = getenv("LISTEN_FDS");
    long pid, count;
    int code = 0;
    memset(out, 0, sizeof *out);
    if (read_number(getenv("LISTEN_PID"), &pid) && pid == getpid()) {
        if (!read_number(number, &count))
            code = failure_set(failure, PERMTAB_E_INVALID, "LISTEN_FDS: \"%.40s\" is no number",
                               number ? number : "");
        else
            code = take_all(out, count, names ? names : "", failure);
    }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return code;
}

/* ---- what it is ---------------------------------------------------------------------------------------------- */

static int socket_option(int descriptor, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(descriptor, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

static bool listens(int descriptor)
{
    return socket_option(descriptor, SO_DOMAIN) == AF_UNIX &&
           socket_option(descriptor, SO_TYPE) == SOCK_STREAM && socket_option(descriptor, SO_ACCEPTCONN) == 1;
}

/* The path that the Unix socket is bound to; empty for one that has none. */
static void bound_path(int descriptor, char out[sizeof(struct sockaddr_un) + 1])
{
    struct sockaddr_un address = {.sun_family = AF_UNSPEC};
    socklen_t size = sizeof address;
    size_t before = offsetof(struct sockaddr_un, sun_path);
    out[0] = 0;
    if (getsockname(descriptor, (struct sockaddr *)&address, &size) < 0 || address.sun_family != AF_UNIX ||
        size <= before)
        return;
    size_t length = strnlen(
        address.sun_path, size - before < sizeof address.sun_path ? size - before : sizeof address.sun_path);
    memcpy(out, address.sun_path, length);
    out[length] = 0;
}

int inherited_socket(struct inherited *inherited, const char *path)
{
    char bound[sizeof(struct sockaddr_un) + 1];
    for (unsigned i = 0; i < inherited->count; i++) {
        int descriptor = inherited->items[i].descriptor;
        if (descriptor < 0 || !listens(descriptor))
            continue;
        bound_path(descriptor, bound);
        int flags = fcntl(descriptor, F_GETFL);
        if (strcmp(bound, path) != 0 || flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0)
            continue;
        inherited->items[i].descriptor = -1;
        return descriptor;
    }
    return -1;
}

int inherited_named(struct inherited *inherited, const char *name)
{
    for (unsigned i = 0; i < inherited->count; i++) {
        int descriptor = inherited->items[i].descriptor;
        if (descriptor < 0 || strcmp(inherited->items[i].name, name) != 0)
            continue;
        inherited->items[i].descriptor = -1;
        return descriptor;
    }
    return -1;
}

int inherited_refuse_rest(const struct inherited *inherited, struct failure *failure)
{
    char bound[sizeof(struct sockaddr_un) + 1];
    for (unsigned i = 0; i < inherited->count; i++) {
        int descriptor = inherited->items[i].descriptor;
        if (descriptor < 0)
            continue;
        if (!listens(descriptor))
            return failure_set(failure, PERMTAB_E_INVALID,
                               "LISTEN_FDS: descriptor %d is no listening Unix stream socket", descriptor);
        bound_path(descriptor, bound);
        return failure_set(
            failure, PERMTAB_E_INVALID,
            "LISTEN_FDS: descriptor %d is bound to \"%s\", which is neither socket nor ops_socket%s",
            descriptor, bound, bound[0] ? ", or was passed twice" : "");
    }
    return 0;
}

void inherited_fini(struct inherited *inherited)
{
    for (unsigned i = 0; i < inherited->count; i++) {
        if (inherited->items[i].descriptor >= 0)
            (void)close(inherited->items[i].descriptor);
    }
    inherited->count = 0;
}
