/* Histograms: the buckets' bounds, percentiles, and that nothing is lost at the ends. */
#include "proxy/base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void bounds_are_powers_of_two(void **state)
{
    (void)state;
    assert_int_equal(histogram_bound(0), 128);
    assert_int_equal(histogram_bound(1), 256);
    assert_int_equal(histogram_bound(HISTOGRAM_BOUNDS - 1), 1u << 26); /* 67 s */
    assert_true(histogram_bound(HISTOGRAM_BOUNDS) == UINT64_MAX);
}

/* Bounds are as Prometheus' `le`: the bound itself is inside. */
static void a_bound_belongs_to_its_bucket(void **state)
{
    (void)state;
    for (size_t bucket = 0; bucket <= HISTOGRAM_BOUNDS; bucket++) {
        struct histogram histogram = {0};
        uint64_t least = bucket > 0 ? histogram_bound(bucket - 1) + 1 : 0;
        histogram_add(&histogram, least);
        histogram_add(&histogram, histogram_bound(bucket));
        assert_int_equal(histogram.counts[bucket], 2);
        assert_int_equal(histogram.count, 2);
        assert_true(histogram.max_us == histogram_bound(bucket));
    }
}

static void sums_agree(void **state)
{
    struct histogram histogram = {0};
    uint64_t sum = 0, in_buckets = 0;
    (void)state;
    for (uint64_t us = 0; us < 200000; us += 7) {
        histogram_add(&histogram, us);
        sum += us;
    }
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
        in_buckets += histogram.counts[i];
    assert_int_equal(histogram.sum_us, sum);
    assert_int_equal(histogram.count, in_buckets);
}

static void percentiles_lie_where_the_values_do(void **state)
{
    struct histogram histogram = {0};
    (void)state;
    assert_int_equal(histogram_percentile(&histogram, 50), 0);
    histogram_add(&histogram, 5000);
    for (unsigned percent = 0; percent <= 100; percent += 10) {
        assert_true(histogram_percentile(&histogram, percent) > 4096);
        assert_true(histogram_percentile(&histogram, percent) <= 5000);
    }
    for (int i = 0; i < 98; i++)
        histogram_add(&histogram, 300);
    histogram_add(&histogram, 3000000);
    assert_true(histogram_percentile(&histogram, 50) > 256 && histogram_percentile(&histogram, 50) <= 512);
    assert_true(histogram_percentile(&histogram, 98) <= 512);
    assert_true(histogram_percentile(&histogram, 99) > 4096 && histogram_percentile(&histogram, 99) <= 8192);
    assert_int_equal(histogram_percentile(&histogram, 100), 3000000);
    /* Nine of ten are 90 per cent: for 95 it takes the tenth. */
    memset(&histogram, 0, sizeof histogram);
    for (int i = 0; i < 9; i++)
        histogram_add(&histogram, 300);
    histogram_add(&histogram, 5000);
    assert_true(histogram_percentile(&histogram, 90) <= 512);
    assert_true(histogram_percentile(&histogram, 95) > 4096);
    /* An evenly spread bucket is cut evenly. */
    memset(&histogram, 0, sizeof histogram);
    for (uint64_t us = 1025; us <= 2048; us++)
        histogram_add(&histogram, us);
    assert_in_range(histogram_percentile(&histogram, 25), 1279, 1281);
    assert_in_range(histogram_percentile(&histogram, 75), 1791, 1793);
}

static void what_is_beyond_every_bound_counts(void **state)
{
    struct histogram histogram = {0};
    struct histogram_figure figures[HISTOGRAM_FIGURES];
    (void)state;
    histogram_add(&histogram, 100000000000ull);
    assert_int_equal(histogram.counts[HISTOGRAM_BOUNDS], 1);
    assert_true(histogram_percentile(&histogram, 99) <= 100000000000ull);
    histogram_figures(&histogram, figures);
    assert_string_equal(figures[0].suffix, "count");
    assert_int_equal(figures[0].value, 1);
    assert_string_equal(figures[5].suffix, "max_us");
    assert_true(figures[5].value == 100000000000ull);
}

static void the_table_names_each(void **state)
{
    struct histograms histograms = {0};
    (void)state;
    assert_int_equal(histogram_description_count * sizeof(struct histogram), sizeof histograms);
    assert_string_equal(histogram_descriptions[0].name, "propagation");
    assert_ptr_equal(histogram_at(&histograms, 0), &histograms.propagation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_are_powers_of_two),
        cmocka_unit_test(a_bound_belongs_to_its_bucket),
        cmocka_unit_test(sums_agree),
        cmocka_unit_test(percentiles_lie_where_the_values_do),
        cmocka_unit_test(what_is_beyond_every_bound_counts),
        cmocka_unit_test(the_table_names_each),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
