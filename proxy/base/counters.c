/* The table of counters, made from the list in the header. Each part counts its own; serve/stats.c shows the
 * figures. */
#include "proxy/base/counters.h"

#define COUNTER COUNTER_KIND_COUNTER
#define GAUGE   COUNTER_KIND_GAUGE
#define SIGNED  COUNTER_KIND_SIGNED

const struct counter_description counter_descriptions[] = {
#define X(name, kind, help) {#name, kind, help, offsetof(struct counters, name)},
    COUNTERS(X)
#undef X
};

const size_t counter_description_count = sizeof counter_descriptions / sizeof counter_descriptions[0];
