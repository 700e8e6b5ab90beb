/* Three lanes, one before the other, and a few threads.
 *
 * ONE    A client that asks for one thing may have any thread. As long as there are threads for all who wait, each is
 *        read by itself, and nobody waits for what another one's read takes. When there are not, they share them.
 * LIST   Who keeps a queue is read for in fewer reads, of many users each, and leaves a thread to the others: all but
 *        one when no other asks or many keep queues, else a quarter of them.
 * WARM   likewise, behind those that somebody waits for: the warm-up's, which pays for them, and those of values that
 *        L2 is about to forget, which are few. A guest, which reads what is no facts, is a job of this lane.
 *
 * A lane that has jobs without end keeps no later one out for ever: when so many of them have begun while the later one
 * waited and had none under way (ONES_A_LIST, LISTS_A_WARM), one of that takes the place of the next.
 *
 * So a lane's next job takes what has come while the ones before were away. What is too much together (a user with
 * thousands of rows, a place with thousands) is read again by halves, then by itself, and only what was read with it
 * waits meanwhile.
 *
 * Users of one place that the table knows are read in one statement, without definitions of roles, which the table has
 * as well: read_known.c. So a job takes those of the place of the first that waits, wherever they stand, and the next
 * job those of the next place: the first never waits longer for that. Of lists more go together there, because a
 * statement of many costs little more than one of few. Those for whom that was not enough come again, to be read whole.
 *
 * Who is read for alone, at a place of which is kept what it brings, has only rows of their own read: read_user.c. What
 * is kept may have gone when they are there: then it is read whole, before those that wait.
 *
 * Jobs that have ended are told of in shares of a turn of the loop, because each of their facts is published then, and
 * in the order of their lanes. They wait in memory until then, so no job begins while they take much.
 *
 * What may change while a job is away: its reads may be cancelled (the job finds nobody), or the table be made anew
 * (facts are stamped when their job begins, and publisher_fill tells). */
#include "proxy/answer/reads.h"

#include "proxy/answer/read_job.h"
#include "proxy/base/container_of.h"
#include "proxy/base/timer.h"
#include "proxy/base/turn.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <utlist.h>

#define OTHERS_MAX   4096u /* that wait beside those of clients' questions: the warm-up's, and what is read again */
#define PLACES_MAX   16u /* not known; each takes statements of its own, and the first waits for the last */
#define LIST_LEAST   16u /* fewer are not worth a thread of their own */
#define WARM_JOBS    3u  /* at a time */
#define ONES_A_LIST  16u /* jobs of those who ask for one thing, while lists wait */
#define LISTS_A_WARM 16u /* jobs of lists, while the warm-up waits; of the others so many for each of these */
#define HALVES       2u  /* times that a job is halved; then each of it is read by itself */
#define WIDER        8u  /* a job of a list that was not too much makes the next one by this part wider */
#define BUCKETS      256u
#define LOOKS        256u        /* at reads, for those of places that are not known */
#define UNTOLD_MAX   (16u << 20) /* bytes of facts that have been read, and nobody has been told of */
#define ONE_SEEN_NS  200000000ull
#define AGAIN_MS     10u /* after memory or the queue of threads was short */

struct read {
    struct reads *reads;
    struct facts_key key;
    enum read_lane lane;
    bool whole, refresh;
    struct places_time time;
    unsigned halved;      /* how often it was in a job that was too much */
    size_t together_max;  /* how many may be in its job */
    uint64_t spent_ns;    /* its share of jobs that were too much */
    struct read_job *job; /* NULL while it waits */
    size_t index;         /* in the job */
    read_done_fn done;
    void *context;
    struct read *prev, *next;           /* of those that wait */
    struct read *near_prev, *near_next; /* of those of its bucket */
};

struct lane {
    struct read *waiting;       /* the oldest first */
    struct read *near[BUCKETS]; /* the same by their places, likewise */
    size_t count;
    unsigned running; /* jobs */
};

