/* RFC 3339 by hand: strptime and timegm take much that is not RFC 3339 (blanks, one-digit months, 31 February). The
 * calendar arithmetic is that of Howard Hinnant's "chrono-compatible low-level date algorithms". */
#include "client/wire/time_text.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define SECOND_US INT64_C(1000000)
#define YEAR_ZERO (INT64_C(-62167219200) * SECOND_US) /* 0000-01-01T00:00:00Z */

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
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* ".5" → 500000; nothing → 0. Digits finer than a microsecond are cut off: no end comes later than it was given. */
static bool fraction(const char **text, int64_t *out)
{
    int64_t unit = SECOND_US / 10;
    *out = 0;
    if (!literal(text, '.'))
        return true;
    if (**text < '0' || **text > '9')
        return false;
    for (; **text >= '0' && **text <= '9'; (*text)++, unit /= 10)
        *out += unit * (**text - '0');
    return true;
}

static bool offset(const char **text, int64_t *seconds)
{
    int sign = **text == '-' ? -1 : 1;
    int hours, minutes;
    *seconds = 0;
    if (literal(text, 'Z') || literal(text, 'z'))
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

static bool decimal(const char *text, int64_t *out)
{
    bool negative = literal(&text, '-');
    int64_t number = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++)
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *text - '0', &number))
            return false;
    *out = negative ? -number : number;
    return true;
}

static void civil_from_days(int64_t days, int *year, int *month, int *day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2 ? 1 : 0));
}

/* A leap second is the last of a month in UTC. `seconds` is counted with the 60 in it: the beginning of the next
 * day. */
static bool leap_second(int64_t seconds)
{
    int year, month, day;
    if (seconds % 86400 != 0)
        return false;
    civil_from_days(seconds / 86400, &year, &month, &day);
    return day == 1;
}

bool time_parse(const char *text, int64_t *out)
{
    int year, month, day, hour, minute, second;
    int64_t microseconds, offset_s;
    if (decimal(text, out))
        return true;
    if (!digits(&text, 4, &year) || !literal(&text, '-') || !digits(&text, 2, &month) ||
        !literal(&text, '-') || !digits(&text, 2, &day))
        return false;
    if (!literal(&text, 'T') && !literal(&text, 't') && !literal(&text, ' '))
        return false;
    if (!digits(&text, 2, &hour) || !literal(&text, ':') || !digits(&text, 2, &minute) ||
        !literal(&text, ':') || !digits(&text, 2, &second))
        return false;
    if (!fraction(&text, &microseconds) || !offset(&text, &offset_s) || *text != '\0')
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    int64_t seconds =
        days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    if (second == 60 && !leap_second(seconds))
        return false;
    int64_t time_us = seconds * SECOND_US + (second == 60 ? 0 : microseconds);
    if (time_us < YEAR_ZERO || time_us > TIME_LAST)
        return false;
    *out = time_us;
    return true;
}

const char *time_format(int64_t time_us, char out[TIME_TEXT_SIZE])
{
    int year, month, day;
    if (time_us < YEAR_ZERO)
        time_us = YEAR_ZERO;
    if (time_us > TIME_LAST)
        time_us = TIME_LAST;
    int64_t us = time_us % SECOND_US, days;
    if (us < 0)
        us += SECOND_US;
    int64_t seconds = (time_us - us) / SECOND_US, of_day = seconds % 86400;
    if (of_day < 0)
        of_day += 86400;
    days = (seconds - of_day) / 86400;
    civil_from_days(days, &year, &month, &day);
    int used = snprintf(out, TIME_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned)year % 10000,
                        (unsigned)month % 100, (unsigned)day % 100, (unsigned)(of_day / 3600) % 100,
                        (unsigned)(of_day / 60 % 60), (unsigned)(of_day % 60));
    if (us != 0)
        used += snprintf(out + used, TIME_TEXT_SIZE - (size_t)used, ".%06u", (unsigned)us % 1000000);
    snprintf(out + used, TIME_TEXT_SIZE - (size_t)used, "Z");
    return out;
}

bool time_plausible(int64_t time_us, char trouble[TIME_TROUBLE_SIZE])
{
    static const struct {
        const char *name;
        int64_t first, last; /* 2000 to 9999 in that unit: no two overlap */
    } units[] = {
        {"seconds", TIME_FIRST / 1000000, TIME_LAST / 1000000},
        {"milliseconds", TIME_FIRST / 1000, TIME_LAST / 1000},
        {"nanoseconds", TIME_FIRST * 1000, INT64_MAX},
    };
    char text[TIME_TEXT_SIZE];
    if (time_us >= TIME_FIRST && time_us <= TIME_LAST)
        return true;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (time_us < units[i].first || time_us > units[i].last)
            continue;
        (void)snprintf(trouble, TIME_TROUBLE_SIZE,
                       "%" PRId64
                       " looks like %s; wanted are microseconds since 1970, or text like " TIME_EXAMPLE,
                       time_us, units[i].name);
        return false;
    }
    if (time_us > TIME_LAST)
        (void)snprintf(trouble, TIME_TROUBLE_SIZE,
                       "%" PRId64 " microseconds since 1970 is after the year 9999", time_us);
    else
        (void)snprintf(trouble, TIME_TROUBLE_SIZE,
                       "%s is before 2000; a number counts microseconds since 1970",
                       time_format(time_us, text));
    return false;
}
