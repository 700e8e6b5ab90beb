/* libFuzzer's entry for the client library against a sidecar that is hostile, or broken: the input chooses every reply.
 * Some are good, some are nearly, with lies about sizes, descriptors of other things and segments with words
 * overwritten; some are of another shape, cut off, under another number, or no messages at all.
 *
 * The client ends each call in its time, crashes for nothing that it is sent, and gives no ALLOW that nobody gave it:
 * neither a reply nor a segment that it took. */
#include "client/permtab.h"
#include "client/wire/wire.h"
#include "tests/fuzz/segment_world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define QUERIES 3u

struct sidecar {
    char folder[64];
    struct sockaddr_un address;
    int listener, stop[2];
    /* Of one input; read by the client's thread once this one has ended. */
    struct choices choices;
    bool said_allow; /* a reply that may mean ALLOW was sent, or a segment */
};

static struct sidecar sidecar;

/* ---- replies ----------------------------------------------------------------------------------------------------- */

static void put_any(struct wire_buffer *out, unsigned depth)
{
    static const uint64_t numbers[] = {0, 1, 2, 63, 64, 16383, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX};
    uint64_t kind = choose(&sidecar.choices, 1), count;
    sidecar.said_allow = true;
    switch (depth < 3 ? kind % 8 : kind % 6) {
    case 0:
        wire_nil(out);
        return;
    case 1:
        wire_i64(out, (int64_t)(int8_t)choose(&sidecar.choices, 1));
        return;
    case 2:
    case 3:
        wire_u64(out, numbers[kind / 8 % 10]);
        return;
    case 4:
        wire_bool(out, kind & 64);
        return;
    case 5:
        wire_strn(out,
                  "a.b\0c global channel \xff\xfe very long indeed and longer than any name may be, longer",
                  kind / 8 * 3 % 80);
        return;
    case 6:
        wire_map(out, (uint32_t)(count = kind / 8 % 3));
        for (; count > 0; count--) {
            wire_str(out, "decision");
            put_any(out, depth + 1);
        }
        return;
    default:
        wire_array(out, (uint32_t)(count = choose(&sidecar.choices, 1) % 8));
        for (; count > 0; count--)
            put_any(out, depth + 1);
        return;
    }
}

/* A number that is right, or any other value. */
static void put_number(struct wire_buffer *out, const char *key, uint64_t right)
{
    uint64_t choice = choose(&sidecar.choices, 1);
    wire_str(out, key);
    if (choice < 200)
        wire_u64(out, right);
    else if (choice < 224)
        wire_u64(out, right + choice - 212);
    else
        put_any(out, 1);
}

static void reply_hello(struct wire_buffer *out, uint64_t id)
{
    wire_reply(out, id, 3);
    put_number(out, "protocol", WIRE_PROTOCOL);
    put_number(out, "layout", PERMTAB_SHM_LAYOUT);
    put_number(out, "store_id", 1);
}

static void put_permission(struct wire_buffer *out, const char *name, uint64_t bit)
{
    uint64_t choice = choose(&sidecar.choices, 1);
    wire_array(out, choice == 255 ? 2 : 3);
    if (choice == 254)
        put_any(out, 2);
    else
        wire_str(out, name);
    wire_u64(out, choice == 253 ? choose(&sidecar.choices, 8) : bit);
    if (choice != 255)
        wire_u64(out, choice >= 240 ? choice & 7 : 0);
}

static void reply_catalogue(struct wire_buffer *out, uint64_t id)
{
    uint64_t choice = choose(&sidecar.choices, 1);
    wire_reply(out, id, choice < 128 ? 3 : 4);
    put_number(out, "catalogue", SEGMENT_WORLD_CATALOGUE);
    wire_put_array(out, "permissions", 2 + (choice >> 4 & 1));
    put_permission(out, "a.b", 0);
    put_permission(out, "c", 1);
    if (choice >> 4 & 1)
        put_permission(out, "a.b", 63);
    wire_str(out, "scope_types");
    if (choice % 16 == 15) {
        put_any(out, 1);
    } else {
        wire_array(out, 3);
        wire_str(out, "global");
        wire_str(out, "server");
        wire_str(out, choice % 16 == 14 ? "" : "channel");
    }
    if (choice >= 128)
        put_number(out, "next", choose(&sidecar.choices, 2));
}

