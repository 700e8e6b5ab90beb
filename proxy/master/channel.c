/* A pair of sockets that keep the bounds of messages. Each worker has one of its own, so nothing that was told to, or
 * by, a dead one is heard by another. */
#include "proxy/master/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int channel_pair(int ends[2])
{
    int code = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
    return code < 0 ? PERMTAB_E_SYSTEM : 0;
}

bool channel_tell(int channel, enum channel_kind kind, const char *text)
{
    char bytes[1 + CHANNEL_TEXT_MAX];
    size_t length = strnlen(text, CHANNEL_TEXT_MAX);
    bytes[0] = (char)kind;
    memcpy(bytes + 1, text, length);
    return send(channel, bytes, 1 + length, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

int channel_hear(int channel, struct channel_message *out)
{
    char bytes[1 + CHANNEL_TEXT_MAX];
    ssize_t got;
    do
        got = recv(channel, bytes, sizeof bytes, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (got <= 0)
        return PERMTAB_E_UNREACHABLE;
    out->kind = bytes[0];
    memcpy(out->text, bytes + 1, (size_t)got - 1);
    out->text[got - 1] = 0;
    return 1;
}
