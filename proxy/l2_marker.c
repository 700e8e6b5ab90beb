/* The marker: up to which revision of which history L2 is true.
 *
 *   pursue ─► l2_advance(from what we know, to where the table stands)
 *                 done ─────────────────────────► known; once more if the table has moved on
 *                 refused: the marker is elsewhere
 *                     behind us, and our log went through it ─► advance from there; l2_log.c reads what we do not remember
 *                     ahead of us ─► the poll will bring us there; when one has, and it is still ahead: not our history
 *                     anything else ─► nobody's: l2_begin, a new epoch
 *
 * "Not our history" is believed only after a poll that began later has been applied: it may be this host that has not
 * noticed yet that the store was restored. Of many hosts that find so, the script lets one begin.
 *
 * What may change while a script is away: the table advances (`again`), the connection ends (known is forgotten, and the next
 * connection finds out what happened), the store is replaced (the next comparison fails on the nonce). */
#include "proxy/clock.h"
#include "proxy/l2_internal.h"
#include "proxy/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define OPERATIONS_MAX  512u /* changes of one script: it must not keep Redis busy for long */
#define BEGIN_NS        1000000000ull
#define ERASE_TRIES_MAX 16u            /* in a row */
#define DOUBT_NS        60000000000ull /* a fleet that begins with an empty L2 so often lives; its store feels it */

static void lose(struct l2 *l2)
{
    l2->marker.known = false;
    l2->counters->l2_marker_known = 0;
}

void l2_marker_disconnected(struct l2 *l2)
{
    lose(l2);
    l2->marker.seen_size = 0;
    l2->marker.asking = l2->marker.beginning = false;
    l2->marker.again = false;
}

/* ---- what a reply says -------------------------------------------------------------------------------------------- */

/* Only as l2_marker.c writes them: the scripts compare texts, and a marker that means the same and looks otherwise would be
 * known here and refused there, again and again. */
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

/* An epoch ends for a reason, and the reason need not be in the log. One that is there again came out of an older dump. */
static bool is_past(const struct l2_marker *marker, uint64_t epoch)
{
    for (unsigned i = 0; i < L2_EPOCHS_PAST; i++)
        if (marker->past[i] == epoch && epoch != 0)
            return true;
    return false;
}

static void end_epoch(struct l2_marker *marker)
{
    marker->past[marker->past_next++ % L2_EPOCHS_PAST] = marker->epoch;
    marker->epoch = 0;
}

/* False when there is no marker, or what is there is none. */
static bool read_marker(const struct l2 *l2, const struct redis_reply *reply, size_t first,
                        struct store_position *at, uint64_t *epoch)
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

/* As l2_begin compares it. */
static void note_seen(struct l2 *l2, const struct redis_reply *reply, size_t first)
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

static void know(struct l2 *l2, const struct store_position *at, uint64_t epoch)
{
    if (l2->marker.epoch != epoch)
        end_epoch(&l2->marker);
    l2->marker.known = true;
    l2->marker.at = *at;
    l2->marker.epoch = epoch;
    l2->marker.heard = 0;
    l2->counters->l2_marker_known = 1;
    l2->counters->l2_marker_revision = at->revision;
}

bool l2_marker_seen(struct l2 *l2, const struct redis_reply *reply, size_t first, struct store_position *at)
{
    uint64_t epoch;
    bool whole = read_marker(l2, reply, first, at, &epoch);
    l2->marker.heard = 0; /* as in on_moved */
    note_seen(l2, reply, first);
    if (whole)
        know(l2, at, epoch);
    else
        lose(l2);
    if (!whole || at->revision != publish_position(l2->publish).revision)
        l2_marker_pursue(l2);
    return whole;
}

void l2_heard(struct l2 *l2, uint64_t revision)
{
    l2->marker.heard = revision;
}

/* Whoever advanced the marker has said so: no need to ask. Only within our own log, and only until Redis itself says where the
 * marker is: if it was an invention, or Redis was restored since, the next script finds out, and that it was said once must not
 * be believed again. */
static void believe_heard(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    const struct change *change = history_at(publish_history(l2->publish), marker->heard);
    if (change != NULL && marker->heard > marker->at.revision) {
        marker->at.revision = change->revision;
        marker->at.nonce = change->nonce;
        l2->counters->l2_marker_revision = change->revision;
    }
}

