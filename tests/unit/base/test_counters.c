/* Counters: the three ways of printing agree with the table, and Prometheus' text format is what its parser takes. */
#include "proxy/serve/stats.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

typedef void (*print_fn)(const struct counters *, const struct histograms *, FILE *);

/* Every counter has a value of its own, so that a mix-up shows. */
static void fill(struct counters *counters)
{
    for (size_t i = 0; i < counter_description_count; i++)
        *(uint64_t *)(void *)((char *)counters + counter_descriptions[i].offset) = 1000 + i;
    counters->applied_revision = UINT64_MAX;
}

/* 300 µs, 300 µs, 5 ms, 100 s: in the second, the sixth and the last bucket. */
static void fill_histograms(struct histograms *histograms)
{
    static const uint64_t times[] = {300, 300, 5000, 100000000};
    for (size_t i = 0; i < histogram_description_count; i++)
        for (size_t k = 0; k < sizeof times / sizeof *times; k++)
            histogram_add((struct histogram *)(void *)((char *)histograms + histogram_descriptions[i].offset),
                          times[k]);
}

static char *print(print_fn how)
{
    struct counters counters = {0};
    char *text = NULL;
    size_t size = 0;
    struct histograms histograms = {0};
    fill(&counters);
    fill_histograms(&histograms);
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    how(&counters, &histograms, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static uint64_t expected(size_t index)
{
    return strcmp(counter_descriptions[index].name, "applied_revision") == 0 ? UINT64_MAX : 1000 + index;
}

static void test_table(void **state)
{
    (void)state;
    assert_int_equal(counter_description_count * sizeof(uint64_t), sizeof(struct counters));
    for (size_t i = 0; i < counter_description_count; i++) {
        const struct counter_description *counter = &counter_descriptions[i];
        assert_int_equal(counter->offset, i * sizeof(uint64_t));
        assert_true(islower((unsigned char)counter->name[0]));
        for (const char *at = counter->name; *at; at++)
            assert_true(islower((unsigned char)*at) || isdigit((unsigned char)*at) || *at == '_');
        assert_true(strlen(counter->help) > 3);
        assert_null(strstr(counter->help, "microsecond")); /* what Prometheus shows is none */
    }
}

static void test_text(void **state)
{
    char *text = print(stats_print_text);
    char *rest = text;
    (void)state;
    for (size_t i = 0; i < counter_description_count; i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "%s %llu", counter_descriptions[i].name,
                       (unsigned long long)expected(i));
        assert_string_equal(strsep(&rest, "\n"), line);
    }
    assert_string_equal(strsep(&rest, "\n"), "propagation_count 4");
    assert_string_equal(strsep(&rest, "\n"), "propagation_sum_us 100005600");
    for (unsigned i = 2; i < HISTOGRAM_FIGURES; i++)
        assert_int_equal(strncmp(strsep(&rest, "\n"), "propagation_", 12), 0);
    assert_string_equal(strsep(&rest, "\n"), "turns_count 4");
    for (unsigned i = 1; i < HISTOGRAM_FIGURES; i++)
        assert_int_equal(strncmp(strsep(&rest, "\n"), "turns_", 6), 0);
    assert_string_equal(rest, "");
    free(text);
}

/* A gauge below zero is printed as what it is. */
static void test_signed(void **state)
{
    static const print_fn ways[] = {stats_print_text, stats_print_json, stats_print_prometheus};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct counters counters = {.clock_offset_us = (uint64_t)-1234567};
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        ways[i](&counters, NULL, out);
        assert_int_equal(fclose(out), 0);
        assert_non_null(strstr(text, i == 0   ? "clock_offset_us -1234567\n"
                                     : i == 1 ? "\"clock_offset_us\": -1234567,"
                                              : "\npermtab_clock_offset_seconds -1.234567\n"));
        free(text);
    }
}

static void test_json(void **state)
{
    char *text = print(stats_print_json);
    json_error_t error;
    (void)state;
    /* jansson's integers are signed: what is above is compared as text. */
    char *big = strstr(text, "18446744073709551615");
    assert_non_null(big);
    memcpy(big, "                   7", 20);
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(object);
    assert_int_equal(json_object_size(object), counter_description_count + histogram_description_count);
    json_t *histogram = json_object_get(object, "propagation");
    json_t *buckets = json_object_get(histogram, "buckets");
    assert_int_equal(json_integer_value(json_object_get(histogram, "count")), 4);
    assert_int_equal(json_array_size(buckets), HISTOGRAM_BOUNDS + 1);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(buckets, 2), 0)), 512);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(buckets, 2), 1)), 2);
    assert_true(json_is_null(json_array_get(json_array_get(buckets, HISTOGRAM_BOUNDS), 0)));
    assert_int_equal(json_integer_value(json_array_get(json_array_get(buckets, HISTOGRAM_BOUNDS), 1)), 1);
    for (size_t i = 0; i < counter_description_count; i++) {
        json_int_t value = json_integer_value(json_object_get(object, counter_descriptions[i].name));
        assert_int_equal(value, expected(i) == UINT64_MAX ? 7 : expected(i));
    }
    json_decref(object);
    free(text);
}

