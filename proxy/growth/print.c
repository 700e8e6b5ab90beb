/* Growth in words, for the log and for the ops socket. */
#include "proxy/base/clock.h"
#include "proxy/growth/private.h"
#include "proxy/table/grow.h"

#include <inttypes.h>

void growth_reason_print(enum growth_reason reason, const struct growth_policy *policy,
                         char out[GROWTH_TEXT_SIZE])
{
    const struct growth_window *seen = &policy->last;
    double lookups = (double)(seen->hits + seen->filled);
    switch (reason) {
    case GROWTH_NOT_NEEDED:
        out[0] = 0;
        return;
    case GROWTH_START:
        (void)snprintf(out, GROWTH_TEXT_SIZE,
                       "table_entries, or what the table before had grown to, is %" PRIu64, policy->entries_min);
        return;
    case GROWTH_HIT_RATE:
        (void)snprintf(out, GROWTH_TEXT_SIZE,
                       "the hit rate is %.2f, and hit_rate_target %.2f (%" PRIu64 " hits and %" PRIu64
                       " fills in %.1f s)",
                       (double)seen->hits / lookups, policy->hit_rate_target, seen->hits, seen->filled,
                       (double)seen->ns / 1e9);
        return;
    case GROWTH_RETURNED:
        (void)snprintf(out, GROWTH_TEXT_SIZE,
                       "about %" PRIu64 " of %" PRIu64
                       " fills in %.1f s were of entries that had made room for others",
                       seen->returned, seen->filled, (double)seen->ns / 1e9);
        return;
    }
}

static const char *state_text(enum growth_state state)
{
    switch (state) {
    case GROWTH_IDLE:
        return "none";
    case GROWTH_LOOKING:
        return "looks at what memory is left";
    case GROWTH_ORDERED:
        return "makes the next table";
    case GROWTH_COPYING:
        return "fills the next table";
    case GROWTH_LEAVING:
        return "clients leave the table before";
    }
    return "";
}

void growth_print(const struct growth *growth, FILE *out)
{
    const struct publisher *publisher = growth->options.publisher;
    (void)fprintf(out, "entries %" PRIu64 " of %" PRIu64 "\n", publisher_entries(publisher),
                  publisher_capacity(publisher));
    (void)fprintf(out, "memory %" PRIu64 ", of which shared %" PRIu64 ", of table_memory_max %" PRIu64 "\n",
                  publisher_memory(publisher), publisher_segment_bytes(publisher),
                  growth->options.memory_max);
    (void)fprintf(out, "retired %zu tables of %" PRIu64 " bytes\n", growth->retired.count,
                  retired_bytes(&growth->retired));
    (void)fprintf(out, "growth %s\n", state_text(growth->state));
    if (growth->last_ns != 0)
        (void)fprintf(out, "grown %" PRIu64 " times, %" PRIu64 " s ago because %s\n",
                      growth->options.counters->growths, (clock_ns() - growth->last_ns) / 1000000000,
                      growth->last_text);
    if (growth->wanted_ns != 0)
        (void)fprintf(out, "wanted %" PRIu64 " s ago because %s\n",
                      (clock_ns() - growth->wanted_ns) / 1000000000, growth->wanted_text);
    if (growth->bound != GROWTH_FREE)
        (void)fprintf(out, "held by %s\n", growth_bound_text(growth->bound));
    if (growth->trouble.since_ns != 0)
        (void)fprintf(out, "trouble %s\n", growth->trouble.text);
}
