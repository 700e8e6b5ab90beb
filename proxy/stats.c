/* Printing counters. */
#include "proxy/stats.h"

#include <inttypes.h>
#include <stdbool.h>

void stats_print_text(const struct counters *counters, FILE *out)
{
    for (size_t i = 0; i < counter_description_count; i++)
        (void)fprintf(out, "%s %" PRIu64 "\n", counter_descriptions[i].name, counter_value(counters, i));
}

void stats_print_json(const struct counters *counters, FILE *out)
{
    for (size_t i = 0; i < counter_description_count; i++)
        (void)fprintf(out, "%s\"%s\": %" PRIu64, i ? ", " : "{", counter_descriptions[i].name,
                      counter_value(counters, i));
    (void)fputs("}\n", out);
}

void stats_print_prometheus(const struct counters *counters, FILE *out)
{
    for (size_t i = 0; i < counter_description_count; i++) {
        const struct counter_description *counter = &counter_descriptions[i];
        bool grows = counter->kind == COUNTER_KIND_COUNTER;
        const char *suffix = grows ? "_total" : "";
        (void)fprintf(out, "# HELP permtab_%s%s %s\n", counter->name, suffix, counter->help);
        (void)fprintf(out, "# TYPE permtab_%s%s %s\n", counter->name, suffix, grows ? "counter" : "gauge");
        (void)fprintf(out, "permtab_%s%s %" PRIu64 "\n", counter->name, suffix, counter_value(counters, i));
    }
}
