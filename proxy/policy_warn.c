/* What a policy says that was perhaps not meant. It is done all the same: a backup is full of assignments that have ended. */
#include "proxy/policy.h"
#include "shm/time_text.h"

#include <inttypes.h>
#include <stdio.h>

#define SHOWN (POLICY_WARNINGS_MAX - 1u)

/* Where the next sentence goes; NULL when there are enough. `found` counts. */
static char *next_text(struct policy_warnings *warnings, size_t *found)
{
    ++*found;
    return warnings->count < SHOWN ? warnings->texts[warnings->count++] : NULL;
}

static void count_others(struct policy_warnings *warnings, size_t found, const char *what)
{
    if (found > SHOWN)
        (void)snprintf(warnings->texts[warnings->count++], sizeof *warnings->texts, "… and %zu more %s", found - SHOWN,
                       what);
}

int policy_warn_ended(struct store *store, const struct policy *policy, struct policy_warnings *warnings,
                      struct failure *failure)
{
    char time[TIME_TEXT_SIZE];
    size_t found = 0, ends = 0;
    int64_t now = 0;
    for (size_t i = 0; i < policy->assignment_count; i++)
        ends += policy->assignments[i].expires_at != FACTS_NEVER;
    int code = ends > 0 ? store_now(store, &now, failure) : 0;
    for (size_t i = 0; code == 0 && i < policy->assignment_count; i++) {
        const struct policy_assignment *assignment = &policy->assignments[i];
        char *text = assignment->expires_at <= now ? next_text(warnings, &found) : NULL;
        if (text != NULL)
            (void)snprintf(text, sizeof *warnings->texts,
                           "assignments[%zu].expires_at: %s is past: the assignment counts for nothing", i,
                           time_format(assignment->expires_at, time));
    }
    count_others(warnings, found, "assignments that have ended");
    return code;
}

void policy_warn_implausible(const struct policy *policy, struct policy_warnings *warnings)
{
    char trouble[TIME_TROUBLE_SIZE];
    size_t found = 0;
    for (size_t i = 0; i < policy->assignment_count; i++) {
        const struct policy_assignment *assignment = &policy->assignments[i];
        if (assignment->expires_at == FACTS_NEVER || time_plausible(assignment->expires_at, trouble))
            continue;
        char *text = next_text(warnings, &found);
        if (text != NULL)
            (void)snprintf(text, sizeof *warnings->texts,
                           "user %" PRIu64 ", role %" PRIu64 ": expires_at is %" PRId64
                           ", before 2000 or after 9999: apply will not take it",
                           assignment->user, assignment->role, assignment->expires_at);
    }
    count_others(warnings, found, "assignments with such an end");
}
