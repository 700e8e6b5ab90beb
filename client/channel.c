/* The blocking side of the socket. The socket itself does not block: each wait is a ppoll with what is left of the
 * caller's deadline, so that many small delays cannot add up to more than was asked for.
 *
 * One request is under way at a time. A reply that comes after its caller gave up is recognised by its id and dropped, so a
 * time-out costs no connection; one in the middle of sending does, because the stream would be out of step. Callers that
 * expect descriptors close the channel after a time-out, so that descriptors always belong to the present reply.
 * What methods there are, and when to connect again, is left to handle.c. */
#include "client/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE   16384u
#define NS_A_SECOND 1000000000ull
#define BACKLOG_NS  2000000ull /* how long to leave a listener alone whose queue is full */

uint64_t channel_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_A_SECOND + (uint64_t)now.tv_nsec;
}

/* Waits for `events`, or only for time to pass when `descriptor` is -1. */
static int wait_until(int descriptor, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = channel_clock_ns();
        if (now >= deadline_ns)
            return PERMTAB_E_TIMEOUT;
        uint64_t left = deadline_ns - now;
        struct timespec timeout = {.tv_sec = (time_t)(left / NS_A_SECOND),
                                   .tv_nsec = (long)(left % NS_A_SECOND)};
        struct pollfd polled = {.fd = descriptor, .events = events};
        int ready = ppoll(&polled, 1, &timeout, NULL);
        if (ready > 0)
            return 0; /* errors and hang-ups too: the call that follows says what it is */
        if (ready < 0 && errno != EINTR)
            return PERMTAB_E_SYSTEM;
    }
}

static void received_close(struct channel *channel)
{
    for (size_t i = 0; i < channel->received_count; i++)
        if (channel->received[i] >= 0)
            close(channel->received[i]);
    channel->received_count = 0;
}

static int peer_check(int descriptor, int64_t server_uid)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return PERMTAB_E_SYSTEM;
    if (server_uid == CHANNEL_ANY_UID)
        return 0;
    bool good = server_uid >= 0 ? peer.uid == (uint64_t)server_uid : peer.uid == 0 || peer.uid == geteuid();
    return good ? 0 : PERMTAB_E_PEER;
}

static int connect_until(int descriptor, const struct sockaddr_un *address, uint64_t deadline_ns)
{
    while (connect(descriptor, (const struct sockaddr *)address, sizeof(*address)) < 0) {
        if (errno == EISCONN)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return PERMTAB_E_UNREACHABLE;
        uint64_t now = channel_clock_ns(); /* EAGAIN: the listener's queue is full */
        if (now >= deadline_ns)
            return PERMTAB_E_TIMEOUT;
        uint64_t pause_end = now + BACKLOG_NS < deadline_ns ? now + BACKLOG_NS : deadline_ns;
        if (wait_until(-1, 0, pause_end) == PERMTAB_E_SYSTEM)
            return PERMTAB_E_SYSTEM;
    }
    return 0;
}

int channel_open(struct channel *channel, const char *path, int64_t server_uid, uint64_t deadline_ns)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(address.sun_path))
        return PERMTAB_E_INVALID;
    memcpy(address.sun_path, path, length);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return PERMTAB_E_SYSTEM;
    int result = connect_until(descriptor, &address, deadline_ns);
    if (result == 0)
        result = peer_check(descriptor, server_uid);
    if (result < 0) {
        int kept = errno;
        close(descriptor);
        errno = kept;
        return result;
    }
    *channel = (struct channel){.open = true, .descriptor = descriptor};
    return 0;
}

void channel_close(struct channel *channel)
{
    if (!channel->open)
        return;
    received_close(channel);
    close(channel->descriptor);
    wire_buffer_fini(&channel->out);
    free(channel->in);
    *channel = (struct channel){0};
}

struct wire_buffer *channel_request(struct channel *channel, const char *method, uint32_t fields)
{
    channel->last_id++;
    wire_buffer_clear(&channel->out);
    wire_request(&channel->out, channel->last_id, method, fields);
    return &channel->out;
}

/* ---- out ----------------------------------------------------------------------------------------------------- */

static ssize_t send_some(struct channel *channel, size_t sent, int descriptor)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {.iov_base = channel->out.data + sent, .iov_len = channel->out.size - sent};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (descriptor >= 0 && sent == 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    return sendmsg(channel->descriptor, &message, MSG_NOSIGNAL);
}

