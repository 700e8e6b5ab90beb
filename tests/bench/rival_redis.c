/* Redis: GET over a Unix socket, written and read plainly, which is faster than any client library. The value is
 * the number of the set and the set is private, so Redis is asked for less than it would be in earnest. */
#include "tests/bench/measure.h"
#include "tests/bench/rivals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PIPELINED 500u

struct rival_redis {
    int descriptor;
    const struct rival_sets *sets;
    char out[PIPELINED * 128];
};

static int key_print(char *to, size_t size, uint64_t user, uint64_t scope)
{
    return snprintf(to, size, "permtab:%llu:%u:%llu", (unsigned long long)user, QUESTION_TYPE,
                    (unsigned long long)scope);
}

static void send_all(struct rival_redis *redis, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = write(redis->descriptor, data, size);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            bench_die("Redis: cannot send: %s", strerror(errno));
        data += sent;
        size -= (size_t)sent;
    }
}

/* Reads until `lines` line ends have come; returns the bytes that fitted. */
static size_t read_lines(struct rival_redis *redis, char *to, size_t size, unsigned lines)
{
    size_t kept = 0;
    while (lines > 0) {
        char piece[4096];
        ssize_t got = read(redis->descriptor, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            bench_die("Redis: the connection broke");
        for (ssize_t i = 0; i < got; i++) {
            lines -= piece[i] == '\n';
            if (kept < size)
                to[kept++] = piece[i];
        }
    }
    return kept;
}

static void fill(struct rival_redis *redis, uint64_t entries)
{
    char reply[8];
    for (uint64_t index = 0; index < entries;) {
        size_t used = 0;
        unsigned sent = 0;
        for (; sent < PIPELINED && index < entries; sent++, index++) {
            char key[64], value[16];
            uint64_t user = question_user(index);
            int key_size = key_print(key, sizeof key, user, question_scope(user));
            int value_size = snprintf(value, sizeof value, "%u", question_set(user, redis->sets->count));
            used += (size_t)snprintf(redis->out + used, sizeof redis->out - used,
                                     "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", key_size, key,
                                     value_size, value);
        }
        send_all(redis, redis->out, used);
        (void)read_lines(redis, reply, sizeof reply, sent);
        if (memcmp(reply, "+OK\r\n", 5) != 0)
            bench_die("Redis: refused to set a key");
    }
}

struct rival_redis *rival_redis_new(const char *socket_path, uint64_t entries, const struct rival_sets *sets)
{
    struct rival_redis *redis = bench_memory(sizeof *redis);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(socket_path) >= sizeof address.sun_path)
        bench_die("Redis: the path is too long: %s", socket_path);
    memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
    redis->sets = sets;
    redis->descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (redis->descriptor < 0 ||
        connect(redis->descriptor, (const struct sockaddr *)&address, sizeof address) < 0)
        bench_die("Redis: cannot connect to %s: %s", socket_path, strerror(errno));
    fill(redis, entries);
    return redis;
}

void rival_redis_free(struct rival_redis *redis)
{
    (void)close(redis->descriptor);
    free(redis);
}

uint64_t rival_redis_ask(struct rival_redis *redis, const struct question *question)
{
    char key[64], reply[64];
    int key_size = key_print(key, sizeof key, question->user, question->scope);
    int size = snprintf(redis->out, sizeof redis->out, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", key_size, key);
    send_all(redis, redis->out, (size_t)size);
    size_t got = read_lines(redis, reply, sizeof reply - 1, 2);
    reply[got] = '\0';
    const char *text = strchr(reply, '\n');
    if (reply[0] != '$' || reply[1] == '-' || text == NULL)
        return UINT64_MAX;
    uint32_t set = (uint32_t)strtoul(text + 1, NULL, 10);
    return set == 0 || set > redis->sets->count ? UINT64_MAX
                                                : rival_bit(redis->sets, set, question->permission);
}
