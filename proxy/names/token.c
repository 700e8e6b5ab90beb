/* Tokens as text and back. token_parse takes exactly the texts that token_format writes: a token that was cut,
 * padded or typed by hand is refused and never taken for an older one. */
#include "proxy/names/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORE_DIGITS 16

const char *token_format(uint64_t store_id, uint64_t revision, char out[TOKEN_TEXT_SIZE])
{
    (void)snprintf(out, TOKEN_TEXT_SIZE, "%016" PRIx64 "-%" PRIu64, store_id, revision);
    return out;
}

bool token_parse(const char *text, uint64_t *store_id, uint64_t *revision)
{
    char again[TOKEN_TEXT_SIZE];
    if (strlen(text) <= STORE_DIGITS || text[STORE_DIGITS] != '-')
        return false;
    *store_id = strtoull(text, NULL, 16);
    *revision = strtoull(text + STORE_DIGITS + 1, NULL, 10);
    return strcmp(token_format(*store_id, *revision, again), text) == 0;
}
