/* Weak memory for one writer and any number of readers, as views of timestamped messages: the C11 release-acquire
 * fragment with relaxed accesses (Kang and others, "A promising semantics for relaxed-memory concurrency", POPL 2017,
 * without promises, which only matter to threads that store what they have read; readers here store nothing).
 *
 * A location keeps every value ever stored there, each with the number of its store. A load may return any of them
 * that the reader is not bound to have seen overwritten. What it is bound to have seen:
 *   - `horizon`: all stores up to that number. An acquire load of a release store raises it to that store's number,
 *     because the one writer had made all earlier stores before it;
 *   - `seen[location]`: what it has itself read there (coherence). Needed only for what the horizon does not cover:
 *     relaxed stores and relaxed loads.
 * So stores may become visible in any order that releases do not forbid, and a load may in effect be done early or
 * late in any way that acquires do not forbid. Weaker than x86, ARMv8 and POWER; nothing here relies on a fence.
 *
 * The scenario defines LOCATIONS and MESSAGES before it includes this, and IS_32(location): which of them are accessed
 * by the helpers for 32 bits in shm/order.h. WEAK_LOAD32, WEAK_LOAD64, WEAK_STORE32 and WEAK_STORE64 each make one of
 * those helpers relaxed, for all that the scenario does with it. */

#define RELAXED 0
#define ORDERED 1 /* release for a store, acquire for a load */

#ifdef WEAK_LOAD32
#define LOADED(where, order) (IS_32(where) -> RELAXED : (order))
#elif defined(WEAK_LOAD64)
#define LOADED(where, order) (IS_32(where) -> (order) : RELAXED)
#else
#define LOADED(where, order) (order)
#endif
#ifdef WEAK_STORE32
#define STORED(where, order) (IS_32(where) -> RELAXED : (order))
#elif defined(WEAK_STORE64)
#define STORED(where, order) (IS_32(where) -> (order) : RELAXED)
#else
#define STORED(where, order) (order)
#endif

typedef location {
    byte value[MESSAGES];
    byte number[MESSAGES];
    bit released[MESSAGES];
    byte count /* of messages after the first, which is the initial value */
};

location memory[LOCATIONS];
byte stores; /* made so far */

inline initial(where, what)
{
    memory[where].value[0] = what
}

/* Writer. */
inline store(where, what, order)
{
    d_step {
        assert(memory[where].count < MESSAGES - 1);
        stores++;
        memory[where].count++;
        memory[where].value[memory[where].count] = what;
        memory[where].number[memory[where].count] = stores;
        memory[where].released[memory[where].count] = STORED(where, order)
    }
}

/* Reader; it declares READER_STATE. Walks back from the newest message and may stop at any it is not bound to have
 * seen overwritten. */
#define READER_STATE                                                                                                   \
    byte horizon;                                                                                                      \
    byte seen[LOCATIONS];                                                                                              \
    byte at

inline load(where, order, out)
{
    atomic {
        at = memory[where].count;
        do
        :: at > seen[where] && memory[where].number[at] > horizon -> at--
        :: break
        od;
        out = memory[where].value[at];
        if
        :: LOADED(where, order) == ORDERED && memory[where].released[at] && memory[where].number[at] > horizon ->
            horizon = memory[where].number[at]
        :: else
        fi;
        if
        :: memory[where].number[at] > horizon -> seen[where] = at
        :: else
        fi;
        at = 0
    }
}

/* A reader that is done forgets: fewer states. */
inline forget()
{
    horizon = 0;
    at = 0;
    do
    :: at < LOCATIONS -> seen[at] = 0; at++
    :: else -> break
    od;
    at = 0
}

/* Truth: for each answer the last revision of the policy at which it was right; ALWAYS while it still is, 0 if it
 * never was. Revisions start at 1. An answer is wrong when it was last right before the applied revision that its
 * reader had read. */
#define ALWAYS 255

/* An answer has been given. With -DREACH the model must find that this happens, so that no scenario passes because
 * its readers never answer. */
#ifdef REACH
#define ANSWER(right) assert(false)
#else
#define ANSWER(right) assert(right)
#endif
