/* One client at a time, whole messages in one read: it talks to our own library and to nobody else. A check that
 * comes over the socket was a miss, which a filled table has none of: it is refused, and the benchmark sees a wrong
 * answer. */
#include "tests/bench/world_server.h"

#include "client/wire/wire.h"
#include "tests/bench/measure.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LEASE_NS 2000000000ull
#define LAG_NS   20000000ull /* of the coarse clock, taken off as the sidecar does */

void world_permission_name(uint32_t bit, char name[WORLD_NAME_SIZE])
{
    (void)snprintf(name, WORLD_NAME_SIZE, "bench.permission%u", bit);
}

static void must(bool good, const char *what)
{
    if (!good)
        bench_die("stand-in for the sidecar: %s failed", what);
}

static void send_with(int client, const struct wire_buffer *reply, const int *descriptors, size_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control = {.space = {0}};
    struct iovec piece = {.iov_base = reply->data, .iov_len = reply->size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
    }
    must(!reply->failed && sendmsg(client, &message, MSG_NOSIGNAL) == (ssize_t)reply->size, "sending");
}

static void reply_hello(struct wire_buffer *reply, uint64_t id)
{
    wire_reply(reply, id, 3);
    wire_str(reply, "protocol");
    wire_u64(reply, WIRE_PROTOCOL);
    wire_str(reply, "layout");
    wire_u64(reply, PERMTAB_SHM_LAYOUT);
    wire_str(reply, "store_id");
    wire_u64(reply, 1);
}

static void reply_catalogue(struct wire_buffer *reply, uint64_t id)
{
    wire_reply(reply, id, 3);
    wire_str(reply, "catalogue");
    wire_u64(reply, WORLD_CATALOGUE);
    wire_str(reply, "permissions");
    wire_array(reply, QUESTION_PERMISSIONS);
    for (uint32_t bit = 0; bit < QUESTION_PERMISSIONS; bit++) {
        char name[WORLD_NAME_SIZE];
        world_permission_name(bit, name);
        wire_array(reply, 3);
        wire_str(reply, name);
        wire_u64(reply, bit);
        wire_u64(reply, 0);
    }
    wire_str(reply, "scope_types");
    wire_array(reply, 3);
    wire_str(reply, "global");
    wire_str(reply, "server");
    wire_str(reply, "channel");
}

static void serve_attach(const struct world *world, int client, struct wire_buffer *reply, uint64_t id)
{
    int feedback = memfd_create("feedback", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(feedback >= 0 && ftruncate(feedback, sizeof(struct permtab_shm_feedback)) == 0 &&
             fcntl(feedback, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0,
         "the page of counters");
    int descriptors[2] = {world->segment.descriptor, feedback};
    wire_reply(reply, id, 4);
    wire_str(reply, "segment_id");
    wire_u64(reply, world->segment.header->identity.segment_id);
    wire_str(reply, "size");
    wire_u64(reply, world->segment.size);
    wire_str(reply, "feedback_size");
    wire_u64(reply, sizeof(struct permtab_shm_feedback));
    wire_str(reply, "clock");
    wire_u64(reply, measure_now_ns());
    send_with(client, reply, descriptors, 2);
    (void)close(feedback);
}

static void serve(const struct world *world, int client, const struct wire_message *message)
{
    struct wire_buffer reply;
    wire_buffer_init(&reply);
    if (strcmp(message->method, "attach") == 0) {
        serve_attach(world, client, &reply, message->id);
    } else {
        if (strcmp(message->method, "hello") == 0)
            reply_hello(&reply, message->id);
        else if (strcmp(message->method, "catalogue") == 0)
            reply_catalogue(&reply, message->id);
        else
            wire_reply_error(&reply, message->id, PERMTAB_E_MISS, "the table should have answered");
        send_with(client, &reply, NULL, 0);
    }
    wire_buffer_fini(&reply);
}

/* False when the client has gone. */
static bool read_and_serve(const struct world *world, int client)
{
    static char input[WIRE_FRAME_MAX]; /* of the one serving thread */
    struct wire_message message;
    ssize_t got = read(client, input, sizeof input);
    if (got <= 0)
        return false;
    must(wire_take(input, (size_t)got, &message) == 1, "a whole message");
    serve(world, client, &message);
    wire_message_fini(&message);
    return true;
}

static void *serve_world(void *argument)
{
    struct world *world = argument;
    struct pollfd polled[3] = {{.fd = world->stop[0], .events = POLLIN},
                               {.fd = world->listener, .events = POLLIN},
                               {.fd = -1, .events = POLLIN}};
    while ((polled[0].revents & POLLIN) == 0) {
        segment_lease_writer(&world->segment, measure_now_ns() + LEASE_NS - LAG_NS);
        if (poll(polled, 3, 100) <= 0)
            continue;
        if ((polled[2].revents & (POLLIN | POLLHUP)) != 0 && !read_and_serve(world, polled[2].fd)) {
            (void)close(polled[2].fd);
            polled[2].fd = -1;
        }
        if ((polled[1].revents & POLLIN) != 0 && polled[2].fd < 0)
            polled[2].fd = accept4(world->listener, NULL, NULL, SOCK_CLOEXEC);
    }
    if (polled[2].fd >= 0)
        (void)close(polled[2].fd);
    return NULL;
}

void world_server_start(struct world *world)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(world->folder, sizeof world->folder, "/tmp/permtab-bench-XXXXXX");
    must(mkdtemp(world->folder) != NULL, "making a folder");
    (void)snprintf(world->path, sizeof world->path, "%s/bench.sock", world->folder);
    memcpy(address.sun_path, world->path, strlen(world->path) + 1);
    world->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(world->listener >= 0 && bind(world->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
             listen(world->listener, 4) == 0 && pipe2(world->stop, O_CLOEXEC) == 0,
         "listening");
    segment_lease_writer(&world->segment, measure_now_ns() + LEASE_NS - LAG_NS);
    must(pthread_create(&world->thread, NULL, serve_world, world) == 0, "starting a thread");
}

void world_server_stop(struct world *world)
{
    must(write(world->stop[1], "x", 1) == 1, "stopping");
    (void)pthread_join(world->thread, NULL);
    (void)close(world->listener);
    (void)close(world->stop[0]);
    (void)close(world->stop[1]);
    (void)unlink(world->path);
    (void)rmdir(world->folder);
}
