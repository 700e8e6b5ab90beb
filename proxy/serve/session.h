/* A session: one connected client, its bytes in and out, its limits. On the loop's thread. What the messages mean is the
 * business of request.c. */
#ifndef PERMTAB_SERVE_SESSION_H
#define PERMTAB_SERVE_SESSION_H

#include "client/wire/wire.h"
#include "proxy/answer/answer.h"
#include "proxy/serve/feedback.h"
#include "proxy/serve/output.h"
#include "proxy/serve/server.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SESSION_NAME_SIZE       48
#define SESSION_DESCRIPTORS_MAX 4

struct request;
struct subscriber;

struct session {
    struct server *server;
    struct session *next;
    struct session **previous; /* what points at us */
    uint64_t number;
    int socket; /* -1 once closed */
    pid_t pid;
    uid_t uid;
    uint64_t begun_ns;

    bool greeted;                 /* said hello */
    uint32_t layout;              /* that it was compiled for; 0 for none */
    char name[SESSION_NAME_SIZE]; /* that it gave, made printable */
    struct feedback *feedback;    /* once attached */

    struct event *readable;
    struct event *writable;
    bool corked;      /* replies are queued, and sent together when the turn ends */
    bool turn_queued; /* in the server's queue of turns */
    struct session *turn_next;
    struct session *turn_previous;
    struct wire_scan scan; /* how far the message at the front of `input` has been looked at */
    char *input;
    size_t input_size, input_capacity;
    uint64_t partial_since_ns; /* a message stands incomplete, or no hello came; 0: nothing is awaited */
    int descriptors[SESSION_DESCRIPTORS_MAX]; /* received and not taken yet, oldest first */
    unsigned descriptor_count;

    struct output output;
    uint64_t output_since_ns; /* nothing could be sent since; 0: nothing waits */

    struct request *requests; /* under way */
    unsigned request_count;
    size_t query_count; /* of check_many, under way */
    bool exported;      /* a document, that it may not have taken from its socket yet */
    struct ask_flow flow;
    struct subscriber *subscriber; /* NULL when it is told nothing */
};

/* Takes the descriptor over. PERMTAB_E_MEMORY, PERMTAB_E_SYSTEM (closed then). */
int session_new(struct server *server, int descriptor) PERMTAB_MUST_CHECK;
/* Ends it; `reason` goes to the log. Freed when the loop comes round: callers may still look at it, at nothing else. */
void session_close(struct session *session, const char *reason);
/* Only by the server, for closed ones. */
void session_free(struct session *session);
/* Queues a message and sends what can be sent. Descriptors and the buffer's memory are taken over. */
void session_send(struct session *session, struct wire_buffer *message, const int *descriptors,
                  unsigned count);
/* The oldest descriptor received, now the caller's; -1 when there is none. */
int session_take_descriptor(struct session *session);
/* Whether nobody is at the other end any more, though there may be bytes of theirs to read. */
bool session_peer_left(const struct session *session);
/* A request has ended: reading may go on. */
void session_request_ended(struct session *session);
/* The next turn of whoever has sent more than a turn takes: one session, a few messages. */
void session_turn(struct server *server);
/* Time limits and feedback. */
void session_sweep(struct session *session, uint64_t now_ns);

#endif
