/* SQL cut into tokens, so that two texts can be compared by what they say: tools that rebuild a table or a trigger
 * write its text anew, with names quoted in their way and white space of their own. */
#include "proxy/store/schema.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* The place behind white space and comments. */
static const char *skip_space(const char *at, enum sql_dialect dialect)
{
    for (;;) {
        at += strspn(at, " \t\r\n\f");
        if (strncmp(at, "--", 2) == 0 || (*at == '#' && dialect == SQL_MYSQL)) {
            at += strcspn(at, "\n");
        } else if (strncmp(at, "/*", 2) == 0) {
            const char *end = strstr(at + 2, "*/");
            at = end ? end + 2 : at + strlen(at);
        } else {
            return at;
        }
    }
}

/* A text keeps its quotes and its case, a quoted name loses both. A backslash is nothing special: not in SQLite, and
 * MariaDB shows the texts of a trigger with their escapes resolved, so that conf/schema has none. */
static const char *read_quoted(const char *at, char **out)
{
    char open = *at, close = open == '[' ? ']' : open;
    bool text = open == '\'';
    if (text)
        *(*out)++ = open;
    for (at++; *at; at++) {
        if (*at == close && at[1] != close)
            break;
        if (*at == close && text)
            *(*out)++ = *at;
        at += *at == close; /* it stands twice */
        *(*out)++ = text ? *at : (char)tolower((unsigned char)*at);
    }
    if (text)
        *(*out)++ = close;
    return *at ? at + 1 : at;
}

static const char *read_token(const char *at, char **out, enum sql_dialect dialect)
{
    if (*at == '\'' || *at == '"' || *at == '`' || (*at == '[' && dialect == SQL_SQLITE))
        return read_quoted(at, out);
    if (!is_word(*at)) {
        *(*out)++ = *at;
        return at + 1;
    }
    while (is_word(*at))
        *(*out)++ = (char)tolower((unsigned char)*at++);
    return at;
}

int tokens_read(struct tokens *out, const char *text, enum sql_dialect dialect)
{
    size_t length = strlen(text);
    memset(out, 0, sizeof(*out));
    /* The buffer has 2 bytes a character: a token is at least one character and gets a zero behind it. A text that
     * does not end gets a quote. */
    out->buffer = malloc(2 * length + 2);
    out->items = malloc((length + 1) * sizeof(*out->items));
    if (!out->buffer || !out->items) {
        tokens_fini(out);
        return PERMTAB_E_MEMORY;
    }
    char *end = out->buffer;
    for (const char *at = skip_space(text, dialect); *at; at = skip_space(at, dialect)) {
        out->items[out->count++] = end;
        at = read_token(at, &end, dialect);
        *end++ = '\0';
    }
    return 0;
}

void tokens_fini(struct tokens *tokens)
{
    free(tokens->items);
    free(tokens->buffer);
    memset(tokens, 0, sizeof(*tokens));
}

bool token_is(const struct tokens *tokens, size_t at, const char *word)
{
    return at < tokens->count && strcmp(tokens->items[at], word) == 0;
}

size_t tokens_close(const struct tokens *tokens, size_t open)
{
    size_t depth = 0;
    for (size_t i = open; i < tokens->count; i++) {
        depth += token_is(tokens, i, "(");
        if (token_is(tokens, i, ")") && --depth == 0)
            return i;
    }
    return tokens->count;
}

char *tokens_join(const struct tokens *tokens, size_t from, size_t to)
{
    size_t length = 1;
    for (size_t i = from; i < to; i++)
        length += strlen(tokens->items[i]) + 1;
    char *text = malloc(length), *end = text;
    if (!text)
        return NULL;
    for (size_t i = from; i < to; i++) {
        if (i > from)
            *end++ = ' ';
        end = stpcpy(end, tokens->items[i]);
    }
    *end = '\0';
    return text;
}
