/* The ops socket. Commands are in one table, which `help` prints; answers are whole before they are sent. All of
 * them only read, so every peer that may connect may ask. Each answer ends with an empty line, so that a program
 * knows its end.
 *
 * Bounded: so many sessions, so long a line, so much unread output, so long an idle session. libevent's bufferevent
 * is enough here, because no descriptor is ever passed. */
#include "proxy/serve/ops.h"

#include "client/wire/text.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/printable.h"
#include "proxy/cleanup/cleanup.h"
#include "proxy/growth/growth.h"
#include "proxy/invalidate/history.h"
#include "proxy/keys/keys.h"
#include "proxy/serve/stats.h"
#include "proxy/warm/warm.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_SECONDS 300
#define OUTPUT_MAX   (1024 * 1024)

#define INVALIDATIONS_SHOWN 50u
#define HOT_SHOWN           50u

struct ops_session {
    struct ops *ops;
    struct bufferevent *channel;
    struct ops_session *next;
    bool leaving; /* closed when its output has been sent */
};

struct ops {
    struct server *server;
    struct ops_session *sessions;
    unsigned session_count;
};

/* ---- commands ---------------------------------------------------------------------------------------------------- */

struct ops_command {
    const char *name;
    const char *help;
    void (*print)(struct ops_session *session, FILE *out);
};

static void print_help(struct ops_session *session, FILE *out);

static void print_stats(struct ops_session *session, FILE *out)
{
    const struct parts *parts = session->ops->server->parts;
    stats_print_text(parts->counters, parts->histograms, out);
}

static void print_stats_json(struct ops_session *session, FILE *out)
{
    const struct parts *parts = session->ops->server->parts;
    stats_print_json(parts->counters, parts->histograms, out);
}

static void print_stats_prometheus(struct ops_session *session, FILE *out)
{
    const struct parts *parts = session->ops->server->parts;
    stats_print_prometheus(parts->counters, parts->histograms, out);
}

static void print_clients(struct ops_session *session, FILE *out)
{
    server_print_clients(session->ops->server, out);
}

/* Makes one line of a text that may contain words of the store's server. */
static const char *one_line(char out[FAILURE_TEXT_SIZE], const char *text)
{
    (void)text_clean_line(out, FAILURE_TEXT_SIZE, text, strlen(text));
    return out;
}

static void print_health(struct ops_session *session, FILE *out)
{
    struct server_health health = server_health(session->ops->server);
    char text[FAILURE_TEXT_SIZE];
    (void)fprintf(out, "%s\nrevision %" PRIu64 "\nlease_ms %" PRId64 "\n", health.ok ? "ok" : "unhealthy",
                  health.revision, health.lease_ms);
    if (health.stopping)
        (void)fprintf(out, "stopping_ms %" PRIu64 "\n", health.stopping_ms);
    if (health.trouble[0])
        (void)fprintf(out, "trouble %s\n", one_line(text, health.trouble));
    if (health.alarm[0])
        (void)fprintf(out, "alarm %s\n", one_line(text, health.alarm));
    if (health.writes[0])
        (void)fprintf(out, "writes %s\n", one_line(text, health.writes));
    if (health.last_death[0])
        (void)fprintf(out, "last_death %s\n", one_line(text, health.last_death));
}

static void print_invalidations(struct ops_session *session, FILE *out)
{
    invalidation_history_print(invalidations_history(session->ops->server->parts->invalidations),
                               INVALIDATIONS_SHOWN, clock_ns() / 1000000000, out);
}

static void print_table(struct ops_session *session, FILE *out)
{
    growth_print(session->ops->server->parts->growth, out);
}

static void print_cleanup(struct ops_session *session, FILE *out)
{
    if (session->ops->server->parts->cleanup)
        cleanup_print(session->ops->server->parts->cleanup, out);
    else
        (void)fputs("error: no Redis is configured\n", out);
}

static void print_hot(struct ops_session *session, FILE *out)
{
    const struct parts *parts = session->ops->server->parts;
    struct hot_key keys[HOT_SHOWN];
    char text[SCOPE_TEXT_SIZE];
    size_t count = warm_hot(parts->warm, keys, HOT_SHOWN);
    for (size_t i = 0; i < count; i++)
        (void)fprintf(out, "%" PRIu32 " user:%" PRIu64 "@%s\n", keys[i].frequency, keys[i].user,
                      scope_format(&publisher_catalogue(parts->publisher)->types, keys[i].scope, text));
}

static void print_jobs(struct ops_session *session, FILE *out)
{
    warm_print(session->ops->server->parts->warm, out);
}

static void leave(struct ops_session *session, FILE *out)
{
    (void)out;
    session->leaving = true;
}

