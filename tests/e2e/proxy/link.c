/* Connections in pairs, one to the client and one to the server, each direction through a flow.
 *
 * A connection is marked when its client has said a certain text, and stays so: that is how a subscription is told
 * from commands, and a connection for fills from the one that polls. Of a marked connection to Redis what comes
 * down is taken apart into values. */
#include "tests/e2e/proxy/link.h"

#include "tests/e2e/proxy/resp.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NAME_SIZE 64
#define TAIL_SIZE 32 /* of what the client said last: the mark may come in two pieces */

static const char *const marks[] = {
    [LINK_RAW] = NULL, [LINK_REDIS] = "SUBSCRIBE", [LINK_MYSQL] = "WITH RECURSIVE chain"};

struct connection {
    struct link *link;
    struct bufferevent *side[2]; /* by where bytes go: UP the server, DOWN the client */
    struct flow flow[2];
    bool marked, unframed;
    bool ended; /* one side has gone; what is queued for the other is still passed on */
    char tail[TAIL_SIZE];
    size_t tail_size;
    struct connection *prev, *next;
};

struct link {
    struct links *links;
    char name[NAME_SIZE];
    enum link_kind kind;
    uint16_t target_port;
    struct evconnlistener *listener;
    struct rules rules[2]; /* of unmarked and marked connections */
    struct connection *connections;
    struct flow_counts counts;
    uint64_t accepted, refused, open;
    struct link *next;
};

static const struct rules *rules_of(const struct connection *connection)
{
    return &connection->link->rules[connection->marked];
}

/* ---- the life of a connection ------------------------------------------------------------------------------------ */

static void reset_socket(evutil_socket_t descriptor)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static void connection_free(struct connection *connection, bool reset)
{
    struct link *link = connection->link;
    if (connection->prev)
        connection->prev->next = connection->next;
    else
        link->connections = connection->next;
    if (connection->next)
        connection->next->prev = connection->prev;
    link->open--;
    for (int i = 0; i < 2; i++) {
        flow_fini(&connection->flow[i]);
        if (!connection->side[i])
            continue;
        if (reset)
            reset_socket(bufferevent_getfd(connection->side[i]));
        bufferevent_free(connection->side[i]);
    }
    free(connection);
}

static size_t unsent(const struct connection *connection, enum direction direction)
{
    return connection->flow[direction].queued +
           evbuffer_get_length(bufferevent_get_output(connection->side[direction]));
}

/* Reading decides what can be forwarded: it stops where a queue is full, so none grows without a bound. */
static void choose_reading(struct connection *connection)
{
    for (int i = 0; i < 2; i++) {
        bool read = rules_of(connection)->mode == MODE_PASS && !connection->ended &&
                    unsent(connection, (enum direction)i) < FLOW_QUEUE_MAX;
        if (read)
            (void)bufferevent_enable(connection->side[!i], EV_READ);
        else
            (void)bufferevent_disable(connection->side[!i], EV_READ);
    }
}

/* ---- what passes ------------------------------------------------------------------------------------------------- */

static void look_for_mark(struct connection *connection, const char *bytes, size_t size)
{
    const char *mark = marks[connection->link->kind];
    char seam[2 * TAIL_SIZE];
    size_t head = size < TAIL_SIZE ? size : TAIL_SIZE;
    if (!mark || connection->marked)
        return;
    memcpy(seam, connection->tail, connection->tail_size);
    memcpy(seam + connection->tail_size, bytes, head);
    connection->marked = memmem(seam, connection->tail_size + head, mark, strlen(mark)) != NULL ||
                         memmem(bytes, size, mark, strlen(mark)) != NULL;
    connection->tail_size = head;
    memcpy(connection->tail, bytes + size - head, head);
}

