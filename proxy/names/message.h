/* A message of the channel PREFIXinvalidate. Text, so that redis-cli can read and write it. Words are separated by
 * blanks.
 *
 *     TARGET…                                   from anybody: retire these (target.h); "poke" wakes the poll alone
 *     permtab1 changed STORE FROM TO [TARGET…]  from the marker's script: the log went from revision FROM to TO and
 *                                               these users and scopes changed; without targets, too many to name
 *     permtab1 written STORE TO TARGET…         from a host whose client has just committed revision TO
 *     permtab1 invalidate ORIGIN NUMBER TARGET… from `invalidate` on a host: ORIGIN its random id, NUMBER counts up
 *
 * STORE and ORIGIN are 16 hexadecimal digits, revisions and NUMBER decimal. A message that does not parse is
 * believed in no part. Nothing in a message makes the table true: it retires, it fences, it wakes the poll. */
#ifndef PERMTAB_NAMES_MESSAGE_H
#define PERMTAB_NAMES_MESSAGE_H

#include "proxy/names/l2_keys.h"
#include "proxy/names/target.h"

#define MESSAGE_CHANNEL_SIZE (KEY_PREFIX_MAX + 16)
#define MESSAGE_SIZE_MAX     65536u /* longer ones do not parse */
#define MESSAGE_TARGETS_MAX  2048u

enum message_kind { MESSAGE_PLAIN, MESSAGE_CHANGED, MESSAGE_WRITTEN, MESSAGE_INVALIDATE };

struct message {
    enum message_kind kind;
    uint64_t store_id, from, to; /* MESSAGE_CHANGED; MESSAGE_WRITTEN without `from` */
    uint64_t origin, number;     /* MESSAGE_INVALIDATE */
    struct target *targets;
    size_t count;
};

/* Writes the name of the channel into `out`, of MESSAGE_CHANNEL_SIZE, and returns it. */
char *message_channel(char *out, const char *prefix);
/* PERMTAB_E_INVALID, _LIMIT, _MEMORY; PERMTAB_E_NO_SCOPE_TYPE. Fini it after 0 alone. */
int message_parse(const struct scope_types *types, const char *bytes, size_t size,
                  struct message *out) PERMTAB_MUST_CHECK;
void message_fini(struct message *message);
/* Whether one of its targets asks for a poll. */
bool message_pokes(const struct message *message);
/* malloc'ed text of `message`; NULL without memory or when it would pass MESSAGE_SIZE_MAX (MESSAGE_CHANGED then
 * goes without its targets and does not fail). */
char *message_format(const struct scope_types *types, const struct message *message);

#endif
