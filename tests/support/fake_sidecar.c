/* The fake sidecar's life and its connections. One poll loop; every turn renews the lease, so a turn is short. */
#include "tests/support/fake_sidecar_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void fake_require(bool good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

void fake_lock(struct fake *fake)
{
    pthread_mutex_lock(&fake->lock);
}

void fake_unlock(struct fake *fake)
{
    pthread_mutex_unlock(&fake->lock);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

/* The feedback stays open: fake_feedback counts it in. */
void fake_connection_close(struct fake_connection *connection)
{
    if (connection->socket >= 0)
        close(connection->socket);
    connection->socket = -1;
    connection->size = 0;
}

static void connection_read(struct fake *fake, struct fake_connection *connection)
{
    if (connection->capacity - connection->size < 65536) {
        connection->capacity = connection->capacity * 2 + 65536;
        connection->input = realloc(connection->input, connection->capacity);
        fake_require(connection->input != NULL, "realloc");
    }
    ssize_t count = recv(connection->socket, connection->input + connection->size,
                         connection->capacity - connection->size, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN)) {
        fake_connection_close(connection);
        return;
    }
    connection->size += count > 0 ? (size_t)count : 0;
    struct wire_message message;
    int taken = 1;
    while (connection->socket >= 0 &&
           (taken = wire_take(connection->input, connection->size, &message)) == 1) {
        fake_answer(fake, connection, &message);
        if (connection->socket >= 0) {
            connection->size -= message.size;
            memmove(connection->input, connection->input + message.size, connection->size);
        }
        wire_message_fini(&message);
    }
    if (taken < 0)
        fake_connection_close(connection);
}

static void add_feedback(const struct fake_connection *connection, struct permtab_shm_feedback_line *sum)
{
    struct permtab_shm_feedback_line line[PERMTAB_SHM_FEEDBACK_LINES];
    if (connection->feedback < 0 ||
        pread(connection->feedback, line, sizeof(line), 0) != (ssize_t)sizeof(line))
        return;
    for (unsigned i = 0; i < PERMTAB_SHM_FEEDBACK_LINES; i++) {
        sum->hits += line[i].hits;
        sum->misses += line[i].misses;
        sum->unknowns += line[i].unknowns;
        sum->samples += line[i].samples;
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
        fake_table_renew(fake);
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
    fake_require(fake->listener >= 0, "socket");
    fake_require(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    fake_require(listen(fake->listener, 64) == 0, "listen");
    fake_require(pipe2(fake->wake, O_CLOEXEC) == 0, "pipe2");
    fake_require(pthread_create(&fake->thread, NULL, serve, fake) == 0, "pthread_create");
}

void fake_start(struct fake *fake)
{
    memset(fake, 0, sizeof(*fake));
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->released, NULL);
    (void)snprintf(fake->folder, sizeof(fake->folder), "/tmp/permtab-test-XXXXXX");
    fake_require(mkdtemp(fake->folder) != NULL, "mkdtemp");
    (void)snprintf(fake->path, sizeof(fake->path), "%s/permtab.sock", fake->folder);
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
        fake->connections[i] = (struct fake_connection){.socket = -1, .feedback = -1};
    fake->fill = fake->renew = true;
    fake->layout = PERMTAB_SHM_LAYOUT;
    fake->lease_ns = fake->reply_ns = 2000000000;
    fake->revision = 10;
    fake->catalogue = 1;
    fake->feedback_size = sizeof(struct permtab_shm_feedback);
    fake_table_new(fake);
    fake_resume(fake);
}

void fake_suspend(struct fake *fake)
{
    fake_require(write(fake->wake[1], "x", 1) == 1, "write");
    pthread_join(fake->thread, NULL);
    close(fake->wake[0]);
    close(fake->wake[1]);
    close(fake->listener);
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
        fake_connection_close(&fake->connections[i]);
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
    pthread_cond_destroy(&fake->released);
    pthread_mutex_destroy(&fake->lock);
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

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

void fake_samples(struct fake *fake, struct permtab_shm_sample out[PERMTAB_SHM_FEEDBACK_SAMPLES])
{
    const size_t size = PERMTAB_SHM_FEEDBACK_SAMPLES * sizeof(out[0]);
    unsigned found = 0;
    fake_lock(fake);
    for (unsigned i = 0; i < FAKE_CONNECTIONS; i++)
        if (fake->connections[i].socket >= 0 && fake->connections[i].feedback >= 0) {
            fake_require(pread(fake->connections[i].feedback, out, size,
                               offsetof(struct permtab_shm_feedback, sample)) == (ssize_t)size,
                         "pread");
            found++;
        }
    fake_unlock(fake);
    fake_require(found == 1, "one connection");
}
