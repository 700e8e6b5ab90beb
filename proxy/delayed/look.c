/* Looking at the queue: the list of the next tasks, its state, and advice made of that. */
#include "proxy/base/container_of.h"
#include "proxy/delayed/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_BYTES (256u * 1024)
#define SAMPLE     300u

/* ---- the list ---------------------------------------------------------------------------------------------------- */

struct listing {
    struct delayed_call call;
    delayed_listed_fn done;
    void *context;
};

/* Reads the fields of delayed_list.lua. */
static struct delayed_row read_row(const struct redis_reply *row)
{
    return (struct delayed_row){
        .id = delayed_text_at(row, 0),
        .time_ms = delayed_u64_at(row, 1),
        .taken = strcmp(delayed_text_at(row, 2), "taken") == 0,
        .targets = delayed_text_at(row, 3),
        .reason = delayed_text_at(row, 4),
        .condition = delayed_text_at(row, 5),
        .revision = delayed_text_at(row, 6),
        .expires_ms = delayed_u64_at(row, 7),
        .attempts = delayed_u64_at(row, 8),
        .waits = delayed_u64_at(row, 9),
        .error = delayed_text_at(row, 10),
    };
}

static void on_listed(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    struct listing *listing = container_of(call, struct listing, call);
    struct delayed_row rows[DELAYED_ROWS_MAX];
    struct failure failure = {0};
    int code = delayed_outcome(call->delayed, status, reply, &failure);
    const struct redis_reply *list = redis_reply_at(reply, 1);
    size_t count = code == 0 ? redis_reply_count(list) : 0;
    for (size_t i = 0; i < count && i < DELAYED_ROWS_MAX; i++)
        rows[i] = read_row(redis_reply_at(list, i));
    call->delayed->client_calls--;
    listing->done(listing->context, code, failure.text, code == 0 ? delayed_u64_at(reply, 0) : 0, rows,
                  count < DELAYED_ROWS_MAX ? count : DELAYED_ROWS_MAX);
    free(listing);
}

int delayed_list(struct delayed *delayed, unsigned most, delayed_listed_fn done, void *context)
{
    struct redis_args args;
    int code;
    struct listing *listing = delayed_call_new(delayed, sizeof *listing, &code);
    if (!listing)
        return code;
    listing->call.done = on_listed;
    listing->done = done;
    listing->context = context;
    delayed_args(delayed, &args);
    redis_args_u64(&args, most < DELAYED_ROWS_MAX ? most : DELAYED_ROWS_MAX);
    redis_args_u64(&args, LIST_BYTES);
    code = delayed_run_script(delayed, "delayed_list", &args, &listing->call);
    return delayed_call_begun(delayed, code, listing);
}

/* ---- how it stands ----------------------------------------------------------------------------------------------- */

struct looking {
    struct delayed_call call;
    bool advise;
    delayed_looked_fn done;
    void *context;
};

/* Reads the reply of delayed_look.lua. */
static void read_state(const struct redis_reply *reply, struct delayed_state *state)
{
    const struct redis_reply *largest = redis_reply_at(reply, 7);
    *state = (struct delayed_state){
        .now_ms = delayed_u64_at(reply, 0),
        .queued = delayed_u64_at(reply, 1),
        .taken = delayed_u64_at(reply, 2),
        .overdue = delayed_u64_at(reply, 3),
        .failing = delayed_u64_at(reply, 5),
        .waiting = delayed_u64_at(reply, 6),
    };
    state->has_first = redis_reply_u64(redis_reply_at(reply, 4), &state->first_ms);
    for (size_t i = 0; i + 1 < redis_reply_count(largest) && state->largest_count < DELAYED_LARGEST_MAX;
         i += 2) {
        (void)snprintf(state->largest[state->largest_count].index, DELAYED_INDEX_SIZE, "%s",
                       delayed_text_at(largest, i));
        state->largest[state->largest_count++].tasks = delayed_u64_at(largest, i + 1);
    }
}

static void keep_advice(struct delayed *delayed, const struct delayed_state *state)
{
    delayed->advice_count = delayed_advise(state, delayed->last);
    for (size_t i = 0; i < delayed->advice_count; i++) {
        struct delayed_advice *advice = &delayed->last[i];
        advice->number = delayed->advice_next++;
        delayed->advice[advice->number % DELAYED_ADVICE_RING] = *advice;
    }
}

static void on_looked(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    struct looking *looking = container_of(call, struct looking, call);
    struct delayed_state state = {0};
    struct failure failure = {0};
    int code = delayed_outcome(call->delayed, status, reply, &failure);
    if (code == 0) {
        read_state(reply, &state);
        if (looking->advise && !call->delayed->closed)
            keep_advice(call->delayed, &state);
    }
    call->delayed->client_calls--;
    looking->done(looking->context, code, failure.text, &state);
    free(looking);
}

int delayed_look(struct delayed *delayed, bool advise, delayed_looked_fn done, void *context)
{
    struct redis_args args;
    int code;
    struct looking *looking = delayed_call_new(delayed, sizeof *looking, &code);
    if (!looking)
        return code;
    looking->call.done = on_looked;
    looking->advise = advise;
    looking->done = done;
    looking->context = context;
    delayed_args(delayed, &args);
    redis_args_u64(&args, DELAYED_OVERDUE_MS);
    redis_args_u64(&args, advise ? SAMPLE : 0);
    redis_args_u64(&args, DELAYED_LARGEST_MAX);
    code = delayed_run_script(delayed, "delayed_look", &args, &looking->call);
    return delayed_call_begun(delayed, code, looking);
}

size_t delayed_advice(const struct delayed *delayed, const struct delayed_advice **out)
{
    *out = delayed->last;
    return delayed->advice_count;
}

const struct delayed_advice *delayed_advised(const struct delayed *delayed, uint64_t number)
{
    const struct delayed_advice *advice = &delayed->advice[number % DELAYED_ADVICE_RING];
    return number > 0 && advice->number == number ? advice : NULL;
}
