/* Runs: keys of one place that follow each other are read together, thousands at a time. What a run cannot do is for
 * the hands: keys of places with few of them, users who have more at the place than roles, those of whom something has
 * changed meanwhile.
 *
 * A run asks the store, or L2. With Redis L2 is asked for all keys that the fleet has named, because their values are
 * there, and while there is a budget for every key, because what Redis has costs the store nothing. While L2 cannot be
 * asked, these are for the hands.
 *
 * What may happen meanwhile:
 *
 *   the store fails             a pause begins, and the hands try the run's keys again, one by one
 *   the table fills up          they wait for room in the hands
 *   the job ends, or again      nobody waits for the run any more, and its keys are the job's to forget */
#include "proxy/warm/private.h"

#include "proxy/base/array.h"
#include "proxy/base/clock.h"
#include "proxy/base/counters.h"
#include "proxy/table/publisher.h"

#include <stdlib.h>

#define KEYS_A_RUN FACTS_SLICE_USERS_MAX
#define KEYS_PACED 512u /* while there is a budget: one run, which is paid for before the next one */
#define KEYS_LEAST 32u  /* fewer are for the hands, which read them together, too */
#define AHEAD      8u   /* keys that are looked for in the table soon */

struct run {
    struct job *job;
    struct slice *slice;
    enum slice_source source;
    struct scope_key scope;
    size_t count;
    struct run *next;
};

/* Redis has most of what another host has named, and reads of it cost the store nothing. */
static enum slice_source source_of(const struct job *job)
{
    const struct warm *warm = job->warm;
    bool whole = warm->budget.percent >= BUDGET_ALL;
    bool store = warm->options.redis == NULL || (whole && job->status.kind != WARM_FLEET);
    return store ? SLICE_OF_STORE : SLICE_OF_L2;
}

/* How many keys the next run of the job may have; 0: none is begun now. */
static size_t keys_max(const struct job *job)
{
    const struct warm *warm = job->warm;
    struct scope_key scope = job->keys[job->next_key].scope;
    size_t most = answering_slice_max(warm->options.answering, source_of(job), scope);
    return warm->budget.percent < BUDGET_ALL && most > KEYS_PACED ? KEYS_PACED : most;
}

/* Whether the next keys of the job are of one place, and enough. */
static bool is_run(const struct job *job)
{
    const struct hot_key *key = &job->keys[job->next_key];
    if (job->count - job->next_key < KEYS_LEAST)
        return false;
    for (size_t i = KEYS_LEAST - 1; i > 0; i--) /* in order of places the last one tells */
        if (!scope_equal(key[i].scope, key[0].scope))
            return false;
    return true;
}

struct job *runs_giver(const struct warm *warm)
{
    for (struct job *job = warm->jobs; job != NULL; job = job->next)
        if ((job->status.state == WARM_FILLING || job->status.state == WARM_READING) && job->next_key < job->count)
            return is_run(job) && keys_max(job) >= KEYS_LEAST ? job
                                                              : NULL; /* page by page, as they are read */
    return NULL;
}

static unsigned runs_max(const struct warm *warm)
{
    return warm->budget.percent < BUDGET_ALL ? 1 : WARM_RUNS;
}

/* Keys that wait for a hand: they came before, and have the room first. */
static uint64_t left_to_hands(const struct warm *warm, const struct job *job)
{
    return warm->busy - warm->asking + job->alone_count - job->next_alone;
}

/* How many keys have room, and no other key comes before them. */
static uint64_t room_for(const struct warm *warm, const struct job *job)
{
    uint64_t room = publisher_room(warm->options.publisher);
    uint64_t taken = warm->asking + warm->run_keys + left_to_hands(warm, job);
    return room > taken ? room - taken : 0;
}

/* What the hands have to do first is looked for by hands_have_work. While keys are left that L2 did not have, the store
 * is what is waited for, and looking for more would only make them more. */
bool runs_have_work(const struct warm *warm)
{
    const struct job *job = warm->run_count < runs_max(warm) ? runs_giver(warm) : NULL;
    if (job == NULL || left_to_hands(warm, job) == 0)
        return job != NULL;
    return source_of(job) == SLICE_OF_STORE && room_for(warm, job) > 0;
}

/* ---- what is for the hands --------------------------------------------------------------------------------------- */

static void leave_to_hands(struct job *job, struct hot_key key)
{
    struct hot_key *last = array_add(&job->alone, &job->alone_count, sizeof *last);
    if (last != NULL) {
        *last = key;
        return;
    }
    job_keep_why(job, "out of memory");
    job->status.failed++;
    job->warm->options.counters->warm_failed++;
}

static void take_result(const struct run *run, uint64_t user, enum slice_result result)
{
    struct job *job = run->job;
    struct counters *counters = job->warm->options.counters;
    struct hot_key key = {.user = user, .scope = run->scope, .frequency = 1};
    switch (result) {
    case SLICE_FILLED:
        job->status.filled++;
        counters->warm_filled++;
        break;
    case SLICE_RESIDENT:
        job->status.resident++;
        break;
    case SLICE_STRANGER:
        job->status.strangers++;
        counters->warm_strangers++;
        break;
    case SLICE_LATER:
        job->keys[job->put_off++] = key;
        break;
    case SLICE_OPEN:
    case SLICE_ALONE:
    case SLICE_NO_ROOM: /* the hands wait for it */
        leave_to_hands(job, key);
        break;
    }
}

