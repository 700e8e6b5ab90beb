/* libevent's resolver, one for each question, so that a changed resolv.conf is noticed. A question that is called
 * off is answered a turn of the loop later, and the resolver may not be freed before, nor by its own callback. So
 * an abandoned lookup frees itself; one that is abandoned when the loop has ended for good is never freed. */
#include "proxy/redis/lookup.h"

#include "proxy/base/log.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct redis_lookup {
    struct event_base *base;
    struct evdns_base *dns;
    struct evdns_getaddrinfo_request *request;
    redis_lookup_fn done;
    void *context;
    bool busy; /* an answer is to come, or is being given */
    bool abandoned;
};

/* libevent would write to standard error in a form of its own. */
static void on_log(int warning, const char *text)
{
    log_debug("resolver%s: %s", warning ? " (warning)" : "", text);
}

struct redis_lookup *redis_lookup_new(struct event_base *base)
{
    struct redis_lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return NULL;
    evdns_set_log_fn(on_log);
    lookup->base = base;
    lookup->dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!lookup->dns) {
        free(lookup);
        return NULL;
    }
    /* Without the file, or with no server in it, evdns takes the server of this machine: as good as any. */
    (void)evdns_base_resolv_conf_parse(lookup->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    return lookup;
}

static void destroy(struct redis_lookup *lookup)
{
    evdns_base_free(lookup->dns, 0);
    free(lookup);
}

static void on_destroy(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    destroy(context);
}

static void on_result(int code, struct evutil_addrinfo *addresses, void *context)
{
    struct redis_lookup *lookup = context;
    lookup->request = NULL;
    if (!lookup->abandoned && code == 0 && addresses)
        lookup->done(lookup->context, addresses, NULL);
    else if (!lookup->abandoned)
        lookup->done(lookup->context, NULL, code ? evutil_gai_strerror(code) : "no address");
    if (addresses)
        evutil_freeaddrinfo(addresses);
    lookup->busy = false;
    if (lookup->abandoned && event_base_once(lookup->base, -1, EV_TIMEOUT, on_destroy, lookup, NULL) < 0)
        log_error("resolver: out of memory");
}

void redis_lookup_start(struct redis_lookup *lookup, const char *host, uint16_t port, redis_lookup_fn done,
                        void *context)
{
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char service[8];
    (void)snprintf(service, sizeof service, "%u", port);
    lookup->done = done;
    lookup->context = context;
    lookup->busy = true;
    struct evdns_getaddrinfo_request *request =
        evdns_getaddrinfo(lookup->dns, host, service, &hints, on_result, lookup);
    /* NULL: the question was answered at once, and the lookup is perhaps abandoned, but still there. */
    if (request)
        lookup->request = request;
}

void redis_lookup_free(struct redis_lookup *lookup)
{
    if (!lookup)
        return;
    if (!lookup->busy) {
        destroy(lookup);
        return;
    }
    lookup->abandoned = true;
    if (lookup->request)
        evdns_getaddrinfo_cancel(lookup->request);
}
