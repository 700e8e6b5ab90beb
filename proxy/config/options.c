/* The one table of options, and values as text. Parsing, defaults, environment, `-t`, the sample file and the
 * manual are all made or checked from this table. config.c knows where values come from, check.c which values go
 * together. */
#include "proxy/config/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct config, member)
#define MINUTE     (60ull * 1000)
#define DAY        (24 * 60 * MINUTE)
#define TB         1000000000000ull

const struct config_option config_options[] = {
    {"store", CONFIG_TEXT, AT(store), "sqlite:/var/lib/permtab/permtab.db", 0, 0, CONFIG_WORKER,
     "where the policy lives: sqlite:/path, mysql://user@host:3306/database or "
     "mysql://user@/database?socket=/path"},
    {"store_password_file", CONFIG_TEXT, AT(store_password_file), "", 0, 0, CONFIG_WORKER,
     "file whose first line is the password for the store"},
    {"store_migrate", CONFIG_BOOL, AT(store_migrate), "true", 0, 1, CONFIG_WORKER,
     "apply missing migrations at start and mend a damaged schema; false: start only on one that is in "
     "order"},
    {"store_threads", CONFIG_NUMBER, AT(store_threads), "4", 1, 64, CONFIG_WORKER,
     "threads, each with one connection to the store, for fills and other reads"},
    {"store_write_threads", CONFIG_NUMBER, AT(store_write_threads), "2", 1, 16, CONFIG_WORKER,
     "threads, each with one connection to the store, for writes: those that wait for a lock keep no read "
     "waiting"},
    {"write_timeout", CONFIG_DURATION, AT(write_timeout_ms), "20s", 100, 60 * MINUTE, CONFIG_WORKER,
     "a change that cannot be committed for so long is given up, unless the request names another time"},
    {"apply_timeout", CONFIG_DURATION, AT(apply_timeout_ms), "5m", 100, 60 * MINUTE, CONFIG_WORKER,
     "the same for whole policy documents"},
    {"store_timeout", CONFIG_DURATION, AT(store_timeout_ms), "5s", 1000, 5 * MINUTE, CONFIG_WORKER,
     "longest wait for one answer of the store, in whole seconds"},
    {"store_replica", CONFIG_TEXT, AT(store_replica), "", 0, 0, CONFIG_WORKER,
     "a replica of a MySQL store that fills may read from, same form and password as store; polls and writes "
     "never use it"},
    {"redis", CONFIG_TEXT, AT(redis), "", 0, 0, CONFIG_WORKER,
     "redis://[user@]host:port/database or unix:/path; empty for none: then changes arrive by polls alone"},
    {"redis_password_file", CONFIG_TEXT, AT(redis_password_file), "", 0, 0, CONFIG_WORKER,
     "file whose first line is the password for Redis"},
    {"redis_prefix", CONFIG_TEXT, AT(redis_prefix), "permtab:", 0, 0, CONFIG_WORKER,
     "prefix of Redis keys and of the invalidation channel; the same on every host of a store"},
    {"redis_timeout", CONFIG_DURATION, AT(redis_timeout_ms), "100ms", 1, MINUTE, CONFIG_WORKER,
     "longest wait for one answer of Redis; then the store is asked"},
    {"redis_ping", CONFIG_DURATION, AT(redis_ping_ms), "1s", 100, MINUTE, CONFIG_WORKER,
     "a connection to Redis that is silent for so long is asked whether it lives; one that owes an answer "
     "for "
     "twice as long is given up"},
    {"l2", CONFIG_BOOL, AT(l2), "true", 0, 1, CONFIG_WORKER,
     "keep what was read from the store in Redis for the other hosts; false: Redis is used for messages "
     "alone"},
    {"l2_ttl", CONFIG_DURATION, AT(l2_ttl_ms), "10m", 1000, 30 * DAY, CONFIG_WORKER,
     "how long a value stays in Redis, less up to a tenth by chance so that not all end at once"},
    {"strangers_max", CONFIG_COUNT, AT(strangers_max), "1000000", 0, 1000000000, CONFIG_WORKER,
     "users with rows of their own that the filter has room for, at 2 bytes each; users it does not know "
     "cost no read of "
     "their own; 0: no filter"},
    {"audit_entries", CONFIG_NUMBER, AT(audit_entries), "4", 0, 1000, CONFIG_WORKER,
     "resident entries that are compared with the store each second; 0: none"},
    {"invalidation_history", CONFIG_COUNT, AT(invalidation_history), "1000", 0, 1000000, CONFIG_WORKER,
     "how many of the last invalidations are remembered"},
    {"cleanup_budget", CONFIG_NUMBER, AT(cleanup_budget), "10", 1, 50, CONFIG_WORKER,
     "per cent of Redis' time that a clean-up may take"},
    {"socket", CONFIG_TEXT, AT(socket), "/run/permtab/permtab.sock", 0, 0, CONFIG_FIXED,
     "Unix socket for clients, at most 107 bytes"},
    {"ops_socket", CONFIG_TEXT, AT(ops_socket), "/run/permtab/permtab-ops.sock", 0, 0, CONFIG_FIXED,
     "Unix socket for operators, at most 107 bytes; empty for none"},
    {"socket_mode", CONFIG_MODE, AT(socket_mode), "0666", 0, 0777, CONFIG_FIXED,
     "mode of both sockets, octal: who may connect"},
    {"scope_types", CONFIG_TYPES, AT(scope_types), "global,server,channel", 0, 0, CONFIG_WORKER,
     "types of scopes from the outermost, at most 15; the first is global; once stored, names may only be "
     "appended"},
    {"permissions_max", CONFIG_NUMBER, AT(permissions_max), "512", 64, PERMTAB_SHM_PERMISSIONS_MAX,
     CONFIG_WORKER, "how many permissions the table has room for, a multiple of 64"},
    {"table_entries", CONFIG_COUNT, AT(table_entries), "1000", 1, 1000000000, CONFIG_WORKER,
     "how many (user, scope) entries the table has room for when it begins; it grows while it is too small"},
    {"table_sets", CONFIG_COUNT, AT(table_sets), "4096", 16, PERMTAB_SHM_INDEX_MASK, CONFIG_WORKER,
     "how many distinct permission sets the table has room for"},
    {"table_folds", CONFIG_COUNT, AT(table_folds), "16384", 16, PERMTAB_SHM_INDEX_MASK, CONFIG_WORKER,
     "how many plain scopes can answer as the scope above them"},
    {"table_memory_max", CONFIG_SIZE, AT(table_memory_max), "1GB", 65536, 16 * TB, CONFIG_WORKER,
     "the shared memory may not take more than this, also while the table grows and there are two"},
    {"hit_rate_target", CONFIG_FRACTION, AT(hit_rate_target), "0.5", 0, 1, CONFIG_WORKER,
     "a full table with a lower share of hits grows; one whose evicted entries are asked for again does so "
     "in any case"},
    {"warm_at_start", CONFIG_BOOL, AT(warm_at_start), "true", 0, 1, CONFIG_LIVE,
     "after a start fill the table with what was asked for before it, hottest first, behind all clients"},
    {"warm_interval", CONFIG_DURATION, AT(warm_interval_ms), "0s", 0, 30 * DAY, CONFIG_LIVE,
     "how often what is asked for most is looked for in the table, and filled where it is missing; 0s: never"},
    {"warm_budget", CONFIG_PERCENT, AT(warm_budget), "10%", 1, 100, CONFIG_LIVE,
     "share of the store's time that reads of the warm-up may take, all connections together; 100%: as much as there "
     "is when nobody else asks"},
    {"poll_interval", CONFIG_DURATION, AT(poll_interval_ms), "100ms", 5, MINUTE, CONFIG_WORKER,
     "how often the store is asked for changes"},
    {"max_staleness", CONFIG_DURATION, AT(max_staleness_ms), "2s", 100, 60 * MINUTE, CONFIG_WORKER,
     "no answer is older than this; more than twice poll_interval"},
    {"change_retention", CONFIG_DURATION, AT(change_retention_ms), "7d", MINUTE, 3650 * DAY, CONFIG_WORKER,
     "how long rows of the change log are kept"},
    {"change_retention_rows", CONFIG_COUNT, AT(change_retention_rows), "1000000", 1000, 1000000000000ull,
     CONFIG_WORKER, "how many of the newest rows of the change log are kept whatever their age"},
    {"clients_max", CONFIG_NUMBER, AT(clients_max), "4096", 1, 1000000, CONFIG_WORKER,
     "connected clients; each takes two descriptors"},
    {"client_requests_max", CONFIG_NUMBER, AT(client_requests_max), "64", 1, 65536, CONFIG_WORKER,
     "requests of one client under way; more wait in its socket"},
    {"client_idle", CONFIG_DURATION, AT(client_idle_ms), "30s", 100, DAY, CONFIG_WORKER,
     "a client that has not said hello, stopped within a message or does not read its replies for so long is "
     "dropped"},
    {"request_timeout", CONFIG_DURATION, AT(request_timeout_ms), "5s", 10, 10 * MINUTE, CONFIG_WORKER,
     "a check that the store has not answered for so long fails"},
    {"stop_grace", CONFIG_DURATION, AT(stop_grace_ms), "0s", 0, 60 * MINUTE, CONFIG_LIVE,
     "how long everything goes on after SIGTERM, for workers that still drain; a second signal ends it at "
     "once"},
    {"worker_timeout", CONFIG_DURATION, AT(worker_timeout_ms), "10s", 0, 60 * MINUTE, CONFIG_LIVE,
     "a worker whose loop has not turned for so long is killed, and another one begins; 0s: never"},
    {"log_level", CONFIG_TEXT, AT(log_level), "info", 0, 0, CONFIG_LIVE, "error, warning, info or debug"},
};

