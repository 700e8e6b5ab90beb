/* The hot keys of the fleet:
 *
 *   reading   HSTRLEN 0 ─► HGET 0 ─► HSTRLEN 1 ─► … ─► there is no such piece, it is the last one, or enough ─► told
 *   writing   a timer ─► SET turn NX PX ─► PTTL ─► a reading of piece 0 ─► this host's keys, sorted in slices ─►
 *             HSTRLEN of a piece behind twice as many ─► HSET 0 ─► … ─► HDEL of more, some at a time ─► PEXPIRE;
 *             or DEL turn: somebody else knows more
 *
 * Each command is about one piece, or removes a few, and the next one waits for its reply: a long list is many short
 * commands. Here, too: a piece is understood in half a millisecond, and there is a turn of the loop between two.
 *
 * Whatever is refused, lost or late ends a reading with what there is, and a writing until the next time: half a list
 * is as good as two halves of different ones. A piece that is not understood or too long is passed over. Nobody
 * writes before it has looked at what is there, nor over more than twice what it knows itself, unless that is old. */
#include "proxy/warm/fleet_keys.h"

#include "proxy/base/counters.h"
#include "proxy/base/timer.h"
#include "proxy/names/l2_keys.h"
#include "proxy/warm/hot_value.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_MS    30000u        /* what it knows then is not much, but more than nothing */
#define EVERY_MS    600000u       /* one host of the fleet in so long */
#define KEPT_MS     604800000u    /* nobody has written for a week: the keys are of no use */
#define OLD_MS      3600000u      /* after so long a shorter list is better */
#define READ_A_TURN 16384u
#define HDEL_FIELDS 64u /* of one command: as many values are freed at once */

_Static_assert(FLEET_KEYS_PIECES * HOT_VALUE_KEYS >= KEYS_MAX, "all keys of a host find a place");

/* One command under way. */
struct call {
    struct call **at; /* where it is kept; NULL: nobody waits for it */
    void (*done)(void *context, enum redis_status status, const struct redis_reply *reply);
    void *context;
};

/* A look at all pieces. */
struct reading {
    struct fleet_keys *fleet;
    struct call *call; /* under way */
    unsigned piece;
    uint64_t most;         /* keys: no piece is read after so many */
    struct hot_key *found; /* so far */
    size_t count;
    unsigned bad; /* pieces */
    void (*done)(struct reading *reading, bool good);
};

struct fleet_keys {
    struct fleet_keys_options options;
    char key[L2_KEY_SIZE], turn_key[L2_KEY_SIZE];
    struct event *timer;
    struct reading reading;
    struct reading looking; /* before it writes */
    bool old;               /* what is there then */
    size_t there;           /* keys in its first piece, if that is of this store */
    struct call *writing; /* under way */
    unsigned write_piece;
    struct keys_reading *sorting;
    struct hot_key *own; /* being written */
    size_t own_count;
};

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static void on_reply(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct call *call = context;
    if (call->at != NULL) {
        *call->at = NULL;
        call->done(call->context, status, reply);
    }
    free(call);
}

static int send_command(struct redis *redis, struct call **at, const struct redis_args *args,
                        void (*done)(void *, enum redis_status, const struct redis_reply *), void *context)
{
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return PERMTAB_E_MEMORY;
    *call = (struct call){at, done, context};
    int code = redis_send(redis, args, on_reply, call);
    if (code < 0)
        free(call);
    else
        *at = call;
    return code;
}

