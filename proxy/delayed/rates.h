/* A host's counts of delayed tasks in the last minute: a ring of seconds. Pure; nothing of it is in Redis. */
#ifndef PERMTAB_DELAYED_RATES_H
#define PERMTAB_DELAYED_RATES_H

#include <stddef.h>
#include <stdint.h>

/* X(name): an event that is counted; the help of the counter delayed_NAME says what it means. */
#define DELAYED_EVENTS(X)                                                                                    \
    X(added) X(taken) X(done) X(failed) X(late) X(waited) X(expired) X(returned) X(cancelled)

enum delayed_event {
#define X(name) DELAYED_##name,
    DELAYED_EVENTS(X)
#undef X
        DELAYED_EVENT_COUNT
};

#define DELAYED_RATE_SECONDS 60

struct delayed_rates {
    uint64_t second; /* of the newest slot */
    uint32_t slots[DELAYED_RATE_SECONDS][DELAYED_EVENT_COUNT];
};

/* `now_s` never goes back. */
void delayed_rates_add(struct delayed_rates *rates, enum delayed_event event, uint32_t count, uint64_t now_s);
uint64_t delayed_rates_minute(struct delayed_rates *rates, enum delayed_event event, uint64_t now_s);
const char *delayed_event_name(enum delayed_event event);

#endif
