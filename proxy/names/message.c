/* Messages of the invalidation channel as text and back. Anybody who may publish writes here, so every number is
 * read strictly and every count is bounded; no part of a message is believed unless the whole parses. */
#include "proxy/names/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OURS "permtab1"

char *message_channel(char *out, const char *prefix)
{
    (void)snprintf(out, MESSAGE_CHANNEL_SIZE, "%sinvalidate", prefix);
    return out;
}

struct words {
    const char *at, *end;
};

struct word {
    const char *bytes;
    size_t size; /* 0: there is none */
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct word next_word(struct words *words)
{
    while (words->at < words->end && blank(*words->at))
        words->at++;
    struct word word = {.bytes = words->at};
    while (words->at < words->end && !blank(*words->at))
        words->at++;
    word.size = (size_t)(words->at - word.bytes);
    return word;
}

static bool word_is(struct word word, const char *text)
{
    return word.size == strlen(text) && memcmp(word.bytes, text, word.size) == 0;
}

/* Zeros may lead: the scripts keep revisions as 20 digits. */
static bool read_number(struct words *words, uint64_t *out)
{
    char text[24];
    struct word word = next_word(words);
    if (word.size >= sizeof text || memchr(word.bytes, '\0', word.size) != NULL)
        return false;
    memcpy(text, word.bytes, word.size);
    text[word.size] = '\0';
    return id_parse(text, out);
}

static bool read_hex(struct words *words, uint64_t *out)
{
    struct word word = next_word(words);
    uint64_t value = 0;
    if (word.size != 16)
        return false;
    for (size_t i = 0; i < word.size; i++) {
        char c = word.bytes[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;
        if (digit == 16)
            return false;
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

/* The words before the targets. */
static bool read_head(struct words *words, struct message *message)
{
    struct words look = *words;
    if (!word_is(next_word(&look), OURS)) {
        message->kind = MESSAGE_PLAIN;
        return true;
    }
    *words = look;
    struct word verb = next_word(words);
    if (word_is(verb, "changed")) {
        message->kind = MESSAGE_CHANGED;
        return read_hex(words, &message->store_id) && read_number(words, &message->from) &&
               read_number(words, &message->to) && message->from <= message->to;
    }
    if (word_is(verb, "written")) {
        message->kind = MESSAGE_WRITTEN;
        return read_hex(words, &message->store_id) && read_number(words, &message->to);
    }
    message->kind = MESSAGE_INVALIDATE;
    return word_is(verb, "invalidate") && read_hex(words, &message->origin) &&
           read_number(words, &message->number);
}

static size_t count_words(struct words words)
{
    size_t count = 0;
    while (next_word(&words).size > 0)
        count++;
    return count;
}

static int read_targets(const struct scope_types *types, struct words words, struct message *message)
{
    size_t count = count_words(words);
    if (count > MESSAGE_TARGETS_MAX)
        return PERMTAB_E_LIMIT;
    if (count == 0)
        return message->kind == MESSAGE_CHANGED ? 0 : PERMTAB_E_INVALID;
    struct target *targets = calloc(count, sizeof *targets);
    if (targets == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < count; i++) {
        struct word word = next_word(&words);
        int code = target_parse(types, word.bytes, word.size, &targets[i]);
        if (code < 0) {
            free(targets);
            return code;
        }
    }
    message->targets = targets;
    message->count = count;
    return 0;
}

int message_parse(const struct scope_types *types, const char *bytes, size_t size, struct message *out)
{
    struct words words = {.at = bytes, .end = bytes + size};
    struct message message = {0};
    if (size > MESSAGE_SIZE_MAX)
        return PERMTAB_E_LIMIT;
    if (!read_head(&words, &message))
        return PERMTAB_E_INVALID;
    int code = read_targets(types, words, &message);
    if (code == 0)
        *out = message;
    return code;
}

bool message_pokes(const struct message *message)
{
    for (size_t i = 0; i < message->count; i++)
        if (message->targets[i].kind == TARGET_POKE)
            return true;
    return false;
}

void message_fini(struct message *message)
{
    free(message->targets);
    message->targets = NULL;
    message->count = 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

#define HEAD_SIZE 128

static size_t write_head(char head[HEAD_SIZE], const struct message *message)
{
    int length = 0;
    switch (message->kind) {
    case MESSAGE_PLAIN:
        head[0] = '\0';
        break;
    case MESSAGE_CHANGED:
        length = snprintf(head, HEAD_SIZE, OURS " changed %016" PRIx64 " %" PRIu64 " %" PRIu64,
                          message->store_id, message->from, message->to);
        break;
    case MESSAGE_WRITTEN:
        length = snprintf(head, HEAD_SIZE, OURS " written %016" PRIx64 " %" PRIu64, message->store_id,
                          message->to);
        break;
    case MESSAGE_INVALIDATE:
        length = snprintf(head, HEAD_SIZE, OURS " invalidate %016" PRIx64 " %" PRIu64, message->origin,
                          message->number);
        break;
    }
    return (size_t)length;
}

/* Writes the targets behind the head in `text`, which has room for MESSAGE_SIZE_MAX and a zero. False when they do
 * not fit. */
static bool write_targets(const struct scope_types *types, const struct message *message, char *text,
                          size_t length)
{
    char target[TARGET_TEXT_SIZE];
    if (message->count > MESSAGE_TARGETS_MAX)
        return false;
    for (size_t i = 0; i < message->count; i++) {
        size_t size = strlen(target_format(types, &message->targets[i], target));
        size_t gap = length > 0;
        if (length + gap + size > MESSAGE_SIZE_MAX)
            return false;
        text[length] = ' ';
        memcpy(text + length + gap, target, size + 1);
        length += gap + size;
    }
    return true;
}

char *message_format(const struct scope_types *types, const struct message *message)
{
    char head[HEAD_SIZE];
    size_t length = write_head(head, message);
    if (message->count == 0 && message->kind != MESSAGE_CHANGED)
        return NULL; /* nobody could read it */
    char *text = malloc(MESSAGE_SIZE_MAX + 1);
    if (text == NULL)
        return NULL;
    memcpy(text, head, length + 1);
    if (!write_targets(types, message, text, length)) {
        if (message->kind != MESSAGE_CHANGED) {
            free(text);
            return NULL;
        }
        text[length] = '\0';
    }
    char *fitting = realloc(text, strlen(text) + 1);
    return fitting != NULL ? fitting : text;
}
