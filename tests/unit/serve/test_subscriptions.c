/* Subscribers: what each kind of change tells them, and every bound: targets a notification and a batch, unsent
 * output, a second, how many there are. The connection is an array of what was sent and a number of bytes not read. */
#include "proxy/serve/subscriptions.h"
#include "proxy/table/batch.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull

struct house {
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    struct subscriptions *subscriptions;
};

struct client {
    struct subscriber *subscriber;
    size_t unsent;
    bool reads, ends;  /* reads at once; ends its subscription when it is sent something */
    unsigned messages; /* since the last look */
    char text[4096];   /* of the targets, a blank after each */
    size_t targets;
    uint64_t revision, missed, largest;
    bool more;
    char reason[64];
};

static int setup(void **state)
{
    struct house *house = calloc(1, sizeof *house);
    struct publisher_options options = {
        .permissions_max = 64, .entries = 100, .sets = 10, .folds = 1, .max_staleness_ns = 2 * SECOND};
    struct log_position at = {7, 41, 1};
    struct catalogue catalogue;
    memory_policy_init(&house->policy);
    memory_permission(&house->policy, "message.send");
    memory_catalogue(&house->policy, 1, &catalogue);
    assert_int_equal(
        publisher_new(&house->publisher, &options, &at, 1000, &catalogue, &house->counters, NULL), 0);
    assert_int_equal(subscriptions_new(&house->subscriptions, house->publisher, &house->counters), 0);
    *state = house;
    return 0;
}

static int teardown(void **state)
{
    struct house *house = *state;
    subscriptions_free(house->subscriptions);
    publisher_free(house->publisher);
    memory_policy_fini(&house->policy);
    free(house);
    return 0;
}

/* ---- the connection ---------------------------------------------------------------------------------------------- */

static size_t unsent(const void *context)
{
    return ((const struct client *)context)->unsent;
}

static void take(struct client *client, const struct wire_value *params)
{
    const struct wire_value *targets = wire_get(params, "targets");
    size_t count = 0;
    uint64_t store_id = 0;
    assert_true(wire_as_array(targets, &count));
    for (size_t i = 0; i < count; i++) {
        char text[TARGET_TEXT_SIZE];
        assert_true(wire_as_text(wire_item(targets, i), text, sizeof text));
        if (strlen(client->text) + strlen(text) + 2 < sizeof client->text)
            strcat(strcat(client->text, text), " ");
    }
    client->targets += count;
    if (count > client->largest)
        client->largest = count;
    assert_true(wire_as_u64(wire_get(params, "revision"), &client->revision));
    assert_true(wire_as_u64(wire_get(params, "store_id"), &store_id));
    assert_int_equal(store_id, 7);
    assert_true(wire_as_text(wire_get(params, "reason"), client->reason, sizeof client->reason));
    client->missed = 0;
    (void)wire_as_u64(wire_get(params, "missed"), &client->missed);
    client->more = false;
    (void)wire_as_bool(wire_get(params, "more"), &client->more);
}

static void send(void *context, struct wire_buffer *message)
{
    struct client *client = context;
    struct wire_message taken;
    assert_int_equal(wire_take(message->data, message->size, &taken), 1);
    assert_int_equal(taken.kind, WIRE_NOTIFICATION);
    assert_string_equal(taken.method, "invalidated");
    assert_int_equal(taken.size, message->size);
    take(client, taken.params);
    wire_message_fini(&taken);
    client->messages++;
    if (!client->reads)
        client->unsent += message->size;
    if (client->ends) {
        subscriber_end(client->subscriber);
        client->subscriber = NULL;
    }
}

static void subscribe(struct house *house, struct client *client, unsigned kinds, const char *prefix)
{
    struct subscription what = {.kinds = kinds};
    struct subscriber_port port = {unsent, send, client};
    memset(client, 0, sizeof *client);
    client->reads = true;
    strcpy(what.prefix, prefix);
    assert_int_equal(subscriber_new(&client->subscriber, house->subscriptions, &what, &port), 0);
}

static void forget(struct client *client)
{
    client->text[0] = '\0';
    client->messages = 0;
    client->targets = client->largest = 0;
}

static void assert_told(struct client *client, const char *text, const char *reason)
{
    assert_string_equal(client->text, text);
    assert_int_equal(client->messages, text[0] != '\0');
    if (text[0] != '\0')
        assert_string_equal(client->reason, reason);
    forget(client);
}

