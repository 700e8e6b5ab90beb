/* The states, and one timer that is set anew in each of them.
 *
 * A rebuild takes both tables away, at any time. Before it orders its own table, growth gives up the one that it has
 * ordered, or is filling (on_yield), and wants none until the rebuild is over. A rebuild that orders none is noticed
 * when the next call says so: publisher_grow_begin refuses, publisher_grow_slice says GROW_ENDED, there is no retired
 * segment any more. */
#include "proxy/growth/growth.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/pause.h"
#include "proxy/base/timer.h"
#include "proxy/growth/private.h"
#include "proxy/keys/keys.h"
#include "proxy/table/grow.h"
#include "proxy/table/workshop.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS          1000u /* while nothing is under way */
#define COPY_PAUSE_US    1000u /* between two turns of copying */
#define COPY_TURN_NS     1000000u
#define COPY_SLICE       256u
#define COPY_SLICES      16u /* in a turn; while a batch is being applied they copy nothing */
#define LEAVING_MS       250u
#define LEAVING_GRACE_NS 30000000000ull
#define RETRY_FIRST_NS   10000000000ull /* after growth that was given up, or had no room */
#define RETRY_MOST_NS    300000000000ull
#define LIVED_NS         5000000000ull /* so long a table must have been there before the next worker begins with it */

static void again_in_ms(struct growth *growth, uint64_t ms)
{
    (void)timer_in_ms(growth->timer, ms);
}

static void enter(struct growth *growth, enum growth_state state)
{
    growth->state = state;
    growth->since_ns = clock_ns();
}

/* ---- what is seen ------------------------------------------------------------------------------------------------ */

static struct growth_figures figures(const struct growth *growth)
{
    const struct counters *counters = growth->options.counters;
    return (struct growth_figures){
        .hits = counters->table_hits + counters->socket_hits,
        .filled = counters->fills_known,
        .returned = counters->entries_returned,
        .breaks = counters->segments + counters->leases_ended,
        .capacity = publisher_capacity(growth->options.publisher),
        .known = counters->entries - counters->entries_negative,
        .strangers = counters->entries_negative,
    };
}

/* Keys that the table has no room for are not worth their memory. */
static void set_limit_of_keys(struct growth *growth)
{
    if (growth->options.keys != NULL)
        keys_set_limit(growth->options.keys, publisher_capacity(growth->options.publisher));
}

static void count(struct growth *growth)
{
    struct counters *counters = growth->options.counters;
    set_limit_of_keys(growth);
    counters->table_capacity = publisher_capacity(growth->options.publisher);
    counters->table_bytes = publisher_memory(growth->options.publisher);
    counters->retired_bytes = retired_bytes(&growth->retired);
    counters->growth_held_memory_max = growth->bound == GROWTH_BOUND_MEMORY_MAX;
    counters->growth_held_cgroup = growth->bound == GROWTH_BOUND_CGROUP;
    counters->growth_held_machine = growth->bound == GROWTH_BOUND_MACHINE;
}

static void note_room(struct growth *growth, const struct keys_room *room)
{
    if (growth->options.keys != NULL)
        keys_note_room(growth->options.keys, room);
}

/* The next worker begins with the size that this one has lived with for a while: a size that nobody can live with is
 * not to kill one worker after the other. A first table that has not come to what it is to be says nothing: the store
 * may be away, or memory short for a moment. */
static void note_present_room(struct growth *growth, uint64_t now_ns)
{
    if (now_ns < growth->table_ns + LIVED_NS || growth->state == GROWTH_ORDERED || growth->state == GROWTH_COPYING)
        return;
    struct publisher_options present = publisher_present_options(growth->options.publisher);
    if (present.entries < growth->options.entries_min)
        return;
    note_room(growth, &(struct keys_room){present.entries, present.sets, present.folds});
}

/* Nothing is under way any more: the windows begin again. */
static void rest(struct growth *growth)
{
    struct growth_figures now = figures(growth);
    growth->reason = GROWTH_NOT_NEEDED;
    enter(growth, GROWTH_IDLE);
    growth_policy_void(&growth->policy, &now, growth->since_ns);
    again_in_ms(growth, TICK_MS);
}

