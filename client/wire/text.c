/* UTF-8 by the table of RFC 3629, section 4: the second byte's range depends on the first, which alone excludes
 * encodings that are too long, surrogates and numbers that are too large. */
#include "client/wire/text.h"

#include <stdio.h>
#include <string.h>

static size_t not_utf8(uint32_t *character)
{
    *character = TEXT_NOT_UTF8;
    return 1;
}

size_t text_next(const char *text, size_t size, uint32_t *character)
{
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char first = bytes[0], low = 0x80, high = 0xbf;
    if (first < 0x80) {
        *character = first;
        return 1;
    }
    size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || length > size)
        return not_utf8(character);
    if (first == 0xe0)
        low = 0xa0;
    if (first == 0xed)
        high = 0x9f;
    if (first == 0xf0)
        low = 0x90;
    if (first == 0xf4)
        high = 0x8f;
    uint32_t value = first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (bytes[i] < low || bytes[i] > high)
            return not_utf8(character);
        value = value << 6 | (bytes[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
    }
    *character = value;
    return length;
}

bool text_is_shown(uint32_t character)
{
    if (character < 0x20 || (character >= 0x7f && character <= 0x9f) || character == TEXT_NOT_UTF8)
        return false;
    if (character == 0x2028 || character == 0x2029)
        return false;
    return character != 0x061c && character != 0x200e && character != 0x200f &&
           (character < 0x202a || character > 0x202e) && (character < 0x2066 || character > 0x2069);
}

bool text_is_utf8(const char *text, size_t size)
{
    uint32_t character;
    for (size_t at = 0; at < size;) {
        at += text_next(text + at, size - at, &character);
        if (character == TEXT_NOT_UTF8)
            return false;
    }
    return true;
}

bool text_is_clean(const char *text, size_t size, bool lines, char trouble[TEXT_TROUBLE_SIZE])
{
    uint32_t character;
    for (size_t at = 0; at < size;) {
        at += text_next(text + at, size - at, &character);
        if (text_is_shown(character) || (lines && (character == '\n' || character == '\t')))
            continue;
        if (character == TEXT_NOT_UTF8)
            (void)snprintf(trouble, TEXT_TROUBLE_SIZE, "is not UTF-8");
        else
            (void)snprintf(trouble, TEXT_TROUBLE_SIZE, "has U+%04X in it", (unsigned)character);
        return false;
    }
    return true;
}

static size_t clean(char *out, size_t size, const char *text, size_t length, bool lines)
{
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        uint32_t character;
        size_t taken = text_next(text + at, length - at, &character), given = taken;
        const char *shown = text + at;
        bool blank = character == '\n' || character == '\t' || character == '\r';
        if (blank && (!lines || character == '\r')) {
            shown = " ";
        } else if (!blank && !text_is_shown(character)) {
            shown = TEXT_REPLACEMENT;
            given = sizeof TEXT_REPLACEMENT - 1;
        }
        if (given >= size - used)
            break;
        memcpy(out + used, shown, given);
        used += given;
        at += taken;
    }
    out[used] = '\0';
    return used;
}

size_t text_clean_line(char *out, size_t size, const char *text, size_t length)
{
    return clean(out, size, text, length, false);
}

size_t text_clean_lines(char *out, size_t size, const char *text, size_t length)
{
    return clean(out, size, text, length, true);
}
