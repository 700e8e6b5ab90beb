/* hiredis' own asynchronous context is not used: it ends the process on a reply too many, and cannot be freed
 * from every callback. A connection goes round:
 *
 *     waiting → connecting → greeting → open → waiting …
 *
 * One timer serves all: the pause, the time that connecting may take, and the watch over an open connection. The
 * watch counts replies and not bytes, so that a server that trickles is as dead as one that is silent. It gives up
 * when no reply came for twice the ping time although one is owed: long queues are no reason as long as they move.
 *
 * The pause doubles from 50 ms to 2 s. A random factor between 0.5 and 1.5 keeps the hosts of a fleet from all
 * coming back at once. The pause begins anew after a connection that held for a while. */
#include "proxy/redis/link.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/base/trouble.h"
#include "proxy/redis/dial.h"
#include "proxy/redis/parser.h"
#include "proxy/redis/url.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/util.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 2000
#define READ_SIZE    (16u * 1024)

enum link_state { LINK_WAITING, LINK_CONNECTING, LINK_GREETING, LINK_OPEN, LINK_FREED };
enum greeting { GREETING_AUTH, GREETING_SELECT, GREETING_NAME };

struct redis_link {
    struct event_base *base;
    const char *name;
    char *text; /* the URL, for people */
    struct redis_url url;
    char *password; /* or NULL */
    uint64_t ping_ns;
    size_t reply_max;
    struct redis_link_events events;

    enum link_state state;
    struct event *timer;
    struct redis_dial *dial;
    struct bufferevent *stream;
    struct redis_parser *parser;
    enum greeting greetings[3]; /* sent and not answered */
    unsigned greeting_count, greeting_at;
    size_t owed;           /* replies */
    uint64_t owed_ns;      /* since when: the first command, or the last reply before this one */
    uint64_t heard_ns;     /* the last reply */
    uint64_t ready_ns;     /* 0: not ready */
    uint64_t pause_ms;     /* the next one */
    unsigned address_turn; /* which of the name's addresses is tried */
    unsigned depth;        /* callbacks on the stack */
    char trouble[256];
    struct trouble lost; /* there is no connection, or it comes and goes */
};

