/* Counting, and making oneself known. The sidecar gives each process a small page to count into when it attaches. A
 * child that has not attached yet counts into memory of its own, and attaches as soon as a call comes along that
 * may block, even if that was answered by the table: so the sidecar knows of workers that never miss. Nobody waits
 * for that. Later calls, a millisecond apart, look again for what is not there at once (the reply, mostly).
 * permtab_peek alone never begins it: it makes no system call. */
#include "client/handle.h"

#include "shm/order.h"

#include <string.h>

#define ENROL_NS 1000000u /* between two looks for the reply */

static void add(uint64_t *counter, uint64_t count)
{
    permtab_shm_store64_relaxed(counter, permtab_shm_load64_relaxed(counter) + count);
}

static struct permtab_shm_feedback_line *line_of_thread(struct handle *handle)
{
    struct permtab_shm_feedback_line *line = permtab_line_(&handle->visible);
    if (line != NULL)
        return line;
    if (permtab_thread_.line == 0)
        permtab_thread_enter_(&handle->visible);
    return &handle->own->local[permtab_thread_.line - 1];
}

/* A number below PERMTAB_SHM_SAMPLE_HITS that is 0 for one count in so many, at uneven distances (multiples of the
 * golden ratio): so a caller whose checks have a rhythm has all of them sampled in time. */
static uint32_t until_sample(uint64_t hits)
{
    return (uint32_t)((hits * 0x9e3779b97f4a7c15ull) >> (64u - PERMTAB_SHM_SAMPLE_BITS));
}

void count_add(struct handle *handle, uint64_t hits, uint64_t misses, uint64_t unknowns)
{
    struct permtab_shm_feedback_line *line = line_of_thread(handle);
    add(&line->hits, hits);
    add(&line->misses, misses);
    add(&line->unknowns, unknowns);
}

/* How much a counter grew since the last call. */
static uint64_t growth(uint64_t *before, uint64_t now)
{
    uint64_t count = now > *before ? now - *before : 0;
    *before += count;
    return count;
}

/* count_carry sets nothing back to zero: a thread that is just counting would store the old sum once more. */
void count_carry(struct handle *handle)
{
    struct permtab_shm_feedback_line sum = {0};
    for (uint32_t i = 0; i < PERMTAB_SHM_FEEDBACK_LINES; i++) {
        const struct permtab_shm_feedback_line *line = &handle->own->local[i];
        sum.hits += permtab_shm_load64_relaxed(&line->hits);
        sum.misses += permtab_shm_load64_relaxed(&line->misses);
        sum.unknowns += permtab_shm_load64_relaxed(&line->unknowns);
    }
    struct permtab_shm_feedback_line *carried = &handle->own->carried;
    count_add(handle, growth(&carried->hits, sum.hits), growth(&carried->misses, sum.misses),
              growth(&carried->unknowns, sum.unknowns));
}

void count_enrol(struct handle *handle)
{
    struct own_page *own = handle->own;
    if (permtab_shm_load_pointer(&own->visible.feedback) != NULL)
        return;
    uint64_t clock = channel_clock_ns();
    if (clock < permtab_shm_load64_relaxed(&own->next_enrol_ns) || handle_lock(handle, HANDLE_NO_WAIT) < 0)
        return;
    int code = handle_ready(handle, HANDLE_NO_WAIT);
    uint64_t pause_ns = code < 0 && code != PERMTAB_E_TIMEOUT ? HANDLE_ATTEMPT_NS : ENROL_NS;
    permtab_shm_store64_relaxed(&own->next_enrol_ns, clock + pause_ns);
    handle_unlock(handle);
}

static void store_sample(struct permtab *table, uint64_t user, permtab_scope scope)
{
    struct permtab_shm_feedback *feedback = permtab_shm_load_pointer(&table->own->feedback);
    const struct permtab_geometry_ *geometry = permtab_geometry_of_(table);
    uint32_t number = permtab_thread_.line;
    uint32_t type = geometry->kinds[scope.type.slot % PERMTAB_TYPE_SLOTS_].type;
    if (feedback == NULL || number == 0 || type >= PERMTAB_SHM_SCOPE_TYPES)
        return;
    uint64_t *samples = &feedback->line[number - 1].samples;
    uint64_t place = number * 31u + permtab_shm_load64_relaxed(samples);
    struct permtab_shm_sample *sample = &feedback->sample[place % PERMTAB_SHM_FEEDBACK_SAMPLES];
    uint32_t mark = permtab_shm_load32_relaxed(&sample->mark) + 1;
    add(samples, 1);
    permtab_shm_store64_relaxed(&sample->user, user);
    permtab_shm_store64_relaxed(&sample->scope_id, scope.id);
    permtab_shm_store32_relaxed(&sample->type, type);
    permtab_shm_store32_relaxed(&sample->mark, mark != 0 ? mark : 1);
}

/* The next hit that is sampled, PERMTAB_SAMPLE_GAP_ away at most. From one that is, it is one of three Fibonacci
 * numbers away (the three-distance theorem), which are chosen among without a branch that nobody could predict. */
static uint64_t next_sampled(uint64_t hits)
{
    uint64_t next = hits + 1;
    if (until_sample(hits) == 0) {
        uint64_t near = until_sample(hits + 21) == 0, middle = until_sample(hits + 34) == 0;
        return hits + PERMTAB_SAMPLE_GAP_ - 34 * near - 21 * (middle & ~near);
    }
    while (until_sample(next) != 0)
        next++;
    return next;
}

/* Runs in signal handlers, too (permtab_peek). Hits that check_many counted may have gone beyond the chosen one, or the
 * line had been another's: then this one is no more likely to be sampled than any other. `line` is the one that was
 * counted into: a newer one may have been mapped since, with other numbers. */
void permtab_sample_(struct permtab *table, struct permtab_shm_feedback_line *line, uint64_t hits,
                     uint64_t user, permtab_scope scope)
{
    permtab_shm_store64_relaxed(&line->next_sample, next_sampled(hits));
    if (until_sample(hits) == 0)
        store_sample(table, user, scope);
}

void count_samples(struct handle *handle, const struct permtab_query *queries, const int *results,
                   size_t count)
{
    uint64_t hits = permtab_shm_load64_relaxed(&line_of_thread(handle)->hits);
    for (size_t base = 0; base < count; base += PERMTAB_SHM_SAMPLE_HITS) {
        size_t i = base + until_sample(hits + base);
        if (i < count && results[i] >= 0)
            store_sample(&handle->visible, queries[i].user, queries[i].scope);
    }
}

void permtab_uncounted_hit_(struct permtab *table, bool blocks)
{
    count_add(handle_of(table), 1, 0, 0);
    if (blocks)
        count_enrol(handle_of(table));
}