static void leave_call(struct call **at)
{
    if (*at != NULL)
        (*at)->at = NULL;
    *at = NULL;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void leave_reading(struct reading *reading)
{
    leave_call(&reading->call);
    free(reading->found);
    reading->found = NULL;
    reading->count = 0;
    reading->piece = reading->bad = 0;
}

/* Room for all at once: to copy what there is into a larger place takes longer than a turn may. Pages that are not
 * written take no memory. */
static struct hot_key *room_for(uint64_t most)
{
    const uint64_t all = (uint64_t)FLEET_KEYS_PIECES * HOT_VALUE_KEYS;
    return malloc(((most < all ? most : all) + HOT_VALUE_KEYS) * sizeof(struct hot_key));
}

/* False: there is no memory. */
static bool take_piece(struct reading *reading, const char *data, size_t size)
{
    const struct fleet_keys_ports *ports = &reading->fleet->options.ports;
    if (reading->found == NULL)
        reading->found = room_for(reading->most);
    if (reading->found == NULL)
        return false;
    int64_t count = hot_value_take(data, size, ports->store_id(ports->context), ports->types(ports->context),
                                   &reading->found[reading->count]);
    if (count < 0)
        reading->bad++;
    else
        reading->count += (size_t)count;
    return true;
}

static int ask_size(struct reading *reading);

static void read_next(struct reading *reading)
{
    if (++reading->piece == FLEET_KEYS_PIECES || reading->count >= reading->most)
        reading->done(reading, true);
    else if (ask_size(reading) < 0)
        reading->done(reading, false);
}

static void on_piece(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct reading *reading = context;
    size_t size = 0;
    const char *data = redis_reply_kind(reply) == REDIS_TEXT ? redis_reply_text(reply, &size) : NULL;
    if (status == REDIS_OK && data != NULL && take_piece(reading, data, size))
        read_next(reading);
    else
        reading->done(reading, status == REDIS_OK && data == NULL); /* it has gone meanwhile */
}

static int ask_about(struct reading *reading, const char *command,
                     void (*done)(void *, enum redis_status, const struct redis_reply *))
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, command);
    redis_args_text(&args, reading->fleet->key);
    redis_args_u64(&args, reading->piece);
    int code = send_command(reading->fleet->options.redis, &reading->call, &args, done, reading);
    redis_args_fini(&args);
    return code;
}

static void on_size(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct reading *reading = context;
    uint64_t size;
    if (status != REDIS_OK || !redis_reply_u64(reply, &size) || size == 0) {
        reading->done(reading, status == REDIS_OK);
    } else if (size > HOT_VALUE_MAX) {
        reading->bad++;
        read_next(reading);
    } else if (ask_about(reading, "HGET", on_piece) < 0) {
        reading->done(reading, false);
    }
}

/* A reply that is too long would end the connection, and L2 has it, too. */
static int ask_size(struct reading *reading)
{
    return ask_about(reading, "HSTRLEN", on_size);
}

static void tell_read(struct reading *reading, bool good)
{
    struct fleet_keys *fleet = reading->fleet;
    struct hot_key *found = reading->found;
    size_t count = reading->count;
    fleet->options.counters->hot_keys_read += count;
    fleet->options.counters->hot_keys_bad += reading->bad;
    reading->found = NULL;
    leave_reading(reading);
    fleet->options.ports.read(fleet->options.ports.context, found, count, good);
}

int fleet_keys_read(struct fleet_keys *fleet)
{
    fleet_keys_leave(fleet);
    fleet->reading.most = fleet->options.ports.most(fleet->options.ports.context);
    return ask_size(&fleet->reading);
}

void fleet_keys_leave(struct fleet_keys *fleet)
{
    leave_reading(&fleet->reading);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void stop_writing(struct fleet_keys *fleet)
{
    leave_call(&fleet->writing);
    leave_reading(&fleet->looking);
    keys_reading_free(fleet->sorting);
    fleet->sorting = NULL;
    free(fleet->own);
    fleet->own = NULL;
    fleet->own_count = 0;
    (void)timer_in_ms(fleet->timer, fleet->options.every_ms);
}

static int send_to_write(struct fleet_keys *fleet, const struct redis_args *args,
                         void (*done)(void *, enum redis_status, const struct redis_reply *))
{
    return send_command(fleet->options.redis, &fleet->writing, args, done, fleet);
}

static unsigned pieces_of(const struct fleet_keys *fleet)
{
    return (unsigned)((fleet->own_count + HOT_VALUE_KEYS - 1) / HOT_VALUE_KEYS);
}

static void on_expires(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct fleet_keys *fleet = context;
    (void)reply;
    fleet->options.counters->hot_keys_written += status == REDIS_OK ? fleet->own_count : 0;
    stop_writing(fleet);
}

static void on_written(void *context, enum redis_status status, const struct redis_reply *reply);

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
        for (; fleet->write_piece < FLEET_KEYS_PIECES && fleet->write_piece < piece + HDEL_FIELDS; fleet->write_piece++)
            redis_args_u64(&args, fleet->write_piece);
    } else {
        redis_args_u64(&args, KEPT_MS);
    }
    bool ends = piece >= FLEET_KEYS_PIECES;
    if (value.failed || send_to_write(fleet, &args, ends ? on_expires : on_written) < 0)
        stop_writing(fleet);
    wire_buffer_fini(&value);
    redis_args_fini(&args);
}

