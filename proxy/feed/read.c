/* The reading of one poll of the feed: whether anything is newer than the table, and if so all of it in one
 * snapshot; or the beginning of a new table. store/believe.c decides whether the store may be believed; this file
 * passes that on. */
#include "proxy/feed/private.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"

#include <stdlib.h>

/* More changes than this are not applied one by one: the table is read anew. */
#define BATCH_MAX      1000000u
#define TRIM_SLICE     5000u
#define SCHEMA_LOOK_NS 1000000000ull
#define TRIM_NS        1000000000ull
#define AGAIN_NS       1000000000ull

void feed_disconnect(struct feed *feed)
{
    if (feed->connected) {
        feed->looked = feed->store.looked;
        store_close(&feed->store);
    }
    feed->connected = false;
}

static int connect_store(struct feed *feed, struct failure *failure)
{
    /* A snapshot that could not be ended is still open: polls would look into it, find nothing new for ever, and renew
     * the lease of a table that the store has left behind. */
    if (feed->connected && sql_broken(feed->store.sql))
        feed_disconnect(feed);
    if (feed->connected)
        return 0;
    feed_step(feed, FEED_CONNECTS);
    int code = store_open(&feed->store, &feed->options, failure);
    feed->connected = code == 0;
    if (code == 0 && feed->looked.mark != 0) {
        feed->store.looked = feed->looked;
        feed->schema_looked_ns = 0; /* so that the schema is looked at before the poll */
    }
    return code;
}

static bool names_catalogue(const struct change_list *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].kind == CHANGE_PERMISSION || changes->items[i].kind == CHANGE_SCOPE_TYPE)
            return true;
    return false;
}

static bool names_store(const struct change_list *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].kind == CHANGE_STORE)
            return true;
    return false;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* Reads the definitions of the roles that changed, each once, with their ancestors. */
static int read_changed_roles(struct feed *feed, struct batch *batch, struct failure *failure)
{
    size_t count = 0, unique = 0;
    uint64_t *ids = malloc((batch->changes.count + 1) * sizeof *ids);
    if (ids == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "no memory for a batch of changes");
    for (size_t i = 0; i < batch->changes.count; i++) {
        enum change_kind kind = batch->changes.items[i].kind;
        if (kind == CHANGE_ROLE || kind == CHANGE_ROLE_GRANT || kind == CHANGE_ROLE_PARENT)
            ids[count++] = batch->changes.items[i].role;
    }
    qsort(ids, count, sizeof *ids, compare_ids);
    for (size_t i = 0; i < count; i++)
        if (unique == 0 || ids[unique - 1] != ids[i])
            ids[unique++] = ids[i];
    int code = unique > 0 ? store_read_roles(&feed->store, ids, unique, &batch->roles, failure) : 0;
    free(ids);
    return code;
}

/* Reads everything since the table's position in one snapshot. The position is checked again inside the snapshot: a
 * backup may have been restored since the poll. */
static int read_batch(struct feed *feed, struct batch *batch, struct failure *failure)
{
    bool newer;
    int64_t ignored;
    feed_step(feed, FEED_READS);
    int code = store_snapshot(&feed->store, &batch->at, &batch->now, failure);
    if (code < 0)
        return code;
    code = store_poll(&feed->store, &feed->at, &newer, &ignored, failure);
    if (code == 0)
        code = store_read_changes(&feed->store, feed->at.revision, BATCH_MAX, &batch->changes, failure);
    if (code == 0)
        code = read_changed_roles(feed, batch, failure);
    batch->has_catalogue = code == 0 && names_catalogue(&batch->changes);
    if (batch->has_catalogue)
        code = store_read_catalogue(&feed->store, feed->permissions_max, &batch->catalogue, failure);
    if (code == 0)
        code =
            store_read_expired(&feed->store, feed->expiry, batch->now, BATCH_MAX, &batch->expired, failure);
    store_snapshot_end(&feed->store);
    return code;
}

/* Reads the assignments that ended while nothing changed. Without a snapshot an assignment might be removed after
 * the poll and before it is looked for among those that ended: it would be in neither, and the lease would be
 * renewed with its entry still there. So the store is polled again afterwards. */
