/* The entry to all parsing: from a text in JSON (json.c) or YAML (yaml.c) to a tree, whose form read.c checks. */
#include "proxy/document/document.h"

#include <jansson.h>
#include <string.h>

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
