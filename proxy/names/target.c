/* Targets as text and back, and the glob. Strict: a text that is nearly a target is none, or an operator would
 * believe that something was invalidated.
 *
 * The glob is that of Redis, byte for byte, so that one pattern means the same for the keys of L2 and for resident
 * entries. It is matched by going back to the last star alone, where Redis recurses. A pattern with an open bracket
 * or a lone backslash at its end is refused: behind it stands the rest of a key. */
#include "proxy/names/target.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- the glob ---------------------------------------------------------------------------------------------------- */

/* The pattern behind the class whose '[' stands before `at`; *matched: whether the class has `byte`. The end of the
 * pattern closes an open class; then *closed is false. */
static const char *glob_class(const char *at, unsigned char byte, bool *matched, bool *closed)
{
    bool inverted = *at == '^', found = false;
    at += inverted;
    for (; *at != '\0' && *at != ']'; at++) {
        unsigned char low = (unsigned char)*at, high = low;
        if (*at == '\\' && at[1] != '\0') {
            at++;
            low = high = (unsigned char)*at;
        } else if (at[1] == '-' && at[2] != '\0') {
            high = (unsigned char)at[2];
            at += 2;
        }
        if (low > high) {
            unsigned char swapped = low;
            low = high;
            high = swapped;
        }
        found |= byte >= low && byte <= high;
    }
    *closed = *at == ']';
    *matched = found != inverted;
    return at + *closed;
}

/* Matches one byte with what stands at `pattern`, which is no star; the pattern's rest, or NULL. */
static const char *glob_one(const char *pattern, unsigned char byte)
{
    bool matched = false, closed;
    switch (*pattern) {
    case '\0':
        return NULL;
    case '?':
        return pattern + 1;
    case '[':
        pattern = glob_class(pattern + 1, byte, &matched, &closed);
        return matched ? pattern : NULL;
    case '\\':
        pattern += pattern[1] != '\0';
        break;
    default:
        break;
    }
    return (unsigned char)*pattern == byte ? pattern + 1 : NULL;
}

