/* invalidate, stats, health: for operators and their tools. */
#include "proxy/histogram.h"
#include "proxy/request.h"

#include <stdio.h>
#include <string.h>

#define WHAT_SIZE (SCOPE_TEXT_SIZE + 8)

static void reply_entries(struct request *request, uint64_t entries)
{
    struct wire_buffer reply;
    request->server->counters->invalidations++;
    wire_buffer_init(&reply);
    wire_reply(&reply, request->id, 1);
    wire_str(&reply, "entries");
    wire_u64(&reply, entries);
    request_reply(request, &reply);
}

/* After the prefix, or NULL. */
static const char *after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

/* Never needed for truth, the feed sees to that: it makes the next checks read the store again. */
void serve_invalidate(struct request *request, const struct wire_value *params)
{
    struct publish *publish = request->server->publish;
    char what[WHAT_SIZE];
    const char *rest;
    uint64_t id;
    struct scope_key scope;
    if (!param_text(request, params, "what", what, sizeof what))
        return;
    if (strcmp(what, "all") == 0) {
        uint64_t entries = request->server->counters->entries;
        feed_rebuild(request->server->feed);
        reply_entries(request, entries);
    } else if ((rest = after(what, "user:")) && id_parse(rest, &id)) {
        reply_entries(request, publish_retire_user(publish, id));
    } else if ((rest = after(what, "role:")) && id_parse(rest, &id)) {
        reply_entries(request, publish_retire_role(publish, id));
    } else if ((rest = after(what, "scope:")) &&
               scope_parse(&publish_catalogue(publish)->types, rest, &scope) == 0) {
        reply_entries(request, publish_retire_scope(publish, scope));
    } else {
        request_fail(request, PERMTAB_E_INVALID,
                     "invalidate: what: \"%s\" is not user:ID, role:ID, scope:SCOPE or all", what);
    }
}

static void reply_histogram(struct wire_buffer *reply, const char *name, const struct histogram *histogram)
{
    struct histogram_figure figures[HISTOGRAM_FIGURES];
    char key[64];
    histogram_figures(histogram, figures);
    for (size_t i = 0; i < HISTOGRAM_FIGURES; i++) {
        (void)snprintf(key, sizeof key, "%s_%s", name, figures[i].suffix);
        wire_str(reply, key);
        wire_u64(reply, figures[i].value);
    }
}

void serve_stats(struct request *request, const struct wire_value *params)
{
    const struct counters *counters = request->server->counters;
    struct wire_buffer reply;
    (void)params;
    wire_buffer_init(&reply);
    wire_reply(&reply, request->id,
               (uint32_t)(counter_description_count + histogram_description_count * HISTOGRAM_FIGURES));
    for (size_t i = 0; i < counter_description_count; i++) {
        wire_str(&reply, counter_descriptions[i].name);
        if (counter_descriptions[i].kind == COUNTER_KIND_SIGNED)
            wire_i64(&reply, (int64_t)counter_value(counters, i));
        else
            wire_u64(&reply, counter_value(counters, i));
    }
    for (size_t i = 0; i < histogram_description_count; i++)
        reply_histogram(&reply, histogram_descriptions[i].name, histogram_at(request->server->histograms, i));
    request_reply(request, &reply);
}

void serve_health(struct request *request, const struct wire_value *params)
{
    struct server_health health = server_health(request->server);
    struct wire_buffer reply;
    (void)params;
    wire_buffer_init(&reply);
    wire_reply(&reply, request->id, 5);
    wire_str(&reply, "ok");
    wire_bool(&reply, health.ok);
    wire_str(&reply, "trouble");
    wire_str(&reply, health.trouble);
    wire_str(&reply, "alarm");
    wire_str(&reply, health.alarm);
    wire_str(&reply, "revision");
    wire_u64(&reply, health.revision);
    wire_str(&reply, "lease_ms");
    wire_i64(&reply, health.lease_ms);
    request_reply(request, &reply);
}