const size_t config_option_count = sizeof config_options / sizeof config_options[0];

struct unit {
    const char *name;
    uint64_t factor;
};

/* The largest unit first, so that formatting finds the largest that divides evenly. Names that are read and never
 * written come last. */
static const struct unit size_units[] = {
    {"TB", TB},       {"TiB", 1ull << 40}, {"GB", 1000000000}, {"GiB", 1 << 30}, {"MB", 1000000},
    {"MiB", 1 << 20}, {"KB", 1000},        {"KiB", 1 << 10},   {"B", 1},         {NULL, 0},
};
static const struct unit duration_units[] = {
    {"d", DAY}, {"h", 60 * MINUTE}, {"m", MINUTE}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};
static const struct unit percent_units[] = {{"%", 1}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum config_kind kind)
{
    return kind == CONFIG_SIZE       ? size_units
           : kind == CONFIG_DURATION ? duration_units
           : kind == CONFIG_PERCENT  ? percent_units
                                     : no_units;
}

static bool parse_digits(const char **text, uint64_t *out)
{
    const char *at = *text;
    uint64_t value = 0;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return false;
    }
    *text = at;
    *out = value;
    return true;
}

static void format_units(enum config_kind kind, uint64_t value, char *out, size_t size)
{
    const struct unit *unit = units_of(kind);
    if (kind == CONFIG_DURATION && value == 0) {
        (void)snprintf(out, size, "0s"); /* as people write it, and not the smallest unit there is */
        return;
    }
    while (unit[1].name && (value % unit->factor != 0 || value == 0))
        unit++;
    (void)snprintf(out, size, "%" PRIu64 "%s", value / unit->factor, unit->name);
}