static void arm(struct redis_link *link, uint64_t delay_ns)
{
    if (timer_in_ns(link->timer, delay_ns) < 0)
        log_error("%s: a timer was not set", link->name);
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static void destroy(struct redis_link *link)
{
    struct redis_link_events events = link->events;
    if (link->timer)
        event_free(link->timer);
    if (link->password)
        explicit_bzero(link->password, strlen(link->password));
    free(link->password);
    free(link->text);
    free(link);
    if (events.freed)
        events.freed(events.context);
}

void redis_link_enter(struct redis_link *link)
{
    link->depth++;
}

void redis_link_leave(struct redis_link *link)
{
    assert(link->depth > 0);
    if (--link->depth == 0 && link->state == LINK_FREED)
        destroy(link);
}

static void shut(struct redis_link *link)
{
    if (link->stream)
        bufferevent_free(link->stream);
    redis_parser_free(link->parser);
    redis_dial_free(link->dial);
    link->stream = NULL;
    link->parser = NULL;
    link->dial = NULL;
    link->owed = 0;
}

void redis_link_free(struct redis_link *link)
{
    if (!link)
        return;
    redis_link_enter(link);
    shut(link);
    (void)event_del(link->timer);
    link->state = LINK_FREED;
    redis_link_leave(link);
}

static void pause_before_connecting(struct redis_link *link)
{
    uint32_t chance;
    evutil_secure_rng_get_bytes(&chance, sizeof chance);
    uint64_t us = link->pause_ms * 500 + chance % (link->pause_ms * 1000);
    arm(link, us * 1000);
    link->pause_ms = link->pause_ms * 2 < PAUSE_MAX_MS ? link->pause_ms * 2 : PAUSE_MAX_MS;
}

static void log_end(struct redis_link *link, uint64_t ready_ns)
{
    (void)trouble_happens(&link->lost, LOG_LEVEL_WARNING, clock_ns(), "%s: %s %s%s: %s", link->name,
                          ready_ns ? "the connection to" : "cannot connect to", link->text,
                          ready_ns ? " is lost" : "", link->trouble);
}

void redis_link_break(struct redis_link *link, const char *format, ...)
{
    if (link->state == LINK_FREED || link->state == LINK_WAITING)
        return;
    char text[sizeof link->trouble];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(link->trouble, text, sizeof text);

    bool opened = link->state == LINK_OPEN;
    uint64_t ready_ns = link->ready_ns;
    if (ready_ns && clock_ns() - ready_ns > PAUSE_MAX_MS * 1000000ull)
        link->pause_ms = PAUSE_MIN_MS;
    if (!opened)
        link->address_turn++;
    shut(link);
    link->ready_ns = 0;
    link->state = LINK_WAITING;
    log_end(link, ready_ns);
    pause_before_connecting(link);
    if (opened)
        link->events.closed(link->events.context);
}

const char *redis_link_trouble(const struct redis_link *link)
{
    return link->trouble;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

bool redis_link_room(const struct redis_link *link, size_t bytes, size_t arguments)
{
    return link->parser &&
           evbuffer_get_length(bufferevent_get_output(link->stream)) + bytes + arguments * 50 <=
               REDIS_UNSENT_MAX;
}

int redis_link_send(struct redis_link *link, const struct redis_args *args)
{
    if (!link->parser) /* there from connecting to closing */
        return PERMTAB_E_UNREACHABLE;
    if (args->failed)
        return PERMTAB_E_MEMORY;
    /* no reply would come, and every later reply would be taken for another command's */
    if (args->count == 0)
        return PERMTAB_E_INVALID;
    struct evbuffer *output = bufferevent_get_output(link->stream);
    size_t most = redis_args_wire_max(args);
    if (evbuffer_get_length(output) + most > REDIS_UNSENT_MAX)
        return PERMTAB_E_FULL;
    struct evbuffer_iovec room;
    if (evbuffer_reserve_space(output, (ev_ssize_t)most, &room, 1) != 1)
        return PERMTAB_E_MEMORY;
    room.iov_len = redis_args_write(args, room.iov_base);
    if (evbuffer_commit_space(output, &room, 1) < 0)
        return PERMTAB_E_MEMORY;
    if (link->owed++ == 0)
        link->owed_ns = clock_ns();
    return 0;
}

void redis_link_settle(struct redis_link *link)
{
    assert(link->owed > 0);
    link->owed--;
}

size_t redis_link_owed(const struct redis_link *link)
{
    return link->owed;
}

/* ---- letting us in ----------------------------------------------------------------------------------------------- */

static int send_greeting(struct redis_link *link, enum greeting greeting, struct redis_args *args)
{
    redis_args_clear(args);
    switch (greeting) {
    case GREETING_AUTH:
        redis_args_text(args, "AUTH");
        if (link->url.user[0])
            redis_args_text(args, link->url.user);
        redis_args_text(args, link->password ? link->password : "");
        break;
    case GREETING_SELECT:
        redis_args_text(args, "SELECT");
        redis_args_u64(args, link->url.database);
        break;
    case GREETING_NAME:
        redis_args_text(args, "CLIENT");
        redis_args_text(args, "SETNAME");
        redis_args_text(args, "permtabd");
        break;
    }
    int code = redis_link_send(link, args);
    if (code == 0)
        link->greetings[link->greeting_count++] = greeting;
    if (args->bytes)
        explicit_bzero(args->bytes, args->capacity);
    return code;
}

static void greet(struct redis_link *link)
{
    struct redis_args args;
    int code = 0;
    redis_args_init(&args);
    link->greeting_count = link->greeting_at = 0;
    link->state = LINK_GREETING;
    if (link->password || link->url.user[0])
        code = send_greeting(link, GREETING_AUTH, &args);
    if (code == 0 && link->url.database > 0)
        code = send_greeting(link, GREETING_SELECT, &args);
    if (code == 0)
        code = send_greeting(link, GREETING_NAME, &args);
    redis_args_fini(&args);
    if (code < 0)
        redis_link_break(link, "out of memory");
}

/* A refused CLIENT SETNAME is accepted: a server, or a proxy in front of it, may know no names of clients. */
static bool accepted(enum greeting greeting, const struct redis_reply *reply)
{
    const char *text = redis_reply_text(reply, NULL);
    if (redis_reply_kind(reply) == REDIS_TEXT)
        return true;
    return greeting == GREETING_NAME && text &&
           (strncmp(text, "NOPERM", 6) == 0 || strncmp(text, "ERR unknown", 11) == 0);
}

static void on_greeting_reply(struct redis_link *link, const struct redis_reply *reply)
{
    static const char *const names[] = {
        [GREETING_AUTH] = "AUTH", [GREETING_SELECT] = "SELECT", [GREETING_NAME] = "CLIENT SETNAME"};
    if (link->greeting_at == link->greeting_count) {
        redis_link_break(link, "a reply to nothing");
        return;
    }
    enum greeting greeting = link->greetings[link->greeting_at++];
    redis_link_settle(link);
    if (!accepted(greeting, reply)) {
        const char *text = redis_reply_text(reply, NULL);
        redis_link_break(link, "%s is refused: %.180s", names[greeting], text ? text : "not by a text");
        return;
    }
    if (link->greeting_at == link->greeting_count) {
        link->state = LINK_OPEN;
        arm(link, link->ping_ns);
        link->events.open(link->events.context);
    }
}

void redis_link_ready(struct redis_link *link)
{
    link->ready_ns = clock_ns();
    link->trouble[0] = 0;
    if (trouble_lasts(&link->lost)) {
        char text[TROUBLE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "%s: connected to %s", link->name, link->text);
        trouble_ends(&link->lost, link->ready_ns, text);
    } else {
        log_info("%s: connected to %s", link->name, link->text);
    }
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void take_replies(struct redis_link *link)
{
    struct redis_reply *reply = NULL;
    int code = 0;
    /* on_reply may close the link, which frees the parser. */
    while (link->parser && (code = redis_parser_next(link->parser, &reply)) > 0) {
        link->heard_ns = link->owed_ns = clock_ns();
        if (link->state == LINK_GREETING)
            on_greeting_reply(link, reply);
        else
            link->events.reply(link->events.context, reply);
        redis_reply_free(reply);
    }
    if (link->parser && code < 0)
        redis_link_break(link, "%s", redis_parser_trouble(link->parser));
}

static void on_readable(struct bufferevent *stream, void *context)
{
    struct redis_link *link = context;
    char bytes[READ_SIZE];
    redis_link_enter(link);
    while (link->stream == stream) {
        size_t size = bufferevent_read(stream, bytes, sizeof bytes);
        if (size == 0)
            break;
        if (redis_parser_feed(link->parser, bytes, size) < 0)
            redis_link_break(link, "%s", redis_parser_trouble(link->parser));
        take_replies(link);
    }
    redis_link_leave(link);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static void on_event(struct bufferevent *stream, short what, void *context)
{
    struct redis_link *link = context;
    int error = EVUTIL_SOCKET_ERROR();
    (void)stream;
    redis_link_enter(link);
    if (what & BEV_EVENT_EOF)
        redis_link_break(link, "the server closed it");
    else
        redis_link_break(link, "%s", strerror(error));
    redis_link_leave(link);
}

static void on_dialled(void *context, struct bufferevent *stream, const char *text)
{
    struct redis_link *link = context;
    redis_link_enter(link);
    if (stream) {
        link->stream = stream;
        link->parser = redis_parser_new(link->reply_max);
        bufferevent_setcb(stream, on_readable, NULL, on_event, link);
        (void)bufferevent_set_max_single_read(stream, 4 * READ_SIZE);
        redis_dial_free(link->dial);
        link->dial = NULL;
        if (link->parser && bufferevent_enable(stream, EV_READ) == 0)
            greet(link);
        else
            redis_link_break(link, "out of memory");
    } else {
        redis_link_break(link, "%s", text);
    }
    redis_link_leave(link);
}

static void begin(struct redis_link *link)
{
    arm(link, 2 * link->ping_ns);
    link->state = LINK_CONNECTING;
    link->dial = redis_dial_new(link->base, &link->url, link->address_turn, on_dialled, link);
    if (link->dial)
        redis_dial_start(link->dial);
    else
        redis_link_break(link, "out of memory");
}

static void give_up_connecting(struct redis_link *link)
{
    char doing[320];
    redis_dial_doing(link->dial, doing, sizeof doing);
    redis_link_break(link, "%s takes too long", doing);
}

/* ---- the watch --------------------------------------------------------------------------------------------------- */

static void watch(struct redis_link *link)
{
    uint64_t now = clock_ns();
    if (link->owed == 0 && now - link->heard_ns >= link->ping_ns)
        link->events.ping(link->events.context);
    if (link->state != LINK_OPEN)
        return;
    uint64_t due = link->owed ? link->owed_ns + 2 * link->ping_ns : link->heard_ns + link->ping_ns;
    if (now < due) /* at the latest when the silence begins to count: the reply may come at once */
        arm(link, due - now < link->ping_ns ? due - now : link->ping_ns);
    else if (link->owed)
        redis_link_break(link, "no reply for %llu ms", (unsigned long long)(2 * link->ping_ns / 1000000));
    else
        arm(link, link->ping_ns); /* the PING could not be sent */
}

static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct redis_link *link = context;
    (void)descriptor, (void)what;
    redis_link_enter(link);
    switch (link->state) {
    case LINK_WAITING:
        begin(link);
        break;
    case LINK_CONNECTING:
        give_up_connecting(link);
        break;
    case LINK_GREETING:
        redis_link_break(link, "the server does not answer");
        break;
    case LINK_OPEN:
        watch(link);
        break;
    case LINK_FREED:
        break;
    }
    redis_link_leave(link);
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

int redis_link_new(struct redis_link **out, const struct redis_link_options *options, struct failure *failure)
{
    const struct redis_access *access = options->access;
    struct redis_url url;
    *out = NULL;
    int code = redis_url_parse(access->url, &url, failure);
    if (code < 0)
        return code;
    struct redis_link *link = calloc(1, sizeof *link);
    if (!link)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    link->base = options->base;
    link->name = options->name;
    link->url = url;
    link->ping_ns = (access->ping_ms ? access->ping_ms : 1) * 1000000;
    link->reply_max = options->reply_max;
    link->pause_ms = PAUSE_MIN_MS;
    link->text = strdup(access->url);
    link->password = access->password ? strdup(access->password) : NULL;
    link->timer = evtimer_new(options->base, on_timer, link);
    (void)snprintf(link->trouble, sizeof link->trouble, "not connected yet");
    if (!link->text || (access->password && !link->password) || !link->timer ||
        timer_at_once(link->timer) < 0) {
        destroy(link); /* `freed` is not known yet */
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    }
    link->events = options->events;
    *out = link;
    return 0;
}
