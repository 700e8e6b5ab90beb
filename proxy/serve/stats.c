/* Printing counters and histograms. */
#include "proxy/serve/stats.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static void print_value(const struct counters *counters, size_t index, FILE *out)
{
    uint64_t value = counter_value(counters, index);
    if (counter_descriptions[index].kind == COUNTER_KIND_SIGNED)
        (void)fprintf(out, "%" PRId64, (int64_t)value);
    else
        (void)fprintf(out, "%" PRIu64, value);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

void stats_print_text(const struct counters *counters, const struct histograms *histograms, FILE *out)
{
    struct histogram_figure figures[HISTOGRAM_FIGURES];
    for (size_t i = 0; i < counter_description_count; i++) {
        (void)fprintf(out, "%s ", counter_descriptions[i].name);
        print_value(counters, i, out);
        (void)fputc('\n', out);
    }
    for (size_t i = 0; histograms && i < histogram_description_count; i++) {
        histogram_figures(histogram_at(histograms, i), figures);
        for (size_t k = 0; k < HISTOGRAM_FIGURES; k++)
            (void)fprintf(out, "%s_%s %" PRIu64 "\n", histogram_descriptions[i].name, figures[k].suffix,
                          figures[k].value);
    }
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void print_json_histogram(const struct histogram *histogram, FILE *out)
{
    struct histogram_figure figures[HISTOGRAM_FIGURES];
    histogram_figures(histogram, figures);
    for (size_t i = 0; i < HISTOGRAM_FIGURES; i++)
        (void)fprintf(out, "%s\"%s\": %" PRIu64, i ? ", " : "{", figures[i].suffix, figures[i].value);
    (void)fputs(", \"buckets\": [", out);
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++)
        (void)fprintf(out, "[%" PRIu64 ", %" PRIu64 "], ", histogram_bound(i), histogram->counts[i]);
    (void)fprintf(out, "[null, %" PRIu64 "]]}", histogram->counts[HISTOGRAM_BOUNDS]);
}

void stats_print_json(const struct counters *counters, const struct histograms *histograms, FILE *out)
{
    for (size_t i = 0; i < counter_description_count; i++) {
        (void)fprintf(out, "%s\"%s\": ", i ? ", " : "{", counter_descriptions[i].name);
        print_value(counters, i, out);
    }
    for (size_t i = 0; histograms && i < histogram_description_count; i++) {
        (void)fprintf(out, ", \"%s\": ", histogram_descriptions[i].name);
        print_json_histogram(histogram_at(histograms, i), out);
    }
    (void)fputs("}\n", out);
}

/* ---- Prometheus -------------------------------------------------------------------------------------------------- */

/* Whole microseconds as seconds, exactly. */
static void print_seconds(int64_t us, FILE *out)
{
    uint64_t size = us < 0 ? -(uint64_t)us : (uint64_t)us;
    (void)fprintf(out, "%s%" PRIu64 ".%06" PRIu64, us < 0 ? "-" : "", size / 1000000, size % 1000000);
}

static void print_prometheus_histogram(const struct histogram_description *description,
                                       const struct histogram *histogram, FILE *out)
{
    const char *name = description->name;
    uint64_t until = 0;
    (void)fprintf(out, "# HELP permtab_%s_seconds %s\n", name, description->help);
    (void)fprintf(out, "# TYPE permtab_%s_seconds histogram\n", name);
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        until += histogram->counts[i];
        (void)fprintf(out, "permtab_%s_seconds_bucket{le=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n", name,
                      histogram_bound(i) / 1000000, histogram_bound(i) % 1000000, until);
    }
    (void)fprintf(out, "permtab_%s_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, histogram->count);
    (void)fprintf(out, "permtab_%s_seconds_sum %" PRIu64 ".%06" PRIu64 "\n", name,
                  histogram->sum_us / 1000000, histogram->sum_us % 1000000);
    (void)fprintf(out, "permtab_%s_seconds_count %" PRIu64 "\n", name, histogram->count);
}

/* The name in base units, as Prometheus wants them: microseconds are shown in seconds, under a name that says so. */
static void prometheus_name(const struct counter_description *counter, bool *time, char name[96])
{
    size_t length = strlen(counter->name);
    *time = length > 3 && strcmp(counter->name + length - 3, "_us") == 0;
    (void)snprintf(name, 96, "permtab_%.*s%s%s", (int)(*time ? length - 3 : length), counter->name,
                   *time ? "_seconds" : "", counter->kind == COUNTER_KIND_COUNTER ? "_total" : "");
}

void stats_print_prometheus(const struct counters *counters, const struct histograms *histograms, FILE *out)
{
    for (size_t i = 0; i < counter_description_count; i++) {
        const struct counter_description *counter = &counter_descriptions[i];
        char name[96];
        bool time;
        prometheus_name(counter, &time, name);
        (void)fprintf(out, "# HELP %s %s\n", name, counter->help);
        (void)fprintf(out, "# TYPE %s %s\n", name,
                      counter->kind == COUNTER_KIND_COUNTER ? "counter" : "gauge");
        (void)fprintf(out, "%s ", name);
        if (time)
            print_seconds((int64_t)counter_value(counters, i), out);
        else
            print_value(counters, i, out);
        (void)fputc('\n', out);
    }
    for (size_t i = 0; histograms && i < histogram_description_count; i++)
        print_prometheus_histogram(&histogram_descriptions[i], histogram_at(histograms, i), out);
}