static const struct ops_command commands[] = {
    {"stats", "all counters, one a line", print_stats},
    {"stats json", "all counters as a JSON object", print_stats_json},
    {"stats prometheus", "all counters for Prometheus", print_stats_prometheus},
    {"clients", "connected clients, one a line", print_clients},
    {"health",
     "ok or unhealthy, the revision, what is left of the lease, the trouble, the alarm and what "
     "writes wait for",
     print_health},
    {"table", "how large it is, why it grew last, and what keeps it from growing", print_table},
    {"invalidations", "the last invalidations, one a line, and how many of late", print_invalidations},
    {"cleanup", "clean-ups of Redis that run, wait or have ended, one a line", print_cleanup},
    {"jobs", "what is done in the background to warm the table up, one job a line", print_jobs},
    {"hot", "the keys that are asked for most, a line each, with their frequencies", print_hot},
    {"help", "this list", print_help},
    {"quit", "closes the connection", leave},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_help(struct ops_session *session, FILE *out)
{
    (void)session;
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)fprintf(out, "%-18s %s\n", commands[i].name, commands[i].help);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static void end_session(struct ops_session *session)
{
    struct ops *ops = session->ops;
    struct ops_session **at = &ops->sessions;
    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    ops->session_count--;
    bufferevent_free(session->channel);
    free(session);
}

static void answer_line(struct ops_session *session, const char *line)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        session->leaving = true; /* nobody waits for an answer that does not come */
        return;
    }
    size_t i = 0;
    while (i < COMMAND_COUNT && strcmp(commands[i].name, line) != 0)
        i++;
    if (i < COMMAND_COUNT)
        commands[i].print(session, out);
    else
        (void)fprintf(out, "error: there is no command \"%.40s\"; try help\n", line);
    bool cut = ferror(out) != 0;
    if (fclose(out) != 0 || cut)
        session->leaving = true;
    if (!session->leaving && (bufferevent_write(session->channel, text, size) < 0 ||
                              bufferevent_write(session->channel, "\n", 1) < 0))
        session->leaving = true;
    free(text);
}

static void make_printable(char *line)
{
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == ' ')
        line[--length] = 0;
    printable_ascii(line);
}

/* Sends what is queued and ends the session afterwards. */
static void finish(struct ops_session *session)
{
    session->leaving = true;
    (void)bufferevent_disable(session->channel, EV_READ);
    if (evbuffer_get_length(bufferevent_get_output(session->channel)) == 0)
        end_session(session);
}

static void on_line(struct bufferevent *channel, void *context)
{
    struct ops_session *session = context;
    struct evbuffer *input = bufferevent_get_input(channel);
    struct evbuffer *output = bufferevent_get_output(channel);
    char *line;
    size_t length;
    while (!session->leaving && evbuffer_get_length(output) < OUTPUT_MAX &&
           (line = evbuffer_readln(input, &length, EVBUFFER_EOL_CRLF)) != NULL) {
        make_printable(line);
        if (length > OPS_LINE_MAX)
            answer_line(session, "(a line longer than 256 bytes)");
        else if (line[0])
            answer_line(session, line);
        free(line);
    }
    if (evbuffer_get_length(input) > OPS_LINE_MAX && evbuffer_get_length(output) < OUTPUT_MAX) {
        static const char text[] = "error: a line is at most 256 bytes\n\n";
        (void)bufferevent_write(channel, text, sizeof text - 1);
        session->leaving = true;
    }
    if (session->leaving)
        finish(session);
    else if (evbuffer_get_length(output) >= OUTPUT_MAX)
        (void)bufferevent_disable(channel, EV_READ); /* until on_sent */
}

/* The output has been sent: goes on with lines that waited for it, or closes the session. */
static void on_sent(struct bufferevent *channel, void *context)
{
    struct ops_session *session = context;
    if (session->leaving || bufferevent_enable(channel, EV_READ) < 0)
        end_session(session);
    else if (evbuffer_get_length(bufferevent_get_input(channel)) > 0)
        on_line(channel, context);
}

static void on_end(struct bufferevent *channel, short what, void *context)
{
    struct ops_session *session = context;
    (void)channel;
    if ((what & BEV_EVENT_EOF) && !session->leaving)
        finish(session); /* "echo stats | socat" closes its side first and still wants the answer */
    else
        end_session(session);
}

void ops_accept(void *context, int descriptor)
{
    static const char busy[] = "error: too many ops sessions\n\n";
    struct ops *ops = context;
    struct timeval idle = {.tv_sec = IDLE_SECONDS};
    bool room = ops->session_count < OPS_SESSIONS_MAX &&
                (ops->session_count < DESCRIPTORS_OPERATORS ||
                 descriptors_spare(ops->server->parts->descriptors, descriptor));
    struct ops_session *session = room ? calloc(1, sizeof *session) : NULL;
    if (session)
        session->channel =
            bufferevent_socket_new(ops->server->parts->base, descriptor, BEV_OPT_CLOSE_ON_FREE);
    if (!session || !session->channel) {
        ssize_t written = write(descriptor, busy, sizeof busy - 1);
        (void)written;
        (void)close(descriptor);
        free(session);
        return;
    }
    session->ops = ops;
    session->next = ops->sessions;
    ops->sessions = session;
    ops->session_count++;
    bufferevent_setcb(session->channel, on_line, on_sent, on_end, session);
    /* Input is read in such pieces, and not at all while lines wait for much output to be sent. (libevent's own limit
     * of a buffer is a callback, and is written into without a look whether there was memory for it.) */
    if (bufferevent_set_max_single_read(session->channel, 4 * OPS_LINE_MAX) < 0 ||
        bufferevent_set_timeouts(session->channel, &idle, &idle) < 0 ||
        bufferevent_enable(session->channel, EV_READ | EV_WRITE) < 0)
        end_session(session);
}

int ops_new(struct ops **out, struct server *server)
{
    struct ops *ops = calloc(1, sizeof *ops);
    *out = ops;
    if (!ops)
        return PERMTAB_E_MEMORY;
    ops->server = server;
    return 0;
}

void ops_free(struct ops *ops)
{
    if (!ops)
        return;
    while (ops->sessions)
        end_session(ops->sessions);
    free(ops);
}
