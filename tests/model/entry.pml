/* A slot of the map: evicted, used again for another key, replaced by a revocation, used again for the first key.
 * Two words of key, so that a key can be torn. Sets do not change here: an answer is the word that was found.
 *
 * Policy: key (1,1) answers 1 always. Key (2,2) answers 2 at revision 1 and 1 from revision 2 on. Keys (1,2) and (2,1)
 * are in nobody's policy and must never be found. */
#define LOCATIONS 5
#define MESSAGES 8
#define IS_32(where) ((where) == 0 || (where) == 3)
#include "memory.pml"

#define SEQUENCE 0
#define KEY0 1
#define KEY1 2
#define WORD 3
#define APPLIED 4

#ifdef MUTATE_W2_RELAXED
#define W2 RELAXED
#else
#define W2 ORDERED
#endif
#ifdef MUTATE_WORD_RELAXED
#define W2_WORD RELAXED
#else
#define W2_WORD ORDERED
#endif
#ifdef MUTATE_W3_RELAXED
#define W3 RELAXED
#else
#define W3 ORDERED
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
#ifdef MUTATE_APPLIED_RELAXED
#define BEAT RELAXED
#else
#define BEAT ORDERED
#endif
#ifdef MUTATE_APPLIED_LOAD_RELAXED
#define BEAT_LOAD RELAXED
#else
#define BEAT_LOAD ORDERED
#endif

#define ANSWER_OF(k0, k1, word) (((k0) - 1) * 6 + ((k1) - 1) * 3 + (word))
byte last[12];

inline insert(k0, k1, word, sequence)
{
#ifndef MUTATE_NO_W1
    store(SEQUENCE, sequence + 1, RELAXED); /* W1 */
#endif
#ifdef MUTATE_W3_EARLY
    store(SEQUENCE, sequence + 2, W3);
#endif
#ifdef MUTATE_WORD_BEFORE_KEY
    store(WORD, word, W2_WORD);
#endif
    store(KEY0, k0, W2);
    store(KEY1, k1, W2);
#ifndef MUTATE_WORD_BEFORE_KEY
    store(WORD, word, W2_WORD);
#endif
#ifndef MUTATE_W3_EARLY
#ifndef MUTATE_SEQUENCE_STAYS
    store(SEQUENCE, sequence + 2, W3);
#else
    store(SEQUENCE, sequence, W3);
#endif
#endif
}

proctype writer()
{
    store(WORD, 0, ORDERED); /* evict (1,1) */
    insert(2, 2, 2, 2);
    d_step { last[ANSWER_OF(2, 2, 2)] = 1; last[ANSWER_OF(2, 2, 1)] = ALWAYS }
#ifdef MUTATE_APPLIED_EARLY
    store(APPLIED, 2, BEAT);
#endif
    store(WORD, 1, ORDERED); /* the revocation: one store */
#ifndef MUTATE_APPLIED_EARLY
    store(APPLIED, 2, BEAT);
#endif
    store(WORD, 0, ORDERED); /* evict (2,2) */
    insert(1, 1, 1, 4)
}

proctype reader()
{
    READER_STATE;
    byte want0, want1, applied, sequence, word, now;
    if :: want0 = 1 :: want0 = 2 fi;
    if :: want1 = 1 :: want1 = 2 fi;
#ifndef MUTATE_APPLIED_AFTER
    load(APPLIED, BEAT_LOAD, applied);
#endif
    load(SEQUENCE, R1, sequence);
#ifdef STRAIGHT
    load(WORD, R2, word); /* permtab_shm_look_home may read it before any of the key: it compares that afterwards */
#endif
    load(KEY0, R2, now);
    if :: now != want0 -> goto miss :: else fi;
    load(KEY1, R2, now);
    if :: now != want1 -> goto miss :: else fi;
#ifndef STRAIGHT
    load(WORD, R2, word);
#endif
    if :: word == 0 -> goto miss :: else fi;
#ifndef MUTATE_ODD_IGNORED
    if :: sequence % 2 == 1 -> goto miss :: else fi;
#endif
    load(WORD, R2, now);
    if :: now != word -> goto miss :: else fi;
#ifndef MUTATE_NO_SEQUENCE_RECHECK
    load(SEQUENCE, ORDERED, now); /* R3 */
    if :: now != sequence -> goto miss :: else fi;
#endif
#ifdef MUTATE_APPLIED_AFTER
    load(APPLIED, BEAT_LOAD, applied);
#endif
    ANSWER(last[ANSWER_OF(want0, want1, word)] >= applied);
miss:
    skip;
    d_step { want0 = 0; want1 = 0; applied = 0; sequence = 0; word = 0; now = 0; forget() }
}

init
{
    atomic {
        initial(SEQUENCE, 2);
        initial(KEY0, 1);
        initial(KEY1, 1);
        initial(WORD, 1);
        initial(APPLIED, 1);
        last[ANSWER_OF(1, 1, 1)] = ALWAYS;
        last[ANSWER_OF(2, 2, 2)] = ALWAYS;
        run writer();
        run reader();
#ifndef ONE_READER
        run reader()
#endif
    }
}
