/* A client moves to another table, and puts zero pages in the place of the old one while another of its threads may be
 * reading there: the entry map first, then the folds, their targets, the sets, and the header last. Each of these is
 * one remapping, after which no thread reads the old page any more: as good as a release store of zeros. A set of zeros
 * is an open one without any permission, and a target of zeros is the global scope.
 *
 * One user. At scope 1, which is folded into scope 2, the answer is that of scope 2: set 1, whose bit is 1. At the
 * global scope, 0, the user has set 2, whose bit is 0. So 1 is right, and 0 is what nobody gave. */
#define LOCATIONS 10
#define MESSAGES 2
#define IS_32(where) ((where) < 6)
#include "memory.pml"

#define COUNT 0
#define FOLD 1
#define FOLD_SEQUENCE 2
#define ENTRY(scope) (3 + (scope) / 2) /* of scopes 0 and 2 */
#define SEQUENCE 5                     /* of both entries' bucket */
#define TARGET 6
#define DEADLINE 7
#define SET_SEQUENCE 8 /* of either set: they are in one page */
#define BIT 9          /* of set 1 */

inline zero_map()
{
    store(ENTRY(0), 0, ORDERED);
    store(ENTRY(2), 0, ORDERED);
    store(SEQUENCE, 0, ORDERED)
}

inline zero_folds()
{
    store(FOLD, 0, ORDERED);
    store(FOLD_SEQUENCE, 0, ORDERED)
}

inline zero_sets()
{
    store(SET_SEQUENCE, 0, ORDERED);
    store(BIT, 0, ORDERED)
}

proctype mover()
{
#ifdef MUTATE_SETS_FIRST
    zero_sets();
#endif
#ifdef MUTATE_TARGETS_FIRST
    store(TARGET, 0, ORDERED);
#endif
    zero_map();
    zero_folds();
#ifndef MUTATE_TARGETS_FIRST
    store(TARGET, 0, ORDERED);
#endif
#ifndef MUTATE_SETS_FIRST
    zero_sets();
#endif
    store(COUNT, 0, ORDERED);
    store(DEADLINE, 0, ORDERED)
}

proctype reader()
{
    READER_STATE;
    byte deadline, fold, fold_sequence, scope, word, sequence, set_sequence, granted, now;
    load(DEADLINE, ORDERED, deadline);
    load(COUNT, ORDERED, now);
    if :: now == 0 -> goto miss /* the scope has no entry of its own */ :: else fi;
    load(FOLD_SEQUENCE, ORDERED, fold_sequence);
    load(FOLD, ORDERED, fold);
    if :: fold == 0 -> goto miss :: else fi;
    load(TARGET, ORDERED, scope);
    load(SEQUENCE, ORDERED, sequence);
    load(ENTRY(scope), ORDERED, word);
    if :: word == 0 -> goto miss :: else fi;
    load(SET_SEQUENCE, ORDERED, set_sequence);
    if
    :: word == 1 -> load(BIT, ORDERED, granted)
    :: else -> granted = 0
    fi;
    load(ENTRY(scope), ORDERED, now);
    if :: now != word -> goto miss :: else fi;
    load(SEQUENCE, ORDERED, now);
    if :: now != sequence -> goto miss :: else fi;
    load(SET_SEQUENCE, ORDERED, now);
    if :: now != set_sequence -> goto miss :: else fi;
    load(FOLD, ORDERED, now);
    if :: now != fold -> goto miss :: else fi;
    load(FOLD_SEQUENCE, ORDERED, now);
    if :: now != fold_sequence -> goto miss :: else fi;
    if
    :: deadline != 0 -> ANSWER(granted == 1)
    :: else
    fi;
miss:
    skip
}

init
{
    atomic {
        initial(COUNT, 1);
        initial(FOLD, 1);
        initial(FOLD_SEQUENCE, 2);
        initial(ENTRY(0), 2);
        initial(ENTRY(2), 1);
        initial(SEQUENCE, 4);
        initial(TARGET, 2);
        initial(DEADLINE, 1);
        initial(SET_SEQUENCE, 2);
        initial(BIT, 1);
        run mover();
        run reader()
    }
}