struct reads {
    struct reads_options options;
    struct lane lanes[READ_LANES];
    size_t waiting;
    struct read_guest *guests; /* that wait, in the warm-up's lane, in turns with its reads */
    bool guest_before;         /* the lane's last job was one */
    uint64_t warm_ns;          /* that guests and reads for the warm-up took */
    unsigned running;          /* jobs of all lanes */
    unsigned passed_lists;     /* jobs for one thing that began while lists waited, since their last one */
    unsigned passed_warm;      /* the same for the warm-up; a job of lists counts as ONES_A_LIST */
    size_t wide;               /* so many of a list go together where their place is known */
    uint64_t one_seen_ns;      /* when one was last asked for while other reads were under way */
    struct read_job *ended;    /* by lanes, and the first to end first */
    size_t untold;             /* their bytes */
    struct event *turn, *tell;
};

/* ---- lists ------------------------------------------------------------------------------------------------------- */

static struct lane *lane_of(const struct read *read)
{
    return &read->reads->lanes[read->lane];
}

/* Those of a place are in one bucket of their lane. */
static struct read **bucket_of(const struct read *read)
{
    uint64_t mixed = (read->key.scope_id ^ (uint64_t)read->key.scope_type << 56) * 0x9e3779b97f4a7c15ull;
    return &lane_of(read)->near[(mixed >> 32) % BUCKETS];
}

static void waiting_add(struct read *read, bool first)
{
    struct lane *lane = lane_of(read);
    struct read **bucket = bucket_of(read);
    read->job = NULL;
    if (first) {
        DL_PREPEND(lane->waiting, read);
        DL_PREPEND2(*bucket, read, near_prev, near_next);
    } else {
        DL_APPEND(lane->waiting, read);
        DL_APPEND2(*bucket, read, near_prev, near_next);
    }
    lane->count++;
    read->reads->waiting++;
}

static void waiting_remove(struct read *read)
{
    struct lane *lane = lane_of(read);
    struct read **bucket = bucket_of(read);
    DL_DELETE(lane->waiting, read);
    DL_DELETE2(*bucket, read, near_prev, near_next);
    lane->count--;
    read->reads->waiting--;
}

/* ---- what has ended ---------------------------------------------------------------------------------------------- */

/* Whether the warm-up pays for it. */
static bool is_warm(const struct read *read)
{
    return read->lane == READ_WARM && !read->refresh;
}

/* What it took: when it is told of, or left. */
static void charge(struct reads *reads, bool warm, uint64_t cost_ns)
{
    if (warm)
        reads->warm_ns += cost_ns;
}

static void tell(struct read *read, int code, const char *text, struct facts *facts,
                 const struct read_source *source)
{
    read->done(read->context, code, text, facts, source);
    free(read);
}

/* Completes facts that have rows of their user alone. False: they are of no use, and read again. */
static bool complete(struct read_job *job, struct read *read, struct facts *facts)
{
    facts->generation = job->generation;
    if (!job->partial || places_complete(job->reads->options.places, &job->place, read->time, facts))
        return true;
    facts_fini(facts);
    read->spent_ns += job->source.cost_ns;
    read->whole = true;
    waiting_add(read, true);
    return false;
}

static void tell_item(struct read_job *job, size_t index)
{
    struct read_item *item = &job->items[index];
    struct read *read = item->read;
    item->read = NULL;
    if (read == NULL) {
        charge(job->reads, item->left, job->source.cost_ns);
        return;
    }
    struct read_source source = {job->source.store_id, job->source.cost_ns + read->spent_ns};
    if (item->code == 0 && !complete(job, read, &job->facts[index])) {
        item->code = PERMTAB_E_NOT_FOUND; /* they are gone */
        return;
    }
    charge(job->reads, is_warm(read), source.cost_ns);
    if (item->code < 0) {
        tell(read, item->code, item->failure.text, NULL, &source);
    } else {
        item->code = PERMTAB_E_NOT_FOUND; /* the callee's now */
        tell(read, 0, "", &job->facts[index], &source);
    }
}

static void forget_job(struct read_job *job)
{
    DL_DELETE(job->reads->ended, job);
    job->reads->untold -= job->bytes;
    read_job_free(job);
}

static void give_out(struct reads *reads);

