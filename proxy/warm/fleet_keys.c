/* The hot keys of the fleet:
 *
 *   reading   HGET 0 ─► HGET 1 ─► … ─► there is no such piece, or the last one ─► told
 *   writing   a timer ─► SET turn NX PX ─► this host's keys, sorted in slices ─► HSET 0 ─► … ─► HDEL of more, PEXPIRE
 *
 * Whatever is refused, lost or late ends a reading with what there is, and a writing until the next time: half a list
 * is as good as two halves of different ones. A piece that is not understood is counted and passed over. Who has just
 * begun and knows less than half of what there is does not write over it before it has settled. */
#include "proxy/warm/fleet_keys.h"

#include "proxy/base/clock.h"
#include "proxy/base/counters.h"
#include "proxy/base/timer.h"
#include "proxy/names/l2_keys.h"
#include "proxy/warm/hot_value.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_MS    30000u        /* what it knows then is not much, but more than nothing */
#define EVERY_MS    60000u        /* one host of the fleet in so long */
#define KEPT_MS     604800000u    /* nobody has written for a week: the keys are of no use */
#define SETTLED_NS  600000000000u /* what it knows then is what it is asked for */
#define READ_A_TURN 16384u

/* One command under way. */
struct call {
    struct fleet_keys *fleet; /* NULL: nobody waits for it */
    void (*done)(struct fleet_keys *fleet, enum redis_status status, const struct redis_reply *reply);
};

struct fleet_keys {
    struct fleet_keys_options options;
    char key[L2_KEY_SIZE], turn_key[L2_KEY_SIZE];
    struct event *timer;
    uint64_t begun_ns;
    struct call *writing, *reading; /* commands under way */
    unsigned read_piece, write_piece;
    struct hot_key *found; /* what was read so far */
    size_t found_count;
    size_t seen; /* keys that were there at the last reading */
    struct keys_reading *sorting;
    struct hot_key *own; /* being written */
    size_t own_count;
};

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static void on_reply(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct call *call = context;
    struct fleet_keys *fleet = call->fleet;
    if (fleet != NULL) {
        if (fleet->writing == call)
            fleet->writing = NULL;
        else
            fleet->reading = NULL;
        call->done(fleet, status, reply);
    }
    free(call);
}

static int send_command(struct fleet_keys *fleet, struct call **at, const struct redis_args *args,
                void (*done)(struct fleet_keys *, enum redis_status, const struct redis_reply *))
{
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return PERMTAB_E_MEMORY;
    *call = (struct call){fleet, done};
    int code = redis_send(fleet->options.redis, args, on_reply, call);
    if (code < 0)
        free(call);
    else
        *at = call;
    return code;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void tell_read(struct fleet_keys *fleet, bool good)
{
    struct hot_key *found = fleet->found;
    size_t count = fleet->found_count;
    fleet->found = NULL;
    fleet->found_count = 0;
    fleet->seen = count;
    fleet->options.counters->hot_keys_read += count;
    fleet->options.ports.read(fleet->options.ports.context, found, count, good);
}

/* False: there is no memory. */
static bool take_piece(struct fleet_keys *fleet, const char *data, size_t size)
{
    const struct fleet_keys_ports *ports = &fleet->options.ports;
    struct hot_key *found = realloc(fleet->found, (fleet->found_count + HOT_VALUE_KEYS) * sizeof *found);
    if (found == NULL)
        return false;
    fleet->found = found;
    int64_t count = hot_value_take(data, size, ports->store_id(ports->context), ports->types(ports->context),
                                   &found[fleet->found_count]);
    if (count < 0)
        fleet->options.counters->hot_keys_bad++;
    else
        fleet->found_count += (size_t)count;
    return true;
}

static int ask_piece(struct fleet_keys *fleet);

static void on_piece(struct fleet_keys *fleet, enum redis_status status, const struct redis_reply *reply)
{
    size_t size = 0;
    const char *data = redis_reply_kind(reply) == REDIS_TEXT ? redis_reply_text(reply, &size) : NULL;
    bool more = data != NULL && take_piece(fleet, data, size) && ++fleet->read_piece < FLEET_KEYS_PIECES;
    if (!more || ask_piece(fleet) < 0)
        tell_read(fleet, status == REDIS_OK);
}

static int ask_piece(struct fleet_keys *fleet)
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "HGET");
    redis_args_text(&args, fleet->key);
    redis_args_u64(&args, fleet->read_piece);
    int code = send_command(fleet, &fleet->reading, &args, on_piece);
    redis_args_fini(&args);
    return code;
}

int fleet_keys_read(struct fleet_keys *fleet)
{
    fleet_keys_leave(fleet);
    fleet->read_piece = 0;
    return ask_piece(fleet);
}