/* ---- scripts ------------------------------------------------------------------------------------------------------ */

static void on_moved(void *context, enum redis_status status, const struct redis_reply *reply);

static void run(struct l2 *l2, const char *script, struct redis_args *args)
{
    l2->marker.again = false;
    l2->marker.asking = redis_run(l2->redis, redis_script(script), 1, args, on_moved, l2) == 0;
    redis_args_fini(args);
}

/* From where the marker stands, as far as we know, towards `to`. */
static void advance(struct l2 *l2, const struct store_position *from, const struct store_position *to)
{
    struct redis_args args;
    l2_step_args(l2, from, to, &args);
    l2->counters->l2_advances++;
    run(l2, "l2_advance", &args);
}

/* A new epoch, where the table stands, in place of the marker that was seen. */
static void begin(struct l2 *l2)
{
    uint64_t now = clock_ns();
    struct store_position at = publish_position(l2->publish);
    struct redis_args args;
    if (!publish_leased(l2->publish, now) || now - l2->marker.begun_ns < BEGIN_NS)
        return; /* the next poll that is applied comes here again */
    l2->marker.begun_ns = now;
    redis_args_init(&args);
    redis_args_text(&args, l2->marker_key);
    redis_args_bytes(&args, l2->marker.seen, l2->marker.seen_size);
    l2_args_hex(&args, at.store_id);
    redis_args_revision(&args, at.revision);
    redis_args_u64(&args, at.nonce);
    l2_args_hex(&args, random_source_next(&l2->random));
    redis_args_text(&args, l2->channel);
    redis_args_text(&args, "poke");
    run(l2, "l2_begin", &args);
    l2->marker.beginning = l2->marker.asking;
}

/* Nobody knows where the marker is: asks by a step of no length. */
static void find(struct l2 *l2)
{
    struct store_position at = publish_position(l2->publish);
    advance(l2, &at, &at);
}

/* ---- what to do --------------------------------------------------------------------------------------------------- */

/* The marker stands where our log does not go, or not yet. */
static void suspect(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    if (marker->suspect_since_ns == 0 || memcmp(&marker->suspect, &marker->at, sizeof marker->at) != 0) {
        marker->suspect_since_ns = clock_ns();
        marker->suspect = marker->at;
        feed_wake(l2->feed);
    } else if (publish_confirmed(l2->publish) > marker->suspect_since_ns) {
        log_warning("l2: the marker at revision %" PRIu64 " is not of this store's log: a new epoch begins",
                    marker->at.revision);
        begin(l2);
    }
}

/* The marker is behind the table, and this host does not remember how it was there. */
static void remember(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    if (l2_log_refused(l2, &marker->at))
        suspect(l2);
    else if (!marker->reading_log)
        l2_log_read(l2, &marker->at);
}

/* With a marker that is known. */
static void approach(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    struct store_position at = publish_position(l2->publish);
    believe_heard(l2);
    if (marker->flush && clock_ns() >= marker->flush_ns) {
        begin(l2);
    } else if (marker->at.store_id != at.store_id || marker->at.revision > at.revision ||
               (marker->at.revision == at.revision && marker->at.nonce != at.nonce)) {
        suspect(l2);
    } else if (marker->at.revision == at.revision) {
        marker->suspect_since_ns = 0;
    } else if (l2_log_continues(l2, &marker->at)) {
        marker->suspect_since_ns = 0;
        /* Everything is to be read again, whatever rows say otherwise. */
        if (l2_log_at(l2, marker->at.revision + 1)->kind == CHANGE_STORE)
            begin(l2);
        else
            advance(l2, &marker->at, &at);
    } else {
        remember(l2);
    }
}

void l2_marker_pursue(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    if (!redis_connected(l2->redis) || l2->closing)
        return;
    if (marker->asking)
        marker->again = true;
    else if (marker->known)
        approach(l2);
    else
        find(l2);
}

/* Redis refuses the script: it is full, or the marker's key holds something else. */
static void refused(struct l2 *l2, const struct redis_reply *reply)
{
    struct l2_marker *marker = &l2->marker;
    const char *text = redis_reply_text(reply, NULL);
    bool foreign = text != NULL && strstr(text, "WRONGTYPE") != NULL;
    l2->counters->l2_errors++;
    lose(l2);
    if (!marker->warned)
        log_warning("l2: the marker cannot be moved, L2 is not used: %s",
                    text != NULL ? text : "no reason given");
    marker->warned = true;
    if (foreign) {
        note_seen(l2, NULL, 0);
        begin(l2);
    }
}

