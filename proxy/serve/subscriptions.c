/* Telling subscribers. The targets that a batch touched are made into a list once, each once and with its text;
 * each subscriber is then sent those that it wants. A list that would be long is told as `all`: it costs the
 * subscriber one round of misses, and this host nothing.
 *
 * Sending may end a session and with it its subscriber, in the middle of the list: subscribers that end while
 * others are being told are only marked, and freed afterwards. */
#include "proxy/serve/subscriptions.h"

#include "proxy/base/clock.h"
#include "proxy/names/token.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SECOND_NS  1000000000ull
#define GATHER_MAX (4u * SUBSCRIPTION_TARGETS_A_BATCH) /* before duplicates are taken out */

/* ---- what is told ------------------------------------------------------------------------------------------------ */

enum told_kind { TOLD_ALL, TOLD_CATALOGUE, TOLD_USER, TOLD_USER_AT, TOLD_ROLE, TOLD_SCOPE };

struct told {
    enum told_kind kind;
    uint64_t id;
    struct scope_key scope;
};

struct told_text {
    unsigned wanted_by; /* subscription kinds; 0: by everybody */
    char text[TARGET_TEXT_SIZE];
};

struct told_list {
    struct told *items;
    size_t count;
    bool all; /* too many targets, or one that no key names */
};

struct subscriber {
    struct subscriptions *subscriptions;
    struct subscription what;
    struct subscriber_port port;
    uint64_t missed; /* targets not told; nothing more is told before the subscriber has heard of them */
    uint64_t window_ns;
    uint32_t told_in_window;
    bool ended;
    struct subscriber *prev, *next;
};

struct subscriptions {
    const struct publisher *publisher;
    struct counters *counters;
    struct subscriber *subscribers;
    unsigned count; /* subscribers that have not ended */
    unsigned telling;
};

/* ---- gathering --------------------------------------------------------------------------------------------------- */

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_told(const void *a, const void *b)
{
    const struct told *left = a, *right = b;
    int order = compare_u64(left->kind, right->kind);
    if (order == 0)
        order = compare_u64(left->id, right->id);
    if (order == 0)
        order = compare_u64(left->scope.type, right->scope.type);
    return order != 0 ? order : compare_u64(left->scope.id, right->scope.id);
}

/* Sorts the targets and drops duplicates. */
static void tidy(struct told_list *list)
{
    size_t unique = 0;
    if (list->count > 0)
        qsort(list->items, list->count, sizeof *list->items, compare_told);
    for (size_t i = 0; i < list->count; i++)
        if (unique == 0 || compare_told(&list->items[unique - 1], &list->items[i]) != 0)
            list->items[unique++] = list->items[i];
    list->count = unique;
    list->all |= unique > SUBSCRIPTION_TARGETS_A_BATCH;
}

static void add(struct told_list *list, enum told_kind kind, uint64_t id, struct scope_key scope)
{
    if (list->count == GATHER_MAX)
        tidy(list);
    if (list->all)
        return;
    list->items[list->count++] = (struct told){kind, id, scope};
}

static void add_change(struct told_list *list, const struct change *change)
{
    static const struct scope_key nowhere = {0, 0};
    switch (change->kind) {
    case CHANGE_PERMISSION:
    case CHANGE_SCOPE_TYPE:
        add(list, TOLD_CATALOGUE, 0, nowhere);
        return;
    case CHANGE_ROLE: /* a default role concerns every user at its place */
        add(list, TOLD_SCOPE, 0, change->scope);
        add(list, TOLD_ROLE, change->role, nowhere);
        return;
    case CHANGE_ROLE_GRANT:
    case CHANGE_ROLE_PARENT:
        add(list, TOLD_ROLE, change->role, nowhere);
        return;
    case CHANGE_SCOPE:
        add(list, TOLD_SCOPE, 0, change->scope);
        return;
    case CHANGE_ASSIGNMENT:
        add(list, TOLD_USER, change->user, nowhere);
        return;
    case CHANGE_OVERWRITE:
        if (change->user != 0)
            add(list, TOLD_USER, change->user, nowhere);
        else
            add(list, TOLD_SCOPE, 0, change->scope);
        return;
    case CHANGE_STORE:
        list->all = true;
        return;
    }
}

static void add_target(struct told_list *list, const struct target *target)
{
    static const struct scope_key nowhere = {0, 0};
    switch (target->kind) {
    case TARGET_USER:
        add(list, TOLD_USER, target->id, nowhere);
        return;
    case TARGET_USER_AT:
        add(list, TOLD_USER_AT, target->id, target->scope);
        return;
    case TARGET_ROLE:
        add(list, TOLD_ROLE, target->id, nowhere);
        return;
    case TARGET_SCOPE:
        add(list, TOLD_SCOPE, 0, target->scope);
        return;
    case TARGET_TAG:
    case TARGET_PREFIX:
    case TARGET_PATTERN:
    case TARGET_ALL:
        list->all = true;
        return;
    case TARGET_POKE:
        return;
    }
}

