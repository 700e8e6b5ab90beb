/* Rates of delayed tasks, kept by each host in its own memory: figures in Redis could be left behind. */
#include "proxy/delayed/rates.h"

#include <string.h>

/* Clears the seconds that have passed since the newest slot. */
static void move_on(struct delayed_rates *rates, uint64_t now_s)
{
    if (now_s <= rates->second)
        return;
    uint64_t passed = now_s - rates->second;
    if (passed > DELAYED_RATE_SECONDS)
        passed = DELAYED_RATE_SECONDS;
    for (uint64_t i = 0; i < passed; i++)
        memset(rates->slots[(now_s - i) % DELAYED_RATE_SECONDS], 0, sizeof rates->slots[0]);
    rates->second = now_s;
}

void delayed_rates_add(struct delayed_rates *rates, enum delayed_event event, uint32_t count, uint64_t now_s)
{
    move_on(rates, now_s);
    rates->slots[rates->second % DELAYED_RATE_SECONDS][event] += count;
}

uint64_t delayed_rates_minute(struct delayed_rates *rates, enum delayed_event event, uint64_t now_s)
{
    uint64_t sum = 0;
    move_on(rates, now_s);
    for (size_t i = 0; i < DELAYED_RATE_SECONDS; i++)
        sum += rates->slots[i][event];
    return sum;
}

const char *delayed_event_name(enum delayed_event event)
{
    static const char *const names[] = {
#define X(name) #name,
        DELAYED_EVENTS(X)
#undef X
    };
    return names[event];
}