static void on_moved(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct l2 *l2 = context;
    struct l2_marker *marker = &l2->marker;
    struct store_position at;
    uint64_t epoch;
    int64_t done;
    bool began = marker->beginning;
    marker->asking = marker->beginning = false;
    if (status == REDIS_ERROR) {
        refused(l2, reply);
        return;
    }
    if (status != REDIS_OK || !redis_reply_i64(redis_reply_at(reply, 0), &done)) {
        lose(l2); /* it may have moved or not; the next poll asks */
        return;
    }
    marker->warned = false;
    marker->heard = 0; /* Redis itself counts more than what was said: it may have been restored since */
    note_seen(l2, reply, 1);
    if (!read_marker(l2, reply, 1, &at, &epoch)) {
        lose(l2);
        begin(l2);
        return;
    }
    know(l2, &at, epoch);
    /* Many hosts forget at once what they have found out together: not one a second. */
    if (began && !done && marker->flush)
        marker->begun_ns = 0;
    if (began && done) {
        l2->counters->l2_epochs++;
        marker->flush = false;
        if (l2->options.epoch != NULL)
            l2->options.epoch(l2->options.context);
    }
    if (!done || marker->again || marker->flush || at.revision < publish_position(l2->publish).revision)
        approach(l2);
}

/* ---- without a marker --------------------------------------------------------------------------------------------- */

static void on_erased(void *context, enum redis_status status, const struct redis_reply *reply);

/* Whatever stands there: what was seen last may be long ago, and then the script says what does. */
static void erase(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    struct redis_args args;
    if (marker->seen_size == 0)
        note_seen(l2, NULL, 0);
    redis_args_init(&args);
    redis_args_text(&args, l2->marker_key);
    redis_args_bytes(&args, marker->seen, marker->seen_size);
    marker->asking = redis_run(l2->redis, redis_script("l2_begin"), 1, &args, on_erased, l2) == 0;
    redis_args_fini(&args);
}

static void on_erased(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct l2 *l2 = context;
    struct l2_marker *marker = &l2->marker;
    struct store_position at;
    uint64_t epoch;
    int64_t done = -1;
    bool leased = publish_leased(l2->publish, clock_ns());
    marker->asking = false;
    if (status == REDIS_OK && redis_reply_i64(redis_reply_at(reply, 0), &done))
        note_seen(l2, done ? NULL : reply, 1);
    if (done == 0 && read_marker(l2, reply, 1, &at, &epoch))
        know(l2, &at, epoch); /* it is this one that ends */
    lose(l2);
    if (done == 1) {
        marker->erased = marker->erasing;
        end_epoch(marker);
    } else if (done == 0 && !leased && marker->erase_tries++ < ERASE_TRIES_MAX) {
        erase(l2); /* others go on moving it: with the next news it would have been moved again */
    }
    if (leased)
        l2_marker_pursue(l2);
}

void l2_disbelieved(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    uint64_t distrusted = publish_distrusted(l2->publish);
    if (distrusted == l2->distrusted || distrusted == marker->erased ||
        publish_leased(l2->publish, clock_ns()) || marker->asking || !redis_connected(l2->redis))
        return;
    marker->erasing = distrusted;
    marker->erase_tries = 0;
    erase(l2);
}

/* A new epoch: not one that is being begun already, for others may put into it what they have read before now. */
static void want_epoch(struct l2_marker *marker)
{
    marker->flush = true;
    marker->beginning = false;
    marker->begun_ns = 0;
}

void l2_flush(struct l2 *l2)
{
    want_epoch(&l2->marker);
    l2->marker.flush_ns = 0;
    l2_marker_pursue(l2);
}

void l2_doubt(struct l2 *l2)
{
    struct l2_marker *marker = &l2->marker;
    uint64_t now = clock_ns();
    if (marker->flush)
        return;
    want_epoch(marker);
    marker->flush_ns = now > marker->doubt_ns ? now : marker->doubt_ns;
    marker->doubt_ns = marker->flush_ns + DOUBT_NS;
    l2_marker_pursue(l2); /* and so does each poll that is applied */
}
