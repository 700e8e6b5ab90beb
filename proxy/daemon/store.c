/* Opens the store at start, and makes the first table from it. */
#include "proxy/daemon/daemon.h"

#include "proxy/base/log.h"
#include "proxy/master/channel.h"
#include "shm/segment_options.h"

struct sql_options daemon_store_options(const struct config *config)
{
    return (struct sql_options){
        .url = config->store,
        .password = config->store_password,
        .timeout_s = (uint32_t)(config->store_timeout_ms / 1000),
    };
}

int daemon_migrate(const struct config *config, struct failure *failure)
{
    struct sql_options options = daemon_store_options(config);
    unsigned applied = 0;
    int code = store_migrate(&options, &applied, failure);
    if (code == 0 && applied > 0)
        log_info("store: applied %u migrations", applied);
    return code;
}

/* Memory takes time: 0.4 s for ten million entries, in which nobody would be answered. So a larger table begins with
 * this many entries, and growth makes it as large as it is to be. */
#define FIRST_ENTRIES_MAX 100000u

static bool fits(const struct publisher_options *options)
{
    struct segment_options segment =
        segment_options_of(options->permissions_max, options->entries, options->sets, options->folds);
    uint64_t size = segment_size(&segment);
    return size != 0 && size <= options->memory_max;
}

/* Room as the configuration says, or as the table of the worker before had, where that was more. What it had may not be
 * allowed any more. Whether the rest of it fits is looked at when the table grows to it. */
static struct publisher_options first_options(struct daemon *daemon)
{
    const struct config *config = &daemon->config;
    struct keys_room before = daemon->keys != NULL ? keys_room(daemon->keys) : (struct keys_room){0};
    struct publisher_options options = {
        .permissions_max = config->permissions_max,
        .entries = config->table_entries,
        .sets = (uint32_t)config->table_sets,
        .folds = (uint32_t)config->table_folds,
        .memory_max = config->table_memory_max,
        .max_staleness_ns = config->max_staleness_ms * 1000000,
    };
    struct publisher_options larger = options;
    larger.entries = before.entries > options.entries ? before.entries : options.entries;
    larger.sets = before.sets > options.sets ? before.sets : options.sets;
    larger.folds = before.folds > options.folds ? before.folds : options.folds;
    daemon->room = (struct keys_room){larger.entries, larger.sets, larger.folds};
    if (larger.entries > FIRST_ENTRIES_MAX)
        larger.entries = FIRST_ENTRIES_MAX;
    if (fits(&larger))
        return larger;
    daemon->room = (struct keys_room){options.entries, options.sets, options.folds};
    if (options.entries > FIRST_ENTRIES_MAX)
        options.entries = FIRST_ENTRIES_MAX;
    return options;
}

/* The first table: empty, with the catalogue of one snapshot. */
static int publish_first(struct daemon *daemon, struct store *store, struct failure *failure)
{
    struct catalogue catalogue = {0};
    struct log_position at;
    int64_t now;
    int code = store_snapshot(store, &at, &now, failure);
    if (code < 0)
        return code;
    daemon_open_keys(daemon, at.store_id);
    struct publisher_options options = first_options(daemon);
    code = store_read_catalogue(store, options.permissions_max, &catalogue, failure);
    store_snapshot_end(store);
    if (code == 0)
        code = publisher_new(&daemon->parts.publisher, &options, &at, now, &catalogue, &daemon->counters,
                             failure);
    catalogue_fini(&catalogue);
    return code;
}

/* Warns of a primary that replicates statements: a replica of it may hold other rows. */
static int look_at_replication(struct daemon *daemon, struct store *store, struct failure *failure)
{
    int rows = store_replicates_rows(store, failure);
    daemon->use_replica = rows > 0;
    if (rows == 0)
        log_warning(
            "store: store_replica is not used: the primary's binlog_format is STATEMENT, and a replica "
            "that runs statements again may come to other rows; set it to ROW");
    return rows < 0 ? rows : 0;
}

int daemon_open_store(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct sql_options options = daemon_store_options(config);
    struct store store;
    int code = 0;
    /* Nearly every start finds the schema in order: it has no leave to take as long as it likes. */
    if (config->store_migrate && !store_migrated(&options)) {
        (void)channel_tell(daemon->start->channel, CHANNEL_MIGRATING, "");
        code = daemon_migrate(config, failure);
        (void)channel_tell(daemon->start->channel, CHANNEL_BEAT, "");
    }
    if (code == 0)
        code = store_open(&store, &options, failure);
    if (code < 0)
        return code;
    code = store_sync_types(&store, &config->scope_types, failure);
    if (code == 0 && daemon->demo && daemon->start->number == 1)
        code = demo_fill_store(config, &store, failure);
    if (code == 0)
        code = publish_first(daemon, &store, failure);
    if (code == 0 && config->store_replica[0])
        code = look_at_replication(daemon, &store, failure);
    store_close(&store);
    return code;
}
