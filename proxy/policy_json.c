/* JSON text → tree, and the door to all parsing. Jansson checks the syntax and UTF-8, refuses what comes twice and
 * anything behind the end; what the tree must look like is the business of policy_read.c, which serves YAML too. */
#include "proxy/policy_document.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Jansson's integers are signed: the one syntax error that needs advice. */
static const char *error_advice(enum json_error_code code)
{
    if (code == json_error_numeric_overflow)
        return " (numbers above 9223372036854775807 must be given as strings)";
    return "";
}

int policy_json_load(const char *text, size_t size, json_t **out, struct failure *failure)
{
    json_error_t error;
    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (*out != NULL)
        return 0;
    enum json_error_code code = json_error_code(&error);
    if (code == json_error_out_of_memory)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    for (char *byte = error.text; *byte != '\0'; byte++)
        if ((unsigned char)*byte < 0x20 || *byte == 0x7f)
            *byte = '?'; /* the text quotes the document */
    return failure_set(failure, PERMTAB_E_SYNTAX, "line %d column %d: %s%s", error.line, error.column,
                       error.text, error_advice(code));
}

int policy_parse(struct policy *out, enum policy_format format, const char *text, size_t size,
                 const struct scope_types *types, struct failure *failure)
{
    json_t *tree = NULL;
    int code = PERMTAB_E_INVALID;
    memset(out, 0, sizeof *out);
    if (size > POLICY_SIZE_MAX)
        return failure_set(failure, PERMTAB_E_LIMIT, "the document has %zu bytes, more than %u", size,
                           POLICY_SIZE_MAX);
    switch (format) {
    case POLICY_JSON:
        code = policy_json_load(text, size, &tree, failure);
        break;
    case POLICY_YAML:
        code = policy_yaml_load(text, size, &tree, failure);
        break;
    }
    if (code < 0)
        goto out;
    code = policy_read(out, tree, types, failure);
    if (code < 0)
        goto out;
    code = policy_check(out, types, failure);
out:
    json_decref(tree);
    if (code < 0)
        policy_fini(out);
    return code;
}
