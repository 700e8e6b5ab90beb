/* Short texts from outside that are quoted in messages and logs, byte by byte and in place; bytes that may not stay
 * become '?'. client/wire/text.h knows characters, which these need not: they cannot make a text longer. */
#ifndef PERMTAB_BASE_PRINTABLE_H
#define PERMTAB_BASE_PRINTABLE_H

/* Keeps printing ASCII alone. */
void printable_ascii(char *text);
/* Keeps everything but the controls of ASCII, so UTF-8 stays. */
void printable_line(char *text);

#endif
