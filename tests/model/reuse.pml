/* Quarantine: a second wall. A set is freed and used again for somebody else's inputs while a reader still holds its
 * index. The first wall is the recheck of the word (set.pml uses a set again without any quarantine). Here the
 * reader checks nothing again, and the quarantine alone must hold: a freed set rests until every lease that could
 * have been read before its entry was cleared has ended. With -DRECHECK the reader looks at the word again.
 *
 * The bit is 0 for the user and becomes 1 in the set's next life. Granting it is wrong. */
#define LOCATIONS 3
#define MESSAGES 6
#define IS_32(where) ((where) == 1)
#include "memory.pml"

#define DEADLINE 0
#define WORD 1
#define BIT 2
#define STALENESS 2
#define END 4

byte clock;

proctype time()
{
    do
    :: clock < END -> clock++
    :: clock == END -> break
    od
}

inline renew()
{
    begun = clock;
    store(DEADLINE, begun + STALENESS, ORDERED)
}

proctype writer()
{
    byte begun, until;
    renew();
    store(WORD, 0, ORDERED);
#ifdef MUTATE_SHORT_QUARANTINE
    until = clock + STALENESS - 1;
#else
    until = clock + STALENESS;
#endif
    renew();
    clock >= until;
    store(BIT, 1, ORDERED);
    renew()
}

proctype reader()
{
    READER_STATE;
    byte deadline, word, granted, now;
    load(DEADLINE, ORDERED, deadline);
    load(WORD, ORDERED, word);
    if
    :: word != 0 ->
        load(BIT, ORDERED, granted);
        now = word;
#ifdef RECHECK
        load(WORD, ORDERED, now);
#endif
        if
        :: now == word && clock < deadline -> ANSWER(granted == 0)
        :: else
        fi
    :: else
    fi;
    d_step { deadline = 0; word = 0; granted = 0; now = 0; forget() }
}

init
{
    atomic {
        initial(WORD, 1);
        run time();
        run writer();
        run reader();
#ifndef ONE_READER
        run reader()
#endif
    }
}
