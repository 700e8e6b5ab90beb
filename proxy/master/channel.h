/* What master and worker tell each other: one message a datagram, a kind and perhaps a text. */
#ifndef PERMTAB_MASTER_CHANNEL_H
#define PERMTAB_MASTER_CHANNEL_H

#include "shm/error.h"

#include <stdbool.h>
#include <stdint.h>

#define CHANNEL_TEXT_MAX 1400

enum channel_kind {
    /* The worker tells. */
    CHANNEL_READY = 'r',   /* it accepts clients */
    CHANNEL_ANSWERS = 'a', /* its table has had a lease, so checks are answered */
    CHANNEL_BEAT = 'b',    /* its loop turns, or its start goes on */
    CHANNEL_MIGRATING =
        'm', /* it changes the store's schema: that takes as long as it takes, until the next beat */
    CHANNEL_FAILED = 'f', /* it could not start; the text says why */
    CHANNEL_CLOSED = 'c', /* it was told to stop, and accepts nobody any more */
    /* The master tells. */
    CHANNEL_STOP =
        's', /* end after stop_grace, or at once when it was told before; the text is the signal's number */
    CHANNEL_LEAVE = 'l',  /* end at once and leave the lease as it is: another worker comes */
    CHANNEL_OPTION = 'o', /* an option that may change while the worker runs: "name=value" */
};

struct channel_message {
    char kind; /* an enum channel_kind, or garbage: a worker may have been taken over */
    char text[CHANNEL_TEXT_MAX + 1];
};

/* Two connected ends, non-blocking and close-on-exec. PERMTAB_E_SYSTEM. */
int channel_pair(int ends[2]) PERMTAB_MUST_CHECK;
/* Never blocks. False when the message was lost: the other end has gone, or has not read for long. */
bool channel_tell(int channel, enum channel_kind kind, const char *text);
/* The next message: 1. Nothing more now: 0. The other end has gone: PERMTAB_E_UNREACHABLE. Descriptors that somebody
 * attached are closed. */
int channel_hear(int channel, struct channel_message *out) PERMTAB_MUST_CHECK;

#endif
