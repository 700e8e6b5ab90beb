/* Text to tree, by recursive descent with a bound on depth and on nodes:
 *
 *     either  = both { OR both }
 *     both    = unary { AND unary }
 *     unary   = NOT unary | primary
 *     primary = ( either ) | ALL ( either { , either } ) | ANY ( … ) | name | prefix.*
 *
 * Names are not looked up here: client/rule.c and proxy/rights/condition.c do, again for each catalogue. */
#include "client/wire/rule_text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum token { TOKEN_END, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_COMMA, TOKEN_WORD, TOKEN_WRONG };

struct parser {
    struct rule_text *rule;
    uint32_t capacity;
    uint32_t at;     /* where the present token begins */
    uint32_t length; /* of it */
    enum token token;
    uint32_t depth;
};

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || byte == '.' || byte == '*';
}

static void advance(struct parser *parser)
{
    const char *text = parser->rule->text;
    parser->at += parser->length;
    while (text[parser->at] == ' ' || text[parser->at] == '\t' || text[parser->at] == '\n' ||
           text[parser->at] == '\r')
        parser->at++;
    const char *start = text + parser->at;
    parser->length = 1;
    switch (*start) {
    case '\0':
        parser->token = TOKEN_END;
        parser->length = 0;
        return;
    case '(':
        parser->token = TOKEN_OPEN;
        return;
    case ')':
        parser->token = TOKEN_CLOSE;
        return;
    case ',':
        parser->token = TOKEN_COMMA;
        return;
    }
    parser->length = 0;
    while (is_name_byte(start[parser->length]))
        parser->length++;
    parser->token = parser->length > 0 ? TOKEN_WORD : TOKEN_WRONG;
}

static bool at_word(const struct parser *parser, const char *word)
{
    return parser->token == TOKEN_WORD && parser->length == strlen(word) &&
           strncasecmp(parser->rule->text + parser->at, word, parser->length) == 0;
}

static int add_node(struct parser *parser, enum rule_kind kind, uint32_t *index)
{
    struct rule_text *rule = parser->rule;
    if (rule->node_count == RULE_NODES_MAX)
        return PERMTAB_E_LIMIT;
    if (rule->node_count == parser->capacity) {
        uint32_t capacity = parser->capacity > 0 ? parser->capacity * 2 : 16;
        struct rule_node *nodes = realloc(rule->nodes, capacity * sizeof(*nodes));
        if (nodes == NULL)
            return PERMTAB_E_MEMORY;
        rule->nodes = nodes;
        parser->capacity = capacity;
    }
    *index = rule->node_count++;
    rule->nodes[*index] = (struct rule_node){.kind = kind};
    return 0;
}

static int parse_either(struct parser *parser, uint32_t *index);

/* A word as a name or a wildcard; [a-z0-9_]+ with single dots between, `*` only as a last part of its own. */
static int parse_name(struct parser *parser, uint32_t *index)
{
    const char *word = parser->rule->text + parser->at;
    uint32_t length = parser->length;
    bool wildcard = length >= 3 && word[length - 1] == '*' && word[length - 2] == '.';
    uint32_t plain = wildcard ? length - 2 : length;
    for (uint32_t i = 0; i < plain; i++) {
        bool dot = word[i] == '.';
        bool misplaced = dot && (i == 0 || i + 1 == plain || word[i - 1] == '.');
        if (misplaced || word[i] == '*' || (word[i] >= 'A' && word[i] <= 'Z')) {
            parser->at += i;
            return PERMTAB_E_SYNTAX;
        }
    }
    if (length > RULE_NAME_MAX)
        return PERMTAB_E_LIMIT;
    int code = add_node(parser, wildcard ? RULE_WILDCARD : RULE_NAME, index);
    if (code < 0)
        return code;
    parser->rule->nodes[*index].text = parser->at;
    parser->rule->nodes[*index].length = wildcard ? length - 1 : length;
    advance(parser);
    return 0;
}

/* Hangs `child` behind `last` under `parent`. */
static void link_child(struct parser *parser, uint32_t parent, uint32_t *last, uint32_t child)
{
    struct rule_node *nodes = parser->rule->nodes;
    if (*last == 0)
        nodes[parent].child = child;
    else
        nodes[*last].next = child;
    *last = child;
}