void fleet_keys_leave(struct fleet_keys *fleet)
{
    if (fleet->reading != NULL)
        fleet->reading->fleet = NULL;
    fleet->reading = NULL;
    free(fleet->found);
    fleet->found = NULL;
    fleet->found_count = 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void stop_writing(struct fleet_keys *fleet)
{
    if (fleet->writing != NULL)
        fleet->writing->fleet = NULL;
    fleet->writing = NULL;
    keys_reading_free(fleet->sorting);
    fleet->sorting = NULL;
    free(fleet->own);
    fleet->own = NULL;
    fleet->own_count = 0;
    (void)timer_in_ms(fleet->timer, fleet->options.every_ms);
}

static unsigned pieces_of(const struct fleet_keys *fleet)
{
    return (unsigned)((fleet->own_count + HOT_VALUE_KEYS - 1) / HOT_VALUE_KEYS);
}

static void on_expires(struct fleet_keys *fleet, enum redis_status status, const struct redis_reply *reply)
{
    (void)reply;
    fleet->options.counters->hot_keys_written += status == REDIS_OK ? fleet->own_count : 0;
    stop_writing(fleet);
}

static void on_written(struct fleet_keys *fleet, enum redis_status status, const struct redis_reply *reply);

/* The next piece; after the last one those that are there besides; then how long all of it stays. */
static void write_on(struct fleet_keys *fleet)
{
    unsigned pieces = pieces_of(fleet), piece = fleet->write_piece;
    struct redis_args args;
    struct wire_buffer value;
    redis_args_init(&args);
    wire_buffer_init(&value);
    redis_args_text(&args, piece < pieces ? "HSET" : piece < FLEET_KEYS_PIECES ? "HDEL" : "PEXPIRE");
    redis_args_text(&args, fleet->key);
    if (piece < pieces) {
        size_t from = (size_t)piece * HOT_VALUE_KEYS, left = fleet->own_count - from;
        hot_value_pack(&value, fleet->options.ports.store_id(fleet->options.ports.context), &fleet->own[from],
                       left < HOT_VALUE_KEYS ? left : HOT_VALUE_KEYS);
        redis_args_u64(&args, piece);
        redis_args_bytes(&args, value.data, value.size);
        fleet->write_piece++;
    } else if (piece < FLEET_KEYS_PIECES) {
        for (; fleet->write_piece < FLEET_KEYS_PIECES; fleet->write_piece++)
            redis_args_u64(&args, fleet->write_piece);
    } else {
        redis_args_u64(&args, KEPT_MS);
    }
    bool ends = piece >= FLEET_KEYS_PIECES;
    if (value.failed || send_command(fleet, &fleet->writing, &args, ends ? on_expires : on_written) < 0)
        stop_writing(fleet);
    wire_buffer_fini(&value);
    redis_args_fini(&args);
}

static void on_written(struct fleet_keys *fleet, enum redis_status status, const struct redis_reply *reply)
{
    (void)reply;
    if (status == REDIS_OK)
        write_on(fleet);
    else
        stop_writing(fleet);
}

static void sort_on(struct fleet_keys *fleet)
{
    if (keys_reading_slice(fleet->sorting, READ_A_TURN)) {
        (void)timer_at_once(fleet->timer);
        return;
    }
    fleet->own = keys_reading_take(fleet->sorting, &fleet->own_count);
    fleet->sorting = NULL;
    if (fleet->own_count > (size_t)FLEET_KEYS_PIECES * HOT_VALUE_KEYS)
        fleet->own_count = (size_t)FLEET_KEYS_PIECES * HOT_VALUE_KEYS;
    fleet->write_piece = 0;
    if (fleet->own_count > 0)
        write_on(fleet);
    else
        stop_writing(fleet);
}

static void on_turn(struct fleet_keys *fleet, enum redis_status status, const struct redis_reply *reply)
{
    bool ours = status == REDIS_OK && redis_reply_kind(reply) == REDIS_TEXT;
    uint32_t types = fleet->options.ports.types(fleet->options.ports.context);
    if (ours && keys_reading_new(&fleet->sorting, fleet->options.keys, types) == 0)
        sort_on(fleet);
    else
        stop_writing(fleet);
}

static void take_turn(struct fleet_keys *fleet)
{
    struct redis_args args;
    bool fresh = clock_ns() - fleet->begun_ns < SETTLED_NS && keys_known(fleet->options.keys) < fleet->seen / 2;
    redis_args_init(&args);
    redis_args_text(&args, "SET");
    redis_args_text(&args, fleet->turn_key);
    redis_args_text(&args, "1");
    redis_args_text(&args, "NX");
    redis_args_text(&args, "PX");
    redis_args_u64(&args, fleet->options.every_ms);
    if (fresh || send_command(fleet, &fleet->writing, &args, on_turn) < 0)
        stop_writing(fleet);
    redis_args_fini(&args);
}

static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct fleet_keys *fleet = context;
    (void)descriptor, (void)what;
    if (fleet->sorting != NULL)
        sort_on(fleet);
    else if (fleet->writing == NULL)
        take_turn(fleet);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int fleet_keys_new(struct fleet_keys **out, const struct fleet_keys_options *options)
{
    struct fleet_keys *fleet = calloc(1, sizeof *fleet);
    if (fleet == NULL)
        return PERMTAB_E_MEMORY;
    fleet->options = *options;
    fleet->options.prefix = NULL; /* borrowed for this call */
    fleet->options.every_ms = options->every_ms > 0 ? options->every_ms : EVERY_MS;
    fleet->begun_ns = clock_ns();
    (void)snprintf(fleet->key, sizeof fleet->key, "%shot:%u", options->prefix, HOT_VALUE_VERSION);
    (void)snprintf(fleet->turn_key, sizeof fleet->turn_key, "%shot:%u:turn", options->prefix, HOT_VALUE_VERSION);
    fleet->timer = evtimer_new(options->base, on_timer, fleet);
    if (fleet->timer == NULL) {
        free(fleet);
        return PERMTAB_E_MEMORY;
    }
    if (options->keys != NULL)
        (void)timer_in_ms(fleet->timer, options->first_ms > 0 ? options->first_ms : FIRST_MS);
    *out = fleet;
    return 0;
}

void fleet_keys_free(struct fleet_keys *fleet)
{
    if (fleet == NULL)
        return;
    fleet_keys_leave(fleet);
    stop_writing(fleet);
    event_free(fleet->timer);
    free(fleet);
}
