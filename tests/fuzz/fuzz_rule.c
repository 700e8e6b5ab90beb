/* libFuzzer's entry for rules. Three bytes say which permissions there are and who asks, the rest is a text. The
 * client's compiler and evaluator, over shared memory, and the daemon's judge of conditions, over its own bits, must
 * say the same: whether the text is a rule, and what it decides. A refusal is at a place in the text. */
#include "client/permtab.h"
#include "proxy/rights/condition.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fake_sidecar.h"

#include <stdio.h>

/* The names that the fake sidecar has, and their bits; d.late is not there. */
static const char *const names[] = {"a.read", "a.write", "b.read", "b.write", "c"};
#define NAMES (sizeof names / sizeof *names)

struct world {
    struct fake fake;
    struct permtab *table;
    permtab_type channel;
    struct permission permissions[NAMES];
    struct catalogue catalogue;
};

static struct world world;

/* What the handle keeps in pages of its own the leak detector does not find. */
static void world_end(void)
{
    permtab_close(world.table);
    fake_stop(&world.fake);
}

static void world_begin(void)
{
    fake_start(&world.fake);
    struct permtab_options options = {
        .size = sizeof options, .open_ms = 60000, .check_ms = 60000, .server_uid = -1};
    must(permtab_open(&world.table, world.fake.path, &options) == 0 &&
         permtab_scope_type(world.table, "channel", &world.channel) == 0);
    for (size_t i = 0; i < NAMES; i++)
        world.permissions[i] = (struct permission){.name = (char *)(uintptr_t)names[i], .bit = (uint32_t)i};
    world.catalogue.permissions = world.permissions;
    world.catalogue.count = NAMES;
    must(atexit(world_end) == 0);
}

/* A text that names something that is not there makes the client ask the sidecar for its catalogue again, each time. */
static bool all_names_known(const struct rule_text *rule)
{
    for (uint32_t i = 0; i < rule->node_count; i++) {
        const struct rule_node *node = &rule->nodes[i];
        bool wildcard = node->kind == RULE_WILDCARD, found = false;
        if (!wildcard && node->kind != RULE_NAME)
            continue;
        for (size_t name = 0; name < NAMES; name++)
            found |= strncmp(names[name], rule->text + node->text, node->length) == 0 &&
                     (wildcard || names[name][node->length] == '\0');
        if (!found)
            return false;
    }
    return true;
}

static enum permtab_decision of(enum condition_verdict verdict)
{
    return verdict == CONDITION_HOLDS   ? PERMTAB_ALLOW
           : verdict == CONDITION_FAILS ? PERMTAB_DENY
                                        : PERMTAB_UNKNOWN;
}

/* Compares the two for users whose bits the fake works out from their numbers. */
static void evaluate(const struct condition *condition, const struct permtab_rule *rule, uint64_t user)
{
    struct permtab_view view;
    permtab_scope scope = permtab_at(world.channel, 1);
    must(permtab_view_get(world.table, user, scope, &view) == 0);
    for (unsigned own = 0; own < 2; own++) {
        uint64_t bits = 0;
        for (uint32_t bit = 0; bit < NAMES; bit++)
            bits |= (uint64_t)fake_allows(user, 1, bit, own) << bit;
        must(permtab_rule_eval(&view, rule, own) ==
             of(condition_judge(condition, &world.catalogue, &bits, 1)));
    }
}

/* A gap in the names makes parts of it unknown, and never the opposite of what they are: Kleene's logic is monotone. */
static void judge_with_gaps(const struct condition *condition, uint64_t bits, unsigned gone)
{
    enum condition_verdict whole = condition_judge(condition, &world.catalogue, &bits, 1);
    must(whole != CONDITION_UNKNOWN);
    for (size_t i = 0; i < NAMES; i++)
        world.permissions[i].deleted = (gone >> i & 1) != 0;
    enum condition_verdict less = condition_judge(condition, &world.catalogue, &bits, 1);
    for (size_t i = 0; i < NAMES; i++)
        world.permissions[i].deleted = false;
    /* A wildcard over fewer names is another question. */
    for (uint32_t i = 0; i < condition->rule.node_count; i++)
        if (condition->rule.nodes[i].kind == RULE_WILDCARD)
            return;
    must(less == CONDITION_UNKNOWN || less == whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};
    static const struct cost_limit limit = {
        .steps_fixed = 5000, .steps_each = 8, .bytes_fixed = 20000, .bytes_each = 8};
    if (world.table == NULL)
        world_begin();
    struct choices choices = choices_of(data, size);
    uint64_t bits = choose(&choices, 1), user = choose(&choices, 1);
    unsigned gone = (unsigned)choose(&choices, 1);
    char *text = choose_text(&choices, '\0');
    struct rule_text parsed;
    size_t error_at = 0;
    cost_begin();
    int code = rule_text_parse(&parsed, text, &error_at);
    cost_check(size, &limit);
    must(error_at <= strlen(text));
    if (code == 0) {
        char *line = NULL;
        struct condition condition;
        struct failure failure = {0};
        struct permtab_rule *rule;
        bool known = all_names_known(&parsed);
        must(asprintf(&line, "7 channel:1 %s", text) > 0 &&
             condition_parse(&types, line, &condition, &failure) == 0);
        must((condition_check(&condition, &world.catalogue, &failure) == 0) == known);
        if (known) {
            must(permtab_rule_compile(world.table, text, &rule, &error_at) == 0);
            evaluate(&condition, rule, user);
            permtab_rule_free(rule);
            judge_with_gaps(&condition, bits, gone);
        }
        condition_fini(&condition);
        free(line);
        rule_text_fini(&parsed);
    }
    free(text);
    return 0;
}
