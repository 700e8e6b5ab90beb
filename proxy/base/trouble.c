/* A bucket of lines: full at first, a line makes it emptier, time fills it again. The end of a trouble is always
 * logged when its beginning was: the last line of the log must be true. */
#include "proxy/base/trouble.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool take_line(struct trouble *trouble, uint64_t now_ns)
{
    uint64_t refilled = (now_ns - trouble->spent_ns) / TROUBLE_REFILL_NS;
    if (trouble->spent == 0 || refilled >= trouble->spent) {
        trouble->spent = 0;
        trouble->spent_ns = now_ns;
    } else {
        trouble->spent -= (unsigned)refilled;
        trouble->spent_ns += refilled * TROUBLE_REFILL_NS;
    }
    if (trouble->spent >= TROUBLE_LINES)
        return false;
    trouble->spent++;
    return true;
}

static bool is_news(const struct trouble *trouble, const char *text, uint64_t now_ns)
{
    return !trouble->told || strcmp(trouble->text, text) != 0 ||
           now_ns - trouble->line_ns >= TROUBLE_LASTING_NS;
}

/* Whether trouble that no line told of has lasted long enough to be told: trouble that stays is no flood. */
static bool stays_untold(const struct trouble *trouble, uint64_t now_ns)
{
    return !trouble->told && now_ns - trouble->since_ns >= TROUBLE_UNTOLD_NS;
}

static void tell(struct trouble *trouble, enum log_level level, uint64_t now_ns)
{
    uint64_t seconds = (now_ns - trouble->line_ns) / 1000000000ull;
    if (trouble->untold > 1)
        log_line(level, "%s (%" PRIu64 " times in %" PRIu64 " s)", trouble->text, trouble->untold, seconds);
    else
        log_line(level, "%s", trouble->text);
    trouble->told = true;
    trouble->untold = 0;
    trouble->line_ns = now_ns;
}

bool trouble_happens(struct trouble *trouble, enum log_level level, uint64_t now_ns, const char *format, ...)
{
    char text[TROUBLE_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (trouble->since_ns == 0) {
        trouble->since_ns = now_ns;
        trouble->times = 0;
    }
    trouble->times++;
    if (trouble->untold++ == 0 && !trouble->told)
        trouble->line_ns = now_ns; /* the repetitions are counted from here */
    if (!is_news(trouble, text, now_ns) || (!take_line(trouble, now_ns) && !stays_untold(trouble, now_ns)))
        return false;
    memcpy(trouble->text, text, sizeof text);
    tell(trouble, level, now_ns);
    return true;
}

void trouble_ends(struct trouble *trouble, uint64_t now_ns, const char *text)
{
    if (trouble->since_ns == 0)
        return;
    if (trouble->told) {
        uint64_t ms = (now_ns - trouble->since_ns) / 1000000;
        log_info("%s (after %" PRIu64 ".%03" PRIu64 " s, %" PRIu64 " time%s)", text, ms / 1000, ms % 1000,
                 trouble->times, trouble->times == 1 ? "" : "s");
        trouble->untold = 0;
        trouble->line_ns = now_ns;
    }
    trouble->since_ns = 0;
    trouble->told = false;
}

bool trouble_lasts(const struct trouble *trouble)
{
    return trouble->since_ns != 0;
}