bool target_glob(const char *pattern, const char *text)
{
    /* The pattern behind the last star, and the place in the text where it was tried last. An earlier star need not
     * be tried again: the pattern between the two has matched as early as it can. */
    const char *after_star = NULL, *tried = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            after_star = ++pattern;
            tried = text;
            continue;
        }
        const char *rest = glob_one(pattern, (unsigned char)*text);
        if (rest != NULL) {
            pattern = rest;
            text++;
        } else if (after_star != NULL) {
            pattern = after_star;
            text = ++tried;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

/* Whether every bracket is closed and every backslash has its byte. */
static bool glob_whole(const char *pattern)
{
    while (*pattern != '\0') {
        bool matched, closed = true;
        if (*pattern == '[')
            pattern = glob_class(pattern + 1, 0, &matched, &closed);
        else if (*pattern != '\\')
            pattern++;
        else if (pattern[1] != '\0')
            pattern += 2;
        else
            return false;
        if (!closed)
            return false;
    }
    return true;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static const char *const prefixes[] = {
    [TARGET_USER] = "user:",       [TARGET_USER_AT] = "user:", [TARGET_ROLE] = "role:",
    [TARGET_SCOPE] = "scope:",     [TARGET_TAG] = "tag:",      [TARGET_PREFIX] = "prefix:",
    [TARGET_PATTERN] = "pattern:", [TARGET_ALL] = "all",       [TARGET_POKE] = "poke",
};

/* The text behind the prefix of a kind, or NULL. */
static const char *after_prefix(enum target_kind kind, const char *text)
{
    size_t length = strlen(prefixes[kind]);
    return strncmp(text, prefixes[kind], length) == 0 ? text + length : NULL;
}

static int read_scope(const struct scope_types *types, const char *text, struct scope_key *out)
{
    int code = scope_parse(types, text, out);
    return code == PERMTAB_E_SYNTAX ? PERMTAB_E_INVALID : code;
}

/* "42" or "42@channel:9"; cut in place. */
static int read_user(const struct scope_types *types, char *text, struct target *out)
{
    char *at = strchr(text, '@');
    if (at != NULL)
        *at = '\0';
    if (!id_parse(text, &out->id))
        return PERMTAB_E_INVALID;
    out->kind = at != NULL ? TARGET_USER_AT : TARGET_USER;
    return at != NULL ? read_scope(types, at + 1, &out->scope) : 0;
}

static bool tag_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static int read_word(const char *word, struct target *out)
{
    size_t length = strlen(word);
    if (length == 0 || length >= sizeof out->word)
        return PERMTAB_E_INVALID;
    for (const char *at = word; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~' || (out->kind == TARGET_TAG && !tag_byte(*at)))
            return PERMTAB_E_INVALID;
    if (out->kind == TARGET_PATTERN && !glob_whole(word))
        return PERMTAB_E_INVALID;
    memcpy(out->word, word, length + 1);
    return 0;
}

/* Reads the text behind the prefix of `target->kind`. */
static int read_rest(const struct scope_types *types, char *rest, struct target *target)
{
    switch (target->kind) {
    case TARGET_USER:
    case TARGET_USER_AT:
        return read_user(types, rest, target);
    case TARGET_ROLE:
        return id_parse(rest, &target->id) ? 0 : PERMTAB_E_INVALID;
    case TARGET_SCOPE:
        return read_scope(types, rest, &target->scope);
    case TARGET_TAG:
    case TARGET_PREFIX:
    case TARGET_PATTERN:
        return read_word(rest, target);
    case TARGET_ALL:
    case TARGET_POKE:
        return *rest == '\0' ? 0 : PERMTAB_E_INVALID;
    }
    return PERMTAB_E_INVALID;
}

int target_parse(const struct scope_types *types, const char *text, size_t size, struct target *out)
{
    char copy[TARGET_TEXT_SIZE];
    if (size >= sizeof copy || memchr(text, '\0', size) != NULL)
        return PERMTAB_E_INVALID;
    memcpy(copy, text, size);
    copy[size] = '\0';
    for (size_t kind = 0; kind < sizeof prefixes / sizeof prefixes[0]; kind++) {
        struct target target = {.kind = (enum target_kind)kind};
        const char *rest = after_prefix(target.kind, copy);
        if (rest == NULL)
            continue;
        int code = read_rest(types, copy + (rest - copy), &target);
        if (code == 0)
            *out = target;
        return code;
    }
    return PERMTAB_E_INVALID;
}

/* ---- writing, comparing ------------------------------------------------------------------------------------------ */

char *target_format(const struct scope_types *types, const struct target *target, char *out)
{
    char scope[SCOPE_TEXT_SIZE];
    const char *prefix = prefixes[target->kind];
    switch (target->kind) {
    case TARGET_USER:
    case TARGET_ROLE:
        (void)snprintf(out, TARGET_TEXT_SIZE, "%s%" PRIu64, prefix, target->id);
        break;
    case TARGET_USER_AT:
        (void)snprintf(out, TARGET_TEXT_SIZE, "%s%" PRIu64 "@%s", prefix, target->id,
                       scope_format(types, target->scope, scope));
        break;
    case TARGET_SCOPE:
        (void)snprintf(out, TARGET_TEXT_SIZE, "%s%s", prefix, scope_format(types, target->scope, scope));
        break;
    case TARGET_TAG:
    case TARGET_PREFIX:
    case TARGET_PATTERN:
        (void)snprintf(out, TARGET_TEXT_SIZE, "%s%s", prefix, target->word);
        break;
    case TARGET_ALL:
    case TARGET_POKE:
        (void)snprintf(out, TARGET_TEXT_SIZE, "%s", prefix);
        break;
    }
    return out;
}

const char *target_kind_name(enum target_kind kind)
{
    static const char *const names[] = {
        [TARGET_USER] = "user",       [TARGET_USER_AT] = "user@scope",
        [TARGET_ROLE] = "role",       [TARGET_SCOPE] = "scope",
        [TARGET_TAG] = "tag",         [TARGET_PREFIX] = "prefix",
        [TARGET_PATTERN] = "pattern", [TARGET_ALL] = "all",
        [TARGET_POKE] = "poke",
    };
    return names[kind];
}

bool target_matches(const struct target *target, const char *text)
{
    if (target->kind == TARGET_PREFIX)
        return strncmp(text, target->word, strlen(target->word)) == 0;
    return target->kind == TARGET_PATTERN && target_glob(target->word, text);
}