static int read_expired(struct feed *feed, struct batch *batch, bool *newer, struct failure *failure)
{
    int64_t ignored;
    feed_step(feed, FEED_POLLS);
    batch->at = feed->at;
    feed->news.asked_ns = clock_ns();
    int code = store_poll(&feed->store, &feed->at, newer, &batch->now, failure);
    feed->news.answered_ns = code < 0 ? 0 : clock_ns();
    feed->news.store_now = batch->now;
    if (code < 0 || *newer)
        return code;
    code = store_read_expired(&feed->store, feed->expiry, batch->now, BATCH_MAX, &batch->expired, failure);
    if (code == 0)
        code = store_poll(&feed->store, &feed->at, newer, &ignored, failure);
    if (code < 0 || *newer)
        change_list_fini(&batch->expired);
    return code;
}

static enum news_kind kind_of_failure(int code)
{
    return code == PERMTAB_E_SCHEMA ? NEWS_DISBELIEVED : NEWS_FAILED;
}

static enum news_kind read_rebuild(struct feed *feed, struct news *news)
{
    struct batch *batch = &news->batch;
    bool newer;
    int64_t ignored;
    feed_step(feed, FEED_REBUILDS);
    int code = store_check_schema(&feed->store, &news->failure);
    if (code == 0)
        code = store_snapshot(&feed->store, &batch->at, &batch->now, &news->failure);
    if (code < 0)
        return kind_of_failure(code);
    feed->schema_looked_ns = news->begun_ns;
    /* A rebuild grants a lease like any other, so a server that polls would not believe is not believed here. */
    code = store_poll(&feed->store, &batch->at, &newer, &ignored, &news->failure);
    if (code == 0)
        code = store_read_catalogue(&feed->store, feed->permissions_max, &batch->catalogue, &news->failure);
    store_snapshot_end(&feed->store);
    return code < 0 ? kind_of_failure(code) : NEWS_REBUILD;
}

static enum news_kind read_once(struct feed *feed, struct news *news)
{
    struct batch *batch = &news->batch;
    bool newer;
    int code = connect_store(feed, &news->failure);
    if (code < 0)
        return kind_of_failure(code);
    if (!feed->believed)
        return read_rebuild(feed, news);
    if (news->begun_ns - feed->schema_looked_ns >= SCHEMA_LOOK_NS) {
        feed_step(feed, FEED_LOOKS);
        code = store_check_schema(&feed->store, &news->failure);
        if (code < 0)
            return kind_of_failure(code);
        feed->schema_looked_ns = news->begun_ns;
    }
    code = read_expired(feed, batch, &newer, &news->failure);
    if (code == 0 && newer)
        code = read_batch(feed, batch, &news->failure);
    /* more permissions than the table has room for: reading anew would find the same */
    if (code == PERMTAB_E_LIMIT && batch->has_catalogue)
        return NEWS_FAILED;
    if (code == PERMTAB_E_LIMIT || (code == 0 && names_store(&batch->changes))) {
        (void)trouble_happens(&feed->too_much, LOG_LEVEL_INFO, clock_ns(),
                              "feed: too much has changed after revision %llu to apply it piecemeal",
                              (unsigned long long)feed->at.revision);
        batch_fini(batch);
        return read_rebuild(feed, news);
    }
    if (code < 0)
        return kind_of_failure(code);
    return NEWS_BATCH;
}

/* One lost connection is tried again at once: it rested since the last poll and may have been ended meanwhile,
 * which says nothing of the store. A poll that waited for long had a server that does not answer, and is not
 * repeated. */
enum news_kind feed_read(struct feed *feed, struct news *news)
{
    bool rested = feed->connected;
    enum news_kind kind = read_once(feed, news);
    if (kind != NEWS_FAILED || !rested || !feed->connected || !sql_broken(feed->store.sql) ||
        clock_ns() - news->begun_ns >= AGAIN_NS)
        return kind;
    feed_disconnect(feed);
    batch_fini(&news->batch);
    news->failure = (struct failure){0};
    news->asked_ns = news->answered_ns = 0;
    return read_once(feed, news);
}

void feed_trim(struct feed *feed, uint64_t now_ns)
{
    struct failure failure;
    if (!feed->connected || now_ns - feed->trimmed_ns < TRIM_NS)
        return;
    feed->trimmed_ns = now_ns;
    feed_step(feed, FEED_TRIMS);
    if (store_trim_changes(&feed->store, feed->keep_us, feed->keep_rows, TRIM_SLICE, &failure) < 0)
        log_debug("feed: the log was not trimmed: %s", failure.text);
}
