/* The commands of a clean-up to Redis: the lock of its kind, slices, and the removal of keys whose owners the store
 * no longer knows. One command at a time; its reply finds its job, or none, through the flight.
 *
 * After REDIS_TIMEOUT it is unknown whether the slice was done. It is done again: to look at keys twice, and to
 * remove keys that are gone already, is harmless. */
#include "proxy/base/clock.h"
#include "proxy/cleanup/private.h"
#include "proxy/names/l2_keys.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_MS       15000u /* longer than any wait for the store */
#define LOCK_RENEW_NS 3000000000ull
#define LOCK_AGAIN_NS 500000000ull
#define UNLINK_MOST   50u

struct cleanup_flight {
    struct cleanup *cleanup; /* NULL: it was freed meanwhile */
    struct cleanup_job *job; /* NULL: it ended or began anew meanwhile */
    uint64_t sent_ns;
    bool renewed; /* the slice makes the lock last */
    void (*answered)(struct cleanup_job *job, const struct cleanup_flight *flight,
                     const struct redis_reply *reply);
};

bool cleanup_in_flight(const struct cleanup_job *job)
{
    return job->cleanup->flight && job->cleanup->flight->job == job;
}

void cleanup_flight_forget(struct cleanup *cleanup, const struct cleanup_job *job)
{
    struct cleanup_flight *flight = cleanup->flight;
    if (!flight || (job && flight->job != job))
        return;
    flight->job = NULL;
    if (job)
        return;
    flight->cleanup = NULL;
    cleanup->flight = NULL;
}

static void refused(struct cleanup_job *job, const struct redis_reply *reply)
{
    const char *text = reply ? redis_reply_text(reply, NULL) : NULL;
    if (job->phase == PHASE_LOCK && text && strstr(text, "OOM ")) {
        job->unlocked_is_fine = true;
        job->phase = PHASE_SCAN;
        cleanup_job_went_well(job);
        return;
    }
    cleanup_pace_trouble(&job->cleanup->pace, clock_ns());
    cleanup_job_trouble(job, PERMTAB_E_UNREACHABLE, "Redis refuses: %.120s", text ? text : "");
}

static void on_reply(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct cleanup_flight *flight = context;
    struct cleanup *cleanup = flight->cleanup;
    struct cleanup_job *job = flight->job;
    if (cleanup) {
        cleanup->flight = NULL;
        cleanup_wake(cleanup);
    }
    if (job) {
        switch (status) {
        case REDIS_OK:
            flight->answered(job, flight, reply);
            break;
        case REDIS_ERROR:
            refused(job, reply);
            break;
        case REDIS_TIMEOUT:
            cleanup_pace_trouble(&cleanup->pace, clock_ns());
            cleanup_job_trouble(job, PERMTAB_E_UNREACHABLE, "Redis does not answer in time");
            break;
        case REDIS_LOST: /* begins anew when Redis is back */
            cleanup_job_trouble(job, PERMTAB_E_UNREACHABLE, "the connection to Redis was lost");
            break;
        }
        if (job->cancelled && job->phase != PHASE_END)
            cleanup_job_cancel(job);
    }
    free(flight);
}

/* Takes the arguments over. */
static void send(struct cleanup_job *job, const char *script, size_t keys, struct redis_args *args,
                 const struct cleanup_flight *like)
{
    struct cleanup *cleanup = job->cleanup;
    struct cleanup_flight *flight = malloc(sizeof *flight);
    int code = PERMTAB_E_MEMORY;
    if (flight) {
        *flight = *like;
        flight->cleanup = cleanup;
        flight->job = job;
        flight->sent_ns = clock_ns();
        code = script ? redis_run(cleanup->redis, redis_script(script), keys, args, on_reply, flight)
                      : redis_send(cleanup->redis, args, on_reply, flight);
    }
    redis_args_fini(args);
    if (code == 0) {
        cleanup->flight = flight;
        return;
    }
    free(flight);
    cleanup_job_trouble(job, code, "Redis cannot be asked just now (code %d)", code);
}

/* ---- the lock ---------------------------------------------------------------------------------------------------- */

static void lock_key(const struct cleanup_job *job, struct redis_args *args)
{
    redis_args_print(args, "%scleanup:lock:%s", job->cleanup->prefix, cleanup_kind_name(job->status.kind));
}

static void on_locked(struct cleanup_job *job, const struct cleanup_flight *flight,
                      const struct redis_reply *reply)
{
    int64_t ours = 0;
    uint64_t now = clock_ns();
    cleanup_job_went_well(job);
    if (redis_reply_i64(reply, &ours) && ours == 1) {
        job->locked = true;
        job->unlocked_is_fine = false;
        job->lock_renewed_ns = flight->sent_ns;
        job->phase = PHASE_SCAN;
    } else if (now - job->lock_since_ns > job->cleanup->lock_max_ns) {
        cleanup_job_end(job, PERMTAB_E_TIMEOUT, "another host is at it");
    } else {
        (void)strcpy(job->status.text, "another host is at it");
        job->look_ns = now + LOCK_AGAIN_NS;
    }
}

