/* Trouble that comes again and again: a line in the log when it begins, one for each new reason, one when it ends,
 * and in between how often. However often the trouble comes and goes, one struct trouble writes TROUBLE_LINES lines
 * at once and then one in five minutes; the next line counts the times that were not told. Trouble that has lasted
 * for ten seconds is always told.
 *
 * All zeros is a good one, without trouble. Threads that share one guard it themselves. The clock is an argument. */
#ifndef PERMTAB_BASE_TROUBLE_H
#define PERMTAB_BASE_TROUBLE_H

#include "proxy/base/log.h"

#include <stdbool.h>
#include <stdint.h>

#define TROUBLE_TEXT_SIZE  320u
#define TROUBLE_LINES      5u              /* at once */
#define TROUBLE_REFILL_NS  300000000000ull /* then a line each */
#define TROUBLE_UNTOLD_NS  10000000000ull  /* longest silence about trouble that does not end */
#define TROUBLE_LASTING_NS 600000000000ull /* between lines that say that it lasts */

struct trouble {
    uint64_t since_ns;            /* the present trouble; 0: there is none */
    uint64_t times;               /* it has happened since then */
    uint64_t untold;              /* of all times, those that no line has counted */
    uint64_t line_ns;             /* of the last line */
    uint64_t spent_ns;            /* up to when `spent` has been made up for */
    unsigned spent;               /* lines */
    bool told;                    /* the log says that there is trouble */
    char text[TROUBLE_TEXT_SIZE]; /* as it was last told */
};

/* The trouble has happened: `format` is the whole line, its first words the noun. True when a line was written. */
bool trouble_happens(struct trouble *trouble, enum log_level level, uint64_t now_ns, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The trouble is over, if there was any: `text` is the line, which says in brackets how long it was and how often
 * it happened. Nothing is written about a trouble that was not told. */
void trouble_ends(struct trouble *trouble, uint64_t now_ns, const char *text);
/* Whether there is trouble now. */
bool trouble_lasts(const struct trouble *trouble);

#endif
