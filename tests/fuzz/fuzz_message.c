/* libFuzzer's entry for messages of the invalidation channel: what parses can be written, and what was written
 * parses to the same. Any pattern that was taken is matched. */
#include "proxy/names/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/target_equal.h"

static bool same(const struct message *a, const struct message *b)
{
    bool equal = a->kind == b->kind && a->store_id == b->store_id && a->from == b->from && a->to == b->to &&
                 a->origin == b->origin && a->number == b->number && a->count == b->count;
    for (size_t i = 0; equal && i < a->count; i++)
        equal = target_equal(&a->targets[i], &b->targets[i]);
    return equal;
}

static void look(const uint8_t *data, size_t size)
{
    static const struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};
    struct message message, again;
    if (message_parse(&types, (const char *)data, size, &message) < 0)
        return;
    for (size_t i = 0; i < message.count; i++)
        (void)target_matches(&message.targets[i], "user:18446744073709551615");
    char *text = message_format(&types, &message);
    if (text == NULL || strlen(text) > MESSAGE_SIZE_MAX ||
        message_parse(&types, text, strlen(text), &again) < 0 || !same(&message, &again))
        abort();
    message_fini(&again);
    message_fini(&message);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A message that is written asks for as much memory as one may have. */
    static const struct cost_limit limit = {
        .steps_fixed = 2000, .steps_each = 40, .bytes_fixed = 4 * MESSAGE_SIZE_MAX, .bytes_each = 200};
    cost_begin();
    look(data, size);
    cost_check(size, &limit);
    return 0;
}
