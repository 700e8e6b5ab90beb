/* The blocking side of the socket. No call on the socket itself blocks, whatever its flags are, for others may hold
 * the same socket: each wait is a ppoll with what is left of the caller's deadline, so that many small delays
 * cannot add up to more than was asked for. The descriptor is checked before each call: a number that means
 * something else by now is a broken connection.
 *
 * One request is under way at a time. A reply that comes after its caller gave up is recognised by its id and
 * dropped, so a time-out costs no connection; one in the middle of sending does, because the stream would be out of
 * step. Callers that expect descriptors ask for nothing else before they have them, so that descriptors always
 * belong to the present reply. handle.c knows the methods, and when to connect again. */
#include "client/channel.h"

#include "client/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
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

void channel_pause(uint64_t until_ns)
{
    (void)wait_until(-1, 0, until_ns);
}

static void received_close(struct channel *channel)
{
    for (size_t i = 0; i < channel->received_count; i++)
        descriptor_close(&channel->received[i]);
    channel->received_count = 0;
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

/* The first request id of a connection. No other connection begins there, so a reply to somebody else's request is
 * not taken for one to ours. */
static uint32_t first_id(void)
{
    uint32_t id;
    if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != (ssize_t)sizeof(id))
        id = (uint32_t)(channel_clock_ns() * 2654435761u) ^ (uint32_t)getpid() << 16;
    return id;
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
    int code = connect_until(descriptor, &address, deadline_ns);
    if (code == 0)
        code = peer_check(descriptor, path, server_uid);
    if (code < 0) {
        int kept = errno;
        close(descriptor);
        errno = kept;
        return code;
    }
    *channel = (struct channel){.open = true, .first_id = first_id()};
    channel->last_id = channel->first_id;
    descriptor_own(&channel->descriptor, descriptor);
    return 0;
}

void channel_close(struct channel *channel)
{
    if (!channel->open)
        return;
    received_close(channel);
    descriptor_close(&channel->descriptor);
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

static ssize_t send_some(struct channel *channel, int socket, size_t sent, int descriptor)
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
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int send_all(struct channel *channel, int descriptor, uint64_t deadline_ns)
{
    size_t sent = 0;
    if (channel->out.failed)
        return channel->out.size > WIRE_FRAME_MAX / 2 ? PERMTAB_E_LIMIT : PERMTAB_E_MEMORY;
    while (sent < channel->out.size) {
        int socket = descriptor_number(&channel->descriptor);
        ssize_t count = socket >= 0 ? send_some(channel, socket, sent, descriptor) : -1;
        if (count >= 0) {
            sent += (size_t)count;
            continue;
        }
        if (socket >= 0 && errno == EINTR)
            continue;
        int code =
            socket >= 0 && errno == EAGAIN ? wait_until(socket, POLLOUT, deadline_ns) : PERMTAB_E_UNREACHABLE;
        if (code < 0) {
            channel->broken = sent > 0 || code != PERMTAB_E_TIMEOUT;
            return code;
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
    int code = (message->msg_flags & MSG_CTRUNC) != 0 ? PERMTAB_E_PROTOCOL : 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            if (channel->received_count < CHANNEL_DESCRIPTORS) {
                descriptor_own(&channel->received[channel->received_count++], descriptor);
            } else {
                close(descriptor);
                code = PERMTAB_E_PROTOCOL;
            }
        }
    }
    return code;
}

static int read_some(struct channel *channel, uint64_t deadline_ns)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(CHANNEL_DESCRIPTORS * sizeof(int))];
    } control;
    int code = room_for_read(channel);
    if (code < 0)
        return code;
    for (;;) {
        struct iovec piece = {.iov_base = channel->in + channel->in_size,
                              .iov_len = channel->in_capacity - channel->in_size};
        struct msghdr message = {
            .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        int socket = descriptor_number(&channel->descriptor);
        if (socket < 0)
            return PERMTAB_E_UNREACHABLE;
        ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
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
        code = wait_until(socket, POLLIN, deadline_ns);
        if (code < 0)
            return code;
    }
}

/* One whole message from the front of what came, reading more as needed. */
static int next_message(struct channel *channel, uint64_t deadline_ns, struct wire_message *message)
{
    struct wire_scan scan;
    wire_scan_init(&scan);
    for (;;) {
        int code = wire_scan_more(&scan, channel->in, channel->in_size);
        if (code == 1)
            code = wire_take(channel->in, channel->in_size, message);
        if (code < 0)
            return code == PERMTAB_E_MEMORY ? code : PERMTAB_E_PROTOCOL;
        if (code == 1) {
            channel->in_size -= message->size;
            memmove(channel->in, channel->in + message->size, channel->in_size);
            return 0;
        }
        code = read_some(channel, deadline_ns);
        if (code < 0)
            return code;
    }
}

int channel_send(struct channel *channel, int descriptor, uint64_t deadline_ns)
{
    received_close(channel);
    return send_all(channel, descriptor, deadline_ns);
}

/* Is this a reply to a request that we made on this connection? */
static bool is_reply(const struct channel *channel, const struct wire_message *message)
{
    uint32_t made = channel->last_id - channel->first_id, number = (uint32_t)message->id - channel->first_id;
    return message->kind == WIRE_RESPONSE && message->id <= UINT32_MAX && number - 1 < made;
}

int channel_wait(struct channel *channel, uint64_t deadline_ns, struct wire_message *reply)
{
    for (;;) {
        *reply = (struct wire_message){0};
        int code = next_message(channel, deadline_ns, reply);
        if (code < 0) {
            channel->broken = code != PERMTAB_E_TIMEOUT;
            return code;
        }
        channel->heard = true;
        if (is_reply(channel, reply) && reply->id == channel->last_id)
            return reply->error_code;
        /* `wrong`: a request from the sidecar, or a reply to somebody else. */
        bool wrong = reply->kind != WIRE_NOTIFICATION && !is_reply(channel, reply);
        wire_message_fini(reply);
        if (wrong) {
            channel->broken = true;
            return PERMTAB_E_PROTOCOL;
        }
    }
}

int channel_call(struct channel *channel, int descriptor, uint64_t deadline_ns, struct wire_message *reply)
{
    *reply = (struct wire_message){0};
    int code = channel_send(channel, descriptor, deadline_ns);
    return code < 0 ? code : channel_wait(channel, deadline_ns, reply);
}

int channel_notification(struct channel *channel, uint64_t deadline_ns, struct wire_message *out)
{
    for (;;) {
        *out = (struct wire_message){0};
        int code = next_message(channel, deadline_ns, out);
        if (code < 0) {
            channel->broken = code != PERMTAB_E_TIMEOUT;
            return code;
        }
        if (out->kind == WIRE_NOTIFICATION)
            return 0;
        wire_message_fini(out);
    }
}

struct descriptor channel_take_descriptor(struct channel *channel, size_t index)
{
    struct descriptor descriptor = {0};
    if (index < channel->received_count) {
        descriptor = channel->received[index];
        descriptor_forget(&channel->received[index]);
    }
    return descriptor;
}
