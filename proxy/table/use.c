/* Tickets. They are not numbered: used (sieve.h) and promised say how many are out, and the rest is free. Granting adds
 * to one number that every client compares with its own, so ten thousand clients cost no more than one. */
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

void publisher_use_grant(struct publisher *publisher)
{
    struct use_shares *shares = &publisher->uses;
    uint64_t out = publisher->table->entries.sieve.used + shares->promised;
    if (shares->clients == 0 || out >= tickets(publisher))
        return;
    uint64_t each = (tickets(publisher) - out) / shares->clients;
    shares->granted += each;
    shares->promised += each * shares->clients;
}

void publisher_use_settle(struct publisher *publisher, struct use_share *share)
{
    struct use_shares *shares = &publisher->uses;
    if (!share->joined)
        return;
    uint64_t most = tickets(publisher) / shares->clients;
    share->tickets += shares->granted - share->granted;
    share->granted = shares->granted;
    if (share->tickets > most) {
        shares->promised -= share->tickets - most;
        share->tickets = most;
    }
}

static void join(struct publisher *publisher, struct use_share *share)
{
    *share = (struct use_share){.joined = true, .granted = publisher->uses.granted};
    publisher->uses.clients++;
}

void publisher_use_leave(struct publisher *publisher, struct use_share *share)
{
    struct use_shares *shares = &publisher->uses;
    if (!share->joined)
        return;
    shares->promised -= share->tickets + (shares->granted - share->granted);
    shares->clients--;
    *share = (struct use_share){.joined = false};
}

/* The table that clients are handed decides; the other one follows it, free of charge. */
bool publisher_use(struct publisher *publisher, struct use_share *share, uint64_t user,
                   struct scope_key scope)
{
    struct table *table = publisher->table, *other = publisher->other;
    uint32_t slot = slot_of(table, user, scope);
    if (slot == MAP_NO_SLOT)
        return false;
    if (!share->joined)
        join(publisher, share);
    publisher_use_settle(publisher, share);
    if (share->tickets == 0 || !sieve_use(&table->entries.sieve, slot))
        return false;
    share->tickets--;
    publisher->uses.promised--;
    if (other != NULL && (slot = slot_of(other, user, scope)) != MAP_NO_SLOT)
        (void)sieve_use(&other->entries.sieve, slot);
    return true;
}