/* The callbacks may cancel other reads, also of the same job. */
static void on_tell(evutil_socket_t descriptor, short what, void *context)
{
    struct reads *reads = context;
    uint64_t begun_ns = clock_ns();
    (void)descriptor, (void)what;
    while (reads->ended != NULL) {
        struct read_job *job = reads->ended;
        if (job->told == job->count) {
            forget_job(job);
            continue;
        }
        uint64_t share_ns = job->lane == READ_WARM ? TURN_WARM_NS : TURN_NS;
        tell_item(job, job->told++);
        if (clock_ns() - begun_ns >= share_ns)
            break;
    }
    give_out(reads); /* which sees to it that the others are told of, too */
}

/* Together they are too much: they go by halves, before those that wait. */
static void give_back(struct read_job *job)
{
    for (size_t i = job->count; i > 0; i--) {
        struct read *read = job->items[i - 1].read;
        if (read == NULL) {
            charge(job->reads, job->items[i - 1].left, job->source.cost_ns);
            continue;
        }
        read->spent_ns += job->source.cost_ns;
        bool halve = job->count > READ_TOGETHER_MAX || read->halved++ < HALVES;
        read->together_max = halve ? (job->count + 1) / 2 : 1;
        waiting_add(read, true);
    }
}

static void add_ended(struct read_job *job)
{
    struct reads *reads = job->reads;
    struct read_job *behind = reads->ended;
    while (behind != NULL && behind->lane <= job->lane)
        behind = behind->next;
    if (behind != NULL)
        DL_PREPEND_ELEM(reads->ended, behind, job);
    else
        DL_APPEND(reads->ended, job);
    reads->untold += job->bytes;
    event_active(reads->tell, EV_TIMEOUT, 0);
}

/* What was too much once is too much often: lists go by fewer then, and by more again little by little. Of other jobs
 * none is as wide as these. */
static void note_width(struct reads *reads, const struct read_job *job)
{
    if (job->lane != READ_LIST || job->place.levels == 0)
        return;
    size_t wide = reads->wide + reads->wide / WIDER;
    if (job->too_much && job->count > READ_TOGETHER_MAX)
        reads->wide = job->count / 2 > READ_TOGETHER_MAX ? job->count / 2 : READ_TOGETHER_MAX;
    else if (!job->too_much && job->count >= reads->wide)
        reads->wide = wide < READ_LIST_MAX ? wide : READ_LIST_MAX;
}

static void on_job(struct store_job *store_job)
{
    struct read_job *job = container_of(store_job, struct read_job, job);
    struct reads *reads = job->reads;
    reads->running--;
    reads->lanes[job->lane].running--;
    note_width(reads, job);
    if (job->too_much) {
        give_back(job);
        read_job_free(job);
    } else {
        add_ended(job);
    }
    give_out(reads);
}

/* ---- who is next ------------------------------------------------------------------------------------------------- */

static bool one_seen(const struct reads *reads)
{
    return clock_ns() - reads->one_seen_ns < ONE_SEEN_NS;
}

static bool waits(const struct reads *reads, enum read_lane lane)
{
    return reads->lanes[lane].waiting != NULL || (lane == READ_WARM && reads->guests != NULL);
}

/* Whether so many wait in lists, more than two jobs take, that they are a crowd's: beside others a few that flood have
 * few (ask.c). */
static bool is_crowded(const struct reads *reads)
{
    return reads->lanes[READ_LIST].count > 2 * READ_LIST_MAX;
}

/* How many threads lists, or the warm-up, may have. */
static unsigned most_of(const struct reads *reads, enum read_lane lane)
{
    unsigned threads = reads->options.threads;
    enum read_lane other = lane == READ_WARM ? READ_LIST : READ_WARM;
    bool both = reads->lanes[other].running > 0 || waits(reads, other);
    unsigned most = threads - 1;
    bool few = lane == READ_WARM ? both || one_seen(reads) : one_seen(reads) && !is_crowded(reads);
    if (few)
        most = threads / 4;
    else if (both && most > 0)
        most--;
    if (lane == READ_WARM && most > WARM_JOBS)
        most = WARM_JOBS;
    return most > 0 ? most : 1;
}

/* Whether a lane without jobs may have the last thread that is idle, which is for those that ask for one thing. A list
 * takes it all the same, but not while the warm-up has all others: a single miss would wait for a whole job. */
static bool may_take_last(const struct reads *reads, enum read_lane lane)
{
    if (reads->lanes[lane].running > 0)
        return false;
    if (reads->options.threads == 1)
        return lane == READ_LIST || !one_seen(reads);
    return lane == READ_LIST && reads->lanes[READ_WARM].running < reads->options.threads - 1;
}

