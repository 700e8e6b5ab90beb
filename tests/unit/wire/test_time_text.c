/* Times as text: what RFC 3339 allows, what it does not, and the unit that was meant. */
#include "client/wire/time_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define REFUSED INT64_MIN

static const struct {
    const char *text;
    int64_t us;
} times[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"2000-02-29T12:34:56Z", INT64_C(951827696000000)},
    {"2027-01-01T00:00:00Z", INT64_C(1798761600000000)},
    {"2027-01-01t00:00:00z", INT64_C(1798761600000000)},
    {"2027-01-01 00:00:00Z", INT64_C(1798761600000000)},
    {"2027-01-01T00:00:00.000001Z", INT64_C(1798761600000001)},
    {"2027-01-01T00:00:00.1234567Z", INT64_C(1798761600123456)}, /* cut off, never rounded up */
    {"2027-01-01T00:00:00.999999999Z", INT64_C(1798761600999999)},
    {"2027-01-01T00:00:00-00:30", INT64_C(1798763400000000)},
    {"2027-01-01T01:30:00+01:30", INT64_C(1798761600000000)},
    {"2016-12-31T23:59:60Z", INT64_C(1483228800000000)},
    {"2016-12-31T23:59:60.5Z", INT64_C(1483228800000000)},
    {"2017-01-01T00:59:60+01:00", INT64_C(1483228800000000)},
    {"9999-12-31T23:59:59.999999Z", TIME_LAST},
    {"1969-12-31T23:59:59Z", -1000000},
    {"1969-12-31T23:59:59.75Z", -250000},
    {"0000-01-01T00:00:00Z", INT64_C(-62167219200000000)},
    {"0000-02-29T00:00:00Z", INT64_C(-62162121600000000)},
    {"1798761600000000", INT64_C(1798761600000000)},
    {"-5", -5},
    {"9223372036854775807", INT64_MAX},
    {"9223372036854775808", REFUSED},
    {"2100-02-29T00:00:00Z", REFUSED},
    {"2027-01-01T00:00:00", REFUSED},
    {"2027-01-01T00:00:60Z", REFUSED},
    {"2027-01-15T23:59:60Z", REFUSED},
    {"2016-12-31T23:59:60+01:00", REFUSED},
    {"2016-12-31T23:59:61Z", REFUSED},
    {"2027-01-01T24:00:00Z", REFUSED},
    {"2027-13-01T00:00:00Z", REFUSED},
    {"2027-1-01T00:00:00Z", REFUSED},
    {"2027-01-01T00:00:00.Z", REFUSED},
    {"2027-01-01T00:00:00,5Z", REFUSED},
    {"2027-01-01T00:00:00+24:00", REFUSED},
    {"2027-01-01T00:00:00+0100", REFUSED},
    {"2027-01-01T00:00:00Z ", REFUSED},
    {" 2027-01-01T00:00:00Z", REFUSED},
    {"2027-01-01", REFUSED},
    {"9999-12-31T23:59:59-00:01", REFUSED},
    {"0000-01-01T00:00:00+00:01", REFUSED},
    {"+5", REFUSED},
    {"-", REFUSED},
    {"5 ", REFUSED},
    {"1.8e15", REFUSED},
    {"tomorrow", REFUSED},
    {"", REFUSED},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t us = REFUSED;
        bool good = time_parse(times[i].text, &us);
        if (good != (times[i].us != REFUSED) || us != times[i].us)
            fail_msg("\"%s\": %d, %lld", times[i].text, good, (long long)us);
    }
}

static void test_format_and_back(void **state)
{
    char text[TIME_TEXT_SIZE];
    (void)state;
    for (int64_t day = -719528; day < 2932000; day += 17) {
        int64_t us = day * 86400 * 1000000 + (day & 0xffff), again;
        assert_true(time_parse(time_format(us, text), &again));
        assert_true(again == us);
    }
    assert_string_equal(time_format(INT64_MAX, text), "9999-12-31T23:59:59.999999Z");
    assert_string_equal(time_format(INT64_MIN, text), "0000-01-01T00:00:00Z");
    assert_string_equal(time_format(-1, text), "1969-12-31T23:59:59.999999Z");
}

static void test_plausible(void **state)
{
    static const struct {
        int64_t us;
        const char *says; /* NULL: nothing */
    } ends[] = {
        {TIME_FIRST, NULL},
        {TIME_LAST, NULL},
        {INT64_C(1798761600000000), NULL},
        {TIME_FIRST - 1, "1999-12-31T23:59:59.999999Z is before 2000"},
        {0, "1970-01-01T00:00:00Z is before 2000"},
        {INT64_MIN, "is before 2000"},
        {TIME_LAST + 1, "after the year 9999"},
        {1798761600, "looks like seconds; wanted are microseconds"},
        {INT64_C(1798761600000), "looks like milliseconds; wanted are microseconds"},
        {INT64_C(1798761600000000000), "looks like nanoseconds; wanted are microseconds"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char trouble[TIME_TROUBLE_SIZE] = "";
        assert_int_equal(time_plausible(ends[i].us, trouble), ends[i].says == NULL);
        if (ends[i].says != NULL && strstr(trouble, ends[i].says) == NULL)
            fail_msg("%lld: %s", (long long)ends[i].us, trouble);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_format_and_back),
        cmocka_unit_test(test_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
