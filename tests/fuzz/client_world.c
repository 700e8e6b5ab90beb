/* The oracles over replies: each request is answered once, under its id; every text may be shown; a decision is one of
 * three. */
#include "tests/fuzz/client_world.h"

#include "client/wire/text.h"
#include "client/wire/wire.h"
#include "tests/fuzz/daemon_world.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS_MAX 60000u /* of a millisecond: only a hang takes so long */

static void leave(struct client *client)
{
    if (client->socket >= 0)
        (void)close(client->socket);
    client->socket = -1;
}

/* Every text may be shown, however it came into the reply. */
static void look_at(const struct wire_value *value)
{
    size_t count;
    const char *text;
    char trouble[TEXT_TROUBLE_SIZE];
    if (wire_as_str(value, &text, &count))
        must(text_is_clean(text, count, true, trouble));
    if (wire_as_array(value, &count))
        for (size_t i = 0; i < count; i++)
            look_at(wire_item(value, i));
    if (wire_as_map(value, &count))
        for (size_t i = 0; i < count; i++) {
            look_at(wire_key_at(value, i));
            look_at(wire_value_at(value, i));
        }
}

static void look_at_decision(const struct wire_value *value)
{
    int64_t decision;
    if (value != NULL)
        must(wire_as_i64(value, &decision) && decision >= -1 && decision <= 1);
}

static void take_reply(struct client *client, const struct wire_message *message)
{
    char trouble[TEXT_TROUBLE_SIZE];
    size_t count = 0;
    if (message->kind == WIRE_NOTIFICATION) {
        look_at(message->params);
        return;
    }
    must(message->kind == WIRE_RESPONSE);
    if (message->error_code != 0)
        must(message->error_text[0] != '\0' &&
             text_is_clean(message->error_text, strlen(message->error_text), true, trouble));
    if (client->garbage && message->id == 0)
        return;
    uint64_t bit = (uint64_t)1 << (message->id - 1);
    must(message->id >= 1 && message->id <= CLIENT_REQUESTS_MAX && (client->answered & bit) == 0);
    must(client->garbage || (client->asked & bit) != 0);
    client->answered |= bit;
    look_at(message->result);
    look_at_decision(wire_get(message->result, "decision"));
    const struct wire_value *decisions = wire_get(message->result, "decisions");
    for (size_t i = 0; wire_as_array(decisions, &count) && i < count; i++)
        look_at_decision(wire_item(decisions, i));
}

/* Descriptors that come with it are closed by the kernel, as there is no room for them. */
void client_read(struct client *client)
{
    struct wire_message message;
    char bytes[65536];
    while (client->socket >= 0) {
        ssize_t got = recv(client->socket, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0) {
            leave(client);
            break;
        }
        must((client->in = realloc(client->in, client->in_size + (size_t)got)) != NULL);
        memcpy(client->in + client->in_size, bytes, (size_t)got);
        client->in_size += (size_t)got;
    }
    size_t at = 0;
    int code = 1;
    while (at < client->in_size && (code = wire_take(client->in + at, client->in_size - at, &message)) == 1) {
        take_reply(client, &message);
        at += message.size;
        wire_message_fini(&message);
    }
    must(code >= 0);
    if (at == 0)
        return;
    memmove(client->in, client->in + at, client->in_size - at);
    client->in_size -= at;
}

void client_send(struct client *client, const char *bytes, size_t size, size_t piece, int descriptor)
{
    unsigned turns = 0;
    for (size_t at = 0; at < size && client->socket >= 0 && turns < TURNS_MAX;) {
        union {
            struct cmsghdr header;
            char space[CMSG_SPACE(sizeof(int))];
        } control = {.space = {0}};
        struct iovec part = {(char *)(uintptr_t)bytes + at, size - at < piece ? size - at : piece};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        if (descriptor >= 0 && at == 0) {
            message.msg_control = &control;
            message.msg_controllen = sizeof control;
            control.header.cmsg_level = SOL_SOCKET;
            control.header.cmsg_type = SCM_RIGHTS;
            control.header.cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
        }
        ssize_t sent = sendmsg(client->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
            at += (size_t)sent;
        else if (errno != EAGAIN)
            leave(client);
        if (at < size) {
            daemon_world_turn();
            client_read(client);
            turns++;
        }
    }
    must(turns < TURNS_MAX);
}

static void greet(struct client *client)
{
    struct wire_buffer out;
    wire_buffer_init(&out);
    wire_request(&out, ++client->asked_count, "hello", 3);
    wire_put_u64(&out, "protocol", WIRE_PROTOCOL);
    wire_put_u64(&out, "layout", PERMTAB_SHM_LAYOUT);
    wire_put_str(&out, "client", "fuzz");
    client->asked |= (uint64_t)1 << (client->asked_count - 1);
    client_send(client, out.data, out.size, out.size, -1);
    wire_buffer_fini(&out);
}

void client_open(struct client *client, bool hello)
{
    struct daemon *daemon = daemon_world();
    int ends[2];
    memset(client, 0, sizeof *client);
    daemon_world_connect(ends);
    client->socket = ends[0];
    server_accept(&daemon->server, ends[1]);
    must(daemon->server.session_count == 1);
    if (hello)
        greet(client);
}

void client_wait(struct client *client)
{
    for (unsigned turns = 0; client->socket >= 0 && !client->garbage && client->answered != client->asked;
         turns++) {
        must(turns < TURNS_MAX);
        daemon_world_turn();
        client_read(client);
    }
}

void client_close(struct client *client)
{
    struct daemon *daemon = daemon_world();
    leave(client);
    for (unsigned turns = 0; daemon->server.sessions != NULL || daemon->server.closed != NULL; turns++) {
        must(turns < TURNS_MAX);
        daemon_world_turn();
    }
    must(daemon->server.session_count == 0);
    free(client->in);
}
