/* One client. The path of a request starts here:
 *
 *     on_readable → take_message → request_begin → serve_check → ask_start → … → request_reply → session_send
 *     session.c     session.c      request.c       methods/      answer/ask.c    request.c       session.c
 *
 * Raw recvmsg and sendmsg instead of bufferevents, which do not pass descriptors. Everything that a client controls
 * has a bound: the message it is sending (a frame, and a time from its first byte), the requests under way, the
 * bytes it does not read, the descriptors it passes, and its share of a turn of the loop. A session that reaches a
 * bound is either not read from until there is room, or closed. An attached client that says nothing may stay for
 * ever. */
#include "proxy/serve/session.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/serve/request.h"
#include "proxy/serve/samples.h"
#include "proxy/serve/subscriptions.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define READ_SIZE     (64u * 1024)
#define TURN_AT_ONCE  4u                 /* messages taken as soon as they are read */
#define TURN_QUEUED   16u                /* messages of one turn of a session that has sent more */
#define OUTPUT_PAUSE  (256u * 1024)      /* above so much unread output no more requests are taken */
#define OUTPUT_MAX    (4u * 1024 * 1024) /* above so much the session is closed */
#define QUERIES_PAUSE 50000u             /* of check_many; they take our memory, not the socket's */
#define INPUT_KEEP    (64u * 1024)       /* a larger buffer is given back once it is empty */

/* Why a session is closed that the loop would never look at again. */
#define UNWATCHED "the kernel does not watch its socket: no memory, or too many are watched"

static void on_readable(evutil_socket_t socket, short what, void *context);
static void on_writable(evutil_socket_t socket, short what, void *context);
static void send_output(struct session *session);

/* ---- life ------------------------------------------------------------------------------------------------------ */

static int read_peer(struct session *session)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(session->socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return PERMTAB_E_SYSTEM;
    session->pid = peer.pid;
    session->uid = peer.uid;
    return 0;
}

int session_new(struct server *server, int descriptor)
{
    int code = PERMTAB_E_MEMORY;
    struct session *session = calloc(1, sizeof *session);
    if (!session) {
        (void)close(descriptor);
        return code;
    }
    session->server = server;
    session->flow.share = &session->share;
    session->socket = descriptor;
    session->begun_ns = session->partial_since_ns = clock_ns();
    session->flow.served_ns = session->begun_ns; /* who connects for each question goes before nobody */
    output_init(&session->output);
    wire_scan_init(&session->scan);
    session->readable =
        event_new(server->parts->base, descriptor, EV_READ | EV_PERSIST, on_readable, session);
    session->writable =
        event_new(server->parts->base, descriptor, EV_WRITE | EV_PERSIST, on_writable, session);
    if (!session->readable || !session->writable)
        goto out;
    code = read_peer(session);
    if (code == 0 && event_add(session->readable, NULL) < 0)
        code = PERMTAB_E_SYSTEM;
out:
    if (code < 0) {
        (void)close(descriptor);
        session->socket = -1;
        session_free(session);
        return code;
    }
    session->number = ++server->next_session;
    DL_PREPEND(server->sessions, session);
    server->parts->counters->clients = ++server->session_count;
    server->parts->counters->clients_accepted++;
    return 0;
}

/* ---- turns --------------------------------------------------------------------------------------------------- */

/* Queues a session that sends many messages at once; a round of the loop serves the first of the queue alone. A
 * session that sends one message is served when it is read, so it waits for one short turn, and not for a turn of
 * each session that floods. */
static void queue_turn(struct session *session)
{
    struct server *server = session->server;
    if (session->turn_queued)
        return;
    session->turn_queued = true;
    DL_APPEND2(server->turns, session, turn_prev, turn_next);
    (void)timer_at_once(server->turn);
}

