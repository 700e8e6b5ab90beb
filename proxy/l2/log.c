/* The store's log from the marker's revision on, when this host does not remember so far back: it was started, or
 * rebuilt its table, after that. Read once from the store on a helper thread, so that a restart does not cost the
 * whole of L2. */
#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/l2/private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct l2_log_job {
    struct store_job job;
    struct l2 *l2;
    struct log_position from;
    struct change_list changes;
    struct failure failure;
    int code;
};

static int read_log(struct l2_log_job *log, struct store *store)
{
    struct log_position at;
    int64_t now;
    bool newer;
    int code = store_snapshot(store, &at, &now, &log->failure);
    if (code < 0)
        return code;
    /* The marker's row with its nonce in the log proves that the marker is of this history. */
    code = store_poll(store, &log->from, &newer, &now, &log->failure);
    if (code == 0)
        code = store_read_changes(store, log->from.revision, L2_CATCH_UP_MAX, &log->changes, &log->failure);
    store_snapshot_end(store);
    return code;
}

/* Reads the log, on a helper thread. */
static int run(struct store_job *job, struct store *store, struct failure *failure)
{
    struct l2_log_job *log = container_of(job, struct l2_log_job, job);
    if (store != NULL) {
        log->code = read_log(log, store);
    } else {
        log->failure = *failure;
        log->code = failure->code;
    }
    return log->code;
}

static void done(struct store_job *job)
{
    struct l2_log_job *log = container_of(job, struct l2_log_job, job);
    struct l2 *l2 = log->l2;
    l2->marker.reading_log = false;
    change_list_fini(&l2->log);
    l2->log_from = log->from;
    if (log->code == 0) {
        l2->log = log->changes;
        memset(&log->changes, 0, sizeof log->changes);
    } else if (log->code == PERMTAB_E_SCHEMA || log->code == PERMTAB_E_LIMIT) {
        (void)trouble_happens(&l2->log_trouble, LOG_LEVEL_INFO, clock_ns(),
                              "l2: the marker stands where this store's log does not go, or too far back");
        log_debug("l2: not followed from revision %" PRIu64 ": %s", log->from.revision, log->failure.text);
        l2->log_from.store_id = 0; /* a new epoch is needed */
    } else {
        l2->log_from.revision = UINT64_MAX; /* the next poll that is applied asks again */
    }
    /* The log read may not join this table's history: the store was restored a moment ago, or this thread and the
     * feed read different servers. To read it again at once would find the same. */
    if (log->code == 0 && !l2_log_continues(l2, &log->from))
        l2->log_from.revision = UINT64_MAX;
    if (l2->log_from.revision != UINT64_MAX)
        l2_marker_pursue(l2);
    change_list_fini(&log->changes);
    free(log);
}

void l2_log_read(struct l2 *l2, const struct log_position *from)
{
    struct l2_log_job *log = calloc(1, sizeof *log);
    if (log == NULL)
        return;
    log->job.run = run;
    log->job.done = done;
    log->l2 = l2;
    log->from = *from;
    if (store_threads_submit(l2->pool, &log->job) < 0)
        free(log);
    else
        l2->marker.reading_log = true;
}

const struct change *l2_log_at(const struct l2 *l2, uint64_t revision)
{
    const struct change *change = history_at(publisher_history(l2->publisher), revision);
    if (change != NULL)
        return change;
    uint64_t first = l2->log_from.revision + 1;
    bool there = l2->log.count > 0 && revision >= first && revision - first < l2->log.count;
    return there ? &l2->log.items[revision - first] : NULL;
}

bool l2_log_continues(const struct l2 *l2, const struct log_position *from)
{
    const struct history *history = publisher_history(l2->publisher);
    if (history_continues(history, from->revision, from->nonce))
        return true;
    const struct change *change = l2_log_at(l2, from->revision);
    if (change != NULL ? change->nonce != from->nonce
                       : from->revision != l2->log_from.revision || from->nonce != l2->log_from.nonce)
        return false;
    /* The log read must reach to the beginning of the history without a gap, and the two must agree where they
     * meet. */
    uint64_t end = l2->log_from.revision + l2->log.count;
    if (l2->log.count == 0 || end < history->complete_from || history->complete_from <= l2->log_from.revision)
        return false;
    return l2->log.items[history->complete_from - l2->log_from.revision - 1].nonce == history->from_nonce;
}

bool l2_log_refused(const struct l2 *l2, const struct log_position *from)
{
    return l2->log_from.store_id == 0 && l2->log_from.revision == from->revision &&
           l2->log_from.nonce == from->nonce;
}
