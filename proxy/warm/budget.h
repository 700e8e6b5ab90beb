/* A budget of somebody else's time: what was spent is paid for by waiting, so that over any while longer than a moment
 * the share that was spent is not above `percent`. Pure: times are arguments, in nanoseconds. */
#ifndef PERMTAB_WARM_BUDGET_H
#define PERMTAB_WARM_BUDGET_H

#include <stdint.h>

#define BUDGET_ALL 100u /* per cent: nothing is waited for */

struct budget {
    uint32_t percent; /* 1 to BUDGET_ALL */
    uint64_t at_ns;   /* until when it was earned */
    int64_t left_ns;  /* below 0: a debt */
};

/* May be called at any time: a debt stays, and is paid off at the new rate; at BUDGET_ALL there is none. */
void budget_set(struct budget *budget, uint32_t percent, uint64_t now_ns);
void budget_spend(struct budget *budget, uint64_t spent_ns, uint64_t now_ns);
/* How long nothing may be begun from now on. 0: something may. */
uint64_t budget_wait_ns(struct budget *budget, uint64_t now_ns);

#endif
