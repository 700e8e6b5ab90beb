/* Tickets. They are not numbered: used (sieve.h) and promised say how many are out, and the rest is free. Nothing is
 * pushed to clients. One that asks takes its part of the round by itself, so ten thousand cost no more than one, and
 * what the hand gives back does not end with those that have no use for it. */
#include "proxy/table/use.h"

#include "proxy/table/private.h"

/* The slot of the entry that readers find; MAP_NO_SLOT. */
static uint32_t slot_of(const struct table *table, uint64_t user, struct scope_key scope)
{
    struct permtab_shm_look look;
    /* The publisher is the only writer and this is its thread: one look is whole. */
    if (permtab_shm_look_once(&table->segment.table, user, scope.id, scope.type, &look) != PERMTAB_SHM_FOUND)
        return MAP_NO_SLOT;
    return (uint32_t)(look.entry.bucket - table->segment.table.map) * PERMTAB_SHM_SLOTS + look.entry.slot;
}

static uint64_t tickets(const struct publisher *publisher)
{
    return publisher->table->entries.sieve.used_max;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t free_tickets(const struct publisher *publisher)
{
    uint64_t out = publisher->table->entries.sieve.used + publisher->uses.promised;
    return out < tickets(publisher) ? tickets(publisher) - out : 0;
}

/* What a client may take unspent to the next round. */
static uint64_t part(const struct publisher *publisher)
{
    uint64_t each = tickets(publisher) / publisher->uses.clients;
    return each > 0 ? each : 1;
}

void publisher_use_turn(struct publisher *publisher)
{
    publisher->uses.turn++;
}

/* Of a ticket: clients that are many take parts of one, and spend it when it is whole. */
#define WHOLE 4096u

void publisher_use_grant(struct publisher *publisher)
{
    struct use_shares *shares = &publisher->uses;
    shares->each = free_tickets(publisher) * WHOLE / (shares->hungry > 0 ? shares->hungry : 1);
    shares->hungry = 0;
    shares->round++;
}

void publisher_use_settle(struct publisher *publisher, struct use_share *share)
{
    struct use_shares *shares = &publisher->uses;
    if (!share->joined)
        return;
    if (shares->turn - share->heard > USE_SILENT) {
        publisher_use_leave(publisher, share);
        return;
    }
    uint64_t most = part(publisher);
    if (share->tickets > most) {
        shares->promised -= share->tickets - most;
        share->tickets = most;
    }
}

/* Who comes has no ticket before the next round. */
static void join(struct publisher *publisher, struct use_share *share)
{
    *share = (struct use_share){.joined = true, .taken = publisher->uses.round};
    publisher->uses.clients++;
}

/* It is not hungry any more, either: one that comes and goes all the time would make the others' parts small. */
void publisher_use_leave(struct publisher *publisher, struct use_share *share)
{
    struct use_shares *shares = &publisher->uses;
    if (!share->joined)
        return;
    shares->promised -= share->tickets;
    shares->hungry -= share->hungry == shares->round + 1;
    shares->clients--;
    *share = (struct use_share){.joined = false};
}

/* The client says something: it takes its part of this round, once, and is counted for the next one. */
static void hear(struct publisher *publisher, struct use_share *share)
{
    struct use_shares *shares = &publisher->uses;
    if (!share->joined)
        join(publisher, share);
    share->heard = shares->turn;
    if (share->tickets >= part(publisher))
        return;
    if (share->hungry != shares->round + 1) {
        share->hungry = shares->round + 1;
        shares->hungry++;
    }
    if (share->taken != shares->round) {
        uint64_t credit = share->credit + shares->each;
        uint64_t more = lesser(credit / WHOLE, free_tickets(publisher));
        share->taken = shares->round;
        share->credit = lesser(credit - more * WHOLE, WHOLE);
        share->tickets += more;
        shares->promised += more;
    }
}

/* The table that clients are handed decides; the other one follows it, free of charge, and also in what is known here:
 * those who have not left it yet use it, and its hand goes by its own evictions. */
bool publisher_use(struct publisher *publisher, struct use_share *share, uint64_t user,
                   struct scope_key scope)
{
    struct table *table = publisher->table, *other = publisher->other;
    struct sieve *sieve = &table->entries.sieve;
    uint32_t slot = slot_of(table, user, scope);
    if (slot == MAP_NO_SLOT)
        return false;
    hear(publisher, share);
    bool known = sieve_known(sieve, slot);
    if (!known && (share->tickets == 0 || !sieve_use(sieve, slot)))
        return false;
    share->tickets -= !known;
    publisher->uses.promised -= !known;
    if (other != NULL && (slot = slot_of(other, user, scope)) != MAP_NO_SLOT)
        (void)sieve_use(&other->entries.sieve, slot);
    return !known;
}
