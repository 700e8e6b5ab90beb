/* Rules: names to bits, and the evaluation.
 *
 * The tree is made once (client/wire/rule_text.c). The bits of its names are worked out at compile time, and again
 * for each view of another catalogue; the result is an object of its own that is swapped in, as the handle does
 * with its geometry. An evaluation reads bits of one set and asks once, at the end, whether the set has stayed as
 * it was: so all bits that a rule reads are of one moment. */
#include "client/rule.h"

#include "client/view.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(RULE_NAME_MAX == HANDLE_NAME_MAX, "a name in a rule is as long as one may be");

static bool is_leaf(const struct rule_node *node)
{
    return node->kind == RULE_NAME || node->kind == RULE_WILDCARD;
}

/* The bits of a leaf, into `bits` when that is not NULL. */
static uint32_t leaf_bits(const struct permtab_rule *rule, const struct rule_node *node,
                          const struct names *names, uint32_t *bits)
{
    if (node->kind == RULE_NAME) {
        char text[HANDLE_NAME_MAX + 1];
        memcpy(text, rule->text.text + node->text, node->length);
        text[node->length] = '\0';
        uint32_t bit = names_permission(names, text);
        if (bits != NULL && bit != UINT32_MAX)
            bits[0] = bit;
        return bit != UINT32_MAX ? 1 : 0;
    }
    size_t count;
    size_t first = names_with_prefix(names, rule->text.text + node->text, node->length, &count);
    for (size_t i = 0; bits != NULL && i < count; i++)
        bits[i] = names->items[first + i].bit;
    return (uint32_t)count;
}

/* Total bits of all leaves; *missing is the first leaf without any, or node_count. */
static size_t count_bits(const struct permtab_rule *rule, const struct names *names, uint32_t *missing)
{
    size_t total = 0;
    *missing = rule->text.node_count;
    for (uint32_t i = 0; i < rule->text.node_count; i++) {
        if (!is_leaf(&rule->text.nodes[i]))
            continue;
        uint32_t count = leaf_bits(rule, &rule->text.nodes[i], names, NULL);
        bool first =
            *missing == rule->text.node_count || rule->text.nodes[i].text < rule->text.nodes[*missing].text;
        if (count == 0 && first)
            *missing = i;
        total += count;
    }
    return total;
}

#define RULE_BITS_MAX (1u << 20)

/* Works the names out and swaps the result in. `names` must not change meanwhile. */
static int resolve_rule(struct permtab_rule *rule, const struct names *names, uint32_t *missing)
{
    size_t total = count_bits(rule, names, missing);
    if (total > RULE_BITS_MAX)
        return PERMTAB_E_LIMIT;
    struct rule_bits *made = malloc(sizeof(*made) + total * sizeof(made->bits[0]));
    if (made == NULL)
        return PERMTAB_E_MEMORY;
    made->ranges = calloc(rule->text.node_count, sizeof(*made->ranges));
    if (made->ranges == NULL) {
        free(made);
        return PERMTAB_E_MEMORY;
    }
    uint32_t filled = 0;
    for (uint32_t i = 0; i < rule->text.node_count; i++) {
        if (!is_leaf(&rule->text.nodes[i]))
            continue;
        made->ranges[i].first = filled;
        made->ranges[i].count = leaf_bits(rule, &rule->text.nodes[i], names, made->bits + filled);
        filled += made->ranges[i].count;
    }
    made->catalogue = names->catalogue;
    made->next = permtab_shm_load_pointer(&rule->bits);
    permtab_shm_store_pointer(&rule->bits, made);
    return 0;
}

/* The bits for a catalogue number, or NULL when they cannot be had. */
static const struct rule_bits *bits_for(const struct permtab_rule *rule, uint64_t catalogue)
{
    const struct rule_bits *bits = permtab_shm_load_pointer(&rule->bits);
    if (__builtin_expect(bits->catalogue == catalogue, 1))
        return bits;
    struct handle *handle = rule->handle;
    uint32_t missing;
    /* The rule is constant for the caller; `bits` is ours to swap, one thread at a time. */
    struct permtab_rule *writable = (struct permtab_rule *)(uintptr_t)rule;
    pthread_mutex_lock(&handle->own->names_lock);
    bits = permtab_shm_load_pointer(&rule->bits);
    if (bits->catalogue != catalogue) {
        bool known = handle->names != NULL && handle->names->catalogue == catalogue;
        if (known && resolve_rule(writable, handle->names, &missing) == 0)
            bits = permtab_shm_load_pointer(&rule->bits);
        else
            bits = NULL;
    }
    pthread_mutex_unlock(&handle->own->names_lock);
    return bits;
}

/* ---- compiling ----------------------------------------------------------------------------------------------- */

/* Resolves the names with the handle's catalogue and, when one is missing, with the sidecar's present one. */
static int compile_names(struct permtab_rule *rule, size_t *error_at)
{
    struct handle *handle = rule->handle;
    uint64_t deadline_ns = ask_deadline(handle);
    uint32_t missing = rule->text.node_count;
    int code = handle_lock(handle, deadline_ns);
    if (code < 0)
        return code;
    if (handle->names == NULL ||
        (count_bits(rule, handle->names, &missing), missing < rule->text.node_count)) {
        code = handle_ready(handle, deadline_ns);
        if (code == 0)
            code = handle_read_names(handle, deadline_ns);
    }
    if (code == 0)
        code = resolve_rule(rule, handle->names, &missing);
    handle_unlock(handle);
    if (code == 0 && missing < rule->text.node_count) {
        *error_at = rule->text.nodes[missing].text;
        code = PERMTAB_E_NO_PERMISSION;
    }
    return code;
}