static void on_written(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct fleet_keys *fleet = context;
    (void)reply;
    if (status == REDIS_OK)
        write_on(fleet);
    else
        stop_writing(fleet);
}

static void on_given_back(void *context, enum redis_status status, const struct redis_reply *reply)
{
    (void)status, (void)reply;
    stop_writing(context);
}

/* Somebody who knows more is to have the turn. */
static void give_back(struct fleet_keys *fleet)
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "DEL");
    redis_args_text(&args, fleet->turn_key);
    if (send_to_write(fleet, &args, on_given_back) < 0)
        stop_writing(fleet);
    redis_args_fini(&args);
}

static void on_more(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct fleet_keys *fleet = context;
    uint64_t size;
    if (status != REDIS_OK || !redis_reply_u64(reply, &size))
        stop_writing(fleet);
    else if (size > 0)
        give_back(fleet);
    else
        write_on(fleet);
}

/* Whether there are more pieces than twice as many keys would take. */
static void ask_for_more(struct fleet_keys *fleet)
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "HSTRLEN");
    redis_args_text(&args, fleet->key);
    redis_args_u64(&args, 2ull * pieces_of(fleet));
    if (send_to_write(fleet, &args, on_more) < 0)
        stop_writing(fleet);
    redis_args_fini(&args);
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
    if (fleet->own_count == 0 || (!fleet->old && fleet->there > 2 * fleet->own_count))
        give_back(fleet);
    else if (!fleet->old && fleet->there > 0)
        ask_for_more(fleet);
    else
        write_on(fleet);
}

static void on_looked(struct reading *reading, bool good)
{
    struct fleet_keys *fleet = reading->fleet;
    uint32_t types = fleet->options.ports.types(fleet->options.ports.context);
    fleet->there = reading->count;
    leave_reading(reading);
    if (good && keys_reading_new(&fleet->sorting, fleet->options.keys, types) == 0)
        sort_on(fleet);
    else
        stop_writing(fleet);
}

/* Its time says when it was written: what has none, or more than is ever given, is not as this code writes it. */
static void on_age(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct fleet_keys *fleet = context;
    uint64_t left_ms;
    fleet->old = !redis_reply_u64(reply, &left_ms) || left_ms > KEPT_MS || KEPT_MS - left_ms > OLD_MS;
    fleet->looking.most = 0; /* no more than one piece */
    if (status != REDIS_OK || ask_size(&fleet->looking) < 0)
        stop_writing(fleet);
}

static void on_turn(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct fleet_keys *fleet = context;
    struct redis_args args;
    bool ours = status == REDIS_OK && redis_reply_kind(reply) == REDIS_TEXT;
    redis_args_init(&args);
    redis_args_text(&args, "PTTL");
    redis_args_text(&args, fleet->key);
    if (!ours || send_to_write(fleet, &args, on_age) < 0)
        stop_writing(fleet);
    redis_args_fini(&args);
}

static void take_turn(struct fleet_keys *fleet)
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, "SET");
    redis_args_text(&args, fleet->turn_key);
    redis_args_text(&args, "1");
    redis_args_text(&args, "NX");
    redis_args_text(&args, "PX");
    redis_args_u64(&args, fleet->options.every_ms);
    if (send_to_write(fleet, &args, on_turn) < 0)
        stop_writing(fleet);
    redis_args_fini(&args);
}

static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct fleet_keys *fleet = context;
    (void)descriptor, (void)what;
    if (fleet->sorting != NULL)
        sort_on(fleet);
    else if (fleet->writing == NULL && fleet->looking.call == NULL)
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
    fleet->reading = (struct reading){.fleet = fleet, .done = tell_read};
    fleet->looking = (struct reading){.fleet = fleet, .done = on_looked};
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
