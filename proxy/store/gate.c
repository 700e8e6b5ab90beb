/* A state under a mutex. It is touched a few times for each write, so nothing cleverer would be noticed. */
#include "proxy/store/gate.h"

#include "proxy/base/clock.h"

#include <stddef.h>
#include <string.h>

void gate_init(struct gate *gate, uint64_t closes_ns)
{
    memset(gate, 0, sizeof *gate);
    pthread_mutex_init(&gate->mutex, NULL);
    gate->closes_ns = closes_ns;
}

void gate_fini(struct gate *gate)
{
    pthread_mutex_destroy(&gate->mutex);
}

void gate_waits(struct gate *gate, enum gate_wait wait)
{
    if (gate == NULL)
        return;
    pthread_mutex_lock(&gate->mutex);
    gate->wait = wait;
    pthread_mutex_unlock(&gate->mutex);
}

static bool is_over(const struct gate *gate)
{
    return gate->closes_ns != 0 && clock_ns() >= gate->closes_ns;
}

bool gate_wanted(struct gate *gate)
{
    if (gate == NULL)
        return true;
    pthread_mutex_lock(&gate->mutex);
    bool wanted = gate->state == GATE_COMMITTING || (gate->state == GATE_OPEN && !is_over(gate));
    pthread_mutex_unlock(&gate->mutex);
    return wanted;
}

uint64_t gate_left_ns(struct gate *gate)
{
    if (gate == NULL || gate->closes_ns == 0)
        return UINT64_MAX;
    uint64_t now = clock_ns();
    return gate->closes_ns > now ? gate->closes_ns - now : 0;
}

bool gate_untouched(struct gate *gate)
{
    if (gate == NULL)
        return true;
    pthread_mutex_lock(&gate->mutex);
    bool open = gate->state == GATE_OPEN;
    pthread_mutex_unlock(&gate->mutex);
    return open;
}

bool gate_commit(struct gate *gate, const struct gate_trace *trace)
{
    if (gate == NULL)
        return true;
    pthread_mutex_lock(&gate->mutex);
    bool open = gate->state == GATE_OPEN && !is_over(gate);
    if (open) {
        gate->state = GATE_COMMITTING;
        gate->wait = GATE_FOR_COMMIT;
        gate->trace = *trace;
    }
    pthread_mutex_unlock(&gate->mutex);
    return open;
}

bool gate_reopen(struct gate *gate)
{
    if (gate == NULL)
        return true;
    pthread_mutex_lock(&gate->mutex);
    bool closed = gate->state == GATE_CLOSED;
    if (!closed)
        gate->state = GATE_OPEN;
    pthread_mutex_unlock(&gate->mutex);
    return !closed;
}

enum gate_state gate_close(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    enum gate_state before = gate->state;
    gate->state = GATE_CLOSED;
    pthread_mutex_unlock(&gate->mutex);
    return before;
}

bool gate_close_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    bool open = gate->state == GATE_OPEN;
    if (open)
        gate->state = GATE_CLOSED;
    pthread_mutex_unlock(&gate->mutex);
    return open;
}

enum gate_state gate_look(struct gate *gate, enum gate_wait *wait, struct gate_trace *trace)
{
    pthread_mutex_lock(&gate->mutex);
    enum gate_state state = gate->state;
    *wait = gate->wait;
    *trace = gate->trace;
    pthread_mutex_unlock(&gate->mutex);
    return state;
}

const char *gate_wait_text(enum gate_wait wait)
{
    switch (wait) {
    case GATE_FOR_THREAD:
        return "a free thread: all of store_write_threads wait themselves";
    case GATE_FOR_LOCK:
        return "the store's write lock, which another writer has";
    case GATE_FOR_STORE:
        return "the store to carry out its statements, which wait when another transaction has their rows";
    case GATE_FOR_COMMIT:
        return "the store to confirm its commit";
    case GATE_FOR_OUTCOME:
        return "the store to say whether its commit was done";
    }
    return "";
}