static void give_up(struct growth *growth, const char *why)
{
    uint64_t now_ns = clock_ns();
    growth->options.counters->growths_given_up++;
    pause_begins(&growth->pause, now_ns, RETRY_FIRST_NS, RETRY_MOST_NS);
    (void)trouble_happens(&growth->trouble, LOG_LEVEL_WARNING, now_ns,
                          "table: growth to %" PRIu64 " entries was given up: %s", growth->wanted, why);
    rest(growth);
}

/* ---- how far ----------------------------------------------------------------------------------------------------- */

static struct publisher_options next_options(const struct growth *growth, uint64_t entries)
{
    const struct growth_options *options = &growth->options;
    struct publisher_options next = publisher_next_options(options->publisher);
    next.entries = entries;
    next.sets = next.sets > options->sets_min ? next.sets : options->sets_min;
    next.folds = next.folds > options->folds_min ? next.folds : options->folds_min;
    return next;
}

/* What the keys of so many entries take more than now. */
static uint64_t cost_of_keys(const struct growth *growth, uint64_t entries)
{
    uint64_t bytes = (entries < KEYS_MAX ? entries : KEYS_MAX) * KEYS_BYTES_A_KEY;
    uint64_t now = growth->options.keys != NULL ? keys_bytes(growth->options.keys) : bytes;
    return bytes > now ? bytes - now : 0;
}

static struct growth_cost cost_of(const void *context, uint64_t entries)
{
    const struct growth *growth = context;
    struct publisher_options next = next_options(growth, entries);
    struct table_bytes size = publisher_bytes_of(growth->options.publisher, &next);
    return (struct growth_cost){size.segment, size.indexes + cost_of_keys(growth, entries)};
}

static void on_made(void *context, int code, struct table *table);

static void order(struct growth *growth, uint64_t entries)
{
    struct publisher *publisher = growth->options.publisher;
    struct workshop_order what = {.options = next_options(growth, entries),
                                  .store_id = publisher_position(publisher).store_id,
                                  .made = on_made,
                                  .context = growth};
    growth->wanted = entries;
    if (growth->reason == GROWTH_START)
        note_room(growth, &(struct keys_room){0}); /* until it has been lived with again */
    enter(growth, GROWTH_ORDERED);
    growth->ordered = workshop_order(growth->options.workshop, &what);
    if (growth->ordered == 0)
        give_up(growth, "there is no memory for the order");
}

/* Says what the table is kept from growing by: once for each bound, until it has grown. What memory is left changes all
 * the time, so the bounds may take turns for ever. */
static void tell_bound(struct growth *growth, enum growth_bound bound, uint64_t fits)
{
    growth->bound = bound;
    if (fits != 0 || (growth->stays & 1u << bound) != 0)
        return;
    growth->stays |= 1u << bound;
    log_warning("table: it stays at %" PRIu64 " entries, because of %s; %s",
                publisher_capacity(growth->options.publisher), growth_bound_text(bound), growth->wanted_text);
}

