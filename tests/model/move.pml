/* A full window makes room, as table.c's displace does: the hole behind it comes nearer, move by move. Slots 0 and 1
 * are one bucket, slot 2 the next; the reader looks through them in this order.
 *
 *   at first     slot 0: key 1    slot 1: key 2    slot 2: free, key 3 was there once
 *   move         key 2 from slot 1 to 2, another bucket
 *   move         key 1 from slot 0 to 1, the same bucket and the slot that was just freed
 *   insert       key 3 into slot 0
 *   revision 2   key 1 is revoked: its entry is cleared
 *   move         key 3 from slot 0 to 1, which the revocation has freed
 *
 * A move publishes the copy and clears the old slot after. The writer may die in between: a successor finds the entry
 * twice, and is told to revoke it. It then uses the old slot for key 4, which nobody looks for. The answer of key n is
 * n; another one is never right.
 *
 * Two promises. No answer is wrong, as everywhere. And who is in the table is found, or found changing: an entry moves
 * towards the end of its window, where the reader goes too, so it is not passed over. (Were it, the reader would ask
 * over the socket, which is slow and not wrong.)
 *
 * One word of key: entry.pml tears keys. One reader, always: here too no reader stores anything, so that nobody can
 * tell how many there are. */
#define LOCATIONS 9
#define MESSAGES 12
#define IS_32(where) ((where) < 2 || (where) > 4 && (where) < 8)
#include "memory.pml"

#define SEQUENCE(bucket) (bucket)
#define KEY(slot) (2 + (slot))
#define WORD(slot) (5 + (slot))
#define APPLIED 8
#define BUCKET(slot) ((slot) / 2)

#ifdef MUTATE_CLEAR_RELAXED
#define W_CLEAR RELAXED
#else
#define W_CLEAR ORDERED
#endif
#ifdef MUTATE_R2_RELAXED
#define R2 RELAXED
#else
#define R2 ORDERED
#endif

#define ANSWER_OF(key, word) (((key) - 1) * 4 + (word) - 1)
byte last[12];
bit gone[4]; /* the key may be missed from now on */

byte sequence_of[2]; /* the writer's own memory of what it stored */

inline clear(slot)
{
    store(WORD(slot), 0, W_CLEAR)
}

/* MUTATE_WORD_BEFORE_ODD: the word goes in before the sequence moves, while the slot still shows its last key. */
inline insert(key, slot)
{
#ifdef MUTATE_WORD_BEFORE_ODD
    store(WORD(slot), key, ORDERED);
#endif
#if !defined(MUTATE_NO_W1) && !defined(MUTATE_SEQUENCE_NOT_MOVED)
    store(SEQUENCE(BUCKET(slot)), sequence_of[BUCKET(slot)] + 1, RELAXED);
#endif
#ifdef MUTATE_WORD_BEFORE_KEY
    store(WORD(slot), key, ORDERED);
#endif
    store(KEY(slot), key, ORDERED);
#if !defined(MUTATE_WORD_BEFORE_KEY) && !defined(MUTATE_WORD_BEFORE_ODD)
    store(WORD(slot), key, ORDERED);
#endif
#if !defined(MUTATE_SEQUENCE_NOT_MOVED) && !defined(MUTATE_SEQUENCE_STAYS)
    store(SEQUENCE(BUCKET(slot)), sequence_of[BUCKET(slot)] + 2, ORDERED);
#endif
#ifdef MUTATE_SEQUENCE_STAYS
    store(SEQUENCE(BUCKET(slot)), sequence_of[BUCKET(slot)], ORDERED);
#else
    sequence_of[BUCKET(slot)] = sequence_of[BUCKET(slot)] + 2
#endif
}

