/* JSON text → tree, and the entry to all parsing. Jansson checks the syntax and UTF-8, and refuses repeated keys
 * and text behind the end; read.c, which serves YAML, too, checks the form of the tree. */
#include "proxy/base/printable.h"
#include "proxy/document/document.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Makes a sentence of Jansson's, which quotes the document. Two need more words: its integers are signed, and NUL
 * takes a flag. */
static int syntax_error(json_error_t *error, struct failure *failure)
{
    enum json_error_code code = json_error_code(error);
    if (code == json_error_out_of_memory)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    if (code == json_error_null_character)
        return failure_set(failure, PERMTAB_E_SYNTAX, "line %d column %d: a NUL character in a string",
                           error->line, error->column);
    printable_line(error->text);
    return failure_set(
        failure, PERMTAB_E_SYNTAX, "line %d column %d: %s%s", error->line, error->column, error->text,
        code == json_error_numeric_overflow ? " (numbers above 9223372036854775807 must be given as strings)"
                                            : "");
}

static int load(const char *text, size_t size, json_t **out, struct failure *failure)
{
    json_error_t error;
    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    return *out != NULL ? 0 : syntax_error(&error, failure);
}

/* Guesses the format: a JSON document is an object, whose first key is quoted. For YAML that begins like that, the
 * caller must say YAML. */
static enum policy_format look_for_format(const char *text, size_t size)
{
    static const char blanks[] = " \t\r\n";
    size_t at = 0;
    while (at < size && memchr(blanks, text[at], sizeof blanks - 1) != NULL)
        at++;
    if (at == size || text[at] == '[')
        return POLICY_JSON; /* whose parser says what is wrong */
    if (text[at++] != '{')
        return POLICY_YAML;
    while (at < size && memchr(blanks, text[at], sizeof blanks - 1) != NULL)
        at++;
    return at == size || text[at] == '"' || text[at] == '}' ? POLICY_JSON : POLICY_YAML;
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
    static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, put in front by some editors */
    if (size >= sizeof mark - 1 && memcmp(text, mark, sizeof mark - 1) == 0) {
        text += sizeof mark - 1;
        size -= sizeof mark - 1;
    }
    switch (format == POLICY_AUTO ? look_for_format(text, size) : format) {
    case POLICY_AUTO:
    case POLICY_JSON:
        code = load(text, size, &tree, failure);
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
