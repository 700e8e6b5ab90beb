/* Histograms with fixed bounds, because Prometheus adds up those of many hosts bucket by bucket. A factor of two
 * between bounds is coarse, and enough to tell "milliseconds" from "a poll interval" from "too late". */
#include "proxy/base/histogram.h"

const struct histogram_description histogram_descriptions[] = {
#define X(name, help) {#name, help, offsetof(struct histograms, name)},
    HISTOGRAMS(X)
#undef X
};

const size_t histogram_description_count = sizeof histogram_descriptions / sizeof histogram_descriptions[0];

uint64_t histogram_bound(size_t index)
{
    return index < HISTOGRAM_BOUNDS ? 1ull << (HISTOGRAM_FIRST_BITS + index) : UINT64_MAX;
}

static size_t bucket_of(uint64_t us)
{
    /* 2^n belongs to the bucket that ends there: bounds are inclusive, as Prometheus' `le` says. */
    unsigned bits = us > 1 ? 64u - (unsigned)__builtin_clzll(us - 1) : 0;
    if (bits <= HISTOGRAM_FIRST_BITS)
        return 0;
    size_t bucket = bits - HISTOGRAM_FIRST_BITS;
    return bucket < HISTOGRAM_BOUNDS ? bucket : HISTOGRAM_BOUNDS;
}

void histogram_add(struct histogram *histogram, uint64_t us)
{
    histogram->counts[bucket_of(us)]++;
    histogram->count++;
    histogram->sum_us += us;
    if (us > histogram->max_us)
        histogram->max_us = us;
}

/* The place of the `rank`th of `count` values that are spread evenly over (low, high]. */
static uint64_t inside(uint64_t low, uint64_t high, uint64_t rank, uint64_t count)
{
    return low + (uint64_t)((double)(high - low) * (double)rank / (double)count);
}

uint64_t histogram_percentile(const struct histogram *histogram, unsigned percent)
{
    /* The smallest rank that at least `percent` of all values are not above. The product fits: counts are far below
     * 2^57. */
    uint64_t rank = (histogram->count * percent + 99) / 100;
    uint64_t before = 0;
    if (histogram->count == 0)
        return 0;
    if (rank == 0)
        rank = 1;
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        uint64_t here = histogram->counts[i];
        if (before + here < rank) {
            before += here;
            continue;
        }
        uint64_t low = i > 0 ? histogram_bound(i - 1) : 0;
        uint64_t high = histogram_bound(i) < histogram->max_us ? histogram_bound(i) : histogram->max_us;
        return inside(low, high, rank - before, here);
    }
    return histogram->max_us;
}

void histogram_figures(const struct histogram *histogram, struct histogram_figure out[HISTOGRAM_FIGURES])
{
    out[0] = (struct histogram_figure){"count", histogram->count};
    out[1] = (struct histogram_figure){"sum_us", histogram->sum_us};
    out[2] = (struct histogram_figure){"p50_us", histogram_percentile(histogram, 50)};
    out[3] = (struct histogram_figure){"p95_us", histogram_percentile(histogram, 95)};
    out[4] = (struct histogram_figure){"p99_us", histogram_percentile(histogram, 99)};
    out[5] = (struct histogram_figure){"max_us", histogram->max_us};
}