static void on_looked(void *context, const struct look_result *result)
{
    struct growth *growth = context;
    struct publisher *publisher = growth->options.publisher;
    retired_heed(&growth->retired, result);
    if (growth->state != GROWTH_LOOKING) {
        count(growth);
        return;
    }
    enum growth_bound bound;
    struct growth_room room = {
        .memory_max = growth->options.memory_max,
        .shared = publisher_segment_bytes(publisher) + retired_bytes(&growth->retired),
        .cgroup = result->left.cgroup,
        .machine = result->left.machine,
    };
    uint64_t capacity = publisher_capacity(publisher);
    uint64_t wanted = growth->reason == GROWTH_START ? growth->options.entries_min
                                                     : publisher_next_options(publisher).entries;
    uint64_t fits = growth_fit(&room, capacity, wanted, cost_of, growth, &bound);
    tell_bound(growth, bound, fits);
    if (fits == 0) {
        pause_begins(&growth->pause, clock_ns(), RETRY_FIRST_NS, RETRY_MOST_NS);
        rest(growth);
    } else {
        if (!trouble_lasts(&growth->trouble)) /* which says itself that it has been tried again */
            log_info("table: it grows from %" PRIu64 " to %" PRIu64 " entries: %s", capacity, fits,
                     growth->wanted_text);
        order(growth, fits);
    }
    count(growth);
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

static void on_made(void *context, int code, struct table *table)
{
    struct growth *growth = context;
    growth->ordered = 0;
    if (code < 0) {
        give_up(growth,
                code == PERMTAB_E_MEMORY ? "there is not so much memory" : "the kernel refuses the memory");
        return;
    }
    code = publisher_grow_begin(growth->options.publisher, table);
    if (code < 0) {
        workshop_free_table(growth->options.workshop, table);
        give_up(growth, "the table was made anew meanwhile, or is not believed");
        return;
    }
    enter(growth, GROWTH_COPYING);
    (void)timer_at_once(growth->timer);
}

static uint64_t thread_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void finish_copy(struct growth *growth)
{
    struct counters *counters = growth->options.counters;
    uint64_t now_ns = clock_ns();
    counters->growths++;
    counters->growths_hit_rate += growth->reason == GROWTH_HIT_RATE;
    counters->growths_returned += growth->reason == GROWTH_RETURNED;
    memcpy(growth->last_text, growth->wanted_text, sizeof growth->last_text);
    growth->last_ns = now_ns;
    growth->wanted_ns = 0;
    growth->stays = 0;
    growth->table_ns = now_ns;
    pause_ends(&growth->pause);
    trouble_ends(&growth->trouble, now_ns, "table: it grows again");
    log_info("table: it has room for %" PRIu64 " entries now, after %" PRIu64 " ms; %" PRIu64
             " were brought along; tables take %" PRIu64 " MB",
             publisher_capacity(growth->options.publisher), (now_ns - growth->since_ns) / 1000000,
             publisher_entries(growth->options.publisher),
             publisher_memory(growth->options.publisher) / 1000000);
    enter(growth, GROWTH_LEAVING);
    growth->leaving_segment = publisher_retired_segment(growth->options.publisher);
    again_in_ms(growth, LEAVING_MS);
}

static void copy_turn(struct growth *growth)
{
    uint64_t begun_ns = thread_ns();
    enum grow_outcome outcome = GROW_MORE;
    for (unsigned i = 0; i < COPY_SLICES && outcome == GROW_MORE && thread_ns() - begun_ns < COPY_TURN_NS;
         i++)
        outcome = publisher_grow_slice(growth->options.publisher, clock_ns(), COPY_SLICE);
    switch (outcome) {
    case GROW_MORE:
        (void)timer_in_us(growth->timer, COPY_PAUSE_US);
        break;
    case GROW_DONE:
        finish_copy(growth);
        break;
    case GROW_ENDED:
        give_up(growth, "the table was made anew meanwhile, or memory ran out");
        break;
    }
}

/* ---- letting go -------------------------------------------------------------------------------------------------- */

static void leave_turn(struct growth *growth, uint64_t now_ns)
{
    struct publisher *publisher = growth->options.publisher;
    publisher_tend(publisher, now_ns);
    if (publisher_retired_segment(publisher) != growth->leaving_segment || growth->leaving_segment == 0) {
        rest(growth);
        return;
    }
    bool late = now_ns - growth->since_ns >= LEAVING_GRACE_NS;
    if (!growth->released &&
        (late || !growth->options.attached(growth->options.context, growth->leaving_segment))) {
        if (late)
            log_info(
                "table: clients that do nothing still have the one before; they attach again when they ask");
        growth->released = true;
        publisher_retired_release(publisher);
    }
    again_in_ms(growth, LEAVING_MS);
}

/* A table that no client was handed is free at once. */
static void on_dropped(void *context, struct table *table)
{
    struct growth *growth = context;
    if (!table_was_handed_out(table)) {
        workshop_free_table(growth->options.workshop, table);
        return;
    }
    retired_add(&growth->retired, table);
    growth->look_pause = (struct pause){0};
}

/* A rebuild is about to be ordered. */
static uint64_t on_yield(void *context)
{
    struct growth *growth = context;
    switch (growth->state) {
    case GROWTH_ORDERED:
    case GROWTH_COPYING:
        workshop_cancel(growth->options.workshop, growth->ordered);
        growth->ordered = 0;
        give_up(growth, "the table is made anew");
        break;
    case GROWTH_LOOKING:
        rest(growth);
        break;
    case GROWTH_IDLE:
    case GROWTH_LEAVING:
        break;
    }
    return retired_bytes(&growth->retired);
}

/* Looks at retired tables, at first every second, then more and more seldom. */
static void look_at_retired(struct growth *growth, uint64_t now_ns)
{
    if (growth->retired.count == 0 || pause_lasts(&growth->look_pause, now_ns))
        return;
    if (look_begin(growth->look, growth->retired.tables, growth->retired.count))
        pause_begins(&growth->look_pause, now_ns, 1000000000ull, 30000000000ull);
}

/* ---- the timer --------------------------------------------------------------------------------------------------- */

static bool finds_reason(struct growth *growth, uint64_t now_ns)
{
    struct growth_figures now = figures(growth);
    growth->reason = growth_policy_look(&growth->policy, &now, now_ns);
    if (growth->reason == GROWTH_NOT_NEEDED)
        return false;
    growth_reason_print(growth->reason, &growth->policy, growth->wanted_text);
    growth->wanted_ns = now_ns;
    return true;
}

static void idle_turn(struct growth *growth, uint64_t now_ns)
{
    bool leased = publisher_leased(growth->options.publisher, now_ns);
    growth->awaits_lease = !leased && publisher_capacity(growth->options.publisher) < growth->options.entries_min;
    again_in_ms(growth, TICK_MS);
    if (publisher_rebuild_ordered(growth->options.publisher))
        return;
    if (growth->reason == GROWTH_NOT_NEEDED && !finds_reason(growth, now_ns))
        return;
    growth->released = false;
    if (pause_lasts(&growth->pause, now_ns) || !leased)
        growth->reason = GROWTH_NOT_NEEDED;
    else if (look_begin(growth->look, growth->retired.tables, growth->retired.count))
        enter(growth, GROWTH_LOOKING);
    /* else a look at retired tables is under way; the window that has given the reason will not come again */
}

static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct growth *growth = context;
    uint64_t now_ns = clock_ns();
    (void)descriptor, (void)what;
    if (growth->state != GROWTH_COPYING)
        look_at_retired(growth, now_ns);
    switch (growth->state) {
    case GROWTH_IDLE:
        idle_turn(growth, now_ns);
        break;
    case GROWTH_LOOKING:
    case GROWTH_ORDERED:
        again_in_ms(growth, TICK_MS);
        break;
    case GROWTH_COPYING:
        copy_turn(growth);
        break;
    case GROWTH_LEAVING:
        leave_turn(growth, now_ns);
        break;
    }
    note_present_room(growth, now_ns);
    count(growth);
}

