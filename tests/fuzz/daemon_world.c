/* main.c without what is the process's own: signals, sockets, the end. The store is in a temporary folder, which is
 * removed at the exit; the parts are not stopped. */
#include "tests/fuzz/daemon_world.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/keys/keys.h"
#include "proxy/master/master.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/loop.h"

#include <event2/event.h>
#include <stdio.h>
#include <sys/socket.h>

static struct daemon world;
static struct demo *demo; /* its folder */
static const char *redis_url;

static void remove_folder(void)
{
    demo_free(demo);
}

static void set(const char *name, const char *value)
{
    struct failure failure;
    must(config_set(&world.config, name, value, &failure) == 0);
}

static void good(int code, const struct failure *failure)
{
    if (code < 0)
        (void)fprintf(stderr, "the daemon does not start: %s\n", failure->text);
    must(code == 0);
}

/* The configuration, the loop, and a master that hears nothing. */
static void prepare(void)
{
    static struct worker_start alone = {.socket = -1, .ops_socket = -1, .keys = -1, .number = 1};
    struct failure failure = {0};
    int channel[2];
    log_level_set(LOG_LEVEL_ERROR);
    good(config_load(&world.config, NULL, &failure), &failure);
    good(demo_new(&demo, &world.config, &failure), &failure);
    must(atexit(remove_folder) == 0);
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) == 0);
    alone.channel = channel[0];
    must(keys_memfd_new(&alone.keys) == 0);
    world.demo = demo;
    world.start = &alone;
    world.begun_ns = clock_ns();
    set("poll_interval", "5ms"); /* a request may wait for a poll */
    set("table_sets", "256");
    set("table_folds", "256");
    set("store_threads", "1");
    set("store_write_threads", "1");
    set("clients_max", "16");
    good(descriptors_init(&world.descriptors, &world.config, &failure), &failure);
    good(daemon_start_loop(&world, &failure), &failure);
}

/* As in proxy/daemon/worker.c, without listeners: they would be begun when the first poll has been applied. */
static void start(void)
{
    struct failure failure = {0};
    if (redis_url != NULL) {
        set("redis", redis_url);
        set("redis_timeout", "5ms"); /* a fuzzer's Redis may not answer at all */
        set("redis_ping", "100ms");
    }
    world.open = true;
    must(ops_new(&world.ops, &world.server) == 0);
    good(daemon_open_store(&world, &failure), &failure);
    good(daemon_start_helpers(&world, &failure), &failure);
    good(daemon_start_growth(&world, &failure), &failure);
    good(daemon_start_redis(&world, &failure), &failure);
    good(daemon_start_answering(&world, &failure), &failure);
    good(daemon_start_warming(&world, &failure), &failure);
    good(daemon_start_delayed(&world, &failure), &failure);
    good(daemon_start_watching(&world, &failure), &failure);
    good(daemon_start_serving(&world, &failure), &failure);
}

struct event_base *daemon_world_base(void)
{
    if (world.parts.base == NULL)
        prepare();
    return world.parts.base;
}

void daemon_world_redis(const char *url)
{
    redis_url = url;
}

struct daemon *daemon_world(void)
{
    (void)daemon_world_base();
    if (world.ops == NULL)
        start();
    return &world;
}

void daemon_world_connect(int ends[2])
{
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
}

void daemon_world_turn(void)
{
    loop_turn(world.parts.base);
}