static void unqueue_turn(struct session *session)
{
    if (!session->turn_queued)
        return;
    session->turn_queued = false;
    DL_DELETE2(session->server->turns, session, turn_prev, turn_next);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static void end_requests(struct session *session)
{
    struct request *request, *next;
    DL_FOREACH_SAFE(session->requests, request, next)
    {
        if (request->cancel) {
            request->cancel(request);
        } else {
            DL_DELETE(session->requests, request);
            request->session = NULL;
        }
    }
}

void session_close(struct session *session, const char *reason)
{
    struct server *server = session->server;
    if (session->socket < 0)
        return;
    log_debug("session %llu: closed: %s", (unsigned long long)session->number, reason);
    if (session->feedback)
        feedback_collect(session->feedback, clock_ns(), server->parts->counters);
    (void)event_del(session->readable);
    (void)event_del(session->writable);
    unqueue_turn(session);
    /* The last messages, an error perhaps, are sent as far as the socket takes them. */
    (void)!output_send(&session->output, session->socket);
    (void)close(session->socket);
    session->socket = -1;
    end_requests(session);
    subscriber_end(session->subscriber);
    session->subscriber = NULL;
    samples_forget(server, session);
    publisher_use_leave(server->parts->publisher, &session->share);
    DL_DELETE(server->sessions, session);
    server->parts->counters->clients = --server->session_count;
    session->next = server->closed;
    server->closed = session;
    event_active(server->bury, EV_TIMEOUT, 0);
}

void session_free(struct session *session)
{
    if (!session)
        return;
    for (unsigned i = 0; i < session->descriptor_count; i++)
        (void)close(session->descriptors[i]);
    output_fini(&session->output);
    feedback_free(session->feedback);
    if (session->readable)
        event_free(session->readable);
    if (session->writable)
        event_free(session->writable);
    free(session->input);
    free(session);
}

/* ---- taking messages --------------------------------------------------------------------------------------------- */

/* Whether there is no room for another request: reading pauses, and the kernel holds the client back. */
static bool is_full(const struct session *session)
{
    return session->request_count >= session->server->parts->config->client_requests_max ||
           session->query_count >= QUERIES_PAUSE || session->output.size > OUTPUT_PAUSE ||
           session->output.descriptors > 0; /* descriptors are few for all clients together */
}

static void drop_input(struct session *session, size_t size)
{
    session->input_size -= size;
    memmove(session->input, session->input + size, session->input_size);
    if (session->input_size == 0 && session->input_capacity > INPUT_KEEP) {
        free(session->input);
        session->input = NULL;
        session->input_capacity = 0;
    }
}

static void break_off(struct session *session, const char *reason)
{
    struct server *server = session->server;
    server->parts->counters->protocol_errors++;
    (void)trouble_happens(&server->protocol_trouble, LOG_LEVEL_INFO, clock_ns(),
                          "session %llu: pid %d, uid %u: %s", (unsigned long long)session->number,
                          (int)session->pid, (unsigned)session->uid, reason);
    session_close(session, reason);
}

/* Sends one error before the session is closed, which tells an honest programmer what happened. */
static void refuse_bytes(struct session *session, int code)
{
    struct wire_buffer reply;
    const char *reason = code == PERMTAB_E_LIMIT    ? "a message is larger or deeper than allowed"
                         : code == PERMTAB_E_MEMORY ? "out of memory"
                                                    : "these bytes are not MessagePack-RPC";
    wire_buffer_init(&reply);
    wire_reply_error(&reply, 0, code, reason);
    if (!reply.failed)
        session_send(session, &reply, NULL, 0);
    wire_buffer_fini(&reply);
    if (session->socket >= 0)
        break_off(session, reason);
}

/* Takes one message at `offset`; 1: taken, 0: more bytes are needed; negative: the session is closed. */
static int take_message(struct session *session, size_t *offset)
{
    struct wire_message message;
    const char *front = session->input + *offset;
    size_t size = session->input_size - *offset;
    int code = wire_scan_more(&session->scan, front, size);
    if (code > 0)
        code = wire_take(front, session->scan.at, &message);
    if (code < 0)
        refuse_bytes(session, code);
    if (code <= 0)
        return code;
    *offset += message.size;
    wire_scan_init(&session->scan);
    switch (message.kind) {
    case WIRE_REQUEST:
        request_begin(session, &message, front);
        break;
    /* no notification is of interest yet; ignoring them lets clients be newer than we are */
    case WIRE_NOTIFICATION:
        break;
    case WIRE_RESPONSE:
        break_off(session, "a response to a request that was not made");
        break;
    }
    wire_message_fini(&message);
    return session->socket < 0 ? PERMTAB_E_PROTOCOL : 1;
}

/* Sets whether reading, the next turn and the clock on incomplete messages go on. */
static void settle(struct session *session, bool more)
{
    bool full = is_full(session);
    bool awaited = !session->greeted || session->input_size > 0;
    /* Messages that have been read are taken first: else a client that sends faster than its turns come fills our
     * memory. */
    if (full || more) {
        (void)event_del(session->readable);
    } else if (event_add(session->readable, NULL) < 0) {
        session_close(session, UNWATCHED);
        return;
    }
    if (more && !full)
        queue_turn(session);
    if (!awaited || full || more)
        session->partial_since_ns = session->greeted ? 0 : session->begun_ns;
    else if (session->partial_since_ns == 0)
        session->partial_since_ns = clock_ns();
}

static void take_messages(struct session *session, unsigned most)
{
    size_t offset = 0;
    unsigned taken = 0;
    int code = 1;
    session->corked = true;
    while (code > 0 && taken < most && !is_full(session)) {
        code = offset < session->input_size ? take_message(session, &offset) : 0;
        taken += code > 0;
    }
    session->corked = false;
    if (session->socket >= 0 && session->output.head)
        send_output(session);
    if (session->socket < 0)
        return;
    if (offset > 0) {
        drop_input(session, offset);
        session->partial_since_ns = 0; /* a message was completed: the next one has its own time */
    }
    settle(session, code > 0 && session->input_size > 0);
}

void session_turn(struct server *server)
{
    struct session *session = server->turns;
    if (!session)
        return;
    unqueue_turn(session);
    take_messages(session, TURN_QUEUED);
    if (server->turns)
        (void)timer_at_once(server->turn);
}

/* Reads on in a turn and not from here, because the caller is in the middle of something. */
static void go_on_reading(struct session *session)
{
    if (session->socket >= 0 && !event_pending(session->readable, EV_READ, NULL) && !is_full(session))
        queue_turn(session);
}

void session_request_ended(struct session *session)
{
    session->request_count--;
    go_on_reading(session);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static bool make_room(struct session *session)
{
    if (session->input_capacity - session->input_size >= READ_SIZE / 4)
        return true;
    size_t capacity = session->input_capacity ? session->input_capacity * 2 : READ_SIZE / 4;
    while (capacity - session->input_size < READ_SIZE / 4)
        capacity *= 2;
    char *input = realloc(session->input, capacity);
    if (!input)
        return false;
    session->input = input;
    session->input_capacity = capacity;
    return true;
}

/* Keeps received descriptors; false when there are more than SESSION_DESCRIPTORS_MAX, and the rest is closed. */
static bool keep_descriptors(struct session *session, struct msghdr *message)
{
    bool kept = !(message->msg_flags & MSG_CTRUNC);
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(head) + i * sizeof(int), sizeof descriptor);
            if (session->descriptor_count < SESSION_DESCRIPTORS_MAX &&
                descriptors_spare(session->server->parts->descriptors, descriptor)) {
                session->descriptors[session->descriptor_count++] = descriptor;
            } else {
                (void)close(descriptor);
                kept = false;
            }
        }
    }
    return kept;
}

