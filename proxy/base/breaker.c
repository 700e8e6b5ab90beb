/* The circuit breaker.
 *
 *   CLOSED ──bad replies in a row──► OPEN ──its time is over──► TRYING ──good──► CLOSED
 *                                     ▲                           │
 *                                     └──────bad, twice as long───┘
 *
 * Failures and slow replies weigh against limits of their own, and together: half the failures and half the slow
 * replies open it too. Reports of requests that were sent before it opened come late; they neither close it nor
 * lengthen an opening. A late failure cannot be told from that of the trial and counts as it: in doubt it stays
 * open. */
#include "proxy/base/breaker.h"

#include <assert.h>
#include <string.h>

void breaker_init(struct breaker *breaker, const struct breaker_options *options)
{
    assert(options->failures_max > 0 && (options->slow_ns == 0 || options->slow_max > 0));
    memset(breaker, 0, sizeof *breaker);
    breaker->options = *options;
    breaker->period_ns = options->open_ns;
}

static void open_it(struct breaker *breaker, uint64_t now_ns)
{
    breaker->state = BREAKER_OPEN;
    breaker->until_ns = now_ns + breaker->period_ns;
    breaker->openings++;
    breaker->period_ns = breaker->period_ns < breaker->options.open_max_ns / 2 ? 2 * breaker->period_ns
                                                                               : breaker->options.open_max_ns;
}

static void close_it(struct breaker *breaker)
{
    breaker->state = BREAKER_CLOSED;
    breaker->failed = 0;
    breaker->slow = 0;
    breaker->period_ns = breaker->options.open_ns;
}

bool breaker_allows(struct breaker *breaker, uint64_t now_ns)
{
    if (breaker->state == BREAKER_CLOSED)
        return true;
    if (now_ns < breaker->until_ns)
        return false;
    breaker->state = BREAKER_TRYING;
    breaker->tried_ns = now_ns;
    breaker->until_ns = now_ns + breaker->options.open_ns;
    return true;
}

static bool had_enough(const struct breaker *breaker)
{
    const struct breaker_options *options = &breaker->options;
    uint64_t slow_max = options->slow_max > 0 ? options->slow_max : 1;
    return breaker->failed * slow_max + (uint64_t)breaker->slow * options->failures_max >=
           slow_max * options->failures_max;
}

static void bad(struct breaker *breaker, uint64_t now_ns)
{
    switch (breaker->state) {
    case BREAKER_CLOSED:
        if (had_enough(breaker))
            open_it(breaker, now_ns);
        return;
    case BREAKER_OPEN:
        return;
    case BREAKER_TRYING:
        open_it(breaker, now_ns);
        return;
    }
}

void breaker_succeeded(struct breaker *breaker, uint64_t now_ns, uint64_t took_ns)
{
    bool of_before = breaker->state != BREAKER_CLOSED && now_ns - took_ns < breaker->tried_ns;
    if (breaker->state == BREAKER_OPEN || of_before)
        return;
    if (breaker->options.slow_ns != 0 && took_ns > breaker->options.slow_ns) {
        breaker->slow++;
        bad(breaker, now_ns);
        return;
    }
    close_it(breaker);
}

void breaker_failed(struct breaker *breaker, uint64_t now_ns)
{
    breaker->failed++;
    bad(breaker, now_ns);
}

enum breaker_state breaker_state(const struct breaker *breaker)
{
    return breaker->state;
}
