/* One connection to the sidecar: requests out, replies in, descriptors with them; every wait ends at a deadline.
 * One thread at a time. Knows framing, and no methods. Also used by permtabctl. */
#ifndef PERMTAB_CLIENT_CHANNEL_H
#define PERMTAB_CLIENT_CHANNEL_H

#include "client/descriptor.h"
#include "client/wire/wire.h"

#define CHANNEL_DESCRIPTORS 2u /* as many as the protocol ever passes at once */

/* All zero is a closed channel. */
struct channel {
    bool open;
    /* broken: of no further use. The owner calls channel_close, because it may have to forget the number first. */
    bool broken;
    bool heard; /* a whole message has come; for the owner to clear */
    struct descriptor descriptor;
    uint32_t first_id, last_id; /* of the requests on this connection; the first number is not used */
    struct wire_buffer out;
    char *in;
    size_t in_size, in_capacity;
    struct descriptor received[CHANNEL_DESCRIPTORS]; /* that came and were not taken yet */
    size_t received_count;
};

/* CLOCK_MONOTONIC, nanoseconds, the precise one: the clock of all deadlines. */
uint64_t channel_clock_ns(void);

/* Lets time pass. */
void channel_pause(uint64_t until_ns);

/* Connects and checks who listens (`server_uid` as for peer_check). PERMTAB_E_UNREACHABLE, _TIMEOUT, _PEER,
 * _INVALID (path too long), _SYSTEM. The channel must be closed before. With a deadline that has passed it connects
 * if that needs no waiting. */
int channel_open(struct channel *channel, const char *path, int64_t server_uid,
                 uint64_t deadline_ns) PERMTAB_MUST_CHECK;
/* Closes the socket and the descriptors that nobody took; keeps no memory. Closing a closed one does nothing. */
void channel_close(struct channel *channel);

/* Begins a request; pack `fields` pairs into what is returned, then channel_call. */
struct wire_buffer *channel_request(struct channel *channel, const char *method, uint32_t fields);

/* Sends the request, with a descriptor when `descriptor` is not -1 (it stays the caller's). PERMTAB_E_TIMEOUT (the
 * channel is broken only when the request was cut in two), _UNREACHABLE (it broke, or the socket is not ours any more),
 * _LIMIT (too long to send), _MEMORY. */
int channel_send(struct channel *channel, int descriptor, uint64_t deadline_ns) PERMTAB_MUST_CHECK;

/* Waits for the reply to the last request that was sent. Notifications, and replies to earlier requests that were
 * given up, are dropped. 0: *reply has a result. A code with reply->error_code set: the sidecar said so, in
 * reply->error_text. Else PERMTAB_E_TIMEOUT (call it again to go on waiting), or the channel is broken:
 * _UNREACHABLE, _PROTOCOL (also a reply to a request that this connection never made), _MEMORY. wire_message_fini
 * the reply in any case. */
int channel_wait(struct channel *channel, uint64_t deadline_ns,
                 struct wire_message *reply) PERMTAB_MUST_CHECK;

/* channel_send, then channel_wait. */
int channel_call(struct channel *channel, int descriptor, uint64_t deadline_ns,
                 struct wire_message *reply) PERMTAB_MUST_CHECK;

/* Waits for the next notification; other messages are dropped. 0: fini *out. PERMTAB_E_TIMEOUT, else as
 * channel_call. */
int channel_notification(struct channel *channel, uint64_t deadline_ns,
                         struct wire_message *out) PERMTAB_MUST_CHECK;

/* Hands over descriptor number `index` of the last reply, or none. The next call closes those that were not taken. */
struct descriptor channel_take_descriptor(struct channel *channel, size_t index);

#endif
