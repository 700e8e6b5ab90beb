/* The marker: up to which revision of which history L2 is true.
 *
 *   pursue ─► l2_advance(from what we know, to where the table stands)
 *                 done ─────────────────────────► known; once more if the table has moved on
 *                 refused: the marker is elsewhere
 *                     behind us, and our log went through it ─► advance from there; log.c reads what we do not remember
 *                     ahead of us ─► the poll will bring us there; when one has, and it is still ahead: not our history
 *                     not our history ─► l2_begin, a new epoch; or contest.c, when somebody defends the marker
 *                     anything else ─► nobody's: l2_begin, a new epoch
 *
 * "Not our history" is believed only after a poll that began later has been applied: it may be this host that has
 * not noticed yet that the store was restored. When many hosts find that, the script lets one of them begin.
 *
 * A script that Redis refuses is tried again after a pause that doubles; the marker stays where it is meanwhile,
 * and L2's values stay true there. forget.c gives the marker up on purpose.
 *
 * What may change while a script is away: the table advances (`again`), the connection ends (known is forgotten, and
 * the next connection finds out what happened), the store is replaced (the next comparison fails on the nonce). */
#include "proxy/base/clock.h"
#include "proxy/l2/private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN_NS 1000000000ull

void l2_marker_lose(struct l2 *l2)
{
    l2->marker.known = false;
    l2->counters->l2_marker_known = 0;
}

void l2_marker_disconnected(struct l2 *l2)
{
    l2_marker_lose(l2);
    l2->marker.seen_size = 0;
    l2->marker.asking = l2->marker.beginning = false;
    l2->marker.again = false;
}

/* ---- what a reply says ------------------------------------------------------------------------------------------- */

/* Reads numbers only in the form that marker.c writes: the scripts compare texts, and a marker that means the same
 * and looks otherwise would be known here and refused there, again and again. */
