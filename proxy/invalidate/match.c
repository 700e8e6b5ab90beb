/* Prefixes and patterns over resident users and scopes: a slice a turn of the loop, so that no client waits while a
 * table of millions is passed over. A slice ends when its time is over: a pattern may take a thousand times as long
 * as a prefix. Each entry is compared with every prefix and pattern of the job. A rebuild of the table ends the
 * pass: no matching entry is resident any more. */
#include "proxy/base/clock.h"
#include "proxy/invalidate/private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SLICE_SLOTS 2048u
#define SLICE_NS    1000000u
/* slots between two looks at the clock; the worst sixteen patterns take as many milliseconds at most */
#define STEP_SLOTS 16u

/* Whether the prefix or pattern can mean a text that begins with `head`. */
static bool match_possible(const struct target *target, const char *head)
{
    bool glob = target->kind == TARGET_PATTERN;
    for (const char *at = target->word; *at != '\0' && *head != '\0'; at++, head++) {
        if (glob && strchr("*?[\\", *at) != NULL)
            return true;
        if (*at != *head)
            return false;
    }
    return true;
}

static bool any_matches(const struct invalidation_job *job, const char *text)
{
    for (size_t i = job->glob_first; i < job->tag_first; i++)
        if (target_matches(&job->targets[i], text))
            return true;
    return false;
}

static bool match_user(void *context, uint64_t user)
{
    char text[32];
    (void)snprintf(text, sizeof text, "user:%" PRIu64, user);
    return any_matches(context, text);
}

static bool match_scope(void *context, struct scope_key scope)
{
    const struct invalidation_job *job = context;
    const struct scope_types *types = &publisher_catalogue(job->all->options.publisher)->types;
    struct target target = {.kind = TARGET_SCOPE, .scope = scope};
    char text[TARGET_TEXT_SIZE];
    return any_matches(job, target_format(types, &target, text));
}

static struct publisher_match match_of(struct invalidation_job *job)
{
    struct publisher_match match = {.context = job};
    for (size_t i = job->glob_first; i < job->tag_first; i++) {
        if (match_possible(&job->targets[i], "user:"))
            match.user = match_user;
        if (match_possible(&job->targets[i], "scope:"))
            match.scope = match_scope;
    }
    return match;
}

void invalidation_match_start(struct invalidation_job *job)
{
    struct publisher_match match = match_of(job);
    publisher_scan_begin(job->all->options.publisher, &job->scan, &match);
    job->matching = true;
}

void invalidation_match_slice(struct invalidation_job *job)
{
    struct publisher_match match = match_of(job);
    uint64_t end_ns = clock_ns() + SLICE_NS;
    for (uint32_t slots = 0; job->matching && slots < SLICE_SLOTS && clock_ns() < end_ns; slots += STEP_SLOTS)
        job->matching = publisher_scan_slice(job->all->options.publisher, &job->scan, STEP_SLOTS, &match,
                                             &job->result.entries);
}
