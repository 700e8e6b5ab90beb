/* The sessions together: accepting, the sweep over their time limits, the burial of closed ones. */
#include "proxy/serve/server.h"

#include "proxy/base/clock.h"
#include "proxy/base/timer.h"
#include "proxy/feed/audit.h"
#include "proxy/serve/parked.h"
#include "proxy/serve/samples.h"
#include "proxy/serve/session.h"
#include "proxy/serve/task.h"
#include "proxy/serve/writes.h"

#include <event2/event.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_MS 1000u

static void bury_closed(struct server *server)
{
    struct session *session;
    while ((session = server->closed) != NULL) {
        server->closed = session->next;
        session_free(session);
    }
}

static void on_bury(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    bury_closed(context);
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    session_turn(context);
}

static void on_sweep(evutil_socket_t descriptor, short what, void *context)
{
    struct server *server = context;
    struct session *next;
    uint64_t now = clock_ns();
    (void)descriptor, (void)what;
    for (struct session *session = server->sessions; session; session = next) {
        next = session->next;
        session_sweep(session, now);
    }
    parked_sweep(server, now);
    task_release(server, publisher_position(server->parts->publisher).revision, now);
}

static void on_sample(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    samples_collect(context);
}

void server_applied(struct server *server)
{
    task_release(server, publisher_position(server->parts->publisher).revision, clock_ns());
    parked_applied(server);
}

int server_init(struct server *server, const struct parts *parts, const struct method *methods,
                size_t method_count)
{
    uint64_t ms = parts->config->client_idle_ms / 2 < SWEEP_MS ? parts->config->client_idle_ms / 2 : SWEEP_MS;
    server->parts = parts;
    server->methods = methods;
    server->method_count = method_count;
    server->uid = geteuid();
    server->sweep = event_new(parts->base, -1, EV_PERSIST, on_sweep, server);
    server->sample = event_new(parts->base, -1, EV_PERSIST, on_sample, server);
    server->turn = evtimer_new(parts->base, on_turn, server);
    server->bury = evtimer_new(parts->base, on_bury, server);
    if (!server->sweep || !server->sample || !server->bury || !server->turn ||
        timer_in_ms(server->sweep, ms) < 0 || timer_in_ms(server->sample, SAMPLES_MS) < 0)
        return PERMTAB_E_MEMORY;
    return 0;
}

void server_fini(struct server *server)
{
    struct wire_buffer goodbye;
    server->stopping = true;
    task_release(server, 0, 0);
    while (server->sessions) {
        struct session *session = server->sessions;
        wire_buffer_init(&goodbye);
        wire_notify(&goodbye, "goodbye", 0);
        if (session->greeted && !goodbye.failed)
            session_send(session, &goodbye, NULL, 0);
        wire_buffer_fini(&goodbye);
        session_close(session, "the sidecar is stopping");
    }
    bury_closed(server);
    if (server->sweep)
        event_free(server->sweep);
    if (server->sample)
        event_free(server->sample);
    if (server->bury)
        event_free(server->bury);
    if (server->turn)
        event_free(server->turn);
    server->sweep = server->sample = server->bury = server->turn = NULL;
}

void server_accept(void *context, int descriptor)
{
    struct server *server = context;
    const struct parts *parts = server->parts;
    uint64_t now = clock_ns();
    bool many = server->session_count >= parts->config->clients_max;
    /* + 1: the page of the client's counters takes one more descriptor. */
    if (many || !descriptors_spare(parts->descriptors, descriptor + 1)) {
        parts->counters->clients_refused++;
        (void)close(descriptor);
        if (many)
            (void)trouble_happens(&server->refusing, LOG_LEVEL_WARNING, now,
                                  "server: clients are refused: clients_max = %" PRIu32 " are connected",
                                  parts->config->clients_max);
        else
            (void)trouble_happens(&server->refusing, LOG_LEVEL_WARNING, now,
                                  "server: clients are refused: RLIMIT_NOFILE is %" PRIu64
                                  ", and what is left of it is kept for store, Redis and files",
                                  parts->descriptors->limit);
        return;
    }
    trouble_ends(&server->refusing, now, "server: clients are accepted again");
    if (session_new(server, descriptor) < 0)
        parts->counters->clients_refused++;
}

bool server_attached(const struct server *server, uint64_t segment_id)
{
    const struct session *session = server->sessions;
    while (session && session->segment_id != segment_id)
        session = session->next;
    return session != NULL;
}

void server_print_clients(const struct server *server, FILE *out)
{
    uint64_t now = clock_ns();
    for (const struct session *session = server->sessions; session; session = session->next)
        (void)fprintf(
            out, "%" PRIu64 " pid=%d uid=%u name=%s age_s=%" PRIu64 " attached=%s requests=%u unread=%zu\n",
            session->number, (int)session->pid, (unsigned)session->uid,
            session->name[0] ? session->name : "-", (now - session->begun_ns) / 1000000000,
            session->feedback ? "yes" : "no", session->request_count, session->output.size);
}

struct server_health server_health(const struct server *server)
{
    const struct parts *parts = server->parts;
    uint64_t now = clock_ns();
    uint64_t deadline = publisher_deadline(parts->publisher);
    struct server_health health = {
        .ok = publisher_leased(parts->publisher, now),
        .trouble = feed_trouble(parts->feed),
        .revision = publisher_position(parts->publisher).revision,
        .alarm = audit_alarm(parts->audit, time(NULL)),
        .last_death = parts->last_death ? parts->last_death : "",
        .writes = writes_trouble(parts->writes),
        .lease_ms = deadline == 0 ? 0 : (int64_t)(deadline - now) / 1000000,
        .stopping = server->stop_at_ns != 0,
        .stopping_ms = server->stop_at_ns > now ? (server->stop_at_ns - now) / 1000000 : 0,
    };
    return health;
}