/* Until the next tick the warm-up would have only the room of the first table. */
void growth_applied(struct growth *growth)
{
    if (growth == NULL || !growth->awaits_lease || !publisher_leased(growth->options.publisher, clock_ns()))
        return;
    growth->awaits_lease = false;
    if (growth->state == GROWTH_IDLE)
        (void)timer_at_once(growth->timer);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int growth_new(struct growth **out, const struct growth_options *options)
{
    struct growth *growth = calloc(1, sizeof *growth);
    if (growth == NULL)
        return PERMTAB_E_MEMORY;
    growth->options = *options;
    growth->retired.workshop = options->workshop;
    int code = look_new(&growth->look, options->base, on_looked, growth);
    growth->timer = evtimer_new(options->base, on_timer, growth);
    if (code == 0 && (growth->timer == NULL || timer_at_once(growth->timer) < 0))
        code = PERMTAB_E_MEMORY;
    if (code < 0) {
        look_free(growth->look);
        if (growth->timer != NULL)
            event_free(growth->timer);
        free(growth);
        return code;
    }
    struct growth_figures now = figures(growth);
    growth->since_ns = growth->table_ns = clock_ns();
    growth_policy_init(&growth->policy, options->hit_rate_target, options->entries_min, &now,
                       growth->since_ns);
    publisher_drop_to(options->publisher, on_dropped, growth);
    publisher_yield_to(options->publisher, on_yield, growth);
    count(growth);
    *out = growth;
    return 0;
}

void growth_free(struct growth *growth)
{
    if (growth == NULL)
        return;
    workshop_cancel(growth->options.workshop, growth->ordered);
    publisher_drop_to(growth->options.publisher, workshop_drop, growth->options.workshop);
    publisher_yield_to(growth->options.publisher, NULL, NULL);
    look_free(growth->look);
    retired_fini(&growth->retired);
    event_free(growth->timer);
    free(growth);
}