static void apply(struct house *house, const struct change *changes, size_t count)
{
    struct batch batch = {.changes = {.items = (struct change *)(uintptr_t)changes, .count = count}};
    subscriptions_applied(house->subscriptions, &batch);
}

static void apply_users(struct house *house, uint64_t first, size_t count)
{
    struct change *changes = calloc(count, sizeof *changes);
    for (size_t i = 0; i < count; i++)
        changes[i] = (struct change){.kind = CHANGE_ASSIGNMENT, .user = first + i, .role = 1};
    apply(house, changes, count);
    free(changes);
}

/* ---- what is told ------------------------------------------------------------------------------------------------ */

static void each_change_names_what_it_touches(void **state)
{
    struct house *house = *state;
    static const struct {
        struct change change;
        const char *told;
    } cases[] = {
        {{.kind = CHANGE_ASSIGNMENT, .user = 42, .role = 7, .scope = {9, 3}}, "user:42 "},
        {{.kind = CHANGE_OVERWRITE, .user = UINT64_MAX, .scope = {9, 3}}, "user:18446744073709551615 "},
        {{.kind = CHANGE_OVERWRITE, .role = 7, .scope = {9, 3}}, "scope:channel:9 "},
        {{.kind = CHANGE_OVERWRITE, .scope = {9, 3}}, "scope:channel:9 "},
        {{.kind = CHANGE_SCOPE, .scope = {9, 3}}, "scope:channel:9 "},
        {{.kind = CHANGE_SCOPE, .scope = {0, 0}}, "scope:global "},
        {{.kind = CHANGE_ROLE, .role = 7, .scope = {1, 1}}, "role:7 scope:server:1 "},
        {{.kind = CHANGE_ROLE_GRANT, .role = 7}, "role:7 "},
        {{.kind = CHANGE_ROLE_PARENT, .role = 7}, "role:7 "},
        {{.kind = CHANGE_PERMISSION}, "catalogue "},
        {{.kind = CHANGE_SCOPE_TYPE}, "catalogue "},
        {{.kind = CHANGE_STORE}, "all "},
    };
    struct client client;
    subscribe(house, &client, SUBSCRIPTION_EVERYTHING, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        apply(house, &cases[i].change, 1);
        assert_told(&client, cases[i].told, "changed");
    }
    assert_int_equal(client.revision, 41);
    assert_int_equal(house->counters.notifications, sizeof cases / sizeof *cases);
    subscriber_end(client.subscriber);
}

static void a_batch_is_told_once_and_each_target_once(void **state)
{
    struct house *house = *state;
    struct client client;
    struct change changes[] = {{.kind = CHANGE_ASSIGNMENT, .user = 5},
                               {.kind = CHANGE_ROLE_GRANT, .role = 7},
                               {.kind = CHANGE_ASSIGNMENT, .user = 3},
                               {.kind = CHANGE_ASSIGNMENT, .user = 5},
                               {.kind = CHANGE_ROLE_GRANT, .role = 7}};
    struct change expired = {.kind = CHANGE_ASSIGNMENT, .user = 8};
    struct batch batch = {.changes = {.items = changes, .count = 5},
                          .expired = {.items = &expired, .count = 1}};
    subscribe(house, &client, SUBSCRIPTION_EVERYTHING, "");
    struct change scopes[] = {{.kind = CHANGE_SCOPE, .scope = {9, 3}},
                              {.kind = CHANGE_SCOPE, .scope = {9, 1}},
                              {.kind = CHANGE_SCOPE, .scope = {9, 3}}};
    subscriptions_applied(house->subscriptions, &batch);
    assert_told(&client, "user:3 user:5 user:8 role:7 ", "changed");
    apply(house, scopes, 3); /* ids are those of their type */
    assert_told(&client, "scope:server:9 scope:channel:9 ", "changed");
    batch.changes.count = 0;
    subscriptions_applied(house->subscriptions, &batch);
    assert_told(&client, "user:8 ", "expired");
    batch.expired.count = 0; /* most polls */
    subscriptions_applied(house->subscriptions, &batch);
    assert_told(&client, "", "");
    subscriptions_rebuilt(house->subscriptions);
    assert_told(&client, "all ", "rebuilt");
    subscriber_end(client.subscriber);
}

