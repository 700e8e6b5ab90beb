/* A ring of records, each with its texts in one allocation of its own length: a thousand short ones cost little,
 * and a million are possible. */
#include "proxy/invalidate/history.h"

#include "proxy/base/rate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SOURCES INVALIDATION_SOURCES
#define KINDS   (TARGET_POKE + 1)

struct invalidation_history {
    struct invalidation_record **ring;
    size_t max;
    uint64_t number; /* of the last one */
    struct {
        struct rate seconds, minutes;
    } rates[SOURCES][KINDS];
};

int invalidation_history_new(struct invalidation_history **out, size_t max)
{
    struct invalidation_history *history = calloc(1, sizeof *history);
    *out = NULL;
    if (history == NULL)
        return PERMTAB_E_MEMORY;
    history->ring = calloc(max + 1, sizeof(struct invalidation_record *));
    if (history->ring == NULL) {
        free(history);
        return PERMTAB_E_MEMORY;
    }
    history->max = max;
    *out = history;
    return 0;
}

void invalidation_history_free(struct invalidation_history *history)
{
    if (history == NULL)
        return;
    for (size_t i = 0; i < history->max; i++)
        free(history->ring[i]);
    free(history->ring);
    free(history);
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

static struct invalidation_record *copy_record(const struct invalidation_record *record)
{
    size_t what = strlen(record->what) + 1, reason = strlen(record->reason) + 1;
    struct invalidation_record *copy = malloc(sizeof *copy + what + reason);
    if (copy == NULL)
        return NULL;
    char *texts = (char *)(copy + 1);
    *copy = *record;
    copy->what = memcpy(texts, record->what, what);
    copy->reason = memcpy(texts + what, record->reason, reason);
    return copy;
}

void invalidation_history_add(struct invalidation_history *history, const struct invalidation_record *record)
{
    uint64_t number = ++history->number;
    if (history->max == 0)
        return;
    struct invalidation_record **slot = &history->ring[number % history->max];
    free(*slot);
    *slot = copy_record(record);
    if (*slot != NULL)
        (*slot)->number = number;
}

const struct invalidation_record *invalidation_history_before(const struct invalidation_history *history,
                                                              uint64_t before)
{
    if (history->max == 0)
        return NULL;
    if (before > history->number + 1)
        before = history->number + 1;
    for (uint64_t number = before; number-- > 1;) {
        if (history->number - number >= history->max)
            return NULL;
        const struct invalidation_record *record = history->ring[number % history->max];
        if (record != NULL) /* there was no memory for it */
            return record;
    }
    return NULL;
}

/* ---- rates ------------------------------------------------------------------------------------------------------- */

void invalidation_history_count(struct invalidation_history *history, enum invalidation_source source,
                                enum target_kind kind, uint64_t now_s)
{
    rate_add(&history->rates[source][kind].seconds, 1, now_s);
    rate_add(&history->rates[source][kind].minutes, 1, now_s / 60);
}

void invalidation_history_rate(struct invalidation_history *history, enum invalidation_source source,
                               enum target_kind kind, uint64_t now_s, uint64_t *minute, uint64_t *hour)
{
    *minute = rate_sum(&history->rates[source][kind].seconds, now_s);
    *hour = rate_sum(&history->rates[source][kind].minutes, now_s / 60);
}

/* ---- as text ----------------------------------------------------------------------------------------------------- */

const char *invalidation_source_name(enum invalidation_source source)
{
    switch (source) {
    case INVALIDATION_CLIENT:
        return "client";
    case INVALIDATION_MESSAGE:
        return "message";
    case INVALIDATION_DELAYED:
        return "delayed";
    case INVALIDATION_AUDIT:
        return "audit";
    }
    return "?";
}

static void print_record(const struct invalidation_record *record, FILE *out)
{
    const struct invalidation_result *result = &record->result;
    time_t seconds = (time_t)(record->at_us / 1000000);
    struct tm at;
    char when[32] = "";
    if (gmtime_r(&seconds, &at) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &at);
    (void)fprintf(out,
                  "%" PRIu64 " %s %s what=%s reason=\"%s\" entries=%" PRIu64 " keys=%" PRIu64
                  " retries=%" PRIu64 " singles=%" PRIu64 " failed=%" PRIu64 " published=%s took_us=%" PRIu64
                  " code=%d\n",
                  record->number, when, invalidation_source_name(record->source), record->what,
                  record->reason, result->entries, result->keys, result->retries, result->singles,
                  result->failed, result->published ? "yes" : "no", result->took_us, record->code);
}

void invalidation_history_print(struct invalidation_history *history, size_t max, uint64_t now_s, FILE *out)
{
    uint64_t before = UINT64_MAX;
    for (size_t i = 0; i < max; i++) {
        const struct invalidation_record *record = invalidation_history_before(history, before);
        if (record == NULL)
            break;
        print_record(record, out);
        before = record->number;
    }
    for (unsigned source = 0; source < SOURCES; source++)
        for (unsigned kind = 0; kind < KINDS; kind++) {
            uint64_t minute, hour;
            invalidation_history_rate(history, source, kind, now_s, &minute, &hour);
            if (hour > 0)
                (void)fprintf(out, "rate %s %s minute=%" PRIu64 " hour=%" PRIu64 "\n",
                              invalidation_source_name(source), target_kind_name(kind), minute, hour);
        }
}