static int parse_units(const struct config_option *option, const char *text, uint64_t *out,
                       struct failure *failure)
{
    const char *rest = text;
    if (parse_digits(&rest, out)) {
        for (const struct unit *unit = units_of(option->kind); unit->name; unit++) {
            if (strcmp(rest, unit->name) == 0) {
                if (__builtin_mul_overflow(*out, unit->factor, out))
                    break;
                return 0;
            }
        }
    }
    const char *what = option->kind == CONFIG_SIZE       ? "a size such as 512MB or 64KiB"
                       : option->kind == CONFIG_DURATION ? "a duration such as 100ms, 2s, 5m, 1h or 7d"
                       : option->kind == CONFIG_PERCENT  ? "a share in whole per cent such as 10%"
                                                         : "a whole number";
    return failure_set(failure, PERMTAB_E_INVALID, "\"%.60s\" is not %s", text, what);
}

static int parse_mode(const char *text, uint64_t *out, struct failure *failure)
{
    char *end = NULL;
    *out = strtoul(text, &end, 8);
    if (text[0] < '0' || text[0] > '7' || *end || strlen(text) > 6)
        return failure_set(failure, PERMTAB_E_INVALID, "\"%.60s\" is not an octal mode such as 0666", text);
    return 0;
}

static int parse_number(const struct config_option *option, const char *text, uint64_t *out,
                        struct failure *failure)
{
    int code = option->kind == CONFIG_MODE ? parse_mode(text, out, failure)
                                           : parse_units(option, text, out, failure);
    if (code < 0)
        return code;
    if (*out >= option->min && *out <= option->max)
        return 0;
    if (option->kind == CONFIG_MODE)
        return failure_set(failure, PERMTAB_E_INVALID, "%.60s is not within 0000 to %04" PRIo64, text,
                           option->max);
    char low[32], high[32];
    format_units(option->kind, option->min, low, sizeof low);
    format_units(option->kind, option->max, high, sizeof high);
    return failure_set(failure, PERMTAB_E_INVALID, "%.60s is not within %s to %s", text, low, high);
}

/* Digits, and a point with digits: no sign, no exponent, no blanks. */
static int parse_fraction(const char *text, double *out, struct failure *failure)
{
    size_t whole = strspn(text, "0123456789");
    size_t part = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") + 1 : 0;
    double value = whole > 0 && part != 1 && text[whole + part] == 0 ? strtod(text, NULL) : -1;
    if (value < 0)
        return failure_set(failure, PERMTAB_E_INVALID, "\"%.60s\" is not a number such as 0.5", text);
    if (value > 1)
        return failure_set(failure, PERMTAB_E_INVALID, "%.60s is not within 0 to 1", text);
    *out = value;
    return 0;
}