int session_take_descriptor(struct session *session)
{
    if (session->descriptor_count == 0)
        return -1;
    int oldest = session->descriptors[0];
    session->descriptor_count--;
    memmove(session->descriptors, session->descriptors + 1, session->descriptor_count * sizeof(int));
    return oldest;
}

static void on_readable(evutil_socket_t socket, short what, void *context)
{
    struct session *session = context;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * SESSION_DESCRIPTORS_MAX)];
    } control;
    (void)what;
    if (!make_room(session)) {
        session_close(session, "out of memory");
        return;
    }
    struct iovec part = {session->input + session->input_size, session->input_capacity - session->input_size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (got <= 0) {
        session_close(session, got == 0 ? "the peer closed it" : strerror(errno));
        return;
    }
    session->input_size += (size_t)got;
    if (!keep_descriptors(session, &message)) {
        break_off(session, "more descriptors than any method takes, or than there are");
        return;
    }
    take_messages(session, TURN_AT_ONCE);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void send_output(struct session *session)
{
    size_t before = session->output.size;
    if (output_send(&session->output, session->socket) < 0) {
        session_close(session, strerror(errno));
        return;
    }
    if (session->output.size == 0) {
        session->output_since_ns = 0;
        (void)event_del(session->writable);
        if (session->subscriber)
            subscriber_drained(session->subscriber, clock_ns());
    } else {
        if (session->output_since_ns == 0 || session->output.size < before)
            session->output_since_ns = clock_ns();
        if (event_add(session->writable, NULL) < 0)
            session_close(session, UNWATCHED);
    }
}

static void on_writable(evutil_socket_t socket, short what, void *context)
{
    struct session *session = context;
    (void)socket, (void)what;
    send_output(session);
    go_on_reading(session);
}

void session_send(struct session *session, struct wire_buffer *message, const int *descriptors,
                  unsigned count)
{
    if (output_put(&session->output, message, descriptors, count) < 0) {
        session_close(session, "out of memory");
        return;
    }
    if (!session->corked) {
        send_output(session);
        go_on_reading(session); /* all output may have gone with it, and then no on_writable follows */
    }
    if (session->socket >= 0 && session->output.size > OUTPUT_MAX)
        break_off(session, "does not read its replies");
}

bool session_peer_left(const struct session *session)
{
    struct pollfd polled = {.fd = session->socket};
    return poll(&polled, 1, 0) > 0 && (polled.revents & POLLHUP) != 0;
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

void session_sweep(struct session *session, uint64_t now_ns)
{
    uint64_t idle = session->server->parts->config->client_idle_ms * 1000000;
    if (session->feedback)
        feedback_collect(session->feedback, now_ns, session->server->parts->counters);
    if (session->subscriber)
        subscriber_drained(session->subscriber, now_ns);
    if (session->socket < 0)
        return;
    if (session->partial_since_ns != 0 && now_ns > session->partial_since_ns + idle)
        break_off(session, session->greeted ? "a message was not completed in time" : "no hello in time");
    else if (session->output_since_ns != 0 && now_ns > session->output_since_ns + idle)
        break_off(session, "does not read its replies");
    else if (!event_pending(session->readable, EV_READ, NULL) && session_peer_left(session))
        session_close(session, "the peer closed it"); /* reading would have noticed, but it pauses */
}