static void send_lock(struct cleanup_job *job)
{
    struct redis_args args;
    redis_args_init(&args);
    lock_key(job, &args);
    redis_args_text(&args, job->token);
    redis_args_u64(&args, LOCK_MS);
    send(job, "cleanup_lock", 1, &args, &(struct cleanup_flight){.answered = on_locked});
}

void cleanup_unlock(struct cleanup_job *job)
{
    struct redis *redis = job->cleanup->redis;
    struct redis_args args;
    if (!job->locked || !redis_connected(redis))
        return; /* the lock ends by itself */
    job->locked = false;
    redis_args_init(&args);
    lock_key(job, &args);
    redis_args_text(&args, job->token);
    int code = redis_run(redis, redis_script("lock_release"), 1, &args, NULL, NULL);
    (void)code; /* likewise */
    redis_args_fini(&args);
}

/* ---- slices ------------------------------------------------------------------------------------------------------ */

static void count_cost(struct cleanup_job *job, const struct cleanup_flight *flight,
                       const struct redis_reply *inside)
{
    uint64_t us = 0;
    if (!redis_reply_u64(inside, &us))
        us = 0;
    job->status.redis_us += cleanup_pace_slice(&job->cleanup->pace, flight->sent_ns, clock_ns(), us) / 1000;
}

static void count_removed(struct cleanup_job *job, const struct redis_reply *reply)
{
    uint64_t removed = 0;
    if (!redis_reply_u64(reply, &removed))
        return;
    job->status.keys_removed += removed;
    job->cleanup->counters->cleanup_keys_removed += removed;
}

static void count_seen(struct cleanup_job *job, uint64_t size)
{
    struct cleanup_status *status = &job->status;
    if (status->keys_total == 0)
        status->keys_total = size;
    uint64_t seen = job->whole ? status->keys_total : cleanup_keys_passed(job->cursor, status->keys_total);
    if (seen > status->keys_seen) {
        job->cleanup->counters->cleanup_keys_seen += seen - status->keys_seen;
        status->keys_seen = seen;
    }
    status->slices++;
    job->cleanup->counters->cleanup_slices++;
}

/* The words 'lock' and 'marker': the script did nothing. */
static void slice_said_no(struct cleanup_job *job, const char *word)
{
    if (strcmp(word, "lock") == 0)
        cleanup_job_restart(job);
    else
        cleanup_job_trouble(job, PERMTAB_E_NOT_FOUND, "L2 has no marker: which epoch is the present one?");
}

static int take_candidates(struct cleanup_job *job, const struct redis_reply *reply)
{
    int code = 0;
    for (size_t i = 4; i < redis_reply_count(reply) && code == 0; i++) {
        size_t size = 0;
        const char *key = redis_reply_text(redis_reply_at(reply, i), &size);
        if (key)
            code = cleanup_batch_add(&job->batch, job->cleanup->types, key, size);
    }
    return code;
}

static void scan_on(struct cleanup_job *job)
{
    if (job->batch.count >= CLEANUP_BATCH_ASK - CLEANUP_COUNT_MOST || (job->whole && job->batch.count > 0))
        job->phase = PHASE_ASK;
    else if (job->whole)
        cleanup_job_end(job, 0, "%s", "");
}

static void on_slice(struct cleanup_job *job, const struct cleanup_flight *flight,
                     const struct redis_reply *reply)
{
    uint64_t cursor, size;
    const char *word = redis_reply_text(reply, NULL);
    if (word) {
        slice_said_no(job, word);
        return;
    }
    if (redis_reply_count(reply) < 4 || !redis_reply_u64(redis_reply_at(reply, 0), &cursor) ||
        !redis_reply_u64(redis_reply_at(reply, 1), &size)) {
        cleanup_job_end(job, PERMTAB_E_PROTOCOL, "Redis gave an answer of another shape");
        return;
    }
    job->cursor = cursor;
    job->whole = cursor == 0;
    if (flight->renewed)
        job->lock_renewed_ns = flight->sent_ns;
    count_removed(job, redis_reply_at(reply, 2));
    count_cost(job, flight, redis_reply_at(reply, 3));
    count_seen(job, size);
    cleanup_job_went_well(job);
    if (take_candidates(job, reply) < 0)
        cleanup_job_end(job, PERMTAB_E_MEMORY, "out of memory");
    else
        scan_on(job);
}