static bool type_name_valid(const char *name, size_t length)
{
    if (length == 0 || name[0] < 'a' || name[0] > 'z')
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

static int add_type(struct scope_types *types, const char *name, size_t length, struct failure *failure)
{
    int shown = length > 60 ? 60 : (int)length;
    if (!type_name_valid(name, length))
        return failure_set(failure, PERMTAB_E_INVALID,
                           "\"%.*s\" is not a name of a scope type (a letter, then a-z, 0-9 or _)", shown,
                           name);
    if (length >= PERMTAB_SHM_TYPE_NAME_SIZE)
        return failure_set(failure, PERMTAB_E_INVALID, "\"%.*s\" is longer than %u bytes", shown, name,
                           PERMTAB_SHM_TYPE_NAME_SIZE - 1);
    if (types->count == PERMTAB_SHM_SCOPE_TYPES)
        return failure_set(failure, PERMTAB_E_INVALID, "more than %u scope types", PERMTAB_SHM_SCOPE_TYPES);
    if (types->count == 0 && !(length == 6 && memcmp(name, "global", 6) == 0))
        return failure_set(failure, PERMTAB_E_INVALID,
                           "the first scope type must be \"global\", not \"%.*s\"", shown, name);
    for (uint32_t i = 0; i < types->count; i++) {
        if (strlen(types->names[i]) == length && memcmp(types->names[i], name, length) == 0)
            return failure_set(failure, PERMTAB_E_INVALID, "\"%.*s\" is named twice", shown, name);
    }
    memcpy(types->names[types->count], name, length);
    types->names[types->count++][length] = 0;
    return 0;
}

static int parse_types(const char *text, struct scope_types *out, struct failure *failure)
{
    struct scope_types types = {0};
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        int code = add_type(&types, at, length, failure);
        if (code < 0)
            return code;
        at += length;
        if (*at == 0)
            break;
    }
    *out = types;
    return 0;
}

static int set_text(char **at, const char *text, struct failure *failure)
{
    char *copy = strdup(text);
    if (!copy)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    free(*at);
    *at = copy;
    return 0;
}

static int set_bool(bool *at, const char *text, struct failure *failure)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return failure_set(failure, PERMTAB_E_INVALID, "\"%.60s\" is not true or false", text);
    *at = text[0] == 't';
    return 0;
}

int config_option_set(struct config *config, const struct config_option *option, const char *text,
                      struct failure *failure)
{
    void *at = (char *)config + option->offset;
    uint64_t number = 0;
    int code;
    switch (option->kind) {
    case CONFIG_TEXT:
        return set_text(at, text, failure);
    case CONFIG_BOOL:
        return set_bool(at, text, failure);
    case CONFIG_FRACTION:
        return parse_fraction(text, at, failure);
    case CONFIG_TYPES:
        return parse_types(text, at, failure);
    case CONFIG_NUMBER:
    case CONFIG_PERCENT:
    case CONFIG_MODE:
        code = parse_number(option, text, &number, failure);
        if (code == 0)
            *(uint32_t *)at = (uint32_t)number;
        return code;
    case CONFIG_COUNT:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        code = parse_number(option, text, &number, failure);
        if (code == 0)
            *(uint64_t *)at = number;
        return code;
    }
    return PERMTAB_E_INVALID;
}

static void format_types(const struct scope_types *types, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < types->count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? "," : "", types->names[i]);
}

void config_option_format(const struct config *config, const struct config_option *option, char *out,
                          size_t size)
{
    const void *at = (const char *)config + option->offset;
    switch (option->kind) {
    case CONFIG_TEXT:
        (void)snprintf(out, size, "%s", *(char *const *)at);
        return;
    case CONFIG_BOOL:
        (void)snprintf(out, size, "%s", *(const bool *)at ? "true" : "false");
        return;
    case CONFIG_FRACTION:
        (void)snprintf(out, size, "%.6g", *(const double *)at);
        return;
    case CONFIG_TYPES:
        format_types(at, out, size);
        return;
    case CONFIG_MODE:
        (void)snprintf(out, size, "%04" PRIo32, *(const uint32_t *)at);
        return;
    case CONFIG_NUMBER:
    case CONFIG_PERCENT:
        format_units(option->kind, *(const uint32_t *)at, out, size);
        return;
    case CONFIG_COUNT:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        format_units(option->kind, *(const uint64_t *)at, out, size);
        return;
    }
}

bool config_option_quoted(const struct config_option *option)
{
    return option->kind != CONFIG_BOOL && option->kind != CONFIG_NUMBER && option->kind != CONFIG_COUNT &&
           option->kind != CONFIG_FRACTION;
}