/* Whole values out of the input; what is not whole stays there. */
static void pass_values(struct connection *connection, struct evbuffer *input)
{
    struct link *link = connection->link;
    while (!connection->unframed) {
        size_t size = evbuffer_get_length(input);
        const char *bytes = (const char *)evbuffer_pullup(input, -1);
        ssize_t whole = size > 0 ? resp_size(bytes, size) : 0;
        if (whole == 0)
            return;
        if (whole < 0) {
            connection->unframed = true;
            return;
        }
        link->counts.bytes += (uint64_t)whole;
        flow_message(&connection->flow[DOWN], rules_of(connection), &link->links->dice, &link->counts, bytes,
                     (size_t)whole);
        (void)evbuffer_drain(input, (size_t)whole);
    }
}

static void pass_bytes(struct connection *connection, enum direction direction, struct evbuffer *input)
{
    struct link *link = connection->link;
    size_t size = evbuffer_get_length(input);
    const char *bytes = (const char *)evbuffer_pullup(input, -1);
    if (size == 0)
        return;
    if (direction == UP)
        look_for_mark(connection, bytes, size);
    link->counts.bytes += size;
    flow_pass(&connection->flow[direction], rules_of(connection), direction, &link->links->dice, bytes, size);
    (void)evbuffer_drain(input, size);
}

static void on_read(struct bufferevent *from, void *context)
{
    struct connection *connection = context;
    enum direction direction = from == connection->side[DOWN] ? UP : DOWN;
    struct evbuffer *input = bufferevent_get_input(from);
    if (rules_of(connection)->mode != MODE_PASS)
        return;
    if (direction == DOWN && connection->marked && connection->link->kind == LINK_REDIS &&
        !connection->unframed)
        pass_values(connection, input);
    if (direction == UP || !connection->marked || connection->link->kind != LINK_REDIS ||
        connection->unframed)
        pass_bytes(connection, direction, input);
    if (rules_of(connection)->mode == MODE_REFUSE)
        connection_free(connection, true); /* it has just been marked */
    else
        choose_reading(connection);
}

static void on_written(struct bufferevent *to, void *context)
{
    struct connection *connection = context;
    enum direction direction = to == connection->side[UP] ? UP : DOWN;
    if (connection->ended && flow_empty(&connection->flow[direction]) && unsent(connection, direction) == 0)
        connection_free(connection, false);
    else
        choose_reading(connection);
}

static void on_event(struct bufferevent *side, short what, void *context)
{
    struct connection *connection = context;
    enum direction other = side == connection->side[UP] ? DOWN : UP;
    if (what & BEV_EVENT_CONNECTED)
        return;
    bool nothing_left = flow_empty(&connection->flow[other]) && unsent(connection, other) == 0;
    if ((what & BEV_EVENT_ERROR) || connection->ended || nothing_left) {
        connection_free(connection, (what & BEV_EVENT_ERROR) != 0);
        return;
    }
    connection->ended = true;
    choose_reading(connection);
}

