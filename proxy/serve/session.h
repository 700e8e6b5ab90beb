/* A session: one connected client, its bytes in and out, its limits. On the loop's thread. request.c knows what the
 * messages mean. */
#ifndef PERMTAB_SERVE_SESSION_H
#define PERMTAB_SERVE_SESSION_H

#include "client/wire/wire.h"
#include "proxy/answer/answer.h"
#include "proxy/serve/feedback.h"
#include "proxy/serve/output.h"
#include "proxy/serve/server.h"
#include "proxy/table/use.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SESSION_NAME_SIZE       48
#define SESSION_DESCRIPTORS_MAX 4

struct request;
struct subscriber;

struct session {
    struct server *server;
    struct session *prev, *next; /* of the open ones, then `next` of the closed ones */
    uint64_t number;
    int socket; /* -1 once closed */
    pid_t pid;
    uid_t uid;
    uint64_t begun_ns;

    bool greeted;                 /* said hello */
    uint32_t layout;              /* the layout that the client was compiled for; 0 for none */
    char name[SESSION_NAME_SIZE]; /* the name that the client gave, made printable */
    struct feedback *feedback;    /* once attached */
    uint64_t segment_id;          /* of the table that it was handed last; 0: none */

    struct event *readable;
    struct event *writable;
    bool corked;      /* replies are queued, and sent together when the turn ends */
    bool turn_queued; /* in the server's queue of turns */
    struct session *turn_prev, *turn_next;
    struct wire_scan scan; /* how far the message at the front of `input` has been looked at */
    char *input;
    size_t input_size, input_capacity;
    /* since when a message is incomplete, or no hello came; 0: nothing is awaited */
    uint64_t partial_since_ns;
    int descriptors[SESSION_DESCRIPTORS_MAX]; /* received and not taken yet, oldest first */
    unsigned descriptor_count;

    struct output output;
    uint64_t output_since_ns; /* since when nothing could be sent; 0: nothing waits */

    struct request *requests; /* under way */
    unsigned request_count;
    size_t query_count; /* of check_many, under way */
    bool exported;      /* a document was sent, which the client may not have taken from its socket yet */
    struct ask_flow flow;
    struct use_share share; /* of what stays in the table; the flow's */
    struct subscriber *subscriber; /* NULL without a subscription */
};

/* Takes the descriptor over. PERMTAB_E_MEMORY, PERMTAB_E_SYSTEM (closed then). */
int session_new(struct server *server, int descriptor) PERMTAB_MUST_CHECK;
/* Closes the session; `reason` goes to the log. It is freed when the loop comes round: until then callers may still
 * look at the struct, and at nothing that it points to. */
void session_close(struct session *session, const char *reason);
/* Called by the server alone, for closed sessions. */
void session_free(struct session *session);
/* Queues a message and sends as much as the socket takes. Takes over descriptors and the buffer's memory. */
void session_send(struct session *session, struct wire_buffer *message, const int *descriptors,
                  unsigned count);
/* The oldest descriptor received, now the caller's; -1 when there is none. */
int session_take_descriptor(struct session *session);
/* Whether nobody is at the other end any more, though there may be bytes of theirs to read. */
bool session_peer_left(const struct session *session);
/* To be called when a request has ended: reading may go on. */
void session_request_ended(struct session *session);
/* Serves the first session in the queue of turns: a few messages. */
void session_turn(struct server *server);
/* Checks the session's time limits and reads its feedback. */
void session_sweep(struct session *session, uint64_t now_ns);

#endif