int permtab_rule_compile(struct permtab *table, const char *text, struct permtab_rule **out, size_t *error_at)
{
    size_t ignored;
    if (error_at == NULL)
        error_at = &ignored;
    *error_at = 0;
    struct permtab_rule *rule = calloc(1, sizeof(*rule));
    if (rule == NULL)
        return PERMTAB_E_MEMORY;
    rule->handle = handle_of(table);
    int code = rule_text_parse(&rule->text, text, error_at);
    if (code == 0) {
        *error_at = 0;
        code = compile_names(rule, error_at);
    }
    if (code < 0) {
        permtab_rule_free(rule);
        return code;
    }
    *out = rule;
    return 0;
}

void permtab_rule_free(struct permtab_rule *rule)
{
    if (rule == NULL)
        return;
    struct rule_bits *bits = rule->bits;
    while (bits != NULL) {
        struct rule_bits *next = bits->next;
        free(bits->ranges);
        free(bits);
        bits = next;
    }
    rule_text_fini(&rule->text);
    free(rule);
}

/* ---- evaluating ---------------------------------------------------------------------------------------------- */

struct evaluation {
    const struct permtab_rule *rule;
    const struct rule_bits *bits;
    const struct permtab_shm_set *set;
    uint32_t permissions_max;
    bool own;
};

/* Kleene's three values: in ALL the first DENY decides, in ANY the first ALLOW; UNKNOWN outlasts the rest. Returns
 * whether the node is decided. */
static bool combine(enum permtab_decision *so_far, enum permtab_decision next, bool all)
{
    enum permtab_decision decisive = all ? PERMTAB_DENY : PERMTAB_ALLOW;
    if (next == decisive || next == PERMTAB_UNKNOWN)
        *so_far = next;
    return next == decisive;
}

static enum permtab_decision evaluate_leaf(const struct evaluation *evaluation, uint32_t index)
{
    struct rule_range range = evaluation->bits->ranges[index];
    const struct rule_node *node = &evaluation->rule->text.nodes[index];
    bool all = node->kind == RULE_NAME || node->every;
    enum permtab_decision decision = all ? PERMTAB_ALLOW : PERMTAB_DENY;
    if (range.count == 0)
        return PERMTAB_UNKNOWN;
    for (uint32_t i = 0; i < range.count; i++) {
        uint32_t bit = evaluation->bits->bits[range.first + i];
        enum permtab_decision one = PERMTAB_UNKNOWN;
        if (bit < evaluation->permissions_max)
            one = permtab_shm_bit(evaluation->set, bit, evaluation->own) ? PERMTAB_ALLOW : PERMTAB_DENY;
        if (combine(&decision, one, all))
            break;
    }
    return decision;
}

/* The recursion is as deep as the text was nested, which the parser bounds. */
static enum permtab_decision evaluate(const struct evaluation *evaluation, uint32_t index)
{
    const struct rule_node *node = &evaluation->rule->text.nodes[index];
    enum permtab_decision decision;
    switch (node->kind) {
    case RULE_NAME:
    case RULE_WILDCARD:
        return evaluate_leaf(evaluation, index);
    case RULE_NOT:
        decision = evaluate(evaluation, node->child);
        if (decision == PERMTAB_UNKNOWN)
            return PERMTAB_UNKNOWN;
        return decision == PERMTAB_ALLOW ? PERMTAB_DENY : PERMTAB_ALLOW;
    case RULE_ALL:
    case RULE_ANY:
        break;
    }
    bool all = node->kind == RULE_ALL;
    decision = all ? PERMTAB_ALLOW : PERMTAB_DENY;
    for (uint32_t child = node->child; child != 0; child = evaluation->rule->text.nodes[child].next)
        if (combine(&decision, evaluate(evaluation, child), all))
            break;
    return decision;
}

enum permtab_decision permtab_rule_eval(const struct permtab_view *view, const struct permtab_rule *rule,
                                        bool own)
{
    const struct permtab_geometry_ *geometry = view_geometry(view);
    if (geometry == NULL)
        return PERMTAB_UNKNOWN;
    struct evaluation evaluation = {
        .rule = rule,
        .bits = bits_for(rule, geometry->catalogue),
        .set = view_set(view),
        .permissions_max = geometry->table.permissions_max,
        .own = own,
    };
    int code = PERMTAB_E_CATALOGUE;
    if (evaluation.bits != NULL) {
        enum permtab_decision decision = evaluate(&evaluation, 0);
        if (decision != PERMTAB_UNKNOWN && view_set_holds(view))
            return decision;
        code = decision == PERMTAB_UNKNOWN ? PERMTAB_E_NO_PERMISSION : PERMTAB_E_BUSY;
    }
    permtab_thread_.why = code;
    return PERMTAB_UNKNOWN;
}
