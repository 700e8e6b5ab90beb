/* What it costs is known only afterwards, so something may be begun while there is no debt, and what it cost becomes
 * one. What was earned and not spent is kept for a moment alone: timers come late, and that may be made good. */
#include "proxy/warm/budget.h"

#define KEPT_NS    5000000u     /* of waiting that counts later */
#define LONGEST_NS (1ull << 53) /* a hundred days, which no sum here overflows */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void earn(struct budget *budget, uint64_t now_ns)
{
    uint64_t since_ns = now_ns > budget->at_ns ? least(now_ns - budget->at_ns, LONGEST_NS) : 0;
    int64_t most = (int64_t)(KEPT_NS * budget->percent / BUDGET_ALL);
    if (since_ns < BUDGET_ALL) /* rounded down to nothing again and again it would never be anything */
        return;
    budget->left_ns += (int64_t)(since_ns * budget->percent / BUDGET_ALL);
    if (budget->left_ns > most)
        budget->left_ns = most;
    budget->at_ns = now_ns;
}

/* What is not waited for is not owed either. */
static void forgive(struct budget *budget)
{
    if (budget->percent >= BUDGET_ALL && budget->left_ns < 0)
        budget->left_ns = 0;
}

void budget_set(struct budget *budget, uint32_t percent, uint64_t now_ns)
{
    if (budget->percent != 0)
        earn(budget, now_ns);
    else
        budget->at_ns = now_ns;
    budget->percent = percent;
    forgive(budget);
}

void budget_spend(struct budget *budget, uint64_t spent_ns, uint64_t now_ns)
{
    earn(budget, now_ns);
    budget->left_ns -= (int64_t)least(spent_ns, LONGEST_NS);
    if (budget->left_ns < -(int64_t)LONGEST_NS)
        budget->left_ns = -(int64_t)LONGEST_NS;
    forgive(budget);
}

uint64_t budget_wait_ns(struct budget *budget, uint64_t now_ns)
{
    earn(budget, now_ns);
    if (budget->percent >= BUDGET_ALL || budget->left_ns >= 0)
        return 0;
    return (uint64_t)-budget->left_ns * BUDGET_ALL / budget->percent + 1;
}
