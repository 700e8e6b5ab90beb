/* RFC 3339 by hand: strptime and timegm take much that is not RFC 3339 (blanks, one-digit months, 31 February). The
 * calendar arithmetic is that of Howard Hinnant's "chrono-compatible low-level date algorithms". */
#include "proxy/policy_time.h"

#include <stdio.h>
#include <string.h>

#define SECOND_US INT64_C(1000000)

/* `count` digits at *text, which moves behind them. */
static bool digits(const char **text, int count, int *out)
{
    *out = 0;
    for (int i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        *out = *out * 10 + (**text - '0');
    }
    return true;
}

static bool literal(const char **text, char wanted)
{
    if (**text != wanted)
        return false;
    (*text)++;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Days since 1970-01-01; the year is counted from March, so that the leap day is its last. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* ".5" → 500000; nothing → 0. */
static bool fraction(const char **text, int64_t *out)
{
    int64_t unit = SECOND_US / 10;
    *out = 0;
    if (!literal(text, '.'))
        return true;
    if (**text < '0' || **text > '9')
        return false;
    for (; **text >= '0' && **text <= '9'; (*text)++, unit /= 10) {
        if (unit == 0)
            return false; /* finer than a microsecond */
        *out += unit * (**text - '0');
    }
    return true;
}

static bool offset(const char **text, int64_t *seconds)
{
    int sign = **text == '-' ? -1 : 1;
    int hours, minutes;
    *seconds = 0;
    if (literal(text, 'Z'))
        return true;
    if (!literal(text, '+') && !literal(text, '-'))
        return false;
    if (!digits(text, 2, &hours) || !literal(text, ':') || !digits(text, 2, &minutes))
        return false;
    if (hours > 23 || minutes > 59)
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool policy_time_parse(const char *text, int64_t *out)
{
    int year, month, day, hour, minute, second;
    int64_t microseconds, offset_s;
    if (!digits(&text, 4, &year) || !literal(&text, '-') || !digits(&text, 2, &month) ||
        !literal(&text, '-') || !digits(&text, 2, &day) || !literal(&text, 'T') || !digits(&text, 2, &hour) ||
        !literal(&text, ':') || !digits(&text, 2, &minute) || !literal(&text, ':') ||
        !digits(&text, 2, &second))
        return false;
    if (!fraction(&text, &microseconds) || !offset(&text, &offset_s) || *text != '\0')
        return false;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 59)
        return false;
    int64_t seconds =
        days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    int64_t time_us = seconds * SECOND_US + microseconds;
    if (time_us < 0 || time_us > POLICY_TIME_LAST)
        return false;
    *out = time_us;
    return true;
}

const char *policy_time_format(int64_t time_us, char out[POLICY_TIME_SIZE])
{
    if (time_us < 0)
        time_us = 0;
    if (time_us > POLICY_TIME_LAST)
        time_us = POLICY_TIME_LAST;
    int64_t seconds = time_us / SECOND_US;
    int64_t z = seconds / 86400 + 719468;
    int64_t era = z / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    unsigned day = (unsigned)(day_of_year - (153 * shifted + 2) / 5 + 1);
    unsigned month = (unsigned)(shifted < 10 ? shifted + 3 : shifted - 9);
    unsigned year = (unsigned)(year_of_era + era * 400 + (month <= 2 ? 1 : 0));
    unsigned of_day = (unsigned)(seconds % 86400);
    unsigned us = (unsigned)(time_us % SECOND_US);
    int used = snprintf(out, POLICY_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u", year % 10000, month % 100,
                        day % 100, of_day / 3600, of_day / 60 % 60, of_day % 60);
    if (us != 0)
        used += snprintf(out + used, POLICY_TIME_SIZE - (size_t)used, ".%06u", us);
    snprintf(out + used, POLICY_TIME_SIZE - (size_t)used, "Z");
    return out;
}
