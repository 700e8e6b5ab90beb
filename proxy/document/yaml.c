/* YAML text → the same tree as JSON gives, so that there is one checker behind both.
 *
 * Only the part of YAML that JSON can express, too, is accepted: mappings, sequences and scalars in any notation.
 * Aliases are refused (they make bombs of small texts), and so are tags (they make anything of a scalar) and a
 * second document. A plain scalar is an integer, true, false or null when JSON would say so (null also as ~ or
 * nothing), else a string: `yes`, `010` and `1.5` are strings here, whatever YAML 1.1 thinks of them, and refused
 * where a number is wanted.
 *
 * Events are taken one by one onto a stack of bounded depth: no recursion. */
#include "proxy/base/printable.h"
#include "proxy/document/document.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 16

/* A container being filled: an array, or an object with the key that waits for its value. */
struct level {
    json_t *node; /* borrowed: its parent, or the builder's root, owns it */
    char *key;
};

struct builder {
    json_t *root;
    struct level levels[DEPTH_MAX];
    size_t depth;
    struct failure *failure;
};

static int fail_at(struct builder *builder, const yaml_mark_t *mark, const char *text)
{
    return failure_set(builder->failure, PERMTAB_E_SYNTAX, "line %zu column %zu: %s", mark->line + 1,
                       mark->column + 1, text);
}

/* Puts a value into the innermost container; takes the reference in every case. */
static int builder_put(struct builder *builder, json_t *value, const yaml_mark_t *mark)
{
    if (value == NULL)
        return failure_set(builder->failure, PERMTAB_E_MEMORY, "out of memory");
    if (builder->depth == 0) {
        builder->root = value;
        return 0;
    }
    struct level *level = &builder->levels[builder->depth - 1];
    int code;
    if (json_is_array(level->node)) {
        code = json_array_append_new(level->node, value);
    } else if (level->key == NULL) {
        json_decref(value);
        return fail_at(builder, mark, "a key must be a scalar");
    } else {
        code = json_object_set_new(level->node, level->key, value);
        free(level->key);
        level->key = NULL;
    }
    return code == 0 ? 0 : failure_set(builder->failure, PERMTAB_E_MEMORY, "out of memory");
}

static int builder_open(struct builder *builder, json_t *node, const yaml_mark_t *mark)
{
    if (builder->depth == DEPTH_MAX) {
        json_decref(node);
        return fail_at(builder, mark, "nested too deeply");
    }
    int code = builder_put(builder, node, mark);
    if (code < 0)
        return code;
    builder->levels[builder->depth++] = (struct level){.node = node, .key = NULL};
    return 0;
}

static bool is_integer(const char *text)
{
    if (*text == '-')
        text++;
    if (*text == '0')
        return text[1] == '\0';
    if (*text == '\0')
        return false;
    return text[strspn(text, "0123456789")] == '\0';
}

static json_t *plain_value(const char *text, bool *too_big)
{
    *too_big = false;
    if (*text == '\0' || strcmp(text, "null") == 0 || strcmp(text, "~") == 0)
        return json_null();
    if (strcmp(text, "true") == 0)
        return json_true();
    if (strcmp(text, "false") == 0)
        return json_false();
    if (!is_integer(text))
        return json_string(text);
    uint64_t magnitude;
    bool negative = *text == '-';
    if (!id_parse(text + (negative ? 1 : 0), &magnitude) || magnitude > INT64_MAX) {
        *too_big = true;
        return NULL;
    }
    return json_integer(negative ? -(json_int_t)magnitude : (json_int_t)magnitude);
}

static int take_key(struct builder *builder, struct level *level, const char *text, const yaml_mark_t *mark)
{
    char message[160];
    if (json_object_get(level->node, text) != NULL) {
        snprintf(message, sizeof message, "duplicate key \"%.80s\"", text);
        printable_line(message);
        return fail_at(builder, mark, message);
    }
    level->key = strdup(text);
    return level->key != NULL ? 0 : failure_set(builder->failure, PERMTAB_E_MEMORY, "out of memory");
}

static int take_scalar(struct builder *builder, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    const yaml_mark_t *mark = &event->start_mark;
    if (strlen(text) != event->data.scalar.length)
        return fail_at(builder, mark, "a NUL character in a string");
    struct level *level = builder->depth > 0 ? &builder->levels[builder->depth - 1] : NULL;
    if (level != NULL && json_is_object(level->node) && level->key == NULL)
        return take_key(builder, level, text, mark);
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return builder_put(builder, json_string(text), mark);
    bool too_big;
    json_t *value = plain_value(text, &too_big);
    if (too_big)
        return fail_at(builder, mark,
                       "too big integer (numbers above 9223372036854775807 must be given as strings)");
    return builder_put(builder, value, mark);
}

/* Refuses tags and anchors. Anchors alone do no harm, but are of no use without aliases. */
static int refuse_extras(struct builder *builder, const yaml_event_t *event, const yaml_char_t *anchor,
                         const yaml_char_t *tag)
{
    if (anchor != NULL)
        return fail_at(builder, &event->start_mark, "anchors and aliases are not taken");
    if (tag != NULL)
        return fail_at(builder, &event->start_mark, "tags are not taken");
    return 0;
}

static int take_event(struct builder *builder, const yaml_event_t *event)
{
    int code;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return builder->root == NULL ? 0 : fail_at(builder, &event->start_mark, "a second document");
    case YAML_ALIAS_EVENT:
        return fail_at(builder, &event->start_mark, "anchors and aliases are not taken");
    case YAML_SCALAR_EVENT:
        code = refuse_extras(builder, event, event->data.scalar.anchor, event->data.scalar.tag);
        return code < 0 ? code : take_scalar(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        code =
            refuse_extras(builder, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        return code < 0 ? code : builder_open(builder, json_array(), &event->start_mark);
    case YAML_MAPPING_START_EVENT:
        code = refuse_extras(builder, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        return code < 0 ? code : builder_open(builder, json_object(), &event->start_mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        builder->depth--;
        return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    }
    return 0;
}

static int parser_failure(const yaml_parser_t *parser, struct failure *failure)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    if (parser->error == YAML_READER_ERROR)
        return failure_set(failure, PERMTAB_E_SYNTAX, "byte %zu: %s", parser->problem_offset,
                           parser->problem);
    return failure_set(failure, PERMTAB_E_SYNTAX, "line %zu column %zu: %s", parser->problem_mark.line + 1,
                       parser->problem_mark.column + 1,
                       parser->problem != NULL ? parser->problem : "not YAML");
}

int policy_yaml_load(const char *text, size_t size, json_t **out, struct failure *failure)
{
    struct builder builder = {.failure = failure};
    yaml_parser_t parser;
    bool end = false;
    int code = 0;
    *out = NULL;
    if (!yaml_parser_initialize(&parser))
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    while (!end && code >= 0) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            code = parser_failure(&parser, failure);
            break;
        }
        code = take_event(&builder, &event);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    if (code >= 0 && builder.root == NULL)
        code = failure_set(failure, PERMTAB_E_SYNTAX, "the document is empty");
    for (size_t i = 0; i < DEPTH_MAX; i++)
        free(builder.levels[i].key);
    yaml_parser_delete(&parser);
    if (code < 0)
        json_decref(builder.root);
    else
        *out = builder.root;
    return code;
}