static void reply_check(struct wire_buffer *out, uint64_t id)
{
    uint64_t decision = choose(&sidecar.choices, 1) % 3;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    wire_reply(out, id, 3);
    sidecar.said_allow |= decision == 1;
    wire_put_i64(out, "decision", (int64_t)decision % 3 - (decision == 2 ? 3 : 0));
    put_number(out, "revision", choose(&sidecar.choices, 1));
    put_number(out, "deadline", ((uint64_t)now.tv_sec + 2) * 1000000000u);
}

static void reply_many(struct wire_buffer *out, uint64_t id)
{
    uint64_t count = QUERIES + (choose(&sidecar.choices, 1) >= 240);
    wire_reply(out, id, 3);
    wire_put_array(out, "decisions", (uint32_t)count);
    for (; count > 0; count--) {
        uint64_t decision = choose(&sidecar.choices, 1);
        if (decision < 200) {
            wire_i64(out, (int64_t)(decision % 3) - 1);
            sidecar.said_allow |= decision % 3 == 2;
        } else {
            put_any(out, 2);
        }
    }
    put_number(out, "revision", 1);
    put_number(out, "deadline", UINT64_MAX);
}

/* A file that may be a segment. */
static int choose_segment(size_t *size)
{
    const struct segment *segment = segment_world();
    uint64_t kind = choose(&sidecar.choices, 1);
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    *size = segment->size;
    if (kind < 64)
        return fcntl(segment->descriptor, F_DUPFD_CLOEXEC, 0);
    if (kind >= 250)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    int file = memfd_create("segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char *copy = malloc(*size);
    must(file >= 0 && copy != NULL);
    memcpy(copy, segment->header, *size);
    segment_world_overwrite(&sidecar.choices, copy, *size);
    if (kind >= 240)
        *size = choose(&sidecar.choices, 2) % *size;
    must(write(file, copy, *size) == (ssize_t)*size);
    free(copy);
    must(fcntl(file, F_ADD_SEALS,
               kind >= 224 && kind < 232 ? seals & (int)choose(&sidecar.choices, 1) : seals) == 0);
    return file;
}

static int choose_feedback(void)
{
    uint64_t kind = choose(&sidecar.choices, 1);
    size_t size = sizeof(struct permtab_shm_feedback) + (kind >= 248 ? kind - 252 : 0);
    int file = memfd_create("feedback", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(file >= 0 && ftruncate(file, (off_t)size) == 0);
    if (kind < 240)
        must(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    return file;
}

/* Returns how many descriptors go with it. */
static unsigned reply_attach(struct wire_buffer *out, uint64_t id, int files[3])
{
    struct timespec now;
    size_t size;
    uint64_t choice = choose(&sidecar.choices, 1);
    files[0] = choose_segment(&size);
    files[1] = choose_feedback();
    files[2] = choice >= 252 ? fcntl(files[0], F_DUPFD_CLOEXEC, 0) : -1;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    wire_reply(out, id, 4);
    put_number(out, "segment_id", segment_world()->header->identity.segment_id);
    put_number(out, "size", size);
    put_number(out, "feedback_size", sizeof(struct permtab_shm_feedback));
    put_number(out, "clock", (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    sidecar.said_allow = true;
    return choice >= 252 ? 3 : choice >= 244 ? (unsigned)choice % 3 : 2;
}

static void send_with(int client, const char *bytes, size_t size, const int *files, unsigned count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(3 * sizeof(int))];
    } control = {.space = {0}};
    struct iovec piece = {(char *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), files, count * sizeof(int));
    }
    (void)!sendmsg(client, &message, MSG_NOSIGNAL);
}

/* What is not a reply to the request, in front of it or instead of it. False: the connection ends. */
static bool send_odd(int client, uint64_t id, uint64_t kind)
{
    struct wire_buffer out;
    wire_buffer_init(&out);
    bool goes_on = true;
    switch (kind % 6) {
    case 0:
        wire_reply_error(&out, id, -(int)(1 + choose(&sidecar.choices, 1)), "no");
        break;
    case 1: /* under another number */
        wire_reply(&out, id + 1 - choose(&sidecar.choices, 1) % 3, 1);
        wire_put_i64(&out, "decision", 1);
        sidecar.said_allow = true;
        break;
    case 2:
        wire_notify(&out, "goodbye", 1);
        wire_str(&out, "x");
        put_any(&out, 0);
        break;
    case 3:
        wire_request(&out, id, "hello", 0);
        break;
    case 4: {
        char bytes[32];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)choose(&sidecar.choices, 1);
        send_with(client, bytes, sizeof bytes, NULL, 0);
        sidecar.said_allow = true;
        goes_on = false;
        break;
    }
    default:
        wire_reply(&out, id, 2);
        wire_str(&out, "catalogue");
        put_any(&out, 0);
        wire_str(&out, "decision");
        put_any(&out, 0);
        break;
    }
    if (out.size > 0)
        send_with(client, out.data, out.size, NULL, 0);
    wire_buffer_fini(&out);
    return goes_on;
}

/* False: the connection ends. */
static bool answer(int client, const struct wire_message *message)
{
    struct wire_buffer out;
    int files[3] = {-1, -1, -1};
    unsigned count = 0;
    uint64_t choice = choose(&sidecar.choices, 1);
    if (!choices_left(&sidecar.choices) || (choice >= 200 && !send_odd(client, message->id, choice)))
        return false;
    if (choice >= 232) /* the odd one was instead of the reply */
        return choice < 248;
    wire_buffer_init(&out);
    if (strcmp(message->method, "hello") == 0)
        reply_hello(&out, message->id);
    else if (strcmp(message->method, "catalogue") == 0)
        reply_catalogue(&out, message->id);
    else if (strcmp(message->method, "attach") == 0)
        count = reply_attach(&out, message->id, files);
    else if (strcmp(message->method, "check_many") == 0)
        reply_many(&out, message->id);
    else
        reply_check(&out, message->id);
    must(!out.failed);
    bool cut = choice >= 196 && choice < 200;
    send_with(client, out.data, cut ? out.size / 2 : out.size, files, count);
    wire_buffer_fini(&out);
    for (unsigned i = 0; i < 3; i++)
        if (files[i] >= 0)
            (void)close(files[i]);
    return !cut;
}

/* ---- the connection ---------------------------------------------------------------------------------------------- */

/* Requests come one at a time, each whole in one read: they are the library's. False: the connection has ended. */
static bool read_request(int client)
{
    static char bytes[65536];
    struct wire_message message;
    ssize_t got = recv(client, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got <= 0)
        return false;
    must(wire_take(bytes, (size_t)got, &message) == 1 && message.kind == WIRE_REQUEST);
    bool goes_on = answer(client, &message);
    wire_message_fini(&message);
    return goes_on;
}

static void *serve(void *unused)
{
    struct pollfd polled[3] = {{.fd = sidecar.stop[0], .events = POLLIN},
                               {.fd = sidecar.listener, .events = POLLIN},
                               {.fd = -1, .events = POLLIN}};
    (void)unused;
    while (poll(polled, 3, -1) > 0 && polled[0].revents == 0) {
        if (polled[2].revents != 0 && !read_request(polled[2].fd)) {
            (void)close(polled[2].fd);
            polled[2].fd = -1;
        }
        if (polled[1].revents != 0 && polled[2].fd < 0)
            polled[2].fd = accept4(sidecar.listener, NULL, NULL, SOCK_CLOEXEC);
    }
    if (polled[2].fd >= 0)
        (void)close(polled[2].fd);
    return NULL;
}

static void remove_folder(void)
{
    (void)unlink(sidecar.address.sun_path);
    (void)rmdir(sidecar.folder);
}

static void start(void)
{
    (void)snprintf(sidecar.folder, sizeof sidecar.folder, "/tmp/permtab-fuzz-XXXXXX");
    must(mkdtemp(sidecar.folder) != NULL && atexit(remove_folder) == 0);
    sidecar.address.sun_family = AF_UNIX;
    (void)snprintf(sidecar.address.sun_path, sizeof sidecar.address.sun_path, "%s/s", sidecar.folder);
    sidecar.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(sidecar.listener >= 0 &&
         bind(sidecar.listener, (struct sockaddr *)&sidecar.address, sizeof sidecar.address) == 0 &&
         listen(sidecar.listener, 16) == 0);
    (void)segment_world();
}

/* ---- the client -------------------------------------------------------------------------------------------------- */

static bool allowed; /* by any answer */

static void note(enum permtab_decision decision)
{
    must(decision >= PERMTAB_UNKNOWN && decision <= PERMTAB_ALLOW);
    allowed |= decision == PERMTAB_ALLOW;
}

static void ask(struct permtab *table)
{
    permtab_perm perm = {0}, other = {0};
    permtab_type channel = {0};
    struct permtab_view view;
    struct permtab_rule *rule;
    struct permtab_query queries[QUERIES];
    enum permtab_decision decisions[QUERIES];
    size_t at;
    (void)!permtab_permission(table, "a.b", &perm);
    (void)!permtab_scope_type(table, "channel", &channel);
    for (uint64_t user = 0; user < 3; user++) {
        note(permtab_peek(table, user, permtab_at(channel, user), perm));
        note(permtab_check(table, user, permtab_at(channel, user), perm));
        note(permtab_check_owned(table, user, permtab_at(channel, 1), perm, user));
        queries[user] =
            (struct permtab_query){.user = user + 20, .scope = permtab_at(channel, user), .perm = perm};
    }
    note(permtab_check_at(table, 5, permtab_at(channel, 0), perm, (struct permtab_token){1, 3}));
    if (permtab_check_many(table, queries, QUERIES, decisions) >= 0)
        for (unsigned i = 0; i < QUERIES; i++)
            note(decisions[i]);
    if (permtab_view_get(table, 6, permtab_at(channel, 0), &view) == 0) {
        (void)permtab_view_current(&view);
        note(permtab_view_has(&view, perm, true));
        if (permtab_rule_compile(table, "a.b AND NOT c OR ALL(a.*)", &rule, &at) == 0) {
            note(permtab_rule_eval(&view, rule, false));
            permtab_rule_free(rule);
        }
    }
    (void)!permtab_permission(table, "c", &other);
    (void)!permtab_refresh(table);
    note(permtab_check(table, 7, permtab_at(channel, 2), other));
    must(permtab_why_text(table) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Short, because many replies do not come; a failed attempt is followed by no second one. */
    static const struct permtab_options options = {
        .size = sizeof options, .open_ms = 50, .check_ms = 10, .server_uid = -1};
    struct permtab *table;
    pthread_t thread;
    if (sidecar.listener == 0)
        start();
    sidecar.choices = choices_of(data, size);
    sidecar.said_allow = allowed = false;
    must(pipe2(sidecar.stop, O_CLOEXEC) == 0);
    must(pthread_create(&thread, NULL, serve, NULL) == 0);
    if (permtab_open(&table, sidecar.address.sun_path, &options) == 0) {
        ask(table);
        permtab_close(table);
    }
    (void)close(sidecar.stop[1]);
    must(pthread_join(thread, NULL) == 0);
    (void)close(sidecar.stop[0]);
    for (int late; (late = accept4(sidecar.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        (void)close(late);
    must(!allowed || sidecar.said_allow);
    return 0;
}