/* ---- accepting --------------------------------------------------------------------------------------------------- */

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool connect_sides(struct connection *connection, evutil_socket_t descriptor)
{
    struct event_base *base = connection->link->links->base;
    struct sockaddr_in address = local(connection->link->target_port);
    int one = 1;
    connection->side[DOWN] = bufferevent_socket_new(base, descriptor, BEV_OPT_CLOSE_ON_FREE);
    connection->side[UP] = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (!connection->side[DOWN] || !connection->side[UP])
        return false;
    for (int i = 0; i < 2; i++) {
        bufferevent_setcb(connection->side[i], on_read, on_written, on_event, connection);
        if (flow_init(&connection->flow[i], base, connection->side[i]) < 0)
            return false;
    }
    if (bufferevent_socket_connect(connection->side[UP], (struct sockaddr *)&address, sizeof address) < 0)
        return false;
    for (int i = 0; i < 2; i++)
        (void)setsockopt(bufferevent_getfd(connection->side[i]), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return true;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t descriptor, struct sockaddr *address,
                      int size, void *context)
{
    struct link *link = context;
    struct connection *connection = calloc(1, sizeof *connection);
    (void)listener, (void)address, (void)size;
    if (!connection || link->rules[LINK_UNMARKED].mode == MODE_REFUSE) {
        link->refused++;
        reset_socket(descriptor);
        (void)evutil_closesocket(descriptor);
        free(connection);
        return;
    }
    link->accepted++;
    link->open++;
    connection->link = link;
    connection->next = link->connections;
    if (connection->next)
        connection->next->prev = connection;
    link->connections = connection;
    if (connect_sides(connection, descriptor))
        choose_reading(connection);
    else
        connection_free(connection, true);
}

/* ---- links ------------------------------------------------------------------------------------------------------- */

int link_add(struct links *links, const char *name, uint16_t target_port, enum link_kind kind)
{
    struct sockaddr_in address = local(0);
    socklen_t size = sizeof address;
    struct link *link = calloc(1, sizeof *link);
    if (!link || strlen(name) >= NAME_SIZE || link_find(links, name)) {
        free(link);
        return -1;
    }
    link->links = links;
    strcpy(link->name, name);
    link->kind = kind;
    link->target_port = target_port;
    link->listener =
        evconnlistener_new_bind(links->base, on_accept, link, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                128, (struct sockaddr *)&address, sizeof address);
    if (!link->listener) {
        free(link);
        return -1;
    }
    link->next = links->first;
    links->first = link;
    (void)getsockname(evconnlistener_get_fd(link->listener), (struct sockaddr *)&address, &size);
    return ntohs(address.sin_port);
}

struct link *link_find(struct links *links, const char *name)
{
    struct link *link = links->first;
    while (link && strcmp(link->name, name) != 0)
        link = link->next;
    return link;
}

struct rules *link_rules(struct link *link, bool marked)
{
    return &link->rules[marked];
}

void link_cut(struct link *link, enum link_part part)
{
    struct connection *next;
    for (struct connection *at = link->connections; at; at = next) {
        next = at->next;
        if (part == LINK_ALL || at->marked == (part == LINK_MARKED))
            connection_free(at, true);
    }
}

/* Bytes that were read before a stall wait in the input. */
static void pump(struct connection *connection)
{
    choose_reading(connection);
    if (rules_of(connection)->mode != MODE_PASS)
        return;
    on_read(connection->side[UP], connection);
    on_read(connection->side[DOWN], connection); /* may mark it, and may be its end */
}

void link_apply(struct link *link)
{
    struct connection *next;
    for (int marked = 0; marked < 2; marked++)
        if (link->rules[marked].mode == MODE_REFUSE)
            link_cut(link, marked ? LINK_MARKED : LINK_UNMARKED);
    for (struct connection *at = link->connections; at; at = next) {
        next = at->next;
        pump(at);
    }
}

void link_print(const struct link *link, FILE *out)
{
    const struct flow_counts *counts = &link->counts;
    unsigned long long values[] = {link->open,       link->accepted,  link->refused,      counts->bytes,
                                   counts->messages, counts->dropped, counts->duplicated, counts->reordered,
                                   counts->held,     counts->garbled, counts->corrupted};
    static const char *const names[] = {"open",     "accepted", "refused",    "bytes",
                                        "messages", "dropped",  "duplicated", "reordered",
                                        "held",     "garbled",  "corrupted"};
    unsigned long long marked = 0;
    for (const struct connection *at = link->connections; at; at = at->next)
        marked += at->marked;
    (void)fprintf(out, " marked=%llu", marked);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)fprintf(out, " %s=%llu", names[i], values[i]);
}

void links_fini(struct links *links)
{
    while (links->first) {
        struct link *link = links->first;
        links->first = link->next;
        link_cut(link, LINK_ALL);
        evconnlistener_free(link->listener);
        free(link);
    }
}
