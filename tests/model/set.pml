/* Sets: rewritten in place for a role edit; rewritten in a batch that also moves the user; used again for other
 * inputs without any quarantine. The reader combines two words of bits, as a rule or a view does. One user at one
 * place; the entry's key and bucket stay (entry.pml has those), so the word is replaced by single stores.
 *
 *   revision 1   the user has role R: set 1 = (1,0)
 *   revision 2   R is edited:                         set 1 becomes (0,1)
 *   revision 3   the user loses R, gets set 2 = (0,0); R is edited: set 1 becomes (1,1), which is not the user's
 *   revision 4   the user gets R back; R is edited:   set 1 becomes (0,1)
 *   then         set 2, which no entry names now, is used for somebody else's inputs: (1,1)
 *
 * (1,1) is never right. (1,0), (0,1), (0,0) are right in their time. */
#define LOCATIONS 8
#define MESSAGES 8
#define IS_32(where) ((where) == 0)
#include "memory.pml"

#define WORD 0
#define APPLIED 1
#define SEQUENCE(set) (2 + ((set) - 1) * 3)
#define BITS0(set) (3 + ((set) - 1) * 3)
#define BITS1(set) (4 + ((set) - 1) * 3)

#ifdef MUTATE_W2_RELAXED
#define W2 RELAXED
#else
#define W2 ORDERED
#endif
#ifdef MUTATE_W3_RELAXED
#define W3 RELAXED
#else
#define W3 ORDERED
#endif
#ifdef MUTATE_WORD_RELAXED
#define W_WORD RELAXED
#else
#define W_WORD ORDERED
#endif
#ifdef MUTATE_R1_RELAXED
#define R1 RELAXED
#else
#define R1 ORDERED
#endif
#ifdef MUTATE_R2_RELAXED
#define R2 RELAXED
#else
#define R2 ORDERED
#endif
#ifdef MUTATE_WORD_LOADS_RELAXED
#define R_WORD RELAXED
#else
#define R_WORD ORDERED
#endif
#ifdef MUTATE_APPLIED_RELAXED
#define BEAT RELAXED
#else
#define BEAT ORDERED
#endif

byte last[4]; /* by bits0 * 2 + bits1 */

inline right_until(answer, revision)
{
    last[answer] = revision
}

inline close_set(set, sequence)
{
#ifndef MUTATE_NO_CLOSE
    store(SEQUENCE(set), sequence, RELAXED) /* W1 */
#else
    skip
#endif
}

inline write_set(set, bits0, bits1)
{
    store(BITS0(set), bits0, W2);
    store(BITS1(set), bits1, W2)
}

proctype writer()
{
    d_step { right_until(2, 1); right_until(1, ALWAYS) }
    close_set(1, 3);
    write_set(1, 0, 1);
    store(SEQUENCE(1), 4, W3);
    store(APPLIED, 2, BEAT);

    d_step { right_until(1, 2); right_until(0, ALWAYS) }
    close_set(1, 5);
    write_set(2, 0, 0);
    store(SEQUENCE(2), 2, W3);
#ifndef MUTATE_RETIRE_AFTER_REWRITE
    store(WORD, 2, W_WORD);
#endif
    write_set(1, 1, 1);
    store(SEQUENCE(1), 6, W3);
#ifdef MUTATE_RETIRE_AFTER_REWRITE
    store(WORD, 2, W_WORD);
#endif
    store(APPLIED, 3, BEAT);

    d_step { right_until(0, 3); right_until(1, ALWAYS) }
#ifdef MUTATE_PUBLISH_BEFORE_CLOSE
    store(WORD, 1, W_WORD);
#endif
    close_set(1, 7);
#ifndef MUTATE_PUBLISH_BEFORE_CLOSE
    store(WORD, 1, W_WORD);
#endif
    write_set(1, 0, 1);
    store(SEQUENCE(1), 8, W3);
    store(APPLIED, 4, BEAT);

    close_set(2, 3);
    write_set(2, 1, 1);
    store(SEQUENCE(2), 4, W3)
}

proctype reader()
{
    READER_STATE;
    byte applied, word, sequence, bits0, bits1, now;
#ifndef MUTATE_APPLIED_AFTER
    load(APPLIED, ORDERED, applied);
#endif
    load(WORD, R_WORD, word);
    load(SEQUENCE(word), R1, sequence);
#ifndef MUTATE_ODD_IGNORED
    if :: sequence % 2 == 1 -> goto busy :: else fi;
#endif
    load(BITS0(word), R2, bits0);
    load(BITS1(word), R2, bits1);
#ifndef MUTATE_NO_WORD_RECHECK
    load(WORD, R_WORD, now);
    if :: now != word -> goto busy :: else fi;
#endif
#ifndef MUTATE_NO_SET_RECHECK
    load(SEQUENCE(word), ORDERED, now); /* R3 */
    if :: now != sequence -> goto busy :: else fi;
#endif
#ifdef MUTATE_APPLIED_AFTER
    load(APPLIED, ORDERED, applied);
#endif
    ANSWER(last[bits0 * 2 + bits1] >= applied);
busy:
    skip;
    d_step { applied = 0; word = 0; sequence = 0; bits0 = 0; bits1 = 0; now = 0; forget() }
}

init
{
    atomic {
        initial(WORD, 1);
        initial(APPLIED, 1);
        initial(SEQUENCE(1), 2);
        initial(BITS0(1), 1);
        initial(BITS1(1), 0);
        initial(SEQUENCE(2), 1);
        last[2] = ALWAYS;
        run writer();
        run reader();
#ifndef ONE_READER
        run reader()
#endif
    }
}
