/* Conditions of delayed tasks. The expression has the clients' grammar and their three values: a name that has gone
 * is unknown, and NOT unknown is unknown. A client evaluates bits of shared memory that may change meanwhile; here
 * the bits are a private copy, so this evaluation is another one, and shorter. */
#include "proxy/rights/condition.h"

#include "proxy/rights/resolve.h"

#include <string.h>

/* Takes the word before the next blank; NULL when there is none or it does not fit. */
static const char *take_word(const char *text, char *out, size_t size)
{
    text += strspn(text, " ");
    size_t length = strcspn(text, " ");
    if (length == 0 || length >= size)
        return NULL;
    memcpy(out, text, length);
    out[length] = '\0';
    return text + length + strspn(text + length, " ");
}

int condition_parse(const struct scope_types *types, const char *text, struct condition *out,
                    struct failure *failure)
{
    char user[24], scope[SCOPE_TEXT_SIZE];
    size_t at;
    const char *rest = take_word(text, user, sizeof user);
    if (!rest || !id_parse(user, &out->user))
        return failure_set(failure, PERMTAB_E_SYNTAX,
                           "expected USER SCOPE EXPRESSION, and USER a decimal id");
    rest = take_word(rest, scope, sizeof scope);
    int code = rest ? scope_parse(types, scope, &out->scope) : PERMTAB_E_SYNTAX;
    if (code == PERMTAB_E_NO_SCOPE_TYPE)
        return failure_set(failure, code, "there is no scope type in \"%s\"", scope);
    if (code < 0)
        return failure_set(failure, code, "expected USER SCOPE EXPRESSION, and SCOPE as global or type:id");
    code = rule_text_parse(&out->rule, rest, &at);
    if (code == PERMTAB_E_SYNTAX)
        return failure_set(failure, code, "the expression is wrong at byte %zu of \"%s\"", at, rest);
    return code < 0 ? failure_set(failure, code, "the expression is too long or too deep") : 0;
}

void condition_fini(struct condition *condition)
{
    rule_text_fini(&condition->rule);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static bool is_meant(const struct rule_text *rule, const struct rule_node *node,
                     const struct permission *permission)
{
    const char *name = rule->text + node->text;
    if (permission->deleted || strncmp(permission->name, name, node->length) != 0)
        return false;
    return node->kind == RULE_WILDCARD || permission->name[node->length] == '\0';
}

static bool is_leaf(const struct rule_node *node)
{
    return node->kind == RULE_NAME || node->kind == RULE_WILDCARD;
}

int condition_check(const struct condition *condition, const struct catalogue *catalogue,
                    struct failure *failure)
{
    const struct rule_text *rule = &condition->rule;
    for (uint32_t i = 0; i < rule->node_count; i++) {
        const struct rule_node *node = &rule->nodes[i];
        size_t at = 0;
        while (at < catalogue->count && !is_meant(rule, node, &catalogue->permissions[at]))
            at++;
        if (is_leaf(node) && at == catalogue->count)
            return failure_set(failure, PERMTAB_E_NO_PERMISSION, "there is no permission \"%.*s%s\"",
                               (int)node->length, rule->text + node->text,
                               node->kind == RULE_WILDCARD ? "*" : "");
    }
    return 0;
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

struct judgement {
    const struct rule_text *rule;
    const struct catalogue *catalogue;
    const uint64_t *bits;
    uint32_t words;
};

/* In ALL the first that fails decides, in ANY the first that holds; unknown outlasts the rest. Returns whether the
 * node is decided. */
static bool combine(enum condition_verdict *so_far, enum condition_verdict next, bool all)
{
    enum condition_verdict decisive = all ? CONDITION_FAILS : CONDITION_HOLDS;
    if (next == decisive || next == CONDITION_UNKNOWN)
        *so_far = next;
    return next == decisive;
}

static enum condition_verdict judge_leaf(const struct judgement *judgement, const struct rule_node *node)
{
    bool all = node->kind == RULE_NAME || node->every, any_name = false;
    enum condition_verdict verdict = all ? CONDITION_HOLDS : CONDITION_FAILS;
    for (size_t i = 0; i < judgement->catalogue->count; i++) {
        const struct permission *permission = &judgement->catalogue->permissions[i];
        if (!is_meant(judgement->rule, node, permission))
            continue;
        any_name = true;
        bool has = permission->bit / 64 < judgement->words && bitmap_test(judgement->bits, permission->bit);
        if (combine(&verdict, has ? CONDITION_HOLDS : CONDITION_FAILS, all))
            break;
    }
    return any_name ? verdict : CONDITION_UNKNOWN;
}

/* The recursion is as deep as the text was nested, which the parser bounds. */
static enum condition_verdict judge(const struct judgement *judgement, uint32_t index)
{
    const struct rule_node *node = &judgement->rule->nodes[index];
    enum condition_verdict verdict;
    switch (node->kind) {
    case RULE_NAME:
    case RULE_WILDCARD:
        return judge_leaf(judgement, node);
    case RULE_NOT:
        verdict = judge(judgement, node->child);
        if (verdict == CONDITION_UNKNOWN)
            return verdict;
        return verdict == CONDITION_HOLDS ? CONDITION_FAILS : CONDITION_HOLDS;
    case RULE_ALL:
    case RULE_ANY:
        break;
    }
    bool all = node->kind == RULE_ALL;
    verdict = all ? CONDITION_HOLDS : CONDITION_FAILS;
    for (uint32_t child = node->child; child != 0; child = judgement->rule->nodes[child].next) {
        if (combine(&verdict, judge(judgement, child), all))
            break;
    }
    return verdict;
}

enum condition_verdict condition_judge(const struct condition *condition, const struct catalogue *catalogue,
                                       const uint64_t *bits, uint32_t words)
{
    struct judgement judgement = {&condition->rule, catalogue, bits, words};
    return judge(&judgement, 0);
}
