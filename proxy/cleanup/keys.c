/* Globs over the keys that names/l2_keys.c names, with their escapes; and reading the owner out of a key. */
#include "proxy/cleanup/keys.h"

#include "proxy/names/l2_keys.h"

#include <stdio.h>
#include <string.h>

#define ANY_EPOCH "????????????????"

/* Appends, escaped or not; false when it does not fit. */
static bool append(char *out, size_t *used, const char *text, bool escape)
{
    for (; *text; text++) {
        if (escape && strchr("*?[]\\", *text)) {
            if (*used + 1 >= CLEANUP_PATTERN_SIZE)
                return false;
            out[(*used)++] = '\\';
        }
        if (*used + 1 >= CLEANUP_PATTERN_SIZE)
            return false;
        out[(*used)++] = *text;
    }
    out[*used] = 0;
    return true;
}

static int build(char *out, const char *prefix, const char *middle, const char *word, bool escape_word,
                 const char *end)
{
    size_t used = 0;
    bool fits = append(out, &used, prefix, true) && append(out, &used, middle, false) &&
                append(out, &used, word, escape_word) && append(out, &used, end, false);
    return fits ? 0 : PERMTAB_E_LIMIT;
}

static const char *value_keys(char *out, size_t size)
{
    (void)snprintf(out, size, "l2:%d:" ANY_EPOCH ":{", L2_FORMAT);
    return out;
}

int cleanup_glob_prefix(char out[CLEANUP_PATTERN_SIZE], const char *prefix, const char *word)
{
    char middle[64];
    return build(out, prefix, value_keys(middle, sizeof middle), word, true, "*}");
}

int cleanup_glob_pattern(char out[CLEANUP_PATTERN_SIZE], const char *prefix, const char *word)
{
    char middle[64];
    return build(out, prefix, value_keys(middle, sizeof middle), word, false, "}");
}

void cleanup_glob_of(char out[CLEANUP_PATTERN_SIZE], enum cleanup_kind kind, const char *prefix)
{
    char middle[64];
    int code = 0;
    switch (kind) {
    case CLEANUP_PATTERN:
    case CLEANUP_ORPHANS: /* other formats may have other names behind the format's number */
        code = build(out, prefix, "l2:", "", false, "*");
        break;
    case CLEANUP_EPOCHS:
        code = build(out, prefix, value_keys(middle, sizeof middle), "", false, "*}");
        break;
    }
    if (code < 0) /* KEY_PREFIX_MAX does not allow it */
        out[0] = 0;
}

/* Copies text of `size` bytes; false when it does not fit or has a zero inside. */
static bool take(char *out, size_t room, const char *text, size_t size)
{
    if (size >= room || memchr(text, 0, size))
        return false;
    memcpy(out, text, size);
    out[size] = 0;
    return true;
}

bool cleanup_owner_parse(const struct scope_types *types, const char *key, size_t size,
                         struct cleanup_owner *out)
{
    char text[SCOPE_TEXT_SIZE];
    const char *open = memchr(key, '{', size); /* there is none in a prefix */
    if (!open || key[size - 1] != '}')
        return false;
    const char *word = open + 1;
    size_t length = size - (size_t)(word - key) - 1;
    memset(out, 0, sizeof *out);
    if (length > 5 && memcmp(word, "user:", 5) == 0)
        return take(text, sizeof text, word + 5, length - 5) && id_parse(text, &out->user);
    out->is_scope = true;
    return length > 6 && memcmp(word, "scope:", 6) == 0 && take(text, sizeof text, word + 6, length - 6) &&
           scope_parse(types, text, &out->scope) == 0;
}

uint64_t cleanup_keys_passed(uint64_t cursor, uint64_t total)
{
    uint64_t reversed = 0;
    for (unsigned bit = 0; bit < 64; bit++)
        reversed |= (cursor >> bit & 1) << (63 - bit);
    return (uint64_t)((double)reversed / 18446744073709551616.0 * (double)total);
}
