/* subscribe, unsubscribe: one subscription a session, which ends with it. serve/subscriptions.c has the
 * notifications and their bounds; this file connects them to a session. */
#include "proxy/serve/methods/methods.h"
#include "proxy/serve/subscriptions.h"

#include <string.h>

#define KINDS_MAX 16u

static size_t session_unsent(const void *context)
{
    const struct session *session = context;
    return session->output.size;
}

static void session_tell(void *context, struct wire_buffer *message)
{
    session_send(context, message, NULL, 0);
}

static const struct {
    const char *name;
    unsigned kinds;
} kind_names[] = {
    {"user", SUBSCRIPTION_USER},           {"role", SUBSCRIPTION_ROLE},      {"scope", SUBSCRIPTION_SCOPE},
    {"catalogue", SUBSCRIPTION_CATALOGUE}, {"all", SUBSCRIPTION_EVERYTHING},
};

static bool read_kind(const struct wire_value *value, unsigned *kinds)
{
    char text[16];
    for (size_t i = 0; wire_as_text(value, text, sizeof text) && i < sizeof kind_names / sizeof *kind_names;
         i++) {
        if (strcmp(kind_names[i].name, text) == 0) {
            *kinds |= kind_names[i].kinds;
            return true;
        }
    }
    return false;
}

/* False when the request has been failed. */
static bool read_kinds(struct request *request, const struct wire_value *list, unsigned *kinds)
{
    size_t count;
    if (wire_is_nil(list)) {
        *kinds = SUBSCRIPTION_EVERYTHING;
        return true;
    }
    bool good = wire_as_array(list, &count) && count > 0 && count <= KINDS_MAX;
    for (size_t i = 0; good && i < count; i++)
        good = read_kind(wire_item(list, i), kinds);
    if (!good)
        request_fail(request, PERMTAB_E_INVALID,
                     "kinds: expected a list of user, role, scope, catalogue, all");
    return good;
}

static int subscribe(struct session *session, const struct subscription *what)
{
    struct subscriber_port port = {session_unsent, session_tell, session};
    if (session->subscriber != NULL) {
        subscriber_change(session->subscriber, what);
        return 0;
    }
    return subscriber_new(&session->subscriber, session->server->parts->subscriptions, what, &port);
}

void serve_subscribe(struct request *request, const struct wire_value *params)
{
    struct subscription what = {0};
    if (!read_kinds(request, wire_get(params, "kinds"), &what.kinds))
        return;
    if (!wire_is_nil(wire_get(params, "prefix")) &&
        !param_text(request, params, "prefix", what.prefix, sizeof what.prefix))
        return;
    int code = subscribe(request->session, &what);
    if (code < 0) {
        request_fail(request, code, "%s",
                     code == PERMTAB_E_FULL ? "there are as many subscribers as may be" : "out of memory");
        return;
    }
    struct log_position at = publisher_position(request->parts->publisher);
    struct wire_buffer reply = reply_begin(request, REPLY_TOKEN_FIELDS);
    reply_token(&reply, at.store_id, at.revision);
    request_reply(request, &reply);
}

void serve_unsubscribe(struct request *request, const struct wire_value *params)
{
    struct session *session = request->session;
    (void)params;
    struct wire_buffer reply = reply_begin(request, 1);
    wire_put_bool(&reply, "subscribed", session->subscriber != NULL); /* until now */
    subscriber_end(session->subscriber);
    session->subscriber = NULL;
    request_reply(request, &reply);
}