/* ( either { , either } ) of ALL and ANY; the present token is the opening parenthesis. */
static int parse_list(struct parser *parser, enum rule_kind kind, uint32_t *index)
{
    uint32_t child, last = 0;
    int code = add_node(parser, kind, index);
    if (code < 0)
        return code;
    do {
        advance(parser);
        code = parse_either(parser, &child);
        if (code < 0)
            return code;
        if (kind == RULE_ALL && parser->rule->nodes[child].kind == RULE_WILDCARD)
            parser->rule->nodes[child].every = true;
        link_child(parser, *index, &last, child);
    } while (parser->token == TOKEN_COMMA);
    if (parser->token != TOKEN_CLOSE)
        return PERMTAB_E_SYNTAX;
    advance(parser);
    return 0;
}

static bool list_follows(const struct parser *parser)
{
    const char *rest = parser->rule->text + parser->at + parser->length;
    return rest[strspn(rest, " \t\r\n")] == '(';
}

static int parse_primary(struct parser *parser, uint32_t *index)
{
    if (parser->token == TOKEN_OPEN) {
        advance(parser);
        int code = parse_either(parser, index);
        if (code < 0)
            return code;
        if (parser->token != TOKEN_CLOSE)
            return PERMTAB_E_SYNTAX;
        advance(parser);
        return 0;
    }
    if (parser->token != TOKEN_WORD || at_word(parser, "and") || at_word(parser, "or"))
        return PERMTAB_E_SYNTAX;
    bool all = at_word(parser, "all");
    if ((all || at_word(parser, "any")) && list_follows(parser)) {
        advance(parser);
        return parse_list(parser, all ? RULE_ALL : RULE_ANY, index);
    }
    return parse_name(parser, index);
}

static int parse_unary(struct parser *parser, uint32_t *index)
{
    uint32_t child;
    if (!at_word(parser, "not"))
        return parse_primary(parser, index);
    if (++parser->depth > RULE_DEPTH_MAX)
        return PERMTAB_E_LIMIT;
    int code = add_node(parser, RULE_NOT, index);
    if (code < 0)
        return code;
    advance(parser);
    code = parse_unary(parser, &child);
    if (code < 0)
        return code;
    parser->rule->nodes[*index].child = child;
    parser->depth--;
    return 0;
}

/* operand { word operand }: alone, the operand itself; else a node over all of them. */
static int parse_chain(struct parser *parser, const char *word, enum rule_kind kind,
                       int (*operand)(struct parser *parser, uint32_t *index), uint32_t *index)
{
    uint32_t child, last = 0;
    int code = operand(parser, index);
    if (code < 0 || !at_word(parser, word))
        return code;
    child = *index;
    code = add_node(parser, kind, index);
    if (code < 0)
        return code;
    link_child(parser, *index, &last, child);
    while (at_word(parser, word)) {
        advance(parser);
        code = operand(parser, &child);
        if (code < 0)
            return code;
        link_child(parser, *index, &last, child);
    }
    return 0;
}

static int parse_both(struct parser *parser, uint32_t *index)
{
    return parse_chain(parser, "and", RULE_ALL, parse_unary, index);
}

static int parse_either(struct parser *parser, uint32_t *index)
{
    if (++parser->depth > RULE_DEPTH_MAX)
        return PERMTAB_E_LIMIT;
    int code = parse_chain(parser, "or", RULE_ANY, parse_both, index);
    parser->depth--;
    return code;
}

static int parse(struct rule_text *rule, size_t *error_at)
{
    struct parser parser = {.rule = rule};
    uint32_t root, child;
    /* Node 0 stands above the tree, so that 0 can mean "none" everywhere else. */
    int code = add_node(&parser, RULE_ALL, &root);
    if (code == 0) {
        advance(&parser);
        code = parse_either(&parser, &child);
    }
    if (code == 0 && parser.token != TOKEN_END)
        code = PERMTAB_E_SYNTAX;
    if (code == 0)
        rule->nodes[root].child = child;
    *error_at = parser.at;
    return code;
}

int rule_text_parse(struct rule_text *out, const char *text, size_t *error_at)
{
    *out = (struct rule_text){0};
    *error_at = 0;
    if (strnlen(text, RULE_TEXT_MAX + 1) > RULE_TEXT_MAX) {
        *error_at = RULE_TEXT_MAX;
        return PERMTAB_E_LIMIT;
    }
    out->text = strdup(text);
    int code = out->text != NULL ? parse(out, error_at) : PERMTAB_E_MEMORY;
    if (code < 0)
        rule_text_fini(out);
    return code;
}

void rule_text_fini(struct rule_text *rule)
{
    free(rule->nodes);
    free(rule->text);
    *rule = (struct rule_text){0};
}