/* Cumulative buckets by seconds, ending in +Inf, which is the count; then sum and count. */
static void check_prometheus_histogram(char **rest)
{
    char line[512];
    (void)snprintf(line, sizeof line, "# HELP permtab_propagation_seconds %s",
                   histogram_descriptions[0].help);
    assert_string_equal(strsep(rest, "\n"), line);
    assert_string_equal(strsep(rest, "\n"), "# TYPE permtab_propagation_seconds histogram");
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        double bound;
        unsigned long long until;
        assert_int_equal(
            sscanf(strsep(rest, "\n"), "permtab_propagation_seconds_bucket{le=\"%lf\"} %llu", &bound, &until),
            2);
        assert_int_equal((uint64_t)(bound * 1e6 + 0.5), histogram_bound(i));
        assert_int_equal(until, i < 2 ? 0 : i < 6 ? 2 : 3);
    }
    assert_string_equal(strsep(rest, "\n"), "permtab_propagation_seconds_bucket{le=\"+Inf\"} 4");
    assert_string_equal(strsep(rest, "\n"), "permtab_propagation_seconds_sum 100.005600");
    assert_string_equal(strsep(rest, "\n"), "permtab_propagation_seconds_count 4");
}

/* Text exposition format 0.0.4: each family is HELP, TYPE, then its one sample, under one name. */
static void test_prometheus(void **state)
{
    char *text = print(stats_print_prometheus);
    char *rest = text;
    (void)state;
    assert_int_equal(text[strlen(text) - 1], '\n');
    for (size_t i = 0; i < counter_description_count; i++) {
        const struct counter_description *counter = &counter_descriptions[i];
        bool grows = counter->kind == COUNTER_KIND_COUNTER;
        size_t length = strlen(counter->name);
        bool time = length > 3 && strcmp(counter->name + length - 3, "_us") == 0;
        char name[128], line[512];
        (void)snprintf(name, sizeof name, "permtab_%.*s%s%s", (int)(time ? length - 3 : length),
                       counter->name, time ? "_seconds" : "", grows ? "_total" : "");
        (void)snprintf(line, sizeof line, "# HELP %s %s", name, counter->help);
        assert_string_equal(strsep(&rest, "\n"), line);
        assert_null(strpbrk(counter->help, "\\\n")); /* would have to be escaped */
        (void)snprintf(line, sizeof line, "# TYPE %s %s", name, grows ? "counter" : "gauge");
        assert_string_equal(strsep(&rest, "\n"), line);
        (void)snprintf(line, sizeof line, time ? "%s 0.%06llu" : "%s %llu", name,
                       (unsigned long long)expected(i));
        assert_string_equal(strsep(&rest, "\n"), line);
    }
    check_prometheus_histogram(&rest);
    for (size_t i = 0; i < HISTOGRAM_BOUNDS + 5; i++) /* HELP, TYPE, buckets with +Inf, sum, count */
        assert_non_null(strstr(strsep(&rest, "\n"), "permtab_turns_seconds"));
    assert_string_equal(rest, "");
    free(text);
}

/* docs/OPERATIONS.md has a row for each counter, with the table's words, and no other rows. */
static void test_manual(void **state)
{
    FILE *file = fopen(SOURCE_DIR "/docs/OPERATIONS.md", "r");
    char *text = calloc(1, 1 << 20);
    size_t rows = 0;
    (void)state;
    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    assert_int_equal(fclose(file), 0);
    for (size_t i = 0; i < counter_description_count; i++) {
        const struct counter_description *counter = &counter_descriptions[i];
        char row[512];
        (void)snprintf(row, sizeof row, "\n| `%s` | %s | %s |\n", counter->name,
                       counter->kind == COUNTER_KIND_COUNTER ? "counter" : "gauge", counter->help);
        if (!strstr(text, row))
            print_error("docs/OPERATIONS.md lacks: %s", row + 1);
        assert_non_null(strstr(text, row));
    }
    for (const char *at = text; (at = strstr(at, " | counter | ")) != NULL; at++)
        rows++;
    for (const char *at = text; (at = strstr(at, " | gauge | ")) != NULL; at++)
        rows++;
    assert_int_equal(rows, counter_description_count);
    for (size_t i = 0; i < histogram_description_count; i++) {
        char row[512];
        (void)snprintf(row, sizeof row, "\n| `%s` | histogram | %s |\n", histogram_descriptions[i].name,
                       histogram_descriptions[i].help);
        assert_non_null(strstr(text, row));
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),      cmocka_unit_test(test_text),   cmocka_unit_test(test_json),
        cmocka_unit_test(test_prometheus), cmocka_unit_test(test_manual), cmocka_unit_test(test_signed),
    };
    return cmocka_run_group_tests_name("counters", tests, NULL, NULL);
}
