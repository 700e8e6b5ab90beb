/* Early refresh and jitter: their distributions, and their ends. */
#include "proxy/base/random.h"
#include "proxy/l2/early_refresh.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ROUNDS 200000u

static double share_due(struct random_source *random, uint64_t left_us, uint64_t cost_us, double beta)
{
    unsigned due = 0;
    for (unsigned i = 0; i < ROUNDS; i++)
        due += early_refresh_due(left_us, cost_us, beta, random_source_next(random));
    return (double)due / ROUNDS;
}

static void assert_near(double is, double should, double within)
{
    if (fabs(is - should) > within)
        fail_msg("%f is not within %f of %f", is, within, should);
}

/* P(due) = exp(-left / (cost * beta)): small far from the end, certain at it. */
static void test_chance_rises_towards_the_end(void **state)
{
    struct random_source random;
    double before = 0;
    (void)state;
    random_source_seed(&random, 1);
    for (uint64_t left = 10000; left > 0; left -= 1000) {
        double share = share_due(&random, left, 2000, 1.0);
        assert_near(share, exp(-(double)left / 2000), 0.005);
        assert_true(share > before);
        before = share;
    }
    assert_near(share_due(&random, 6000, 2000, 3.0), exp(-1), 0.005);
    assert_near(share_due(&random, 1000, 2000, 0.5), exp(-1), 0.005);
}

/* Asked without pause, a value is renewed cost * ln(asks in that time) before its end, more or less: with one ask a
 * microsecond the first to find it due does so with a mean lead of cost * (ln cost + Euler's constant). */
static void test_the_lead_of_a_hot_value(void **state)
{
    struct random_source random;
    double sum = 0;
    (void)state;
    random_source_seed(&random, 2);
    for (unsigned round = 0; round < 2000; round++) {
        uint64_t left = 3000;
        while (!early_refresh_due(left, 100, 1.0, random_source_next(&random)))
            left--;
        sum += (double)left;
    }
    assert_near(sum / 2000, 100 * (log(100) + 0.5772), 12);
}

static void test_ends(void **state)
{
    (void)state;
    assert_true(early_refresh_due(0, 0, 1.0, UINT64_MAX));
    assert_true(early_refresh_due(0, 1, 1.0, UINT64_MAX));
    assert_false(early_refresh_due(1, 0, 1.0, 0));
    assert_false(early_refresh_due(1, 1000000, 1.0, UINT64_MAX)); /* u is 1 */
    assert_true(early_refresh_due(36, 1, 1.0, 0));                /* u is 2^-53, its logarithm -36.7 */
    assert_false(early_refresh_due(37, 1, 1.0, 0));
    assert_false(early_refresh_due(UINT64_MAX, 1000, 1.0, 0));
    assert_true(early_refresh_due(UINT64_MAX, UINT64_MAX, 1.0, 1));
    assert_false(early_refresh_due(1, 1000, 0.0, 0));
    assert_true(early_refresh_due(0, 1000, -1.0, 0)); /* whatever was configured */
}

static void test_jitter(void **state)
{
    struct random_source random;
    double sum = 0;
    uint64_t least = UINT64_MAX, most = 0;
    (void)state;
    random_source_seed(&random, 3);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t ttl = jitter_ms(600000, random_source_next(&random));
        sum += (double)ttl;
        least = ttl < least ? ttl : least;
        most = ttl > most ? ttl : most;
    }
    assert_in_range(least, 540000, 540050);
    assert_in_range(most, 599950, 600000);
    assert_near(sum / ROUNDS, 570000, 200);
    assert_int_equal(jitter_ms(600000, 0), 600000);
    assert_int_equal(jitter_ms(600000, UINT64_MAX), 540000);
    assert_int_equal(jitter_ms(0, UINT64_MAX), 0);
    assert_int_equal(jitter_ms(1, UINT64_MAX), 1);
    assert_int_equal(jitter_ms(9, UINT64_MAX), 9);
    assert_int_equal(jitter_ms(10, UINT64_MAX), 9);
    assert_true(jitter_ms(UINT64_MAX, UINT64_MAX) == UINT64_MAX - UINT64_MAX / 10);
}

static void test_the_source(void **state)
{
    struct random_source random, same, other;
    unsigned ones[64] = {0};
    (void)state;
    /* The first numbers of the authors' code from the state {1, 2, 3, 4}. */
    random = (struct random_source){{1, 2, 3, 4}};
    assert_true(random_source_next(&random) == 11520ull);
    assert_true(random_source_next(&random) == 0ull);
    assert_true(random_source_next(&random) == 1509978240ull);
    assert_true(random_source_next(&random) == 1215971899390074240ull);
    random_source_seed(&random, 7);
    random_source_seed(&same, 7);
    random_source_seed(&other, 8);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t number = random_source_next(&random);
        assert_true(number == random_source_next(&same));
        assert_true(number != random_source_next(&other));
    }
    assert_return_code(random_source_init(&same), 0);
    assert_return_code(random_source_init(&other), 0);
    assert_true(random_source_next(&same) != random_source_next(&other));
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t number = random_source_next(&other);
        for (unsigned bit = 0; bit < 64; bit++)
            ones[bit] += number >> bit & 1;
    }
    for (unsigned bit = 0; bit < 64; bit++)
        assert_near((double)ones[bit] / ROUNDS, 0.5, 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chance_rises_towards_the_end),
        cmocka_unit_test(test_the_lead_of_a_hot_value),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
