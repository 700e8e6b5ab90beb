/* Looking at a reply. Each function checks the kind and the whole text: a server, or somebody with redis-cli, may
 * have put anything there. */
#include "proxy/redis/reply.h"

#include "proxy/redis/parser.h"

enum redis_kind redis_reply_kind(const struct redis_reply *reply)
{
    return reply ? reply->kind : REDIS_NIL;
}

const char *redis_reply_text(const struct redis_reply *reply, size_t *size)
{
    bool text = reply && (reply->kind == REDIS_TEXT || reply->kind == REDIS_REFUSAL);
    if (size)
        *size = text ? reply->size : 0;
    return text ? reply->text : NULL;
}

/* Digits alone, the whole text. */
static bool parse_digits(const char *text, size_t size, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9 || value > max / 10 || value * 10 > max - digit)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return size > 0;
}

bool redis_reply_i64(const struct redis_reply *reply, int64_t *out)
{
    if (redis_reply_kind(reply) == REDIS_INTEGER) {
        *out = reply->integer;
        return true;
    }
    if (redis_reply_kind(reply) != REDIS_TEXT)
        return false;
    bool negative = reply->size > 0 && reply->text[0] == '-';
    uint64_t value, max = (uint64_t)INT64_MAX + negative;
    if (!parse_digits(reply->text + negative, reply->size - negative, max, &value))
        return false;
    *out = (int64_t)(negative ? 0 - value : value);
    return true;
}

bool redis_reply_u64(const struct redis_reply *reply, uint64_t *out)
{
    switch (redis_reply_kind(reply)) {
    case REDIS_INTEGER:
        if (reply->integer < 0)
            return false;
        *out = (uint64_t)reply->integer;
        return true;
    case REDIS_TEXT:
        return parse_digits(reply->text, reply->size, UINT64_MAX, out);
    case REDIS_NIL:
    case REDIS_ARRAY:
    case REDIS_REFUSAL:
        return false;
    }
    return false;
}

size_t redis_reply_count(const struct redis_reply *reply)
{
    return redis_reply_kind(reply) == REDIS_ARRAY ? reply->size : 0;
}

const struct redis_reply *redis_reply_at(const struct redis_reply *reply, size_t index)
{
    return index < redis_reply_count(reply) ? reply->elements[index] : NULL;
}
