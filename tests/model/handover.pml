/* Two tables, one after the other, and readers on their way from one to the other. The entry says 1 (ALLOW) until a
 * revocation, which the store commits at any moment, and 2 (DENY) from then on; 0: it is not there. Nobody may be told
 * 1 who was revoked STALENESS ticks ago or earlier, in whichever table he looks, or when the applied revision that he
 * read before says that it is gone.
 *
 * Growth: the worker copies the entry of table 0 to table 1, writes both through meanwhile, hands table 1 out, retires
 * table 0, writes it through for a while and then renews it no more. When the copy, the polls, the hand-over and the
 * release come is drawn. The worker may stop for good before any step: time and readers go on without it.
 *
 * With -DSUCCESSOR there is no growth: the worker dies after any of its stores, table 0 is left as it is, and a
 * successor makes table 1, whose lease starts with the successor's own poll. It renews nothing else. One writer at a
 * time: the second starts when the first has been reaped.
 *
 * A reader moves to the table that is handed out when it likes; that it does so when the old one is retired or has
 * lapsed is a matter of speed. It asks over a socket, so it has seen all that was stored before the reply was sent. The
 * clock is one for all, and read without delay. One reader always, as in move.pml. */
#define LOCATIONS 6
#define MESSAGES 5
#define IS_32(where) ((where) == 2 || (where) == 3)
#include "memory.pml"

#define DEADLINE(table) (table)
#define WORD(table) (2 + (table))
#define APPLIED(table) (4 + (table))
#define STALENESS 2
#define END 4

#ifdef MUTATE_DEADLINE_RELAXED
#define BEAT RELAXED
#else
#define BEAT ORDERED
#endif

byte clock;
bit revoked;       /* in the store */
byte revoked_when; /* by the clock */
bit handed;        /* the table that who asks is given */
bit dead;

proctype time()
{
    do
    :: clock < END -> clock++
    :: clock == END -> break
    od
}

proctype policy()
{
    d_step { revoked = 1; revoked_when = clock }
}

#ifdef SUCCESSOR
inline put(where, what, order)
{
    store(where, what, order);
    if
    :: skip
    :: goto died
    fi
}
#else
#define put store
#endif

inline apply(table)
{
    put(WORD(table), 2, ORDERED);
    put(APPLIED(table), 2, ORDERED)
}

#ifdef SUCCESSOR
proctype worker()
{
    byte begun;
    bit read;
    if
    :: skip
    :: goto died
    fi;
    begun = clock;
    read = revoked;
    if
    :: read -> apply(0)
    :: else
    fi;
    put(DEADLINE(0), begun + STALENESS, BEAT);
died:
    skip;
    d_step { begun = 0; read = 0; dead = 1 }
}

proctype successor()
{
    byte begun, filled;
    bit read;
    dead;
#ifdef MUTATE_SUCCESSOR_RENEWS_OLD
    begun = clock;
    store(DEADLINE(0), begun + STALENESS, BEAT);
#endif
    filled = 1 + revoked; /* read for somebody who asked, and not yet published */
    begun = clock;
    read = revoked;
#ifdef MUTATE_SUCCESSOR_LEASE_FROM_LATER
    begun = clock;
#endif
#ifndef MUTATE_SUCCESSOR_BELIEVES_FILLS
    filled = 1 + read; /* what was read before the poll is read again when the poll changed it */
#endif
    store(WORD(1), filled, ORDERED);
    store(APPLIED(1), 1 + read, ORDERED);
    store(DEADLINE(1), begun + STALENESS, BEAT);
    handed = 1;
    begun = clock;
    if
    :: revoked && filled == 1 ->
        store(WORD(1), 2, ORDERED);
        store(APPLIED(1), 2, ORDERED)
    :: else
    fi;
    store(DEADLINE(1), begun + STALENESS, BEAT);
    d_step { begun = 0; filled = 0; read = 0 }
}
#else
/* One poll of the worker, or of what is left of it. `copied`, `released`: see below. */
inline poll()
{
    begun = clock;
    read = revoked;
#ifdef MUTATE_RETIRED_RENEWED_FIRST
    if
    :: handed && !released -> put(DEADLINE(0), begun + STALENESS, BEAT)
    :: else
    fi;
#endif
    if
    :: read && !applied ->
        if
#ifdef MUTATE_RETIRED_NOT_WRITTEN_THROUGH
        :: !handed -> apply(0)
#else
        :: !released -> apply(0)
#endif
        :: else
        fi;
#ifndef MUTATE_NEXT_NOT_WRITTEN_THROUGH
        if
        :: copied -> apply(1)
        :: else
        fi;
#endif
        applied = 1
    :: else
    fi;
    leased = begun + STALENESS;
#ifndef MUTATE_RELEASED_KEEPS_ITS_LEASE
    if
    :: !released -> put(DEADLINE(0), leased, BEAT)
    :: else
    fi;
#else
    put(DEADLINE(0), leased, BEAT);
#endif
    if
    :: handed -> put(DEADLINE(1), leased, BEAT)
    :: else
    fi;
    polls++
}

proctype worker()
{
    byte begun, leased, polls, copy;
    bit applied, copied, released, read;
    leased = STALENESS;
    do
    :: !copied ->
        copy = 1 + applied;
#ifdef MUTATE_COPY_LATE
        poll();
#endif
        put(WORD(1), copy, ORDERED);
        put(APPLIED(1), 1 + applied, ORDERED);
        copied = 1
    :: copied && !handed ->
#ifdef MUTATE_LEASE_FROM_HANDOVER
        leased = clock + STALENESS;
#endif
        put(DEADLINE(1), leased, BEAT);
        handed = 1
    :: handed && !released -> released = 1
    :: polls < 2 -> poll()
    :: polls >= 2 && released -> break
    od;
    skip;
    d_step { begun = 0; leased = 0; polls = 0; copy = 0; applied = 0; copied = 0; released = 0; read = 0 }
}
#endif

/* It looks once: what it had seen before would only tell it more. */
proctype reader()
{
    READER_STATE;
    byte deadline, applied, word, now;
    bit table;
    if
    :: handed -> d_step { table = 1; horizon = stores }
    :: skip
    fi;
    load(DEADLINE(table), ORDERED, deadline);
    load(APPLIED(table), ORDERED, applied);
#ifdef MUTATE_TWO_VIEWS
    if
    :: handed -> table = !table
    :: skip
    fi;
#endif
    load(WORD(table), ORDERED, word);
    load(WORD(table), ORDERED, now);
    if :: word != 1 || now != word -> goto none :: else fi;
    now = clock;
    if :: now >= deadline -> goto none :: else fi;
#ifdef REACH_NEXT
    assert(!table);
#endif
#ifdef REACH_DEAD
    assert(!dead || table);
#endif
    ANSWER((!revoked || now < revoked_when + STALENESS) && applied < 2);
none:
    skip;
    d_step { table = 0; deadline = 0; applied = 0; word = 0; now = 0; forget() }
}

init
{
    atomic {
        initial(DEADLINE(0), STALENESS);
        initial(WORD(0), 1);
        initial(APPLIED(0), 1);
        run time();
        run policy();
        run worker();
#ifdef SUCCESSOR
        run successor();
#endif
        run reader()
    }
}
