/* A queue sorted by due time. The stream keeps its order, because each chunk is due no earlier than the one before; a
 * message that is held is due by itself. A limited rate is a due time too. */
#include "tests/e2e/proxy/flow.h"

#include "tests/e2e/moments.h"
#include "tests/e2e/proxy/resp.h"

#include <assert.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_SIZE 4096u
#define SWAP_NS    200000000ull /* a message that waits for a next one waits no longer */

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t size;
    char bytes[];
};

static struct chunk *chunk_new(const char *bytes, size_t size, uint64_t due_ns)
{
    struct chunk *chunk = malloc(sizeof *chunk + size);
    assert(chunk);
    *chunk = (struct chunk){.due_ns = due_ns, .size = size};
    memcpy(chunk->bytes, bytes, size);
    return chunk;
}

static void arm(struct flow *flow, uint64_t now)
{
    uint64_t due = flow->first ? flow->first->due_ns : UINT64_MAX;
    if (flow->swap && flow->swap->due_ns < due)
        due = flow->swap->due_ns;
    if (due == UINT64_MAX)
        return;
    uint64_t left = due > now ? (due - now + 999) / 1000 : 0;
    struct timeval wait = {.tv_sec = (time_t)(left / 1000000), .tv_usec = (suseconds_t)(left % 1000000)};
    (void)event_add(flow->timer, &wait);
}

/* Queues the chunk after those that are due at the same time. */
static void put(struct flow *flow, struct chunk *chunk)
{
    struct chunk **at = &flow->first;
    while (*at && (*at)->due_ns <= chunk->due_ns)
        at = &(*at)->next;
    chunk->next = *at;
    *at = chunk;
    flow->queued += chunk->size;
}

/* Puts what waited to be overtaken. */
static void put_swapped(struct flow *flow, uint64_t due_ns)
{
    if (!flow->swap)
        return;
    flow->swap->due_ns = due_ns;
    put(flow, flow->swap);
    flow->swap = NULL;
}

static void write_due(struct flow *flow)
{
    uint64_t now = now_ns();
    if (flow->swap && flow->swap->due_ns <= now)
        put_swapped(flow, now);
    while (flow->first && flow->first->due_ns <= now) {
        struct chunk *chunk = flow->first;
        flow->first = chunk->next;
        flow->queued -= chunk->size;
        (void)bufferevent_write(flow->to, chunk->bytes, chunk->size);
        free(chunk);
    }
    arm(flow, now);
}

static void on_due(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    write_due(context);
}

static uint64_t stream_due(struct flow *flow, const struct rules *rules, enum direction direction,
                           struct dice *dice, size_t size)
{
    double wait = rules->delay_ms[direction];
    if (rules->jitter_ms[direction] > 0)
        wait += (2 * dice_roll(dice) - 1) * rules->jitter_ms[direction];
    uint64_t due = now_ns() + (wait > 0 ? (uint64_t)(wait * 1e6) : 0);
    uint64_t after = flow->due_ns;
    if (rules->rate[direction] > 0)
        after = (after > due ? after : due) + (uint64_t)((double)size * 1e9 / rules->rate[direction]);
    flow->due_ns = due > after ? due : after;
    return flow->due_ns;
}

void flow_pass(struct flow *flow, const struct rules *rules, enum direction direction, struct dice *dice,
               const char *bytes, size_t size)
{
    for (size_t at = 0; at < size; at += PIECE_SIZE) {
        size_t piece = size - at < PIECE_SIZE ? size - at : PIECE_SIZE;
        put(flow, chunk_new(bytes + at, piece, stream_due(flow, rules, direction, dice, piece)));
    }
    write_due(flow);
}

/* Another value than before in each of `count` places. */
static void flip(struct dice *dice, char *bytes, size_t size, unsigned count)
{
    for (unsigned i = 0; i < count && size > 0; i++)
        bytes[dice_next(dice) % size] ^= (char)(1 + dice_next(dice) % 255);
}

static void place(struct flow *flow, const struct rules *rules, struct dice *dice, struct flow_counts *counts,
                  struct chunk *chunk)
{
    if (dice_roll(dice) < rules->hold) {
        counts->held++;
        chunk->due_ns = now_ns() + (uint64_t)(rules->hold_ms * 1e6);
        put(flow, chunk);
    } else if (!flow->swap && dice_roll(dice) < rules->reorder) {
        counts->reordered++;
        flow->swap = chunk;
        chunk->due_ns = now_ns() + SWAP_NS;
    } else {
        chunk->due_ns = stream_due(flow, rules, DOWN, dice, chunk->size);
        put(flow, chunk);
        put_swapped(flow, flow->due_ns);
    }
}

void flow_message(struct flow *flow, const struct rules *rules, struct dice *dice, struct flow_counts *counts,
                  const char *bytes, size_t size)
{
    size_t payload, length;
    if (!resp_message(bytes, size, &payload, &length)) {
        flow_pass(flow, rules, DOWN, dice, bytes, size);
        return;
    }
    counts->messages++;
    if (dice_roll(dice) < rules->drop) {
        counts->dropped++;
        return;
    }
    struct chunk *chunk = chunk_new(bytes, size, 0);
    if (dice_roll(dice) < rules->garble) {
        counts->garbled++;
        flip(dice, chunk->bytes + payload, length, 1 + (unsigned)(dice_next(dice) % 4));
    }
    if (dice_roll(dice) < rules->corrupt) {
        counts->corrupted++;
        flip(dice, chunk->bytes, payload, 1); /* a head, a length, a channel */
    }
    if (dice_roll(dice) < rules->duplicate) {
        counts->duplicated++;
        place(flow, rules, dice, counts, chunk_new(chunk->bytes, size, 0));
    }
    place(flow, rules, dice, counts, chunk);
    write_due(flow);
}

bool flow_empty(const struct flow *flow)
{
    return !flow->first && !flow->swap;
}

int flow_init(struct flow *flow, struct event_base *base, struct bufferevent *to)
{
    memset(flow, 0, sizeof *flow);
    flow->to = to;
    flow->timer = evtimer_new(base, on_due, flow);
    return flow->timer ? 0 : -1;
}

void flow_fini(struct flow *flow)
{
    while (flow->first) {
        struct chunk *next = flow->first->next;
        free(flow->first);
        flow->first = next;
    }
    free(flow->swap);
    if (flow->timer)
        event_free(flow->timer);
}