static void whoever_filters_is_told_less(void **state)
{
    struct house *house = *state;
    struct client users, roles, fours;
    struct change changes[] = {{.kind = CHANGE_ASSIGNMENT, .user = 42},
                               {.kind = CHANGE_ASSIGNMENT, .user = 5},
                               {.kind = CHANGE_ROLE, .role = 4, .scope = {9, 3}},
                               {.kind = CHANGE_PERMISSION}};
    subscribe(house, &users, SUBSCRIPTION_USER, "");
    subscribe(house, &roles, SUBSCRIPTION_ROLE | SUBSCRIPTION_SCOPE, "");
    subscribe(house, &fours, SUBSCRIPTION_EVERYTHING, "user:4");
    apply(house, changes, 4);
    assert_told(&users, "user:5 user:42 ", "changed");
    assert_told(&roles, "role:4 scope:channel:9 ", "changed");
    assert_told(&fours, "catalogue user:42 ", "changed"); /* a catalogue has no name to begin with */
    apply(house, changes + 1, 1);
    assert_told(&roles, "", "");
    assert_told(&fours, "", "");
    forget(&users);
    subscriptions_rebuilt(house->subscriptions); /* nobody may go without this */
    assert_told(&users, "all ", "rebuilt");
    assert_told(&roles, "all ", "rebuilt");
    assert_told(&fours, "all ", "rebuilt");
    subscriber_change(roles.subscriber, &(struct subscription){.kinds = SUBSCRIPTION_USER});
    apply(house, changes, 1);
    assert_told(&roles, "user:42 ", "changed");
    subscriber_end(users.subscriber);
    subscriber_end(roles.subscriber);
    subscriber_end(fours.subscriber);
}

static void invalidations_on_demand_are_told(void **state)
{
    struct house *house = *state;
    struct client client;
    struct target targets[] = {
        {.kind = TARGET_USER, .id = 42}, {.kind = TARGET_USER_AT, .id = 43, .scope = {9, 3}},
        {.kind = TARGET_ROLE, .id = 7},  {.kind = TARGET_SCOPE, .scope = {9, 3}},
        {.kind = TARGET_POKE},           {.kind = TARGET_PATTERN, .word = "user:4*"}};
    subscriptions_tell(NULL, targets, 5, "x");
    subscriptions_tell(house->subscriptions, targets, 5, "nobody listens");
    struct client users, others;
    subscribe(house, &client, SUBSCRIPTION_EVERYTHING, "");
    subscribe(house, &users, SUBSCRIPTION_USER, "");
    subscribe(house, &others, SUBSCRIPTION_EVERYTHING & ~SUBSCRIPTION_USER, "");
    subscriptions_tell(house->subscriptions, targets, 5, "raid");
    assert_told(&client, "user:42 user:43@channel:9 role:7 scope:channel:9 ", "raid");
    assert_told(&users, "user:42 user:43@channel:9 ", "raid");
    assert_told(&others, "role:7 scope:channel:9 ", "raid");
    subscriber_end(users.subscriber);
    subscriber_end(others.subscriber);
    subscriptions_tell(house->subscriptions, targets, 6, "");
    assert_told(&client, "all ", "invalidated");
    subscriptions_tell(house->subscriptions, targets + 4, 1, "");
    assert_told(&client, "", "");
    subscriber_end(client.subscriber);
}

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

static void a_large_batch_is_split(void **state)
{
    struct house *house = *state;
    struct client client;
    subscribe(house, &client, SUBSCRIPTION_EVERYTHING, "");
    apply_users(house, 1, SUBSCRIPTION_TARGETS_A_BATCH);
    assert_int_equal(client.messages, 5);
    assert_int_equal(client.targets, SUBSCRIPTION_TARGETS_A_BATCH);
    assert_int_equal(client.largest, NOTIFICATION_TARGETS_MAX);
    assert_false(client.more);
    forget(&client);
    client.ends = true; /* after the first of two */
    apply_users(house, 1, 1001);
    assert_int_equal(client.messages, 1);
    assert_true(client.more);
    assert_null(client.subscriber);
    assert_int_equal(house->counters.subscribers, 0);
}

static void a_huge_batch_is_all(void **state)
{
    struct house *house = *state;
    struct client client;
    subscribe(house, &client, SUBSCRIPTION_ROLE, "");
    apply_users(house, 1, SUBSCRIPTION_TARGETS_A_BATCH + 1);
    assert_told(&client, "all ", "changed");
    apply_users(house, 1, 300000);
    assert_told(&client, "all ", "changed");
    /* Many rows of few users are few targets. */
    struct change *same = calloc(300000, sizeof *same);
    for (size_t i = 0; i < 300000; i++)
        same[i] = (struct change){.kind = CHANGE_ROLE_GRANT, .role = 1 + i % 2};
    apply(house, same, 300000);
    assert_told(&client, "role:1 role:2 ", "changed");
    free(same);
    subscriber_end(client.subscriber);
}

