/* The lease: a revocation is committed in the store at any moment; the writer polls, applies what the poll read, then
 * renews. Whoever answers must not grant what was revoked STALENESS ticks ago or earlier, however late the stores
 * of the writer become visible, however long anybody sleeps. The writer may stop for ever at any step.
 *
 * The clock is one for all processes of the machine, and is read without delay. */
#define LOCATIONS 2
#define MESSAGES 4
#define IS_32(where) ((where) == 1)
#include "memory.pml"

#define DEADLINE 0
#define WORD 1
#define STALENESS 2
#define END 4

#ifdef MUTATE_DEADLINE_RELAXED
#define BEAT RELAXED
#else
#define BEAT ORDERED
#endif
#ifdef MUTATE_DEADLINE_LOAD_RELAXED
#define BEAT_LOAD RELAXED
#else
#define BEAT_LOAD ORDERED
#endif

byte clock;
bit revoked;       /* in the store */
byte revoked_when; /* by the clock */

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

proctype writer()
{
    byte begun, polls;
    bit read_revoked, applied;
    do
    :: polls < 2 ->
#ifndef MUTATE_LEASE_FROM_POLLS_END
        begun = clock;
#endif
        read_revoked = revoked;
#ifdef MUTATE_RENEW_BEFORE_APPLY
        store(DEADLINE, begun + STALENESS, BEAT);
#endif
        if
        :: read_revoked && !applied ->
            store(WORD, 0, ORDERED);
            applied = 1
        :: else
        fi;
#ifdef MUTATE_LEASE_FROM_POLLS_END
        begun = clock;
#endif
#ifndef MUTATE_RENEW_BEFORE_APPLY
        store(DEADLINE, begun + STALENESS, BEAT);
#endif
        polls++
    :: polls == 2 -> break
    od
}

proctype reader()
{
    READER_STATE;
    byte deadline, word, now, today;
#ifdef MUTATE_CLOCK_FIRST
    today = clock;
#endif
#ifndef MUTATE_DEADLINE_AFTER_ANSWER
    load(DEADLINE, BEAT_LOAD, deadline);
#endif
    load(WORD, ORDERED, word);
    load(WORD, ORDERED, now);
#ifdef MUTATE_DEADLINE_AFTER_ANSWER
    load(DEADLINE, BEAT_LOAD, deadline);
#endif
    if
    :: word != 0 && now == word ->
#ifdef MUTATE_CLOCK_FIRST
        now = clock;
#else
        today = clock;
        now = today;
#endif
        /* The answer leaves at `now`; the reader believes `today`. */
        if
#ifdef MUTATE_NO_DEADLINE
        :: true ->
#else
        :: today < deadline ->
#endif
            ANSWER(!revoked || now < revoked_when + STALENESS)
        :: else
        fi
    :: else
    fi;
    d_step { deadline = 0; word = 0; now = 0; today = 0; forget() }
}

init
{
    atomic {
        initial(WORD, 1);
        run time();
        run policy();
        run writer();
        run reader();
#ifndef ONE_READER
        run reader()
#endif
    }
}
