/* Times of policy documents: RFC 3339 text to and from microseconds UTC. Pure. */
#ifndef PERMTAB_PROXY_POLICY_TIME_H
#define PERMTAB_PROXY_POLICY_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_TIME_SIZE 32
#define POLICY_TIME_LAST INT64_C(253402300799999999) /* 9999-12-31T23:59:59.999999Z */

/* "2027-01-01T00:00:00Z", with up to six digits of a fraction, or an offset "+01:00" for the Z. False for anything else, for
 * a day that does not exist, for a leap second, and outside 1970 to 9999. */
bool policy_time_parse(const char *text, int64_t *out);
/* In UTC; a fraction only when there is one. What lies outside 1970 to 9999 is moved to its nearest end. */
const char *policy_time_format(int64_t time_us, char out[POLICY_TIME_SIZE]);

#endif