static void run_free(struct run *run)
{
    struct warm *warm = run->job->warm;
    struct run **at = &warm->runs;
    while (*at != run)
        at = &(*at)->next;
    *at = run->next;
    warm->run_count--;
    warm->run_keys -= run->count;
    run->job->run_keys -= run->count;
    free(run);
}

/* What a run that could not be read has for each of its keys. Where there is no such place, none of them is filled. */
static enum slice_result result_without(int code)
{
    return code == PERMTAB_E_NOT_FOUND ? SLICE_STRANGER : SLICE_ALONE;
}

static bool is_the_stores(int code)
{
    return code == PERMTAB_E_STORE || code == PERMTAB_E_UNREACHABLE || code == PERMTAB_E_TIMEOUT;
}

static void on_done(void *context, int code, const char *text, const struct facts_slice *facts, const uint8_t *results)
{
    struct run *run = context;
    struct job *job = run->job;
    struct warm *warm = job->warm;
    for (size_t i = 0; i < facts->count; i++)
        take_result(run, facts->users[i], code == 0 ? (enum slice_result)results[i] : result_without(code));
    bool of_store = run->source == SLICE_OF_STORE; /* only what it has answered says that it is there */
    run_free(run);
    if (of_store && (code == 0 || code == PERMTAB_E_NOT_FOUND)) {
        warm->answered++;
        pause_ends(&warm->pause);
    } else if (is_the_stores(code)) {
        job_keep_why(job, text);
        hands_rest(warm);
    }
    warm_schedule(warm);
}

/* ---- the next run ------------------------------------------------------------------------------------------------ */

static int user_order(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

/* Ascending, and each once. */
static size_t put_in_order(uint64_t *users, size_t count)
{
    size_t kept = 0;
    bool sorted = true;
    for (size_t i = 1; i < count && sorted; i++)
        sorted = users[i - 1] < users[i];
    if (sorted)
        return count;
    qsort(users, count, sizeof *users, user_order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || users[kept - 1] != users[i])
            users[kept++] = users[i];
    return kept;
}

/* Takes the keys of the next run that are not in the table, and have room. */
static size_t take_keys(struct job *job, uint64_t *users, size_t most)
{
    const struct publisher *publisher = job->warm->options.publisher;
    struct scope_key scope = job->keys[job->next_key].scope, at;
    size_t count = 0;
    for (size_t looked = 0; looked < KEYS_A_RUN && count < most && job->next_key < job->count; looked++) {
        const struct hot_key *key = &job->keys[job->next_key];
        if (!scope_equal(key->scope, scope))
            break;
        job->next_key++;
        if (job->next_key + AHEAD < job->count)
            publisher_fetch(publisher, key[1 + AHEAD].user, key[1 + AHEAD].scope);
        if (publisher_resident(publisher, key->user, key->scope, &at))
            job->status.resident++;
        else
            users[count++] = key->user;
    }
    size_t kept = put_in_order(users, count);
    job->status.resident += count - kept; /* will be, when its like is */
    return kept;
}

static int run_begin(struct job *job, struct scope_key scope, const uint64_t *users, size_t count)
{
    struct warm *warm = job->warm;
    struct run *run = malloc(sizeof *run);
    if (run == NULL)
        return PERMTAB_E_MEMORY;
    *run = (struct run){
        .job = job, .source = source_of(job), .scope = scope, .count = count, .next = warm->runs};
    int code =
        answering_slice(&run->slice, warm->options.answering, run->source, scope, users, count, on_done, run);
    if (code < 0) {
        free(run);
        return code;
    }
    warm->runs = run;
    warm->run_count++;
    warm->run_keys += count;
    job->run_keys += count;
    return 0;
}

void runs_begin(struct warm *warm)
{
    uint64_t users[KEYS_A_RUN], room;
    struct job *job = runs_giver(warm);
    if (job == NULL || (room = room_for(warm, job)) == 0)
        return;
    size_t most = keys_max(job);
    struct scope_key scope = job->keys[job->next_key].scope;
    size_t count = take_keys(job, users, room < most ? room : most);
    if (count == 0)
        return;
    int code = count < KEYS_LEAST ? 0 : run_begin(job, scope, users, count);
    for (size_t i = 0; i < count && (code < 0 || count < KEYS_LEAST); i++)
        leave_to_hands(job, (struct hot_key){.user = users[i], .scope = scope, .frequency = 1});
}

void runs_drop(struct warm *warm, const struct job *job)
{
    struct run *run, *next;
    for (run = warm->runs; run != NULL; run = next) {
        next = run->next;
        if (run->job != job)
            continue;
        answering_slice_cancel(run->slice);
        run_free(run);
    }
}