static void whoever_does_not_read_misses_and_is_told_so(void **state)
{
    struct house *house = *state;
    struct client slow, quick;
    subscribe(house, &slow, SUBSCRIPTION_EVERYTHING, "");
    subscribe(house, &quick, SUBSCRIPTION_EVERYTHING, "");
    slow.reads = false;
    uint64_t told = 0;
    for (uint64_t batch = 0; batch < 18; batch++) {
        apply_users(house, 10000000000000000000ull + 1000 * batch, 1000);
        assert_true(slow.unsent <= SUBSCRIBER_UNSENT_MAX);
        told = slow.targets;
    }
    assert_in_range(told, 8000, 12000); /* about 24 bytes each */
    assert_int_equal(quick.targets, 18000);
    assert_int_equal(house->counters.notifications_missed, 18000 - told);
    forget(&slow);
    subscriber_drained(slow.subscriber, SECOND); /* not yet */
    slow.unsent = 1;
    subscriber_drained(slow.subscriber, SECOND);
    apply_users(house, 1, 1); /* there would be room, and yet: it must hear of the loss first */
    assert_int_equal(slow.messages, 0);
    slow.unsent = 0;
    slow.reads = true;
    subscriber_drained(slow.subscriber, SECOND);
    assert_told(&slow, "all ", "missed");
    assert_int_equal(slow.missed, 18000 - told + 1);
    subscriber_drained(slow.subscriber, SECOND);
    assert_int_equal(slow.messages, 0); /* once */
    apply_users(house, 2, 1);
    assert_told(&slow, "user:2 ", "changed");
    assert_int_equal(slow.missed, 0);
    subscriber_end(slow.subscriber);
    subscriber_end(quick.subscriber);
}

/* 20,000 targets in one second, however fast they are read. */
static void a_second_has_a_bound(void **state)
{
    struct house *house = *state;
    struct client client;
    subscribe(house, &client, SUBSCRIPTION_EVERYTHING, "");
    for (uint64_t batch = 0; batch < 7; batch++) /* takes far less than a second */
        apply_users(house, 1, 4000);
    assert_int_equal(client.targets, 20000);
    assert_int_equal(house->counters.notifications_missed, 8000);
    forget(&client);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
    subscriber_drained(client.subscriber, now_ns); /* the second is not over */
    assert_int_equal(client.messages, 0);
    subscriber_drained(client.subscriber, now_ns + SECOND);
    assert_int_equal(client.messages, 1);
    assert_string_equal(client.reason, "missed");
    assert_int_equal(client.missed, 8000);
    subscriber_end(client.subscriber);
}

static void there_are_only_so_many(void **state)
{
    struct house *house = *state;
    static struct client clients[SUBSCRIBERS_MAX];
    struct subscriber *more;
    struct subscription what = {.kinds = SUBSCRIPTION_USER};
    struct subscriber_port port = {unsent, send, &clients[0]};
    for (size_t i = 0; i < SUBSCRIBERS_MAX; i++)
        subscribe(house, &clients[i], SUBSCRIPTION_USER, "");
    assert_int_equal(subscriber_new(&more, house->subscriptions, &what, &port), PERMTAB_E_FULL);
    assert_int_equal(house->counters.subscribers_refused, 1);
    assert_int_equal(house->counters.subscribers, SUBSCRIBERS_MAX);
    /* All leave while they are being told, each in its own turn. */
    for (size_t i = 0; i < SUBSCRIBERS_MAX; i++)
        clients[i].ends = true;
    apply_users(house, 5, 1);
    for (size_t i = 0; i < SUBSCRIBERS_MAX; i++)
        assert_int_equal(clients[i].messages, 1);
    assert_int_equal(house->counters.subscribers, 0);
    subscribe(house, &clients[0], SUBSCRIPTION_USER, "");
    subscriber_end(clients[0].subscriber);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(each_change_names_what_it_touches),
        T(a_batch_is_told_once_and_each_target_once),
        T(whoever_filters_is_told_less),
        T(invalidations_on_demand_are_told),
        T(a_large_batch_is_split),
        T(a_huge_batch_is_all),
        T(whoever_does_not_read_misses_and_is_told_so),
        T(a_second_has_a_bound),
        T(there_are_only_so_many),
#undef T
    };
    return cmocka_run_group_tests_name("subscriptions", tests, NULL, NULL);
}