/* How many jobs of a lane may begin now. */
static unsigned hands_for(const struct reads *reads, enum read_lane lane)
{
    unsigned running = reads->lanes[lane].running, idle = reads->options.threads - reads->running;
    if (reads->running >= reads->options.threads || reads->untold > UNTOLD_MAX)
        return 0;
    if (lane == READ_ONE)
        return idle;
    unsigned most = most_of(reads, lane), left = most > running ? most - running : 0;
    if (idle == 1)
        return may_take_last(reads, lane);
    return left < idle - 1 ? left : idle - 1;
}

/* How many reads of a lane a job shall have when there are so many hands. */
static size_t share_of(const struct reads *reads, enum read_lane which, unsigned hands)
{
    size_t least = which == READ_ONE ? 1 : which == READ_LIST ? LIST_LEAST : READ_TOGETHER_MAX;
    size_t most = which == READ_LIST ? reads->wide : READ_TOGETHER_MAX;
    size_t share = (reads->lanes[which].count + hands - 1) / hands;
    return share < least ? least : share > most ? most : share;
}

/* Notes whom a job that begins goes before. */
static void note_passed(struct reads *reads, enum read_lane lane)
{
    reads->passed_lists += lane == READ_ONE && waits(reads, READ_LIST);
    if (lane != READ_WARM && waits(reads, READ_WARM))
        reads->passed_warm += lane == READ_LIST ? ONES_A_LIST : 1;
    if (lane == READ_LIST)
        reads->passed_lists = 0;
    else if (lane == READ_WARM)
        reads->passed_warm = 0;
}

/* 0, or the code that says why no thread takes it. */
static int submit(struct reads *reads, struct store_job *job, enum read_lane lane)
{
    int code = store_threads_submit(reads->options.pool, job);
    if (code < 0)
        return code;
    reads->running++;
    reads->lanes[lane].running++;
    note_passed(reads, lane);
    return 0;
}

/* What the table says of a place: its levels, and none when it is not known. */
static uint32_t believe(const struct reads *reads, struct scope_key scope, struct store_place *place)
{
    place->at = publisher_position(reads->options.publisher);
    return place->levels = publisher_chain(reads->options.publisher, scope, place->chain);
}

/* Whether one statement reads it, together with others of its place alone. */
static bool is_at_known_place(const struct read *read)
{
    struct store_place place;
    return !read->whole && believe(read->reads, facts_key_scope(&read->key), &place) > 0;
}

/* The places of a job, as far as it is gathered. */
struct sites {
    struct scope_key keys[PLACES_MAX];
    size_t count;
};

/* False: it would be one place too many. */
static bool sites_take(struct sites *sites, struct scope_key scope)
{
    size_t place = 0;
    while (place < sites->count && !scope_equal(sites->keys[place], scope))
        place++;
    if (place == PLACES_MAX)
        return false;
    sites->keys[place] = scope;
    sites->count += place == sites->count;
    return true;
}

/* False: it is one too many for the job. As many go as each of them may be with. */
static bool take(struct read_job *job, struct read *read, size_t *most)
{
    if (job->count >= *most || job->count >= read->together_max)
        return false;
    if (read->together_max < *most)
        *most = read->together_max;
    read_job_take(job, read, &read->key);
    return true;
}

/* Those of the first one's place, which is known, wherever they stand. */
static void gather_at_place(struct read_job *job, struct read *first, size_t most)
{
    struct scope_key scope = facts_key_scope(&first->key);
    for (struct read *read = *bucket_of(first); read != NULL; read = read->near_next)
        if (!read->whole && scope_equal(facts_key_scope(&read->key), scope) && !take(job, read, &most))
            break;
    (void)believe(job->reads, scope, &job->place);
}

/* Those of a few places that are not known, among the first that wait. */
static void gather_at_places(struct read_job *job, struct read *first, size_t most)
{
    struct sites sites = {.count = 0};
    unsigned looks = LOOKS;
    if (most > READ_TOGETHER_MAX)
        most = READ_TOGETHER_MAX;
    for (struct read *read = first; read != NULL && looks-- > 0; read = read->next)
        if ((read == first || !is_at_known_place(read)) &&
            (job->count >= most || !sites_take(&sites, facts_key_scope(&read->key)) || !take(job, read, &most)))
            break;
}

