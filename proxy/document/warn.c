/* Warnings of parts of a policy that were perhaps not meant. They are done all the same: a backup is full of
 * assignments that have ended. */
#include "client/wire/text.h"
#include "client/wire/time_text.h"
#include "proxy/document/policy.h"
#include "proxy/store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHOWN 10u /* of a kind */

/* The place for the next sentence; NULL when there are enough. `found` counts. */
static char *next_text(struct policy_warnings *warnings, size_t *found)
{
    ++*found;
    return *found <= SHOWN ? warnings->texts[warnings->count++] : NULL;
}

static void count_others(struct policy_warnings *warnings, size_t found, const char *what)
{
    if (found > SHOWN)
        (void)snprintf(warnings->texts[warnings->count++], sizeof *warnings->texts, "… and %zu more %s",
                       found - SHOWN, what);
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

static void warn_ends(const struct policy *policy, struct policy_warnings *warnings)
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

static void warn_text(struct policy_warnings *warnings, size_t *found, const char *text, bool lines,
                      const char *what)
{
    char trouble[TEXT_TROUBLE_SIZE];
    char *sentence = text_is_clean(text, strlen(text), lines, trouble) ? NULL : next_text(warnings, found);
    if (sentence != NULL)
        (void)snprintf(sentence, sizeof *warnings->texts, "%.150s %s: apply will not take it", what, trouble);
}

static void warn_texts(const struct policy *policy, struct policy_warnings *warnings)
{
    char what[160];
    size_t found = 0;
    for (size_t i = 0; i < policy->permission_count; i++) {
        (void)snprintf(what, sizeof what, "permission %.100s: the description", policy->permissions[i].name);
        warn_text(warnings, &found, policy->permissions[i].description, true, what);
    }
    for (size_t i = 0; i < policy->role_count; i++) {
        (void)snprintf(what, sizeof what, "role %" PRIu64 ": the name", policy->roles[i].id);
        warn_text(warnings, &found, policy->roles[i].name, false, what);
    }
    count_others(warnings, found, "such texts");
}

void policy_warn_refused(const struct policy *policy, struct policy_warnings *warnings)
{
    warn_texts(policy, warnings);
    warn_ends(policy, warnings);
}
