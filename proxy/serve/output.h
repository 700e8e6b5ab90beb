/* The output queue of one client: messages, some with descriptors. libevent's own buffers do not pass descriptors,
 * hence this queue over sendmsg. */
#ifndef PERMTAB_SERVE_OUTPUT_H
#define PERMTAB_SERVE_OUTPUT_H

#include "client/wire/wire.h"

#include <stdbool.h>
#include <stddef.h>

#define OUTPUT_DESCRIPTORS_MAX 2

struct output_chunk;

struct output {
    struct output_chunk *head;
    struct output_chunk **tail;
    size_t size;          /* bytes not sent yet */
    unsigned descriptors; /* not sent yet: each is one of this process' own until then */
};

void output_init(struct output *output);
/* Frees messages and closes descriptors that were not sent. */
void output_fini(struct output *output);
/* Appends the buffer's message and empties the buffer, taking its memory. The descriptors go out with the
 * first byte; they are taken over, also on failure. PERMTAB_E_MEMORY. */
int output_put(struct output *output, struct wire_buffer *message, const int *descriptors,
               unsigned count) PERMTAB_MUST_CHECK;
/* Sends as much as the socket takes without blocking. 0, or PERMTAB_E_SYSTEM when the peer is gone. */
int output_send(struct output *output, int socket) PERMTAB_MUST_CHECK;

#endif
