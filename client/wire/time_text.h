/* Points in time as text and as microseconds since 1970, UTC: one parser for documents, the command line and requests.
 * Pure. */
#ifndef PERMTAB_CLIENT_WIRE_TIME_TEXT_H
#define PERMTAB_CLIENT_WIRE_TIME_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#define TIME_TEXT_SIZE    32
#define TIME_TEXT_MAX     64 /* bytes that can be a time, zero included */
#define TIME_TROUBLE_SIZE 192
#define TIME_FIRST        INT64_C(946684800000000)    /* 2000-01-01T00:00:00Z */
#define TIME_LAST         INT64_C(253402300799999999) /* 9999-12-31T23:59:59.999999Z */
#define TIME_EXAMPLE      "2027-01-01T00:00:00Z"

/* RFC 3339 with a zone, years 0000 to 9999: "2027-01-01T00:00:00Z"; `t`, a blank, `z` and offsets like "+01:00" as it
 * allows; any fraction, cut off behind microseconds; 23:59:60 at the end of a month in UTC, which is the second after.
 * Or decimal digits, perhaps behind a minus: microseconds since 1970. False for everything else, and for a day that
 * does not exist. */
bool time_parse(const char *text, int64_t *out);
/* The time in UTC, with a fraction only when there is one. A time outside the years 0000 to 9999 becomes the
 * nearest end. */
const char *time_format(int64_t time_us, char out[TIME_TEXT_SIZE]);

/* Whether `time_us` can be meant as a time to come: not before 2000, nor after 9999. Seconds and milliseconds given
 * for microseconds are before 2000, nanoseconds after 9999. Else `trouble` is a sentence that says which unit is
 * wanted. */
bool time_plausible(int64_t time_us, char trouble[TIME_TROUBLE_SIZE]);

#endif
