/* stats, health: for operators and their tools. */
#include "proxy/request.h"

void serve_stats(struct request *request, const struct wire_value *params)
{
    const struct counters *counters = request->server->counters;
    struct wire_buffer reply;
    (void)params;
    wire_buffer_init(&reply);
    wire_reply(&reply, request->id, (uint32_t)counter_description_count);
    for (size_t i = 0; i < counter_description_count; i++) {
        wire_str(&reply, counter_descriptions[i].name);
        wire_u64(&reply, counter_value(counters, i));
    }
    request_reply(request, &reply);
}

void serve_health(struct request *request, const struct wire_value *params)
{
    struct server_health health = server_health(request->server);
    struct wire_buffer reply;
    (void)params;
    wire_buffer_init(&reply);
    wire_reply(&reply, request->id, 4);
    wire_str(&reply, "ok");
    wire_bool(&reply, health.ok);
    wire_str(&reply, "trouble");
    wire_str(&reply, health.trouble);
    wire_str(&reply, "revision");
    wire_u64(&reply, health.revision);
    wire_str(&reply, "lease_ms");
    wire_i64(&reply, health.lease_ms);
    request_reply(request, &reply);
}
