/* One datagram to the socket that systemd names in the environment: sd_notify(3), "Notes". Nothing depends on it, so
 * failures are not reported. */
#include "proxy/master/notify.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* -1: for no descriptor. */
static void send_state(const char *state, int descriptor)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length = path ? strlen(path) : 0;
    if (length < 2 || length >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = 0; /* an abstract name */
    int supervisor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (supervisor < 0)
        return;
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec text = {.iov_base = (void *)(uintptr_t)state, .iov_len = strlen(state)};
    struct msghdr message = {.msg_name = &address,
                             .msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length),
                             .msg_iov = &text,
                             .msg_iovlen = 1};
    if (descriptor >= 0) {
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &descriptor, sizeof descriptor);
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    (void)!sendmsg(supervisor, &message, MSG_NOSIGNAL);
    (void)close(supervisor);
}

void notify_supervisor(const char *state)
{
    send_state(state, -1);
}

void notify_supervisor_store(const char *name, int descriptor)
{
    char state[96];
    (void)snprintf(state, sizeof state, "FDSTORE=1\nFDNAME=%s", name);
    send_state(state, descriptor);
}