/* Takes the first that waits, and those that are best read with it, up to so many: of its own place when that is known,
 * because each place is a statement; else of a few that are not. Who is taken, and those of the same bucket, are all
 * that is looked at: thousands may wait. */
static void gather(struct read_job *job, const struct lane *lane, size_t most)
{
    struct read *first = lane->waiting;
    if (is_at_known_place(first))
        gather_at_place(job, first, most);
    else
        gather_at_places(job, first, most);
    struct places *places = job->reads->options.places;
    job->of_user = job->count == 1 && !first->whole &&
                   places_find(places, facts_key_scope(&first->key), &job->place);
}

/* False: nothing more can be done now, and the reads wait on. */
static bool begin_some(struct reads *reads, enum read_lane which, size_t most)
{
    struct read_job *job = read_job_new(reads, most, which, publisher_generation(reads->options.publisher));
    if (job == NULL)
        return false;
    gather(job, &reads->lanes[which], most);
    job->job.done = on_job;
    if (submit(reads, &job->job, which) < 0) {
        read_job_free(job);
        return false;
    }
    reads->options.counters->store_reads++;
    for (size_t i = 0; i < job->count; i++) {
        struct read *read = job->items[i].read;
        waiting_remove(read);
        read->job = job;
        read->index = i;
    }
    return true;
}

static bool begin_guest(struct reads *reads);

/* Whether a lane has been passed by often enough. */
static bool is_due(const struct reads *reads, enum read_lane lane)
{
    if (reads->lanes[lane].running > 0 || !waits(reads, lane))
        return false;
    return lane == READ_LIST ? reads->passed_lists >= ONES_A_LIST : reads->passed_warm >= LISTS_A_WARM * ONES_A_LIST;
}

/* Begins a job of a lane that waits and has so many hands. False as begin_some. */
static bool begin_job(struct reads *reads, enum read_lane which, unsigned hands)
{
    if (which == READ_ONE && is_due(reads, READ_LIST))
        which = READ_LIST;
    if (which != READ_WARM && is_due(reads, READ_WARM))
        which = READ_WARM;
    const struct lane *lane = &reads->lanes[which];
    if (which == READ_WARM && reads->guests != NULL && !(reads->guest_before && lane->waiting != NULL))
        return begin_guest(reads);
    reads->guest_before = reads->guest_before && which != READ_WARM;
    return begin_some(reads, which, share_of(reads, which, hands));
}

static void give_out(struct reads *reads)
{
    unsigned hands;
    if (reads->ended != NULL)
        timer_next_turn(reads->tell);
    for (enum read_lane which = READ_ONE; which < READ_LANES; which++) {
        while (waits(reads, which) && (hands = hands_for(reads, which)) > 0) {
            if (!begin_job(reads, which, hands)) {
                (void)timer_in_ms(reads->turn, AGAIN_MS);
                return;
            }
        }
    }
    /* The only thread is kept for who asks for one thing, who may not come: nothing else would begin this again. */
    if (reads->running == 0 && waits(reads, READ_WARM))
        (void)timer_in_ns(reads->turn, ONE_SEEN_NS);
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    give_out(context);
}

/* ---- one read ---------------------------------------------------------------------------------------------------- */

static void note_one(struct reads *reads, enum read_lane lane)
{
    if (lane == READ_ONE && reads->running > 0)
        reads->one_seen_ns = clock_ns();
}

/* ask.c begins no more, so nobody is refused who waits for his turn there. */
static size_t waiting_max(const struct reads *reads)
{
    return (size_t)reads->options.threads * READ_TOGETHER_MAX + READ_QUEUED_MAX + OTHERS_MAX;
}

int read_begin(struct read **out, struct reads *reads, const struct facts_key *key, struct read_how how,
               read_done_fn done, void *context)
{
    if (reads->waiting >= waiting_max(reads))
        return PERMTAB_E_FULL;
    struct read *read = calloc(1, sizeof *read);
    if (read == NULL)
        return PERMTAB_E_MEMORY;
    *read = (struct read){.reads = reads,
                          .key = *key,
                          .lane = how.lane,
                          .whole = how.whole,
                          .refresh = how.refresh,
                          .time = how.time,
                          .together_max = READ_LIST_MAX,
                          .done = done,
                          .context = context};
    note_one(reads, how.lane);
    waiting_add(read, false);
    /* After the handler that asks, which may ask for more: it goes together. */
    event_active(reads->turn, EV_TIMEOUT, 0);
    *out = read;
    return 0;
}