static void format(const struct scope_types *types, const struct told *told, struct told_text *out)
{
    struct target target = {.id = told->id, .scope = told->scope};
    switch (told->kind) {
    case TOLD_ALL:
        target.kind = TARGET_ALL;
        out->wanted_by = 0;
        break;
    case TOLD_CATALOGUE:
        (void)snprintf(out->text, sizeof out->text, "catalogue");
        out->wanted_by = SUBSCRIPTION_CATALOGUE;
        return;
    case TOLD_USER:
        target.kind = TARGET_USER;
        out->wanted_by = SUBSCRIPTION_USER;
        break;
    case TOLD_USER_AT:
        target.kind = TARGET_USER_AT;
        out->wanted_by = SUBSCRIPTION_USER;
        break;
    case TOLD_ROLE:
        target.kind = TARGET_ROLE;
        out->wanted_by = SUBSCRIPTION_ROLE;
        break;
    case TOLD_SCOPE:
        target.kind = TARGET_SCOPE;
        out->wanted_by = SUBSCRIPTION_SCOPE;
        break;
    }
    (void)target_format(types, &target, out->text);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void begin_notification(struct wire_buffer *out, const struct subscriptions *subscriptions,
                               const char *reason, bool missed_or_more)
{
    struct log_position at = publisher_position(subscriptions->publisher);
    char token[TOKEN_TEXT_SIZE];
    wire_buffer_init(out);
    wire_notify(out, "invalidated", missed_or_more ? 6 : 5);
    wire_put_u64(out, "revision", at.revision);
    wire_put_u64(out, "store_id", at.store_id);
    wire_put_str(out, "token", token_format(at.store_id, at.revision, token));
    wire_put_str(out, "reason", reason);
}

/* Sends a notification; false when the subscriber may not be sent so much just now. */
static bool send(struct subscriber *subscriber, struct wire_buffer *message, uint32_t targets,
                 uint64_t now_ns)
{
    size_t unsent = subscriber->port.unsent(subscriber->port.context);
    if (now_ns - subscriber->window_ns >= SECOND_NS) {
        subscriber->window_ns = now_ns;
        subscriber->told_in_window = 0;
    }
    bool fits = !message->failed && (unsent == 0 || unsent + message->size <= SUBSCRIBER_UNSENT_MAX) &&
                subscriber->told_in_window + targets <= SUBSCRIBER_TARGETS_A_SECOND;
    if (fits) {
        subscriber->told_in_window += targets;
        subscriber->subscriptions->counters->notifications++;
        subscriber->port.send(subscriber->port.context, message);
    }
    wire_buffer_fini(message);
    return fits;
}

static void miss(struct subscriber *subscriber, uint64_t targets)
{
    subscriber->missed += targets;
    subscriber->subscriptions->counters->notifications_missed += targets;
}

static bool wants(const struct subscriber *subscriber, const struct told_text *told)
{
    const struct subscription *what = &subscriber->what;
    return told->wanted_by == 0 || ((told->wanted_by & what->kinds) != 0 &&
                                    (told->wanted_by == SUBSCRIPTION_CATALOGUE ||
                                     strncmp(told->text, what->prefix, strlen(what->prefix)) == 0));
}

/* Sends `count` targets that the subscriber wants, from *next on; `more`: others of the same revision follow. */
static void tell_some(struct subscriber *subscriber, const struct told_text *texts, size_t *next,
                      uint32_t count, bool more, const char *reason)
{
    struct wire_buffer message;
    begin_notification(&message, subscriber->subscriptions, reason, more);
    if (more)
        wire_put_bool(&message, "more", true);
    wire_put_array(&message, "targets", count);
    for (uint32_t told = 0; told < count; (*next)++) {
        if (!wants(subscriber, &texts[*next]))
            continue;
        wire_str(&message, texts[*next].text);
        told++;
    }
    if (!send(subscriber, &message, count, clock_ns()))
        miss(subscriber, count);
}

static void tell_one(struct subscriber *subscriber, const struct told_text *texts, size_t count,
                     const char *reason)
{
    size_t wanted = 0, next = 0;
    for (size_t i = 0; i < count; i++)
        wanted += wants(subscriber, &texts[i]);
    while (wanted > 0 && !subscriber->ended) {
        if (subscriber->missed > 0) {
            miss(subscriber, wanted);
            return;
        }
        uint32_t now = wanted < NOTIFICATION_TARGETS_MAX ? (uint32_t)wanted : NOTIFICATION_TARGETS_MAX;
        wanted -= now;
        tell_some(subscriber, texts, &next, now, wanted > 0, reason);
    }
}

static void bury(struct subscriptions *subscriptions)
{
    struct subscriber *subscriber, *next;
    DL_FOREACH_SAFE(subscriptions->subscribers, subscriber, next)
    {
        if (!subscriber->ended)
            continue;
        DL_DELETE(subscriptions->subscribers, subscriber);
        free(subscriber);
    }
}

static void tell_everybody(struct subscriptions *subscriptions, const struct told_text *texts, size_t count,
                           const char *reason)
{
    struct subscriber *subscriber;
    subscriptions->telling++;
    DL_FOREACH(subscriptions->subscribers, subscriber)
    {
        if (!subscriber->ended)
            tell_one(subscriber, texts, count, reason);
    }
    if (--subscriptions->telling == 0)
        bury(subscriptions);
}

static void tell_all(struct subscriptions *subscriptions, const char *reason)
{
    static const struct told_text all = {.text = "all"};
    tell_everybody(subscriptions, &all, 1, reason);
}

/* Tells the gathered targets, and frees the list. */
static void tell_list(struct subscriptions *subscriptions, struct told_list *list, const char *reason)
{
    const struct scope_types *types = &publisher_catalogue(subscriptions->publisher)->types;
    tidy(list);
    struct told_text *texts = list->all ? NULL : calloc(list->count + 1, sizeof *texts);
    if (texts != NULL) {
        for (size_t i = 0; i < list->count; i++)
            format(types, &list->items[i], &texts[i]);
        tell_everybody(subscriptions, texts, list->count, reason);
    } else {
        tell_all(subscriptions, reason); /* also when memory is short */
    }
    free(texts);
    free(list->items);
}

/* Begins a list; false when there is no subscriber. Without memory the list is `all`. */
static bool begin_list(const struct subscriptions *subscriptions, struct told_list *list)
{
    if (subscriptions == NULL || subscriptions->count == 0)
        return false;
    *list = (struct told_list){.items = malloc(GATHER_MAX * sizeof *list->items)};
    list->all = list->items == NULL;
    return true;
}

/* ---- what happened ----------------------------------------------------------------------------------------------- */

void subscriptions_applied(struct subscriptions *subscriptions, const struct batch *batch)
{
    struct told_list list;
    if ((batch->changes.count == 0 && batch->expired.count == 0) || !begin_list(subscriptions, &list))
        return;
    for (size_t i = 0; i < batch->changes.count && !list.all; i++)
        add_change(&list, &batch->changes.items[i]);
    for (size_t i = 0; i < batch->expired.count && !list.all; i++)
        add_change(&list, &batch->expired.items[i]);
    tell_list(subscriptions, &list, batch->changes.count > 0 ? "changed" : "expired");
}

void subscriptions_rebuilt(struct subscriptions *subscriptions)
{
    if (subscriptions->count > 0)
        tell_all(subscriptions, "rebuilt");
}

void subscriptions_tell(struct subscriptions *subscriptions, const struct target *targets, size_t count,
                        const char *reason)
{
    struct told_list list;
    char text[SUBSCRIPTION_REASON_SIZE];
    if (!begin_list(subscriptions, &list))
        return;
    for (size_t i = 0; i < count && !list.all; i++)
        add_target(&list, &targets[i]);
    (void)snprintf(text, sizeof text, "%s", reason[0] != '\0' ? reason : "invalidated");
    tell_list(subscriptions, &list, text);
}

void subscriber_drained(struct subscriber *subscriber, uint64_t now_ns)
{
    struct wire_buffer message;
    uint64_t missed = subscriber->missed;
    if (missed == 0 || subscriber->ended || subscriber->port.unsent(subscriber->port.context) > 0)
        return;
    begin_notification(&message, subscriber->subscriptions, "missed", true);
    wire_put_u64(&message, "missed", missed);
    wire_put_array(&message, "targets", 1);
    wire_str(&message, "all");
    subscriber->missed = 0; /* before the message is sent: sending comes back here */
    if (!send(subscriber, &message, 1, now_ns))
        subscriber->missed = missed;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int subscriptions_new(struct subscriptions **out, const struct publisher *publisher,
                      struct counters *counters)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return PERMTAB_E_MEMORY;
    (*out)->publisher = publisher;
    (*out)->counters = counters;
    return 0;
}

void subscriptions_free(struct subscriptions *subscriptions)
{
    assert(subscriptions == NULL || subscriptions->subscribers == NULL);
    free(subscriptions);
}

int subscriber_new(struct subscriber **out, struct subscriptions *subscriptions,
                   const struct subscription *what, const struct subscriber_port *port)
{
    if (subscriptions->count >= SUBSCRIBERS_MAX) {
        subscriptions->counters->subscribers_refused++;
        return PERMTAB_E_FULL;
    }
    struct subscriber *subscriber = calloc(1, sizeof *subscriber);
    if (subscriber == NULL)
        return PERMTAB_E_MEMORY;
    subscriber->subscriptions = subscriptions;
    subscriber->what = *what;
    subscriber->port = *port;
    DL_APPEND(subscriptions->subscribers, subscriber);
    subscriptions->counters->subscribers = ++subscriptions->count;
    *out = subscriber;
    return 0;
}

void subscriber_change(struct subscriber *subscriber, const struct subscription *what)
{
    subscriber->what = *what;
}

void subscriber_end(struct subscriber *subscriber)
{
    if (subscriber == NULL || subscriber->ended)
        return;
    struct subscriptions *subscriptions = subscriber->subscriptions;
    subscriber->ended = true;
    subscriptions->counters->subscribers = --subscriptions->count;
    if (subscriptions->telling == 0)
        bury(subscriptions);
}
