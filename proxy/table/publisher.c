/* The publisher's life: segments, the lease, its position. Fills are in fill.c, batches in batch.c, retiring in
 * retire.c and scan.c. */
#include "proxy/table/publisher.h"

#include "proxy/base/clock.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

/* The time that the coarse clock may lag behind the one the lease is computed by: five ticks, and never less than
 * 20 ms. */
static uint64_t coarse_clock_lag(void)
{
    struct timespec tick;
    uint64_t lag = 20000000ull;
    if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 && (uint64_t)tick.tv_nsec * 5 > lag)
        lag = (uint64_t)tick.tv_nsec * 5;
    return lag;
}

/* Writes the names of permissions that are not deleted. A deleted name stays written: its bit is cleared in every
 * set. */
static void write_names(const struct publisher *publisher, struct table *table)
{
    struct segment *segment = &table->segment;
    for (size_t i = 0; i < publisher->catalogue.count; i++) {
        const struct permission *permission = &publisher->catalogue.permissions[i];
        if (!permission->deleted)
            segment_name_set_writer(segment, permission->bit, permission->name);
    }
    for (uint32_t type = 0; type < publisher->catalogue.types.count; type++)
        segment_type_set_writer(segment, type, publisher->catalogue.types.names[type]);
}

/* The catalogue's number: clients resolve their names again when it differs from theirs. It is made of the nonce,
 * too, because a store that was restored or replaced may have the same revision with other bits. Never 0, which a
 * client without names has. */
static uint64_t catalogue_number(const struct log_position *at)
{
    uint64_t words[3] = {at->store_id, at->revision, at->nonce};
    uint64_t number = XXH3_64bits(words, sizeof words);
    return number != 0 ? number : 1;
}

void publisher_catalogue_replace(struct publisher *publisher, struct catalogue *catalogue,
                                 const struct log_position *at)
{
    catalogue_fini(&publisher->catalogue);
    publisher->catalogue = *catalogue;
    memset(catalogue, 0, sizeof *catalogue);
    publisher->catalogue_number = catalogue_number(at);
    EACH_TABLE(publisher, table)
    {
        write_names(publisher, table);
        segment_catalogue_set_writer(&table->segment, publisher->catalogue_number);
    }
}

/* Nothing that is written here is read before the table is handed out. */
void publisher_write_position(struct publisher *publisher, struct table *table)
{
    write_names(publisher, table);
    segment_catalogue_set_writer(&table->segment, publisher->catalogue_number);
    segment_applied_writer(&table->segment, publisher->at.revision);
    segment_expiry_writer(&table->segment, publisher->expiry);
}

void publisher_hand_out(struct publisher *publisher, struct table *table)
{
    publisher->table = table;
    publisher->tables++;
    table->handed_out = true;
    segment_publish_writer(&table->segment);
    publisher->counters->segments++;
    publisher->counters->segment_bytes = table->segment.size;
}

static void begin_at(struct publisher *publisher, const struct log_position *at, int64_t now)
{
    publisher->at = *at;
    if (now > publisher->expiry)
        publisher->expiry = now;
    history_reset(&publisher->history, at);
    publisher->believed = true;
    publisher->table_distrusted = false;
    publisher->generation++;
}

static void hand_out_empty(struct publisher *publisher, struct table *table)
{
    publisher_write_position(publisher, table);
    publisher_hand_out(publisher, table);
    publisher_count(publisher);
}

/* Ends the lease of every table. Next has none, and is never handed out after this. */
static void end_lease(struct publisher *publisher)
{
    publisher->believed = false;
    EACH_TABLE(publisher, table)
    segment_disbelieve_writer(&table->segment);
}

int publisher_new(struct publisher **out, const struct publisher_options *options,
                  const struct log_position *at, int64_t now, struct catalogue *catalogue,
                  struct counters *counters, struct failure *failure)
{
    struct publisher *publisher = calloc(1, sizeof *publisher);
    if (publisher == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "no memory for the publisher");
    publisher->options = *options;
    publisher->counters = counters;
    publisher->lag_ns = coarse_clock_lag();
    struct table *table;
    int code = history_init(&publisher->history, at);
    if (code == 0)
        code = table_new(&table, options, at->store_id);
    if (code < 0) {
        history_fini(&publisher->history);
        free(publisher);
        return failure_set(failure, code, "cannot make a table of %llu entries",
                           (unsigned long long)options->entries);
    }
    begin_at(publisher, at, now);
    publisher_catalogue_replace(publisher, catalogue, at);
    hand_out_empty(publisher, table);
    *out = publisher;
    return 0;
}

void publisher_free(struct publisher *publisher)
{
    if (publisher == NULL)
        return;
    end_lease(publisher);
    publisher_drop_other(publisher);
    segment_retire_writer(&publisher->table->segment);
    publisher_leave(publisher);
}

