/* The history: which keys changed at which revision. A fill that was read at an older revision is published only if
 * no later change here names anything that it read. Plain data, on the loop's thread. */
#ifndef PERMTAB_TABLE_HISTORY_H
#define PERMTAB_TABLE_HISTORY_H

#include "proxy/rights/change.h"
#include "proxy/rights/facts.h"

#include <stdbool.h>
#include <stdint.h>

#define HISTORY_SIZE 65536u /* changes remembered */
#define HISTORY_SCAN 16384u /* changes that one question may look at; an older fill is read again instead */

struct history {
    struct change *ring;
    uint32_t next;
    uint32_t count;
    uint64_t complete_from; /* everything after this revision is remembered */
    uint64_t from_nonce;    /* of that revision */
};

/* Makes a history that begins at `at`, empty. */
int history_init(struct history *history, const struct log_position *at) PERMTAB_MUST_CHECK;
void history_fini(struct history *history);
void history_reset(struct history *history, const struct log_position *at);
void history_add(struct history *history, const struct change *change);

/* The change row of a revision; NULL when it is not remembered. Rows are without gaps, so history_at(r + 1) is the
 * next one until the newest. */
const struct change *history_at(const struct history *history, uint64_t revision);
/* Whether this history went through that revision with that nonce, and everything after it is remembered. */
bool history_continues(const struct history *history, uint64_t revision, uint64_t nonce);

/* True when the facts were read in this very history (a connection may have found another store at the same address
 * before the feed did), and nothing in them, absences included, can have changed after facts->revision, nor what the
 * place brings after facts->place_revision. False in doubt. */
bool history_still_true(const struct history *history, const struct facts *facts);

/* Calls for each change after that revision which is remembered, the newest first. */
typedef void (*history_each_fn)(void *context, const struct change *change);
void history_each_since(const struct history *history, uint64_t revision, history_each_fn each, void *context);
/* Whether one of these changes, all of them after the facts, can have changed the facts. True in doubt. */
bool changes_concern(const struct change_list *changes, const struct facts *facts);

#endif
