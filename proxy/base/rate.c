/* A slot is emptied when the clock passes it. */
#include "proxy/base/rate.h"

static void keep_up(struct rate *rate, uint64_t now)
{
    uint64_t first = now > RATE_SLOTS && now - RATE_SLOTS > rate->at ? now - RATE_SLOTS : rate->at;
    for (uint64_t at = first + 1; at <= now; at++)
        rate->slots[at % RATE_SLOTS] = 0;
    if (now > rate->at)
        rate->at = now;
}

void rate_add(struct rate *rate, uint64_t count, uint64_t now)
{
    keep_up(rate, now);
    rate->slots[rate->at % RATE_SLOTS] += count;
}

uint64_t rate_sum(struct rate *rate, uint64_t now)
{
    uint64_t sum = 0;
    keep_up(rate, now);
    for (unsigned i = 0; i < RATE_SLOTS; i++)
        sum += rate->slots[i];
    return sum;
}
