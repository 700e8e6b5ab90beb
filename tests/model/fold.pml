/* Folds: a scope c that is folded into s1, then into s2 through 0 with the same target index used again at once, then
 * unfolded. Entries of one user: at c, at s1, at s2; each batch changes an entry together with the fold, so that an
 * old fold and a new entry, or a new fold and an old entry, make an answer that nobody gave. Sets do not change: an
 * answer is the word of the entry.
 *
 *   revision 1   c is its own: 1.        The user at s1: 2, at s2: 3.
 *   revision 2   c is folded into s1.    The user at s1: 1.             so at c: 1
 *   revision 3   c is folded into s2.    The user at s1: 2.             so at c: 3
 *   revision 4   c is its own: 1.        The user at s2: 2.             so at c: 1
 *
 * 2 is never right at c. At last the target is used again, for another scope that is folded into s1. */
#define LOCATIONS 8
#define MESSAGES 7
#define IS_32(where) ((where) < 3 || (where) > 4)
#include "memory.pml"

#define COUNT 0
#define SEQUENCE 1
#define FOLD 2
#define TARGET 3
#define APPLIED 4
#define ENTRY(scope) (5 + (scope)) /* 0: c, 1: s1, 2: s2 */

#ifdef MUTATE_FOLD_WORD_RELAXED
#define W_FOLD RELAXED
#else
#define W_FOLD ORDERED
#endif
#ifdef MUTATE_ENTRY_WORD_RELAXED
#define W_ENTRY RELAXED
#else
#define W_ENTRY ORDERED
#endif
#ifdef MUTATE_TARGET_RELAXED
#define W_TARGET RELAXED
#else
#define W_TARGET ORDERED
#endif
#ifdef MUTATE_FOLD_LOADS_RELAXED
#define R_FOLD RELAXED
#else
#define R_FOLD ORDERED
#endif
#ifdef MUTATE_ENTRY_LOADS_RELAXED
#define R_ENTRY RELAXED
#else
#define R_ENTRY ORDERED
#endif

byte last[4];

inline fold(target, sequence)
{
#ifndef MUTATE_TARGET_AFTER_WORD
    store(TARGET, target, W_TARGET);
#endif
    store(COUNT, 1, ORDERED);
    store(SEQUENCE, sequence + 1, RELAXED);
    store(FOLD, 1, W_FOLD);
    store(SEQUENCE, sequence + 2, ORDERED);
#ifdef MUTATE_TARGET_AFTER_WORD
    store(TARGET, target, W_TARGET);
#endif
}

inline unfold()
{
    store(FOLD, 0, W_FOLD);
    store(COUNT, 0, ORDERED)
}

proctype writer()
{
#ifdef MUTATE_FOLD_BEFORE_RETIRE
    fold(1, 2);
#endif
    store(ENTRY(0), 0, W_ENTRY);
    store(ENTRY(1), 0, W_ENTRY);
#ifndef MUTATE_FOLD_BEFORE_RETIRE
    fold(1, 2);
#endif
    store(ENTRY(1), 1, W_ENTRY);
    store(APPLIED, 2, ORDERED);

    d_step { last[1] = 2; last[3] = ALWAYS }
#ifdef MUTATE_REFOLD_NOT_THROUGH_ZERO
    store(ENTRY(1), 2, W_ENTRY);
    store(TARGET, 2, W_TARGET);
#else
#ifndef MUTATE_UNFOLD_LATE
    unfold();
#endif
    store(ENTRY(1), 2, W_ENTRY);
#ifdef MUTATE_UNFOLD_LATE
    unfold();
#endif
    fold(2, 4);
#endif
    store(APPLIED, 3, ORDERED);

    d_step { last[3] = 3; last[1] = ALWAYS }
    unfold();
    store(ENTRY(2), 2, W_ENTRY);
    store(ENTRY(0), 1, W_ENTRY);
    store(APPLIED, 4, ORDERED);

    store(TARGET, 1, W_TARGET) /* used again, for another scope's fold */
}

proctype reader()
{
    READER_STATE;
    byte applied, sequence, fold_word, scope, word, now;
    load(APPLIED, ORDERED, applied);
    load(COUNT, R_FOLD, now);
    if
    :: now == 0
    :: else ->
        load(SEQUENCE, R_FOLD, sequence);
        load(FOLD, R_FOLD, fold_word);
        if
        :: fold_word == 0
        :: else ->
#ifndef MUTATE_ODD_IGNORED
            if :: sequence % 2 == 1 -> goto miss :: else fi;
#endif
            load(TARGET, R_FOLD, scope)
        fi
    fi;
#ifdef MUTATE_FOLD_RECHECK_BEFORE_ENTRY
    if
    :: fold_word == 0
    :: else ->
        load(FOLD, ORDERED, now);
        if :: now != fold_word -> goto miss :: else fi;
        load(SEQUENCE, ORDERED, now);
        if :: now != sequence -> goto miss :: else fi
    fi;
#endif
    if
    :: scope == 0 -> load(ENTRY(0), R_ENTRY, word)
    :: scope == 1 -> load(ENTRY(1), R_ENTRY, word)
    :: scope == 2 -> load(ENTRY(2), R_ENTRY, word)
    fi;
    if :: word == 0 -> goto miss :: else fi;
    load(ENTRY(scope), R_ENTRY, now);
    if :: now != word -> goto miss :: else fi;
#ifndef MUTATE_FOLD_RECHECK_BEFORE_ENTRY
    if
    :: fold_word == 0
    :: else ->
#ifndef MUTATE_NO_FOLD_RECHECK
        load(FOLD, ORDERED, now);
        if :: now != fold_word -> goto miss :: else fi;
#endif
#ifndef MUTATE_NO_FOLD_SEQUENCE_RECHECK
        load(SEQUENCE, ORDERED, now);
        if :: now != sequence -> goto miss :: else fi
#else
        skip
#endif
    fi;
#endif
    ANSWER(last[word] >= applied);
miss:
    skip;
    d_step { applied = 0; sequence = 0; fold_word = 0; scope = 0; word = 0; now = 0; forget() }
}

init
{
    atomic {
        initial(SEQUENCE, 2);
        initial(APPLIED, 1);
        initial(ENTRY(0), 1);
        initial(ENTRY(1), 2);
        initial(ENTRY(2), 3);
        last[1] = ALWAYS;
        run writer();
        run reader();
#ifndef ONE_READER
        run reader()
#endif
    }
}
