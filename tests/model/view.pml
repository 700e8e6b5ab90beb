/* A client's view of a segment: private memory, filled in by the thread that attached and shown to the others by one
 * store of a pointer (permtab_shm_store_pointer, permtab_shm_load_pointer). A thread that reads the pointer must find
 * the view filled in: a bound that is not there yet would be 0, or rubbish.
 *
 *   view 1   bound 1   the first segment's
 *   view 2   bound 2   that of the segment which took its place */
#define LOCATIONS 3
#define MESSAGES 3
#define IS_32(where) false
#include "memory.pml"

#define POINTER 0
#define BOUND(view) (view)

#ifdef MUTATE_STORE_POINTER_RELAXED
#define W RELAXED
#else
#define W ORDERED
#endif
#ifdef MUTATE_LOAD_POINTER_RELAXED
#define R RELAXED
#else
#define R ORDERED
#endif

proctype attacher()
{
    store(BOUND(1), 1, RELAXED);
    store(POINTER, 1, W);
    store(BOUND(2), 2, RELAXED);
    store(POINTER, 2, W)
}

proctype reader()
{
    READER_STATE;
    byte view, bound;
    load(POINTER, R, view);
    if
    :: view == 0
    :: else ->
        load(BOUND(view), RELAXED, bound);
        ANSWER(bound == view)
    fi;
    d_step { view = 0; bound = 0; forget() }
}

init
{
    atomic {
        run attacher();
        run reader();
#ifndef ONE_READER
        run reader()
#endif
    }
}