static void send_slice(struct cleanup_job *job, uint64_t now_ns)
{
    struct cleanup *cleanup = job->cleanup;
    const char *prefix = cleanup->prefix;
    struct cleanup_flight like = {.answered = on_slice};
    char key[L2_KEY_SIZE], glob[CLEANUP_PATTERN_SIZE];
    struct redis_args args;
    like.renewed = job->locked && now_ns - job->lock_renewed_ns > LOCK_RENEW_NS;
    cleanup_glob_of(glob, job->status.kind, prefix);
    redis_args_init(&args);
    lock_key(job, &args);
    redis_args_text(&args, l2_key_marker(key, prefix));
    redis_args_text(&args, job->unlocked_is_fine ? "" : job->token);
    redis_args_u64(&args, like.renewed ? LOCK_MS : 0);
    redis_args_u64(&args, job->cursor);
    redis_args_u64(&args, cleanup->pace.count);
    redis_args_text(&args, job->status.kind == CLEANUP_PATTERN ? job->status.pattern : glob);
    redis_args_text(&args, cleanup_kind_name(job->status.kind));
    redis_args_print(&args, "%sl2:", prefix);
    redis_args_u64(&args, L2_FORMAT);
    send(job, "cleanup_slice", 2, &args, &like);
}

/* ---- removing what the store no longer knows --------------------------------------------------------------------- */

static void on_unlinked(struct cleanup_job *job, const struct cleanup_flight *flight,
                        const struct redis_reply *reply)
{
    count_removed(job, redis_reply_at(reply, 0));
    count_cost(job, flight, redis_reply_at(reply, 1));
    cleanup_job_went_well(job);
}

/* Removes the next few keys; when there is none left, the scan goes on. The next clean-up finds a key again that is
 * not removed because the answer was lost. */
static void send_unlink(struct cleanup_job *job)
{
    struct cleanup_batch *batch = &job->batch;
    struct redis_args args;
    size_t keys = 0;
    redis_args_init(&args);
    for (; batch->next < batch->count && keys < UNLINK_MOST; batch->next++) {
        const struct cleanup_candidate *item = &batch->items[batch->next];
        if (item->present)
            continue;
        redis_args_bytes(&args, item->key, item->size);
        keys++;
    }
    if (keys > 0) {
        send(job, "cleanup_unlink", keys, &args, &(struct cleanup_flight){.answered = on_unlinked});
        return;
    }
    redis_args_fini(&args);
    cleanup_batch_clear(batch);
    job->phase = PHASE_SCAN;
    scan_on(job);
    cleanup_wake(job->cleanup);
}

/* ---- how long Redis takes for nothing ---------------------------------------------------------------------------- */

static void on_ping(struct cleanup_job *job, const struct cleanup_flight *flight,
                    const struct redis_reply *reply)
{
    (void)reply;
    cleanup_pace_idle(&job->cleanup->pace, clock_ns() - flight->sent_ns);
}

static void send_ping(struct cleanup_job *job)
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "PING");
    send(job, NULL, 0, &args, &(struct cleanup_flight){.answered = on_ping});
}

/* ---- what is next ------------------------------------------------------------------------------------------------ */

static void send_paced(struct cleanup_job *job, uint64_t now_ns)
{
    struct cleanup *cleanup = job->cleanup;
    cleanup->turn = (enum cleanup_kind)((job->status.kind + 1) % CLEANUP_KINDS);
    if (cleanup_pace_wants_idle(&cleanup->pace))
        send_ping(job);
    else if (job->phase == PHASE_UNLINK)
        send_unlink(job);
    else
        send_slice(job, now_ns);
}

uint64_t cleanup_job_step(struct cleanup_job *job, uint64_t now_ns)
{
    struct cleanup *cleanup = job->cleanup;
    if (job->phase == PHASE_WAIT || job->phase == PHASE_ASKING || job->phase == PHASE_END || cleanup->flight)
        return CLEANUP_NEVER;
    if (!redis_connected(cleanup->redis)) {
        cleanup_job_trouble(job, PERMTAB_E_UNREACHABLE, "Redis is away: %.120s",
                            redis_trouble(cleanup->redis));
        return job->look_ns;
    }
    if (job->phase == PHASE_LOCK) {
        send_lock(job);
    } else if (job->phase == PHASE_ASK) {
        if (cleanup_ask(job) < 0)
            cleanup_job_trouble(job, PERMTAB_E_STORE, "the store has too much to do");
    } else if (now_ns < cleanup->pace.free_ns) {
        return cleanup->pace.free_ns;
    } else {
        send_paced(job, now_ns);
    }
    if (cleanup->flight || job->phase == PHASE_ASKING)
        return CLEANUP_NEVER; /* the answer wakes */
    return job->look_ns > now_ns ? job->look_ns : now_ns;
}
