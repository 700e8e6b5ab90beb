/* The answers of the fake sidecar, and the lies that it was told to tell. */
#include "tests/support/fake_sidecar_private.h"

#include "client/channel.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void send_reply(struct fake_connection *connection, struct wire_buffer *reply, const int *descriptors,
                       size_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec piece = {.iov_base = reply->data, .iov_len = reply->size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    fake_require(!reply->failed, "reply");
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
    wire_u64(reply, fake->lease_ns / 1000000u);
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
        fake_require(connection->feedback >= 0, "memfd_create");
        fake_require(ftruncate(connection->feedback, (off_t)fake->feedback_size) == 0, "ftruncate");
        connection->feedback_size = fake->feedback_size;
        fake_require(fcntl(connection->feedback, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0,
                     "seals");
    }
    int descriptors[2] = {segment->descriptor, connection->feedback};
    int bare = -1;
    if (fake->unsealed) {
        bare = memfd_create("bare", MFD_CLOEXEC);
        fake_require(bare >= 0 && write(bare, segment->header, segment->size) == (ssize_t)segment->size,
                     "bare");
        descriptors[0] = bare;
    }
    wire_reply(reply, id, 4);
    wire_str(reply, "segment_id");
    wire_u64(reply, segment->header->identity.segment_id);
    wire_str(reply, "size");
    wire_u64(reply, segment->size + (fake->truncated ? 4096 : 0));
    wire_str(reply, "feedback_size");
    wire_u64(reply, connection->feedback_size);
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
        wire_str(reply, fake_permissions[bit]);
        wire_u64(reply, bit);
        wire_u64(reply, bit == 0 && fake->gone ? 2 : 0);
    }
    wire_str(reply, "scope_types");
    wire_array(reply, FAKE_TYPES);
    for (uint32_t type = 0; type < FAKE_TYPES; type++)
        wire_str(reply, fake_types[type]);
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
        if (strcmp(name, fake_permissions[bit]) != 0)
            continue;
        if (fake->fill)
            fake_table_put(fake, user_id, scope_id);
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

static void hold(struct fake *fake)
{
    while (fake->hold)
        pthread_cond_wait(&fake->released, &fake->lock);
}

void fake_release(struct fake *fake)
{
    fake_lock(fake);
    fake->hold = false;
    pthread_cond_broadcast(&fake->released);
    fake_unlock(fake);
}

void fake_answer(struct fake *fake, struct fake_connection *connection, const struct wire_message *message)
{
    struct wire_buffer reply;
    bool check = strcmp(message->method, "check") == 0 || strcmp(message->method, "check_many") == 0;
    if (fake->mute)
        return;
    if (check && fake->fickle)
        segment_catalogue_set_writer(&fake->segments[fake->segment_count - 1], ++fake->catalogue);
    if (check && (fake->hang_up || fake->hang_ups > 0 || fake->fickle)) {
        fake->hang_ups -= fake->hang_ups > 0;
        fake->fickle = false;
        fake_connection_close(connection);
        return;
    }
    if (check)
        hold(fake);
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
