/* stats, health: for operators and their tools. */
#include "proxy/base/histogram.h"
#include "proxy/serve/methods/methods.h"

#include <stdio.h>

static void reply_histogram(struct wire_buffer *reply, const char *name, const struct histogram *histogram)
{
    struct histogram_figure figures[HISTOGRAM_FIGURES];
    char key[64];
    histogram_figures(histogram, figures);
    for (size_t i = 0; i < HISTOGRAM_FIGURES; i++) {
        (void)snprintf(key, sizeof key, "%s_%s", name, figures[i].suffix);
        wire_put_u64(reply, key, figures[i].value);
    }
}

void serve_stats(struct request *request, const struct wire_value *params)
{
    const struct counters *counters = request->parts->counters;
    (void)params;
    struct wire_buffer reply = reply_begin(
        request, (uint32_t)(counter_description_count + histogram_description_count * HISTOGRAM_FIGURES));
    for (size_t i = 0; i < counter_description_count; i++) {
        wire_str(&reply, counter_descriptions[i].name);
        if (counter_descriptions[i].kind == COUNTER_KIND_SIGNED)
            wire_i64(&reply, (int64_t)counter_value(counters, i));
        else
            wire_u64(&reply, counter_value(counters, i));
    }
    for (size_t i = 0; i < histogram_description_count; i++)
        reply_histogram(&reply, histogram_descriptions[i].name, histogram_at(request->parts->histograms, i));
    request_reply(request, &reply);
}

void serve_health(struct request *request, const struct wire_value *params)
{
    struct server_health health = server_health(request->server);
    (void)params;
    struct wire_buffer reply = reply_begin(request, 6u + health.stopping + (health.last_death[0] != 0));
    if (health.last_death[0])
        wire_put_str(&reply, "last_death", health.last_death);
    if (health.stopping)
        wire_put_u64(&reply, "stopping_ms", health.stopping_ms);
    wire_put_bool(&reply, "ok", health.ok);
    wire_put_str(&reply, "trouble", health.trouble);
    wire_put_str(&reply, "alarm", health.alarm);
    wire_put_str(&reply, "writes", health.writes);
    wire_put_u64(&reply, "revision", health.revision);
    wire_put_i64(&reply, "lease_ms", health.lease_ms);
    request_reply(request, &reply);
}
