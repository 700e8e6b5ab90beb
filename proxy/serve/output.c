/* The output queue of a session. Messages without descriptors are sent many at a time; one with descriptors begins
 * a call of its own, so that they arrive with its first byte. The session limits how much may wait. */
#include "proxy/serve/output.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNKS_A_CALL 32

struct output_chunk {
    struct output_chunk *next;
    char *data;
    size_t size;
    size_t sent;
    unsigned descriptor_count; /* 0 once they are sent */
    int descriptors[OUTPUT_DESCRIPTORS_MAX];
};

void output_init(struct output *output)
{
    output->head = NULL;
    output->tail = &output->head;
    output->size = 0;
    output->descriptors = 0;
}

static void close_descriptors(struct output *output, struct output_chunk *chunk)
{
    for (unsigned i = 0; i < chunk->descriptor_count; i++)
        (void)close(chunk->descriptors[i]);
    output->descriptors -= chunk->descriptor_count;
    chunk->descriptor_count = 0;
}

static void drop_head(struct output *output)
{
    struct output_chunk *chunk = output->head;
    output->head = chunk->next;
    if (!output->head)
        output->tail = &output->head;
    close_descriptors(output, chunk);
    free(chunk->data);
    free(chunk);
}

void output_fini(struct output *output)
{
    while (output->head)
        drop_head(output);
    output->size = 0;
}

int output_put(struct output *output, struct wire_buffer *message, const int *descriptors, unsigned count)
{
    assert(count <= OUTPUT_DESCRIPTORS_MAX && message->size > 0);
    struct output_chunk *chunk = calloc(1, sizeof *chunk);
    if (!chunk) {
        for (unsigned i = 0; i < count; i++)
            (void)close(descriptors[i]);
        return PERMTAB_E_MEMORY;
    }
    chunk->data = message->data;
    chunk->size = message->size;
    chunk->descriptor_count = count;
    for (unsigned i = 0; i < count; i++)
        chunk->descriptors[i] = descriptors[i];
    wire_buffer_init(message);
    *output->tail = chunk;
    output->tail = &chunk->next;
    output->size += chunk->size;
    output->descriptors += count;
    return 0;
}

/* Gathers the first message, and those after it up to the next that bears descriptors. */
static int gather(const struct output *output, struct iovec parts[CHUNKS_A_CALL])
{
    int count = 0;
    for (struct output_chunk *chunk = output->head; chunk && count < CHUNKS_A_CALL; chunk = chunk->next) {
        if (count > 0 && chunk->descriptor_count > 0)
            break;
        parts[count].iov_base = chunk->data + chunk->sent;
        parts[count++].iov_len = chunk->size - chunk->sent;
    }
    return count;
}

static ssize_t send_some(struct output *output, int socket)
{
    struct iovec parts[CHUNKS_A_CALL];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * OUTPUT_DESCRIPTORS_MAX)];
    } control;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)gather(output, parts)};
    unsigned count = output->head->descriptor_count;
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(head), output->head->descriptors, sizeof(int) * count);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent > 0)
        close_descriptors(output, output->head);
    return sent;
}

int output_send(struct output *output, int socket)
{
    while (output->head) {
        ssize_t sent = send_some(output, socket);
        if (sent < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : PERMTAB_E_SYSTEM;
        output->size -= (size_t)sent;
        for (size_t left = (size_t)sent; left > 0;) {
            struct output_chunk *chunk = output->head;
            size_t taken = left < chunk->size - chunk->sent ? left : chunk->size - chunk->sent;
            chunk->sent += taken;
            left -= taken;
            if (chunk->sent == chunk->size)
                drop_head(output);
        }
    }
    return 0;
}
