/* See fake_sidecar.h. One poll loop; every turn renews the lease, so a turn is short. */
#include "fake_sidecar.h"

#include "client/channel.h"
#include "shm/order.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *const permissions[FAKE_PERMISSIONS] = {"a.read",  "a.write", "b.read",
                                                          "b.write", "c",       "d.late"};
static const char *const types[] = {"global", "server", "channel"};
enum { GLOBAL, SERVER, CHANNEL, TYPES };

static void require(bool good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

bool fake_allows(uint64_t user, uint64_t scope, uint32_t bit, bool own)
{
    bool any = (user + scope + bit) % 2 == 0;
    return any || (own && bit % 3 == 0);
}

void fake_lock(struct fake *fake)
{
    pthread_mutex_lock(&fake->lock);
}

void fake_unlock(struct fake *fake)
{
    pthread_mutex_unlock(&fake->lock);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void write_sets(struct fake *fake)
{
    for (uint64_t parity = 0; parity < 2; parity++) {
        uint64_t any = 0, own = 0;
        for (uint32_t bit = 0; bit < FAKE_PERMISSIONS; bit++) {
            any |= (uint64_t)fake_allows(parity, 0, bit, false) << bit;
            own |= (uint64_t)fake_allows(parity, 0, bit, true) << bit;
        }
        set_close_writer(&fake->segments[fake->segment_count - 1], fake->set_of[parity]);
        set_write_writer(&fake->segments[fake->segment_count - 1], fake->set_of[parity], &any, &own);
        set_open_writer(&fake->segments[fake->segment_count - 1], fake->set_of[parity]);
    }
}

static void renew(struct fake *fake)
{
    if (fake->renew && fake->segment_count > 0)
        segment_lease_writer(&fake->segments[fake->segment_count - 1], channel_clock_ns() + fake->lease_ns);
}

static void new_segment(struct fake *fake)
{
    const struct segment_options options = {.permissions_max = 64,
                                            .entries = 4000,
                                            .sets = 8,
                                            .folds = 8,
                                            .targets = 4,
                                            .store_id = FAKE_STORE_ID};
    require(fake->segment_count < FAKE_SEGMENTS, "too many segments");
    struct segment *segment = &fake->segments[fake->segment_count];
    require(segment_new(segment, &options) == 0, "segment_new");
    fake->segment_count++;
    if (fake->segment_count > 1)
        set_pool_fini(&fake->sets);
    require(set_pool_init(&fake->sets, segment) == 0, "set_pool_init");
    fake->map = (struct map){.buckets = segment->map,
                             .home_count = segment->table.map_buckets,
                             .hash_seed = segment->table.hash_seed};
    for (uint32_t bit = 0; bit < FAKE_PERMISSIONS; bit++)
        segment_name_set_writer(segment, bit, permissions[bit]);
    for (uint32_t type = 0; type < TYPES; type++)
        segment_type_set_writer(segment, type, types[type]);
    segment_catalogue_set_writer(segment, fake->catalogue);
    fake->set_of[0] = set_take_writer(&fake->sets, channel_clock_ns());
    fake->set_of[1] = set_take_writer(&fake->sets, channel_clock_ns());
    write_sets(fake);
    segment_applied_writer(segment, fake->revision);
    segment_publish_writer(segment);
    renew(fake);
}

static void put(struct fake *fake, uint64_t user, uint64_t scope)
{
    struct map_key key = {.key0 = user, .key1 = scope, .type = CHANNEL};
    if (map_writer_find(&fake->map, key) != MAP_NO_SLOT)
        return;
    uint32_t slot = map_writer_vacancy(&fake->map, key);
    require(slot != MAP_NO_SLOT, "the fake's table is full");
    map_insert_writer(&fake->map, slot, key, fake->set_of[(user + scope) % 2]);
}

void fake_put(struct fake *fake, uint64_t user, uint64_t scope)
{
    fake_lock(fake);
    put(fake, user, scope);
    fake_unlock(fake);
}

void fake_remove(struct fake *fake, uint64_t user, uint64_t scope)
{
    struct map_key key = {.key0 = user, .key1 = scope, .type = CHANNEL};
    fake_lock(fake);
    uint32_t slot = map_writer_find(&fake->map, key);
    if (slot != MAP_NO_SLOT)
        map_clear_writer(&fake->map, slot);
    fake_unlock(fake);
}

void fake_rewrite(struct fake *fake)
{
    fake_lock(fake);
    write_sets(fake);
    fake_unlock(fake);
}

void fake_retire(struct fake *fake, bool end_lease)
{
    fake_lock(fake);
    new_segment(fake);
    struct segment *old = &fake->segments[fake->segment_count - 2];
    segment_retire_writer(old);
    if (end_lease)
        segment_disbelieve_writer(old);
    fake_unlock(fake);
}

void fake_set_revision(struct fake *fake, uint64_t revision)
{
    fake_lock(fake);
    fake->revision = revision;
    segment_applied_writer(&fake->segments[fake->segment_count - 1], revision);
    fake_unlock(fake);
}

void fake_set_catalogue(struct fake *fake, bool late, bool gone)
{
    fake_lock(fake);
    fake->late = late;
    fake->gone = gone;
    fake->catalogue++;
    segment_catalogue_set_writer(&fake->segments[fake->segment_count - 1], fake->catalogue);
    fake_unlock(fake);
}

/* ---- replies ------------------------------------------------------------------------------------------------------ */

static void send_reply(struct fake_connection *connection, struct wire_buffer *reply, const int *descriptors,
                       size_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec piece = {.iov_base = reply->data, .iov_len = reply->size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    require(!reply->failed, "reply");
    if (count > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
    }
    (void)sendmsg(connection->socket, &message, MSG_NOSIGNAL);
}

static void reply_hello(struct fake *fake, struct wire_buffer *reply, uint64_t id)
{
    fake->counts.hellos++;
    wire_reply(reply, id, 7);
    wire_str(reply, "protocol");
    wire_u64(reply, WIRE_PROTOCOL);
    wire_str(reply, "layout");
    wire_u64(reply, fake->layout);
    wire_str(reply, "server");
    wire_str(reply, "fake");
    wire_str(reply, "store_id");
    wire_u64(reply, FAKE_STORE_ID);
    wire_str(reply, "revision");
    wire_u64(reply, fake->revision);
    wire_str(reply, "permissions_max");
    wire_u64(reply, 64);
    wire_str(reply, "max_staleness_ms");
    wire_u64(reply, 2000);
}

static void reply_attach(struct fake *fake, struct fake_connection *connection, struct wire_buffer *reply,
                         uint64_t id)
{
    const struct segment *segment = &fake->segments[fake->segment_count - 1];
    fake->counts.attaches++;
    if (fake->attach_code != 0) {
        wire_reply_error(reply, id, fake->attach_code, "not now");
        send_reply(connection, reply, NULL, 0);
        return;
    }
    if (connection->feedback < 0) {
        connection->feedback = memfd_create("feedback", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        require(connection->feedback >= 0, "memfd_create");
        require(ftruncate(connection->feedback, sizeof(struct permtab_shm_feedback)) == 0, "ftruncate");
        require(fcntl(connection->feedback, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0,
                "seals");
    }
    int descriptors[2] = {segment->descriptor, connection->feedback};
    int bare = -1;
    if (fake->unsealed) {
        bare = memfd_create("bare", MFD_CLOEXEC);
        require(bare >= 0 && write(bare, segment->header, segment->size) == (ssize_t)segment->size, "bare");
        descriptors[0] = bare;
    }
    wire_reply(reply, id, 4);
    wire_str(reply, "segment_id");
    wire_u64(reply, segment->header->identity.segment_id);
    wire_str(reply, "size");
    wire_u64(reply, segment->size + (fake->truncated ? 4096 : 0));
    wire_str(reply, "feedback_size");
    wire_u64(reply, sizeof(struct permtab_shm_feedback));
    wire_str(reply, "clock");
    wire_u64(reply, channel_clock_ns() + (uint64_t)fake->clock_off);
    send_reply(connection, reply, descriptors, 2);
    if (bare >= 0)
        close(bare);
}

static void reply_catalogue(struct fake *fake, struct wire_buffer *reply, uint64_t id,
                            const struct wire_value *params)
{
    uint32_t count = fake->late ? FAKE_PERMISSIONS : FAKE_PERMISSIONS - 1;
    uint64_t from = 0;
    bool paged = fake->page > 0 && wire_as_u64(wire_get(params, "from"), &from);
    uint32_t end = paged && from + fake->page < count ? (uint32_t)from + fake->page : count;
    fake->counts.catalogues++;
    wire_reply(reply, id, paged ? 4 : 3);
    if (paged) {
        wire_str(reply, "next");
        if (end < count)
            wire_u64(reply, end);
        else
            wire_nil(reply);
    }
    wire_str(reply, "catalogue");
    wire_u64(reply, fake->catalogue + fake->restless);
    fake->restless -= fake->restless > 0;
    wire_str(reply, "permissions");
    wire_array(reply, end - (uint32_t)from);
    for (uint32_t bit = (uint32_t)from; bit < end; bit++) {
        wire_array(reply, 3);
        wire_str(reply, permissions[bit]);
        wire_u64(reply, bit);
        wire_u64(reply, bit == 0 && fake->gone ? 2 : 0);
    }
    wire_str(reply, "scope_types");
    wire_array(reply, TYPES);
    for (uint32_t type = 0; type < TYPES; type++)
        wire_str(reply, types[type]);
}

/* The decision for one question, or a code; fills the table when told to. */
static int judge(struct fake *fake, const struct wire_value *user, const struct wire_value *scope,
                 const struct wire_value *permission, const struct wire_value *owner)
{
    char text[64], name[128];
    uint64_t user_id, owner_id = 0, scope_id;
    bool owned = !wire_is_nil(owner);
    if (!wire_as_id(user, &user_id) || !wire_as_text(scope, text, sizeof(text)) ||
        !wire_as_text(permission, name, sizeof(name)) || (owned && !wire_as_id(owner, &owner_id)))
        return PERMTAB_E_INVALID;
    if (strncmp(text, "channel:", 8) != 0)
        return PERMTAB_E_NO_SCOPE_TYPE;
    scope_id = strtoull(text + 8, NULL, 10);
    for (uint32_t bit = 0; bit < FAKE_PERMISSIONS; bit++) {
        if (strcmp(name, permissions[bit]) != 0)
            continue;
        if (fake->fill)
            put(fake, user_id, scope_id);
        return fake_allows(user_id, scope_id, bit, owned && owner_id == user_id) ? 1 : 0;
    }
    return PERMTAB_E_NO_PERMISSION;
}

static uint64_t reply_deadline(const struct fake *fake)
{
    uint64_t now = channel_clock_ns();
    return fake->reply_ns > 0 ? now + fake->reply_ns : now - 1;
}

static void reply_check(struct fake *fake, struct wire_buffer *reply, uint64_t id,
                        const struct wire_value *params)
{
    const struct wire_value *token = wire_get(params, "token");
    uint64_t store_id = FAKE_STORE_ID;
    fake->counts.checks++;
    int decision = judge(fake, wire_get(params, "user"), wire_get(params, "scope"),
                         wire_get(params, "permission"), wire_get(params, "owner"));
    if (token != NULL && (!wire_as_id(wire_get(token, "store_id"), &store_id) || store_id != FAKE_STORE_ID))
        decision = PERMTAB_E_BEHIND;
    if (decision < 0) {
        wire_reply_error(reply, id, decision, "the fake says no");
        return;
    }
    if (token != NULL) { /* catches up, as a sidecar does */
        uint64_t wanted = 0;
        if (wire_as_id(wire_get(token, "revision"), &wanted) && wanted > fake->revision)
            fake->revision = wanted;
    }
    wire_reply(reply, id, 3);
    wire_str(reply, "decision");
    wire_i64(reply, decision);
    wire_str(reply, "revision");
    wire_u64(reply, fake->revision);
    wire_str(reply, "deadline");
    wire_u64(reply, reply_deadline(fake));
}

static void reply_many(struct fake *fake, struct wire_buffer *reply, uint64_t id,
                       const struct wire_value *params)
{
    const struct wire_value *queries = wire_get(params, "queries");
    size_t count = 0;
    fake->counts.many++;
    if (!wire_as_array(queries, &count) || count > 10000) {
        wire_reply_error(reply, id, PERMTAB_E_LIMIT, "too many queries");
        return;
    }
    fake->counts.queries += (unsigned)count;
    wire_reply(reply, id, 3);
    wire_str(reply, "decisions");
    wire_array(reply, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const struct wire_value *query = wire_item(queries, i);
        int decision =
            judge(fake, wire_item(query, 0), wire_item(query, 1), wire_item(query, 2), wire_item(query, 3));
        wire_i64(reply, decision >= 0 ? decision : -1);
    }
    wire_str(reply, "revision");
    wire_u64(reply, fake->revision);
    wire_str(reply, "deadline");
    wire_u64(reply, reply_deadline(fake));
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

/* The feedback stays open: fake_feedback counts it in. */
static void connection_close(struct fake_connection *connection)
{
    if (connection->socket >= 0)
        close(connection->socket);
    connection->socket = -1;
    connection->size = 0;
}

static void chat(struct fake_connection *connection)
{
    struct wire_buffer message;
    wire_buffer_init(&message);
    wire_notify(&message, "invalidated", 2);
    wire_str(&message, "revision");
    wire_u64(&message, 1);
    wire_str(&message, "targets");
    wire_array(&message, 1);
    wire_str(&message, "all");
    for (int i = 0; i < 3; i++)
        send_reply(connection, &message, NULL, 0);
    wire_buffer_fini(&message);
}

static void send_stray(struct fake *fake, struct fake_connection *connection, uint32_t id)
{
    struct wire_buffer message;
    wire_buffer_init(&message);
    wire_reply(&message, id, 3);
    wire_str(&message, "decision");
    wire_i64(&message, 1);
    wire_str(&message, "revision");
    wire_u64(&message, fake->revision);
    wire_str(&message, "deadline");
    wire_u64(&message, channel_clock_ns() + 1000000000u);
    send_reply(connection, &message, NULL, 0);
    wire_buffer_fini(&message);
}

static void answer(struct fake *fake, struct fake_connection *connection, const struct wire_message *message)
{
    struct wire_buffer reply;
    bool check = strcmp(message->method, "check") == 0 || strcmp(message->method, "check_many") == 0;
    if (fake->mute)
        return;
    if (check && fake->hang_up) {
        connection_close(connection);
        return;
    }
    if (check && fake->delay_ms > 0) {
        struct timespec pause = {.tv_nsec = (long)fake->delay_ms * 1000000};
        nanosleep(&pause, NULL);
    }
    if (fake->chatty)
        chat(connection);
    if (fake->strays && check)
        send_stray(fake, connection, message->id + 1);
    wire_buffer_init(&reply);
    if (strcmp(message->method, "attach") == 0) {
        reply_attach(fake, connection, &reply, message->id);
    } else {
        if (strcmp(message->method, "hello") == 0)
            reply_hello(fake, &reply, message->id);
        else if (strcmp(message->method, "catalogue") == 0)
            reply_catalogue(fake, &reply, message->id, message->params);
        else if (strcmp(message->method, "check") == 0)
            reply_check(fake, &reply, message->id, message->params);
        else if (strcmp(message->method, "check_many") == 0)
            reply_many(fake, &reply, message->id, message->params);
        else
            wire_reply_error(&reply, message->id, PERMTAB_E_INVALID, "no such method");
        send_reply(connection, &reply, NULL, 0);
    }
    wire_buffer_fini(&reply);
}

static void connection_read(struct fake *fake, struct fake_connection *connection)
{
    if (connection->capacity - connection->size < 65536) {
        connection->capacity = connection->capacity * 2 + 65536;
        connection->input = realloc(connection->input, connection->capacity);
        require(connection->input != NULL, "realloc");
    }
    ssize_t count = recv(connection->socket, connection->input + connection->size,
                         connection->capacity - connection->size, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN)) {
        connection_close(connection);
        return;
    }
    connection->size += count > 0 ? (size_t)count : 0;
    struct wire_message message;
    int taken = 1;
    while (connection->socket >= 0 &&
           (taken = wire_take(connection->input, connection->size, &message)) == 1) {
        answer(fake, connection, &message);
        if (connection->socket >= 0) {
            connection->size -= message.size;
            memmove(connection->input, connection->input + message.size, connection->size);
        }
        wire_message_fini(&message);
    }
    if (taken < 0)
        connection_close(connection);
}

static void add_feedback(const struct fake_connection *connection, struct permtab_shm_feedback_line *sum)
{
    struct permtab_shm_feedback feedback;
    if (connection->feedback < 0 ||
        pread(connection->feedback, &feedback, sizeof(feedback), 0) != (ssize_t)sizeof(feedback))
        return;
    for (unsigned line = 0; line < PERMTAB_SHM_FEEDBACK_LINES; line++) {
        sum->hits += feedback.line[line].hits;
        sum->misses += feedback.line[line].misses;
        sum->unknowns += feedback.line[line].unknowns;
    }
}

/* Connections that have ended keep their feedback until their place is wanted. */
static void forget_ended(struct fake *fake)
{
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++) {
        struct fake_connection *connection = &fake->connections[i];
        if (connection->socket >= 0 || connection->feedback < 0)
            continue;
        add_feedback(connection, &fake->ended);
        close(connection->feedback);
        connection->feedback = -1;
    }
}

static void take_connection(struct fake *fake)
{
    int socket = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
    if (socket < 0)
        return;
    if (++fake->counts.connects % (FAKE_CONNECTIONS / 2) == 0)
        forget_ended(fake);
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++) {
        struct fake_connection *connection = &fake->connections[i];
        if (connection->socket < 0 && connection->feedback < 0) {
            connection->socket = socket;
            return;
        }
    }
    close(socket);
}

static void *serve(void *context)
{
    struct fake *fake = context;
    for (;;) {
        struct pollfd polled[FAKE_CONNECTIONS + 2];
        fake_lock(fake);
        renew(fake);
        polled[0] = (struct pollfd){.fd = fake->wake[0], .events = POLLIN};
        polled[1] = (struct pollfd){.fd = fake->listener, .events = POLLIN};
        for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
            polled[i + 2] = (struct pollfd){.fd = fake->connections[i].socket, .events = POLLIN};
        fake_unlock(fake);
        (void)poll(polled, FAKE_CONNECTIONS + 2, 10);
        if (polled[0].revents != 0)
            return NULL;
        fake_lock(fake);
        if ((polled[1].revents & POLLIN) != 0)
            take_connection(fake);
        for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
            if (polled[i + 2].revents != 0 && fake->connections[i].socket == polled[i + 2].fd)
                connection_read(fake, &fake->connections[i]);
        fake_unlock(fake);
    }
}

void fake_resume(struct fake *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake->path);
    (void)unlink(fake->path);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    require(fake->listener >= 0, "socket");
    require(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    require(listen(fake->listener, 64) == 0, "listen");
    require(pipe2(fake->wake, O_CLOEXEC) == 0, "pipe2");
    require(pthread_create(&fake->thread, NULL, serve, fake) == 0, "pthread_create");
}

void fake_start(struct fake *fake)
{
    memset(fake, 0, sizeof(*fake));
    pthread_mutex_init(&fake->lock, NULL);
    (void)snprintf(fake->folder, sizeof(fake->folder), "/tmp/permtab-test-XXXXXX");
    require(mkdtemp(fake->folder) != NULL, "mkdtemp");
    (void)snprintf(fake->path, sizeof(fake->path), "%s/permtab.sock", fake->folder);
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
        fake->connections[i] = (struct fake_connection){.socket = -1, .feedback = -1};
    fake->fill = fake->renew = true;
    fake->layout = PERMTAB_SHM_LAYOUT;
    fake->lease_ns = fake->reply_ns = 2000000000;
    fake->revision = 10;
    fake->catalogue = 1;
    new_segment(fake);
    fake_resume(fake);
}

void fake_suspend(struct fake *fake)
{
    require(write(fake->wake[1], "x", 1) == 1, "write");
    pthread_join(fake->thread, NULL);
    close(fake->wake[0]);
    close(fake->wake[1]);
    close(fake->listener);
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
        connection_close(&fake->connections[i]);
}

void fake_stop(struct fake *fake)
{
    fake_suspend(fake);
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++) {
        if (fake->connections[i].feedback >= 0)
            close(fake->connections[i].feedback);
        free(fake->connections[i].input);
    }
    set_pool_fini(&fake->sets);
    for (unsigned i = 0; i < fake->segment_count; i++)
        segment_free(&fake->segments[i]);
    (void)unlink(fake->path);
    (void)rmdir(fake->folder);
    pthread_mutex_destroy(&fake->lock);
}

/* ---- looking ------------------------------------------------------------------------------------------------------- */

struct fake_counts fake_counts(struct fake *fake)
{
    fake_lock(fake);
    struct fake_counts counts = fake->counts;
    fake_unlock(fake);
    return counts;
}

unsigned fake_open_connections(struct fake *fake)
{
    unsigned count = 0;
    fake_lock(fake);
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
        count += fake->connections[i].socket >= 0;
    fake_unlock(fake);
    return count;
}

struct permtab_shm_feedback_line fake_feedback(struct fake *fake)
{
    fake_lock(fake);
    struct permtab_shm_feedback_line sum = fake->ended;
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
        add_feedback(&fake->connections[i], &sum);
    fake_unlock(fake);
    return sum;
}