/* MUTATE_OTHER_SEQUENCE: the sequence that moves is that of the bucket which the entry leaves. */
inline move(key, from, to)
{
#ifdef MUTATE_CLEAR_FIRST
    clear(from);
#endif
#ifdef MUTATE_OTHER_SEQUENCE
    store(SEQUENCE(BUCKET(from)), sequence_of[BUCKET(from)] + 1, RELAXED);
    store(KEY(to), key, ORDERED);
    store(WORD(to), key, ORDERED);
    store(SEQUENCE(BUCKET(from)), sequence_of[BUCKET(from)] + 2, ORDERED);
    sequence_of[BUCKET(from)] = sequence_of[BUCKET(from)] + 2;
#else
    insert(key, to);
#endif
#ifndef MUTATE_CLEAR_FIRST
    if
    :: skip -> clear(from)
    :: skip -> goto died_moving /* with the entry in both slots */
    fi
#endif
}

inline revoke(key)
{
    d_step { last[ANSWER_OF(key, key)] = revision; revision++; gone[key] = 1 }
}

proctype writer()
{
    byte key, from, revision;
    d_step { sequence_of[0] = 2; sequence_of[1] = 2; revision = 1; key = 2; from = 1 }
    move(2, 1, 2);
    d_step { key = 1; from = 0 }
    move(1, 0, 1);
    insert(3, 0);
    revoke(1);
    clear(1);
    store(APPLIED, revision, ORDERED);
    key = 3;
    move(3, 0, 1);
    goto out;

died_moving:
    skip;
    d_step { if :: revision == 1 -> gone[3] = 1 :: else fi } /* it was not yet there */
    revoke(key);
#ifndef MUTATE_REVOKE_NEW_COPY
    clear(from);
#endif
#ifndef MUTATE_REVOKE_OLD_COPY
    clear(from + 1);
#endif
    store(APPLIED, revision, ORDERED);
    insert(4, from);
out:
    skip
}

proctype reader()
{
    READER_STATE;
    byte want, applied, sequence, word, now, slot, looked;
    if :: want = 1 :: want = 2 :: want = 3 fi;
    load(APPLIED, ORDERED, applied);
    do
    :: looked == 3 -> goto miss
    :: else ->
#ifdef MUTATE_BACKWARDS
        slot = 2 - looked;
        if :: slot == 0 :: else -> load(SEQUENCE(BUCKET(slot)), ORDERED, sequence) fi;
#else
        slot = looked;
        if :: slot == 1 :: else -> load(SEQUENCE(BUCKET(slot)), ORDERED, sequence) fi;
#endif
        looked++;
        load(KEY(slot), R2, now);
        if
        :: now != want
        :: else ->
            load(WORD(slot), R2, word);
            if :: word == 0 :: else -> break fi
        fi
    od;
    if :: sequence % 2 == 1 -> goto busy :: else fi;
    load(WORD(slot), R2, now);
    if :: now != word -> goto busy :: else fi;
#ifndef MUTATE_NO_SEQUENCE_RECHECK
    load(SEQUENCE(BUCKET(slot)), ORDERED, now); /* R3 */
    if :: now != sequence -> goto busy :: else fi;
#endif
#ifdef REACH_COPY
    assert(slot != want);
#endif
    ANSWER(last[ANSWER_OF(want, word)] >= applied);
    goto busy;
miss:
#ifdef REACH_MISS
    assert(want != 1);
#endif
    assert(gone[want] || want == 3 && applied == 1);
busy:
    skip;
    d_step { want = 0; applied = 0; sequence = 0; word = 0; now = 0; slot = 0; looked = 0; forget() }
}

init
{
    atomic {
        initial(SEQUENCE(0), 2);
        initial(SEQUENCE(1), 2);
        initial(KEY(0), 1);
        initial(WORD(0), 1);
        initial(KEY(1), 2);
        initial(WORD(1), 2);
        initial(KEY(2), 3);
        initial(APPLIED, 1);
        last[ANSWER_OF(1, 1)] = ALWAYS;
        last[ANSWER_OF(2, 2)] = ALWAYS;
        last[ANSWER_OF(3, 3)] = ALWAYS;
        run writer();
        run reader()
    }
}
