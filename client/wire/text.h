/* Text from outside: whether it is UTF-8, whether it may be shown, and a replacement that may be shown. Pure; both
 * sides use it.
 *
 * Not to be shown: controls (C0, DEL, C1), which terminals obey; U+2028 and U+2029, which begin a new line; and the
 * characters with the property Bidi_Control, by which a name can be made to look like another one. */
#ifndef PERMTAB_CLIENT_WIRE_TEXT_H
#define PERMTAB_CLIENT_WIRE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_NOT_UTF8     UINT32_MAX /* in place of a character's number */
#define TEXT_REPLACEMENT  "\xef\xbf\xbd"
#define TEXT_TROUBLE_SIZE 32

/* The character at the front of `size` > 0 bytes: how many of them it takes, and its number. TEXT_NOT_UTF8 takes
 * one byte; encodings that are too long, surrogates, and numbers above U+10FFFF are such. */
size_t text_next(const char *text, size_t size, uint32_t *character);
/* Whether the character may be shown; TEXT_NOT_UTF8 may not. */
bool text_is_shown(uint32_t character);
bool text_is_utf8(const char *text, size_t size);

/* Whether the whole text may be shown, and so be written into a store; line feeds and tabs are allowed when
 * `lines`. Else `trouble` says what is wrong: "is not UTF-8", "has U+202E in it". */
bool text_is_clean(const char *text, size_t size, bool lines, char trouble[TEXT_TROUBLE_SIZE]);

/* Makes one line for a terminal or a log: line feeds, returns and tabs become blanks, every other character that
 * may not be shown becomes U+FFFD. Cut at whole characters to fit `size`, zero included. Returns the length. */
size_t text_clean_line(char *out, size_t size, const char *text, size_t length);
/* text_clean_line, but line feeds and tabs stay. */
size_t text_clean_lines(char *out, size_t size, const char *text, size_t length);

#endif
