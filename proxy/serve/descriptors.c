/* The sums behind the limit on descriptors. They keep a few too many rather than too few. */
#include "proxy/serve/descriptors.h"

#include "proxy/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* standard streams, the loop, signals, threads, sockets and their locks: they are there before any client */
#define AT_START 24u
/* the live table, the next one, those that are being left, and copies on their way to clients */
#define SEGMENTS 6u
/* a configuration read again, a document, a directory of the system's, the supervisor's socket */
#define FILES 8u
/* SQLite: the database, its log, a journal. A server: the connection, and finding its address */
#define STORE_EACH    3u
#define REDIS_ALL     6u /* two connections, and their successors while these are being made */
#define CLIENT_EACH   2u /* its socket, and the page of its counters */
#define CLIENTS_LEAST 4u

static uint64_t store_connections(const struct config *config)
{
    uint64_t pools = config->store_replica[0] ? 2 : 1;
    return config->store_threads * pools + config->store_write_threads + 1;
}

/* The descriptors kept free, without those that are open at the start. */
static uint64_t kept(const struct config *config)
{
    return SEGMENTS + FILES + DESCRIPTORS_OPERATORS + store_connections(config) * STORE_EACH +
           (config->redis[0] ? REDIS_ALL : 0);
}

uint64_t descriptors_own(const struct config *config)
{
    return AT_START + kept(config);
}

uint64_t descriptors_wanted(const struct config *config)
{
    return descriptors_own(config) + (uint64_t)config->clients_max * CLIENT_EACH;
}

uint64_t descriptors_least(const struct config *config)
{
    return descriptors_own(config) + CLIENTS_LEAST * CLIENT_EACH;
}

static uint64_t clients_for(const struct config *config, uint64_t limit)
{
    uint64_t own = descriptors_own(config);
    return limit > own ? (limit - own) / CLIENT_EACH : 0;
}

static uint64_t raise_limit(uint64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return wanted;
    if (limit.rlim_cur >= wanted)
        return limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

static int check_limit(const struct config *config, uint64_t limit, struct failure *failure)
{
    uint64_t least = descriptors_least(config);
    if (limit >= least)
        return 0;
    return failure_set(failure, PERMTAB_E_LIMIT,
                       "RLIMIT_NOFILE is %" PRIu64 ", and this configuration needs %" PRIu64
                       " at the least and %" PRIu64 " for clients_max = %" PRIu32,
                       limit, least, descriptors_wanted(config), config->clients_max);
}

int descriptors_check(const struct config *config, struct failure *failure)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 0 : check_limit(config, limit.rlim_max, failure);
}

int descriptors_init(struct descriptors *descriptors, const struct config *config, struct failure *failure)
{
    uint64_t wanted = descriptors_wanted(config);
    *descriptors = (struct descriptors){.limit = raise_limit(wanted), .kept = kept(config)};
    int code = check_limit(config, descriptors->limit, failure);
    if (code < 0)
        return code;
    if (descriptors->limit < wanted)
        log_warning("permtabd: RLIMIT_NOFILE is %" PRIu64 ", which leaves room for about %" PRIu64
                    " clients; clients_max = %" PRIu32 " needs %" PRIu64,
                    descriptors->limit, clients_for(config, descriptors->limit), config->clients_max, wanted);
    return 0;
}

void descriptors_print(const struct config *config, void *stdio_file)
{
    FILE *file = stdio_file;
    struct rlimit limit;
    uint64_t wanted = descriptors_wanted(config);
    (void)fprintf(file,
                  "\n# RLIMIT_NOFILE must be %" PRIu64 " for clients_max = %" PRIu32 ", and %" PRIu64
                  " at the least.\n",
                  wanted, config->clients_max, descriptors_least(config));
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    (void)fprintf(file, "# Here it may be raised to %" PRIu64 "%s\n", (uint64_t)limit.rlim_max,
                  limit.rlim_max >= wanted ? ", which is enough." : ":");
    if (limit.rlim_max < wanted)
        (void)fprintf(file, "# that leaves room for about %" PRIu64 " clients, and others are refused.\n",
                      clients_for(config, limit.rlim_max));
}

bool descriptors_spare(const struct descriptors *descriptors, int descriptor)
{
    return descriptor >= 0 && (uint64_t)descriptor + descriptors->kept < descriptors->limit;
}