static int send_all(struct channel *channel, int descriptor, uint64_t deadline_ns)
{
    size_t sent = 0;
    if (channel->out.failed)
        return channel->out.size > WIRE_FRAME_MAX / 2 ? PERMTAB_E_LIMIT : PERMTAB_E_MEMORY;
    while (sent < channel->out.size) {
        ssize_t count = send_some(channel, sent, descriptor);
        if (count >= 0) {
            sent += (size_t)count;
            continue;
        }
        if (errno == EINTR)
            continue;
        int result =
            errno == EAGAIN ? wait_until(channel->descriptor, POLLOUT, deadline_ns) : PERMTAB_E_UNREACHABLE;
        if (result < 0) {
            channel->broken = sent > 0 || result != PERMTAB_E_TIMEOUT;
            return result;
        }
    }
    return 0;
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

static int room_for_read(struct channel *channel)
{
    if (channel->in_capacity - channel->in_size >= READ_SIZE)
        return 0;
    size_t capacity =
        channel->in_capacity * 2 + READ_SIZE; /* bounded: the scan refuses frames above WIRE_FRAME_MAX */
    char *in = realloc(channel->in, capacity);
    if (in == NULL)
        return PERMTAB_E_MEMORY;
    channel->in = in;
    channel->in_capacity = capacity;
    return 0;
}

/* Keeps what came with a message; more than the protocol passes is refused. */
static int keep_descriptors(struct channel *channel, struct msghdr *message)
{
    int result = (message->msg_flags & MSG_CTRUNC) != 0 ? PERMTAB_E_PROTOCOL : 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            if (channel->received_count < CHANNEL_DESCRIPTORS) {
                channel->received[channel->received_count++] = descriptor;
            } else {
                close(descriptor);
                result = PERMTAB_E_PROTOCOL;
            }
        }
    }
    return result;
}

static int read_some(struct channel *channel, uint64_t deadline_ns)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(CHANNEL_DESCRIPTORS * sizeof(int))];
    } control;
    int result = room_for_read(channel);
    if (result < 0)
        return result;
    for (;;) {
        struct iovec piece = {.iov_base = channel->in + channel->in_size,
                              .iov_len = channel->in_capacity - channel->in_size};
        struct msghdr message = {
            .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        ssize_t count = recvmsg(channel->descriptor, &message, MSG_CMSG_CLOEXEC);
        if (count > 0) {
            channel->in_size += (size_t)count;
            return keep_descriptors(channel, &message);
        }
        if (count == 0)
            return PERMTAB_E_UNREACHABLE;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return PERMTAB_E_UNREACHABLE;
        result = wait_until(channel->descriptor, POLLIN, deadline_ns);
        if (result < 0)
            return result;
    }
}

/* One whole message from the front of what came, reading more as needed. */
static int next_message(struct channel *channel, uint64_t deadline_ns, struct wire_message *message)
{
    struct wire_scan scan;
    wire_scan_init(&scan);
    for (;;) {
        int result = wire_scan_more(&scan, channel->in, channel->in_size);
        if (result == 1)
            result = wire_take(channel->in, channel->in_size, message);
        if (result < 0)
            return result == PERMTAB_E_MEMORY ? result : PERMTAB_E_PROTOCOL;
        if (result == 1) {
            channel->in_size -= message->size;
            memmove(channel->in, channel->in + message->size, channel->in_size);
            return 0;
        }
        result = read_some(channel, deadline_ns);
        if (result < 0)
            return result;
    }
}

int channel_call(struct channel *channel, int descriptor, uint64_t deadline_ns, struct wire_message *reply)
{
    uint32_t id = channel->last_id;
    *reply = (struct wire_message){0};
    received_close(channel);
    int result = send_all(channel, descriptor, deadline_ns);
    if (result < 0)
        return result;
    for (;;) {
        result = next_message(channel, deadline_ns, reply);
        if (result < 0) {
            channel->broken = result != PERMTAB_E_TIMEOUT;
            return result;
        }
        if (reply->kind == WIRE_RESPONSE && reply->id == id)
            return reply->error_code;
        bool asked = reply->kind == WIRE_REQUEST; /* the sidecar asks nothing */
        wire_message_fini(reply);
        if (asked) {
            channel->broken = true;
            return PERMTAB_E_PROTOCOL;
        }
    }
}

int channel_notification(struct channel *channel, uint64_t deadline_ns, struct wire_message *out)
{
    for (;;) {
        *out = (struct wire_message){0};
        int result = next_message(channel, deadline_ns, out);
        if (result < 0) {
            channel->broken = result != PERMTAB_E_TIMEOUT;
            return result;
        }
        if (out->kind == WIRE_NOTIFICATION)
            return 0;
        wire_message_fini(out);
    }
}

int channel_take_descriptor(struct channel *channel, size_t index)
{
    if (index >= channel->received_count)
        return -1;
    int descriptor = channel->received[index];
    channel->received[index] = -1;
    return descriptor;
}
