/* A revision of a store as one text, so that a program that passes it on loses no digit: most languages read
 * numbers from 2^53 upwards as floating point. To clients it is opaque. Pure. */
#ifndef PERMTAB_NAMES_TOKEN_H
#define PERMTAB_NAMES_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_TEXT_SIZE 40 /* 16 digits, a hyphen, 20 digits, a zero */

/* "00000000000004d2-12": the store's id in hexadecimal, the revision in decimal. */
const char *token_format(uint64_t store_id, uint64_t revision, char out[TOKEN_TEXT_SIZE]);
/* False for anything that token_format has not made. */
bool token_parse(const char *text, uint64_t *store_id, uint64_t *revision);

#endif
