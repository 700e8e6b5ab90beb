/* A scope's text form. Ids are read by hand, because strtoull takes signs, blanks and octal, and none of these is
 * an id. */
#include "proxy/names/scope.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool id_parse(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

static int type_find(const struct scope_types *types, const char *name, size_t length)
{
    for (uint32_t type = 0; type < types->count; type++)
        if (strlen(types->names[type]) == length && memcmp(types->names[type], name, length) == 0)
            return (int)type;
    return -1;
}

int scope_parse(const struct scope_types *types, const char *text, struct scope_key *out)
{
    if (strcmp(text, "global") == 0) {
        *out = (struct scope_key){.id = 0, .type = 0};
        return 0;
    }
    const char *colon = strchr(text, ':');
    struct scope_key key;
    if (colon == NULL || colon == text || !id_parse(colon + 1, &key.id))
        return PERMTAB_E_SYNTAX;
    int type = type_find(types, text, (size_t)(colon - text));
    if (type < 0)
        return PERMTAB_E_NO_SCOPE_TYPE;
    if (type == 0)
        return PERMTAB_E_SYNTAX; /* there is one global scope, and it has no id */
    key.type = (uint32_t)type;
    *out = key;
    return 0;
}

const char *scope_format(const struct scope_types *types, struct scope_key key, char text[SCOPE_TEXT_SIZE])
{
    if (key.type == 0 && key.id == 0)
        snprintf(text, SCOPE_TEXT_SIZE, "global");
    else if (key.type < types->count && types->names[key.type][0] != '\0')
        snprintf(text, SCOPE_TEXT_SIZE, "%.*s:%" PRIu64, (int)PERMTAB_SHM_TYPE_NAME_SIZE - 1,
                 types->names[key.type], key.id);
    else
        snprintf(text, SCOPE_TEXT_SIZE, "%" PRIu32 ":%" PRIu64, key.type, key.id);
    return text;
}

const char *scope_types_format(const struct scope_types *types, char text[SCOPE_TYPES_TEXT_SIZE])
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < types->count; i++) {
        bool fits = used + strlen(types->names[i]) + sizeof ", …" + 2 < SCOPE_TYPES_TEXT_SIZE;
        used += (size_t)snprintf(text + used, SCOPE_TYPES_TEXT_SIZE - used, "%s%s", i > 0 ? ", " : "",
                                 fits ? types->names[i] : "…");
        if (!fits)
            break;
    }
    return text;
}
