/* Cross checks of options, and the checks of single texts that the table cannot express. Pure: no file is opened
 * here, so `permtabd -t` can be run anywhere. */
#include "proxy/config/options.h"

#include "proxy/base/log.h"
#include "proxy/names/l2_keys.h"
#include "proxy/redis/url.h"
#include "shm/segment_options.h"

#include <inttypes.h>
#include <string.h>

#define SOCKET_PATH_MAX 107

static int check_store(const struct config *config, const char **option, struct failure *failure)
{
    *option = "store";
    bool sqlite = strncmp(config->store, "sqlite:", 7) == 0;
    if (!sqlite && strncmp(config->store, "mysql://", 8) != 0)
        return failure_set(failure, PERMTAB_E_INVALID,
                           "\"%.100s\" is neither sqlite:/path nor mysql://user@host:port/database",
                           config->store);
    if (sqlite && config->store[7] == 0)
        return failure_set(failure, PERMTAB_E_INVALID, "sqlite: without a path");
    if (!sqlite) {
        /* A password in a URL ends up in logs, process lists and this very message. */
        const char *user = config->store + 8;
        size_t length = strcspn(user, "@/");
        if (user[length] == '@' && memchr(user, ':', length))
            return failure_set(failure, PERMTAB_E_INVALID,
                               "a password does not belong in the URL: use store_password_file");
    }
    *option = "store_timeout";
    if (config->store_timeout_ms % 1000 != 0)
        return failure_set(failure, PERMTAB_E_INVALID, "must be whole seconds");
    *option = "store_replica";
    if (config->store_replica[0] && (sqlite || strncmp(config->store_replica, "mysql://", 8) != 0))
        return failure_set(failure, PERMTAB_E_INVALID,
                           "only a MySQL store has replicas, mysql://user@host:port/database");
    return 0;
}

static int check_redis(const struct config *config, const char **option, struct failure *failure)
{
    *option = "redis";
    struct redis_url url;
    int code = config->redis[0] ? redis_url_parse(config->redis, &url, failure) : 0;
    if (code < 0)
        return code;
    *option = "redis_prefix";
    size_t length = strlen(config->redis_prefix);
    if (length > KEY_PREFIX_MAX || config->redis_prefix[strcspn(config->redis_prefix, " \t\r\n{}")] != 0)
        return failure_set(failure, PERMTAB_E_INVALID, "at most %d bytes, without blanks or braces",
                           KEY_PREFIX_MAX);
    return 0;
}

static int check_path(const char *path, struct failure *failure)
{
    size_t length = strlen(path);
    if (length > SOCKET_PATH_MAX)
        return failure_set(failure, PERMTAB_E_INVALID, "a path of %zu bytes; a Unix socket's is at most %d",
                           length, SOCKET_PATH_MAX);
    return 0;
}

static int check_sockets(const struct config *config, const char **option, struct failure *failure)
{
    *option = "socket";
    if (config->socket[0] == 0)
        return failure_set(failure, PERMTAB_E_INVALID, "must not be empty");
    int code = check_path(config->socket, failure);
    if (code < 0)
        return code;
    *option = "ops_socket";
    if (strcmp(config->socket, config->ops_socket) == 0)
        return failure_set(failure, PERMTAB_E_INVALID, "must not be the same as socket");
    return check_path(config->ops_socket, failure);
}

static int check_times(const struct config *config, const char **option, struct failure *failure)
{
    *option = "max_staleness";
    if (config->poll_interval_ms * 2 >= config->max_staleness_ms)
        return failure_set(failure, PERMTAB_E_INVALID,
                           "%" PRIu64 "ms is not more than twice poll_interval (%" PRIu64
                           "ms): the lease would lapse between polls",
                           config->max_staleness_ms, config->poll_interval_ms);
    return 0;
}

static int check_table(const struct config *config, const char **option, struct failure *failure)
{
    *option = "permissions_max";
    if (config->permissions_max % 64 != 0)
        return failure_set(failure, PERMTAB_E_INVALID, "%" PRIu32 " is not a multiple of 64",
                           config->permissions_max);
    struct segment_options options =
        segment_options_of(config->permissions_max, config->table_entries, (uint32_t)config->table_sets,
                           (uint32_t)config->table_folds);
    uint64_t size = segment_size(&options);
    *option = "table_entries";
    if (size == 0)
        return failure_set(failure, PERMTAB_E_INVALID, "no table of this size can be laid out");
    *option = "table_memory_max";
    if (size > config->table_memory_max)
        return failure_set(failure, PERMTAB_E_INVALID,
                           "%" PRIu64 " bytes are fewer than the %" PRIu64
                           " that table_entries, table_sets, table_folds and permissions_max need",
                           config->table_memory_max, size);
    return 0;
}

static int check_log(const struct config *config, const char **option, struct failure *failure)
{
    enum log_level level;
    *option = "log_level";
    if (log_level_parse(config->log_level, &level) < 0)
        return failure_set(failure, PERMTAB_E_INVALID, "\"%.60s\" is not error, warning, info or debug",
                           config->log_level);
    return 0;
}

int config_check(const struct config *config, const char **option, struct failure *failure)
{
    static int (*const checks[])(const struct config *, const char **, struct failure *) = {
        check_store, check_redis, check_sockets, check_times, check_table, check_log,
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        int code = checks[i](config, option, failure);
        if (code < 0)
            return code;
    }
    return 0;
}
