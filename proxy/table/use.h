/* What is used stays: hits that clients tell of, by samples in shared memory or over the socket, for the order in which
 * entries make room (sieve.h). A client may say what it likes, so what it says has a price.
 *
 * There are as many tickets as entries may count as used, half of the table. An entry that begins to count takes one,
 * and gives it back when the hand has used up its laps, or when it leaves. Tickets that are free are shared out among
 * the clients, to each as many as to any other, and none has more than its part of all. So a client that claims to use
 * everything keeps its part and no more; who says little finds its own part there when it says something; and the other
 * half of the table belongs to nobody.
 *
 * On the loop's thread; nothing here waits. */
#ifndef PERMTAB_TABLE_USE_H
#define PERMTAB_TABLE_USE_H

#include "proxy/names/scope.h"

#include <stdbool.h>
#include <stdint.h>

struct publisher;

/* One client's part. All 0: it has said nothing yet. */
struct use_share {
    bool joined;
    uint64_t granted; /* of use_shares, up to which it has taken its part */
    uint64_t tickets;
};

/* The publisher's side. */
struct use_shares {
    uint64_t clients;  /* that have joined */
    uint64_t granted;  /* to each client that was there all the time */
    uint64_t promised; /* tickets that clients have, or may take */
};

/* The client used the entry that answers for the user at the scope, if the table has one. False when that changed
 * nothing: there is none, it is known to be in use, or the client has no ticket left. */
bool publisher_use(struct publisher *publisher, struct use_share *share, uint64_t user,
                   struct scope_key scope);
/* Shares free tickets out. To be called a few times a second. */
void publisher_use_grant(struct publisher *publisher);
/* Takes what is more than the client's part back. To be called for each client now and then, used or not. */
void publisher_use_settle(struct publisher *publisher, struct use_share *share);
/* The client has gone. */
void publisher_use_leave(struct publisher *publisher, struct use_share *share);

#endif