static bool read_hex(const struct redis_reply *reply, uint64_t *out)
{
    size_t size;
    const char *text = redis_reply_text(reply, &size);
    if (text == NULL || size != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *out = strtoull(text, NULL, 16);
    return true;
}

static bool read_revision(const struct redis_reply *reply, uint64_t *out)
{
    size_t size;
    return redis_reply_text(reply, &size) != NULL && size == 20 && redis_reply_u64(reply, out);
}

static bool read_nonce(const struct redis_reply *reply, uint64_t *out)
{
    size_t size;
    const char *text = redis_reply_text(reply, &size);
    return text != NULL && (text[0] != '0' || size == 1) && redis_reply_u64(reply, out);
}

static bool is_past(const struct l2_marker *marker, uint64_t epoch)
{
    for (unsigned i = 0; i < L2_EPOCHS_PAST; i++)
        if (marker->past[i] == epoch && epoch != 0)
            return true;
    return false;
}

void l2_marker_end_epoch(struct l2_marker *marker)
{
    marker->past[marker->past_next++ % L2_EPOCHS_PAST] = marker->epoch;
    marker->epoch = 0;
}

bool l2_marker_read(const struct l2 *l2, const struct redis_reply *reply, size_t first,
                    struct log_position *at, uint64_t *epoch)
{
    return read_hex(redis_reply_at(reply, first), &at->store_id) &&
           read_revision(redis_reply_at(reply, first + 1), &at->revision) &&
           read_nonce(redis_reply_at(reply, first + 2), &at->nonce) &&
           read_hex(redis_reply_at(reply, first + 3), epoch) && !is_past(&l2->marker, *epoch);
}

static void add_seen(struct l2_marker *marker, const char *bytes, size_t size)
{
    size_t room = sizeof marker->seen - marker->seen_size;
    if (size > room)
        size = room;
    if (size > 0)
        memcpy(marker->seen + marker->seen_size, bytes, size);
    marker->seen_size += size;
}

void l2_marker_note(struct l2 *l2, const struct redis_reply *reply, size_t first)
{
    l2->marker.seen_size = 0;
    for (size_t i = 0; i < 4; i++) {
        size_t size;
        const char *text = redis_reply_text(redis_reply_at(reply, first + i), &size);
        if (i > 0)
            add_seen(&l2->marker, "|", 1);
        add_seen(&l2->marker, text, size);
    }
}

void l2_marker_know(struct l2 *l2, const struct log_position *at, uint64_t epoch)
{
    if (l2->marker.epoch != epoch)
        l2_marker_end_epoch(&l2->marker);
    l2->marker.known = true;
    l2->marker.at = *at;
    l2->marker.epoch = epoch;
    l2->marker.heard = 0;
    l2->counters->l2_marker_known = 1;
    l2->counters->l2_marker_revision = at->revision;
}

bool l2_marker_seen(struct l2 *l2, const struct redis_reply *reply, size_t first, struct log_position *at)
{
    uint64_t epoch;
    bool whole = l2_marker_read(l2, reply, first, at, &epoch);
    l2->marker.heard = 0; /* as in on_moved */
    l2_marker_note(l2, reply, first);
    if (whole)
        l2_marker_know(l2, at, epoch);
    else
        l2_marker_lose(l2);
    if (!whole || at->revision != publisher_position(l2->publisher).revision)
        l2_marker_pursue(l2);
    return whole;
}

void l2_heard(struct l2 *l2, uint64_t revision)
{
    l2->marker.heard = revision;
}

/* Believes the message of the host that advanced the marker, without asking Redis. Only within our own log, and
 * only until Redis itself says where the marker is: when the message was an invention, or Redis was restored since,
 * the next script finds out, and then the message must not be believed again. */
static void believe_heard(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    const struct change *change = history_at(publisher_history(l2->publisher), marker->heard);
    if (change != NULL && marker->heard > marker->at.revision) {
        marker->at.revision = change->revision;
        marker->at.nonce = change->nonce;
        l2->counters->l2_marker_revision = change->revision;
    }
}

/* ---- scripts ----------------------------------------------------------------------------------------------------- */

static void on_moved(void *context, enum redis_status status, const struct redis_reply *reply);

static void run(struct l2 *l2, const char *script, size_t keys, struct redis_args *args)
{
    l2->marker.again = false;
    l2->marker.asking = redis_run(l2->redis, redis_script(script), keys, args, on_moved, l2) == 0;
    redis_args_fini(args);
}

/* Advances the marker from where it stands, as far as we know, towards `to`. */
static void advance(struct l2 *l2, const struct log_position *from, const struct log_position *to)
{
    struct redis_args args;
    l2_step_args(l2, from, to, &args);
    l2->counters->l2_advances++;
    l2->marker.moving = from->revision != to->revision;
    run(l2, "l2_advance", 1, &args);
}

/* Begins a new epoch, at the table's revision, in place of the marker that was seen. `contest`: that one is another
 * installation's. */
static void begin(struct l2 *l2, bool contest)
{
    uint64_t now = clock_ns();
    struct log_position at = publisher_position(l2->publisher);
    struct redis_args args;
    if (!publisher_leased(l2->publisher, now) || now - l2->marker.begun_ns < BEGIN_NS)
        return; /* the next applied poll comes here again */
    l2->marker.begun_ns = now;
    redis_args_init(&args);
    redis_args_text(&args, l2->marker_key);
    redis_args_print(&args, "%scontests", l2->prefix);
    redis_args_bytes(&args, l2->marker.seen, l2->marker.seen_size);
    l2_args_hex(&args, at.store_id);
    redis_args_revision(&args, at.revision);
    redis_args_u64(&args, at.nonce);
    l2_args_hex(&args, random_source_next(&l2->random));
    redis_args_text(&args, l2->channel);
    redis_args_text(&args, "poke");
    if (contest)
        l2_contest_args(l2, &args);
    l2->marker.moving = true;
    run(l2, "l2_begin", 2, &args);
    l2->marker.beginning = l2->marker.asking;
    l2->marker.contesting = contest;
}

/* Finds out where the marker is, by a step of no length. */
static void find(struct l2 *l2)
{
    struct log_position at = publisher_position(l2->publisher);
    advance(l2, &at, &at);
}

/* ---- what to do -------------------------------------------------------------------------------------------------- */

/* Whether the table has reached the position at which the marker was seen. */
static bool has_come_to(const struct l2 *l2, const struct log_position *to)
{
    struct log_position at = publisher_position(l2->publisher);
    return to->store_id == at.store_id && to->revision <= at.revision && l2_log_continues(l2, to);
}

/* Suspects a marker that stands where our log does not go, or not yet. The marker may move meanwhile, as fast as
 * somebody writes; as long as its epoch is the same, a poll must bring the position at which it was first seen. */
static void suspect(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    if (marker->suspect_since_ns == 0 || marker->suspect_epoch != marker->epoch ||
        has_come_to(l2, &marker->suspect)) {
        marker->suspect_since_ns = clock_ns();
        marker->suspect_epoch = marker->epoch;
        marker->suspect = marker->at;
        feed_wake(l2->feed);
    } else if (publisher_confirmed(l2->publisher) > marker->suspect_since_ns && !l2_contest_stays_out(l2)) {
        begin(l2, true);
    }
}

/* Reads the log from a marker that is behind the table, and behind what this host remembers. */
static void remember(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    if (l2_log_refused(l2, &marker->at))
        suspect(l2);
    else if (!marker->reading_log)
        l2_log_read(l2, &marker->at);
}

/* Brings a known marker to the table's revision. */
static void approach(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    struct log_position at = publisher_position(l2->publisher);
    believe_heard(l2);
    if (marker->flush && clock_ns() >= marker->flush_ns) {
        begin(l2, marker->at.store_id != at.store_id);
    } else if (marker->at.store_id != at.store_id || marker->at.revision > at.revision ||
               (marker->at.revision == at.revision && marker->at.nonce != at.nonce)) {
        suspect(l2);
    } else if (marker->at.revision == at.revision) {
        marker->suspect_since_ns = 0;
        l2_contest_over(l2);
    } else if (l2_log_continues(l2, &marker->at)) {
        marker->suspect_since_ns = 0;
        l2_contest_over(l2);
        /* CHANGE_STORE: everything is to be read again, whatever the other rows say. */
        if (l2_log_at(l2, marker->at.revision + 1)->kind == CHANGE_STORE)
            begin(l2, false);
        else
            advance(l2, &marker->at, &at);
    } else {
        remember(l2);
    }
}

void l2_marker_pursue(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    uint64_t now = clock_ns();
    if (!redis_connected(l2->redis) || l2->closing || pause_lasts(&marker->pause, now) ||
        l2_contest_yields(l2))
        return;
    if (marker->asking)
        marker->again = true;
    else if (marker->known)
        approach(l2);
    else
        find(l2);
}

void l2_marker_refused(struct l2 *l2, const struct redis_reply *reply)
{
    const char *text = redis_reply_text(reply, NULL);
    uint64_t now = clock_ns();
    l2->counters->l2_errors++;
    pause_begins(&l2->marker.pause, now, L2_PAUSE_NS, L2_PAUSE_MAX_NS);
    (void)trouble_happens(&l2->marker.trouble, LOG_LEVEL_WARNING, now,
                          "l2: Redis refuses to move the marker, and L2 falls behind: %s",
                          text != NULL ? text : "no reason given");
}

/* Redis is full, the account may not write, or the marker's key holds another kind of value. A refused step has not
 * moved the marker. */
static void refused(struct l2 *l2, const struct redis_reply *reply, bool began)
{
    const char *text = redis_reply_text(reply, NULL);
    bool foreign = text != NULL && strstr(text, "WRONGTYPE") != NULL;
    if (began || foreign)
        l2_marker_lose(l2);
    if (foreign && !began) { /* the value of another kind goes */
        l2->counters->l2_errors++;
        l2_marker_note(l2, NULL, 0);
        begin(l2, false);
    } else {
        l2_marker_refused(l2, reply);
    }
}

/* A step or a new epoch is written, so Redis accepts writes. */
static void moved(struct l2 *l2)
{
    pause_ends(&l2->marker.pause);
    trouble_ends(&l2->marker.trouble, clock_ns(), "l2: the marker is moved again");
}

static void epoch_begun(struct l2 *l2, bool contested)
{
    l2->counters->l2_epochs++;
    l2->marker.flush = false;
    if (contested)
        l2_contest_won(l2);
    if (l2->options.epoch != NULL)
        l2->options.epoch(l2->options.context);
}

static void on_moved(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct l2 *l2 = context;
    struct l2_marker *marker = &l2->marker;
    struct log_position at;
    uint64_t epoch;
    int64_t outcome;
    bool began = marker->beginning;
    marker->asking = marker->beginning = false;
    if (status == REDIS_ERROR) {
        refused(l2, reply, began);
        return;
    }
    if (status != REDIS_OK || !redis_reply_i64(redis_reply_at(reply, 0), &outcome)) {
        l2_marker_lose(l2); /* the marker may have moved or not; the next poll asks */
        return;
    }
    bool done = outcome == 1, defended = began && outcome == 2;
    if (done && marker->moving)
        moved(l2);
    marker->heard = 0; /* Redis itself counts more than a message: it may have been restored since */
    l2_marker_note(l2, reply, 1);
    if (!l2_marker_read(l2, reply, 1, &at, &epoch)) {
        l2_marker_lose(l2);
        begin(l2, false);
        return;
    }
    l2_marker_know(l2, &at, epoch);
    /* begun_ns = 0 lifts the limit of one new epoch a second: many hosts may have found out at once that L2 is
     * wrong. And another's marker may have moved on meanwhile, so it is compared with the present one. */
    if (began && outcome == 0 && (marker->flush || marker->contesting))
        marker->begun_ns = 0;
    if (began && done)
        epoch_begun(l2, marker->contesting);
    if (defended)
        l2_contest_lost(l2);
    else if (!done || marker->again || marker->flush ||
             at.revision < publisher_position(l2->publisher).revision)
        approach(l2);
}
