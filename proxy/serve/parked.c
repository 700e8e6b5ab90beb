/* Waiting for a name. After `apply` has answered, its permissions are in the store and a few milliseconds later in
 * the table; a check in between must not be told that its permission does not exist.
 *
 * Two applied polls are waited for: one may have been under way before, the second began after the request came. */
#include "proxy/serve/parked.h"

#include "proxy/base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define POLLS_AWAITED 2
#define PARKED_MAX    1024u
#define PARKED_BYTES  (16u * 1024 * 1024) /* of their messages, which may be a mebibyte each */

struct parked {
    struct request *request;
    struct parked *prev, *next;
    unsigned polls; /* still awaited */
    uint64_t since_ns;
    size_t size;
    char frame[];
};

static void unlink_parked(struct parked *parked)
{
    struct server *server = parked->request->server;
    DL_DELETE(server->parked, parked);
    server->parked_count--;
    server->parked_bytes -= parked->size;
}

static void parked_cancel(struct request *request)
{
    struct parked *parked = request->state;
    unlink_parked(parked);
    request_drop(request);
    free(parked);
}

bool parked_wait(struct request *request)
{
    struct server *server = request->server;
    uint64_t now = clock_ns();
    if (request->waited || server->parked_count >= PARKED_MAX ||
        server->parked_bytes + request->frame_size > PARKED_BYTES ||
        !publisher_leased(server->parts->publisher, now))
        return false;
    struct parked *parked = malloc(sizeof *parked + request->frame_size);
    if (!parked)
        return false;
    parked->request = request;
    parked->polls = POLLS_AWAITED;
    parked->since_ns = now;
    parked->size = request->frame_size;
    memcpy(parked->frame, request->frame, request->frame_size);
    DL_PREPEND(server->parked, parked);
    server->parked_count++;
    server->parked_bytes += parked->size;
    request->waited = true;
    request->state = parked;
    request->cancel = parked_cancel;
    feed_wake(server->parts->feed);
    return true;
}

static void serve_again(struct parked *parked)
{
    struct request *request = parked->request;
    struct wire_message message;
    unlink_parked(parked);
    request->cancel = NULL;
    request->state = NULL;
    if (wire_take(parked->frame, parked->size, &message) > 0) {
        request->frame = parked->frame;
        request->frame_size = parked->size;
        request->method->serve(request, message.params);
        wire_message_fini(&message);
    } else { /* memory is short: the same message could be taken the first time */
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
    }
    free(parked);
}

/* Serving one may close its session and with it end others, so the list is looked at anew each time. */
static struct parked *find_due(struct server *server, uint64_t since_before_ns)
{
    for (struct parked *parked = server->parked; parked; parked = parked->next) {
        if (parked->polls == 0 || parked->since_ns < since_before_ns)
            return parked;
    }
    return NULL;
}

void parked_applied(struct server *server)
{
    struct parked *due;
    for (struct parked *parked = server->parked; parked; parked = parked->next)
        parked->polls -= parked->polls > 0;
    while ((due = find_due(server, 0)) != NULL)
        serve_again(due);
    if (server->parked)
        feed_wake(server->parts->feed);
}

void parked_sweep(struct server *server, uint64_t now_ns)
{
    uint64_t timeout = server->parts->config->request_timeout_ms * 1000000;
    struct parked *due;
    while (now_ns > timeout && (due = find_due(server, now_ns - timeout)) != NULL)
        serve_again(due);
}