void read_cancel(struct read *read)
{
    charge(read->reads, is_warm(read), read->spent_ns);
    if (read->job == NULL) {
        waiting_remove(read);
    } else {
        struct read_item *item = &read->job->items[read->index];
        item->read = NULL;
        item->left = is_warm(read);
    }
    free(read);
}

void read_hurry(struct read *read, enum read_lane lane)
{
    if (lane >= read->lane)
        return;
    if (read->job != NULL) { /* should it come back to be read again, it waits there; job->lane is the job's */
        read->lane = lane;
        return;
    }
    waiting_remove(read);
    read->lane = lane;
    note_one(read->reads, lane);
    waiting_add(read, false);
    event_active(read->reads->turn, EV_TIMEOUT, 0);
}

bool read_waits(const struct read *read)
{
    return read->job == NULL;
}

bool reads_would_begin(const struct reads *reads, enum read_lane lane)
{
    return reads->lanes[lane].count < (size_t)hands_for(reads, lane) * READ_TOGETHER_MAX;
}

/* ---- guests ------------------------------------------------------------------------------------------------------ */

/* On a thread, perhaps twice. */
static int run_guest(struct store_job *job, struct store *store, struct failure *failure)
{
    struct read_guest *guest = container_of(job, struct read_guest, job);
    uint64_t began_ns = clock_ns();
    int code = guest->run(guest, store, failure);
    guest->took_ns += clock_ns() - began_ns;
    return code;
}

static void on_guest(struct store_job *job)
{
    struct read_guest *guest = container_of(job, struct read_guest, job);
    struct reads *reads = guest->reads;
    reads->running--;
    reads->lanes[READ_WARM].running--;
    reads->warm_ns += guest->took_ns; /* also of one that nobody waits for any more */
    guest->done(guest);
    give_out(reads);
}

static void guest_leaves(struct reads *reads, struct read_guest *guest)
{
    DL_DELETE(reads->guests, guest);
    guest->waits = false;
}

static bool begin_guest(struct reads *reads)
{
    struct read_guest *guest = reads->guests;
    if (submit(reads, &guest->job, READ_WARM) < 0)
        return false;
    reads->options.counters->store_reads++;
    guest_leaves(reads, guest);
    reads->guest_before = true;
    return true;
}

void read_guest_begin(struct reads *reads, struct read_guest *guest)
{
    guest->job = (struct store_job){.run = run_guest, .done = on_guest};
    guest->reads = reads;
    guest->waits = true;
    guest->took_ns = 0;
    DL_APPEND(reads->guests, guest);
    event_active(reads->turn, EV_TIMEOUT, 0);
}

bool read_guest_withdraw(struct read_guest *guest)
{
    if (!guest->waits)
        return false;
    guest_leaves(guest->reads, guest);
    return true;
}

uint64_t reads_warm_ns(const struct reads *reads)
{
    return reads->warm_ns;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int reads_new(struct reads **out, const struct reads_options *options)
{
    struct reads *reads = calloc(1, sizeof *reads);
    if (reads == NULL)
        return PERMTAB_E_MEMORY;
    reads->options = *options;
    reads->wide = READ_LIST_MAX;
    reads->turn = evtimer_new(options->base, on_turn, reads);
    reads->tell = evtimer_new(options->base, on_tell, reads);
    if (reads->turn == NULL || reads->tell == NULL) {
        reads_free(reads);
        return PERMTAB_E_MEMORY;
    }
    *out = reads;
    return 0;
}

void reads_free(struct reads *reads)
{
    if (reads == NULL)
        return;
    assert(reads->running == 0 && reads->waiting == 0 && reads->guests == NULL);
    while (reads->ended != NULL)
        forget_job(reads->ended);
    if (reads->turn != NULL)
        event_free(reads->turn);
    if (reads->tell != NULL)
        event_free(reads->tell);
    free(reads);
}