void publisher_leave(struct publisher *publisher)
{
    if (publisher == NULL)
        return;
    table_free(publisher->other);
    table_free(publisher->table);
    history_fini(&publisher->history);
    catalogue_fini(&publisher->catalogue);
    free(publisher);
}

int publisher_rebuild(struct publisher *publisher, const struct log_position *at, int64_t now,
                      struct catalogue *catalogue, struct table *fresh, struct failure *failure)
{
    struct table *before = publisher->table;
    assert(publisher->applying.batch == NULL);
    publisher->rebuild_ordered = false;
    end_lease(publisher);
    int code = fresh == NULL ? table_new(&fresh, &before->options, at->store_id)
                             : publisher_takes(publisher, fresh, at->store_id);
    if (code < 0) {
        if (fresh != NULL)
            publisher_drop(publisher, fresh);
        return failure_set(failure, code, "cannot make another table");
    }
    publisher_drop_other(publisher);
    publisher->table = NULL; /* its names are not those of another store's catalogue */
    if (!catalogue_continues(&publisher->catalogue, catalogue))
        publisher->meaning++;
    publisher_outdate_kept(publisher);
    publisher->expiry = now; /* another history, whose clock counts from now on */
    begin_at(publisher, at, now);
    publisher_catalogue_replace(publisher, catalogue, at);
    hand_out_empty(publisher, fresh);
    segment_retire_writer(&before->segment);
    publisher_drop(publisher, before);
    publisher->counters->rebuilds++;
    return 0;
}

uint64_t publisher_entries(const struct publisher *publisher)
{
    return table_entries(publisher->table);
}

void publisher_count(struct publisher *publisher)
{
    struct counters *counters = publisher->counters;
    const struct table *table = publisher->table;
    counters->entries = publisher_entries(publisher);
    counters->entries_negative = table->entries.queue[ENTRY_NEGATIVE].count;
    counters->sets = table->sets.pool.indices.used;
    counters->folds = table->folding.folds;
    counters->roles = HASH_COUNT(table->sets.roles);
    counters->applied_revision = publisher->at.revision;
}

/* ---- lease ------------------------------------------------------------------------------------------------------- */

/* Each renewal also looks at a stretch of the map, of each table, for entries of sets that were closed for good: a few
 * milliseconds when all of them are. */
#define SWEEP_SLOTS 16384u

static void sweep(struct publisher *publisher, uint64_t now_ns)
{
    EACH_TABLE(publisher, table)
    {
        uint64_t cleared = table->sets.abandoned > 0 ? table_sweep(table, SWEEP_SLOTS, now_ns) : 0;
        publisher->counters->entries_retired += table == publisher->table ? cleared : 0;
    }
}

void publisher_renew(struct publisher *publisher, uint64_t begun_ns)
{
    assert(publisher->applying.batch == NULL);
    if (!publisher->believed)
        return;
    uint64_t deadline_ns = begun_ns + publisher->options.max_staleness_ns - publisher->lag_ns;
    segment_lease_writer(&publisher->table->segment, deadline_ns);
    if (publisher->other_is == OTHER_RETIRED)
        segment_lease_writer(&publisher->other->segment, deadline_ns);
    publisher->confirmed_ns = begun_ns;
    heard_settle(&publisher->heard, begun_ns);
    publisher->counters->lease_renewals++;
    sweep(publisher, begun_ns);
    publisher_tend(publisher, begun_ns); /* begun_ns is not later than now */
    publisher_count(publisher);
}

uint64_t publisher_deadline(const struct publisher *publisher)
{
    return permtab_shm_load64_relaxed(&publisher->table->segment.header->beat.lease_deadline);
}

bool publisher_leased(const struct publisher *publisher, uint64_t now_ns)
{
    return publisher->believed && now_ns < publisher_deadline(publisher);
}

void publisher_end_lease(struct publisher *publisher, enum lease_end why)
{
    switch (why) {
    case STORE_NOT_BELIEVED:
        publisher->distrusted += !publisher->table_distrusted;
        publisher->table_distrusted = true;
        break;
    case OWN_FAULT:
        break;
    }
    end_lease(publisher);
}

uint64_t publisher_distrusted(const struct publisher *publisher)
{
    return publisher->distrusted;
}

uint64_t publisher_names_version(const struct publisher *publisher)
{
    return publisher->meaning;
}

uint64_t publisher_generation(const struct publisher *publisher)
{
    return publisher->generation;
}

uint64_t publisher_confirmed(const struct publisher *publisher)
{
    return publisher->confirmed_ns;
}

const struct history *publisher_history(const struct publisher *publisher)
{
    return &publisher->history;
}

struct log_position publisher_position(const struct publisher *publisher)
{
    return publisher->at;
}

int64_t publisher_expiry(const struct publisher *publisher)
{
    return publisher->expiry;
}

const struct catalogue *publisher_catalogue(const struct publisher *publisher)
{
    return &publisher->catalogue;
}

const struct segment *publisher_segment(const struct publisher *publisher)
{
    return &publisher->table->segment;
}
