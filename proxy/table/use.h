/* What is used stays: hits that clients tell of, by samples in shared memory or over the socket, for the order in which
 * entries make room (sieve.h). A client may say what it likes, so what it says has a price.
 *
 * There are as many tickets as entries may count as used, half of the table. An entry that begins to count takes one,
 * and gives it back when the hand has used up its laps, or when it leaves. In each round the tickets that are free are
 * shared out among the clients that ask for some, to each as many as to any other, and none keeps more than its part
 * of all unspent until the next. So a client that claims to use everything gets no more than any other that asks; and
 * the other half of the table belongs to nobody. Who says nothing takes nothing, and after USE_SILENT turns it is no
 * client any more: its tickets and its part are the others' until it says something again.
 *
 * On the loop's thread; nothing here waits. */
#ifndef PERMTAB_TABLE_USE_H
#define PERMTAB_TABLE_USE_H

#include "proxy/names/scope.h"

#include <stdbool.h>
#include <stdint.h>

struct publisher;

#define USE_SILENT 600u /* turns: about a minute */

/* One client's part. All 0: it has said nothing lately. */
struct use_share {
    bool joined;
    uint64_t heard;  /* turn in which it said something last */
    uint64_t taken;  /* round whose part it has taken */
    uint64_t hungry; /* 1 + the round in which it was counted as hungry last */
    uint64_t credit; /* a part of a ticket, or one whole that was not free when it asked */
    uint64_t tickets;
};

/* The publisher's side. */
struct use_shares {
    uint64_t turn, round;
    uint64_t clients;  /* that have joined */
    uint64_t hungry;   /* of them in this round: they said something and had less than their part */
    uint64_t each;     /* that one may take in this round, in parts of a ticket */
    uint64_t promised; /* tickets that clients have */
};

/* The client used the entry that answers for the user at the scope, if the table has one. False when that changed
 * nothing: there is none, it is known to be in use, or the client has no ticket left. */
bool publisher_use(struct publisher *publisher, struct use_share *share, uint64_t user,
                   struct scope_key scope);
/* Time goes by. To be called ten times a second. */
void publisher_use_turn(struct publisher *publisher);
/* Begins a round. To be called when each client has been settled since the last one. */
void publisher_use_grant(struct publisher *publisher);
/* Takes back what is more than the client's part, and all from one that is silent. */
void publisher_use_settle(struct publisher *publisher, struct use_share *share);
/* The client has gone. */
void publisher_use_leave(struct publisher *publisher, struct use_share *share);

#endif
