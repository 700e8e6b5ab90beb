/* A gate: whether a write may still be committed. The thread that carries it out and the loop, which answers the
 * asker, decide that together. The gate is closed when the asker has been told that the time is over, or has gone;
 * a thread that finds it closed commits nothing any more. The gate also says what the write waits for.
 *
 *     open ──► committing ──► (done)       the thread, before it sends COMMIT
 *      ▲ └──────────┤                      the thread, when the commit is known not to have happened
 *      └── closed ◄─┴── from either        the loop; from `committing` the outcome is unknown
 *
 * Every function may be called by any thread, and blocks for no longer than a mutex does. */
#ifndef PERMTAB_STORE_GATE_H
#define PERMTAB_STORE_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum gate_state { GATE_OPEN, GATE_COMMITTING, GATE_CLOSED };

enum gate_wait {
    GATE_FOR_THREAD,  /* all of store_write_threads are at work */
    GATE_FOR_LOCK,    /* another writer has the store's lock */
    GATE_FOR_STORE,   /* the statements of the write itself */
    GATE_FOR_COMMIT,  /* COMMIT was sent */
    GATE_FOR_OUTCOME, /* the connection broke after that: did it happen? */
};

/* The change row that a commit leaves behind when it happens. */
struct gate_trace {
    uint64_t revision;
    uint64_t nonce; /* of the change row with that revision */
};

struct gate {
    pthread_mutex_t mutex; /* guards all below */
    enum gate_state state;
    enum gate_wait wait;
    uint64_t closes_ns; /* CLOCK_MONOTONIC: no commit is sent after it; 0: never */
    struct gate_trace trace;
};

void gate_init(struct gate *gate, uint64_t closes_ns);
void gate_fini(struct gate *gate);

/* Called by the thread: what it is about to do. */
void gate_waits(struct gate *gate, enum gate_wait wait);
/* Whether the write is still wanted: nobody has closed the gate, and, as long as no commit was sent, its time is
 * not over. A NULL gate never closes. */
bool gate_wanted(struct gate *gate);
/* Nanoseconds until closes_ns; UINT64_MAX when it has none. */
uint64_t gate_left_ns(struct gate *gate);
/* Whether the gate is still open: nothing was committed under it. True for NULL. */
bool gate_untouched(struct gate *gate);
/* Called by the thread before it commits. False: it must not. */
bool gate_commit(struct gate *gate, const struct gate_trace *trace);
/* Called by the thread when it knows that nothing was committed. False: the loop has closed the gate meanwhile. */
bool gate_reopen(struct gate *gate);

/* Called by the loop. Returns the state that the gate was in: GATE_OPEN means that nothing was committed and
 * nothing will be. */
enum gate_state gate_close(struct gate *gate);
/* Closes the gate when it is open; returns whether it was. */
bool gate_close_open(struct gate *gate);
enum gate_state gate_look(struct gate *gate, enum gate_wait *wait, struct gate_trace *trace);

/* "the store's write lock, which another writer has". */
const char *gate_wait_text(enum gate_wait wait);

#endif
