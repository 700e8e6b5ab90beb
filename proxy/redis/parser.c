/* hiredis' reader believes the lengths that a peer announces: an array is allocated as long as its header says, and
 * from 1.0 on arrays nest without end. So the replies are made here, where they are counted. An announced bulk is
 * allocated only once it is there; until then it is bytes of an unfinished reply, which are counted, too.
 *
 * From 1.0 on it also reads RESP3, which nobody asks for here: kinds that RESP2 has not are refused, as hiredis
 * 0.14 does. */
#include "proxy/redis/parser.h"

#include <hiredis/read.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* hiredis 1.0, the first that knows REDIS_REPLY_DOUBLE, counts elements in another type than 0.14. */
#ifdef REDIS_REPLY_DOUBLE
typedef size_t array_count;
#else
typedef int array_count;
#endif

struct redis_parser {
    redisReader *reader;
    size_t reply_max;
    size_t unfinished; /* bytes fed since the last reply was complete */
    size_t elements;   /* announced by the arrays of the reply under way */
    int code;          /* why an object was not made */
    char trouble[160];
};

static int give_up(struct redis_parser *parser, int code, const char *format, size_t limit)
{
    parser->code = code;
    (void)snprintf(parser->trouble, sizeof parser->trouble, format, limit);
    return code;
}

/* ---- making replies: what hiredis calls -------------------------------------------------------------------------- */

/* hiredis numbers the kinds of RESP2 from REDIS_REPLY_STRING to REDIS_REPLY_ERROR, and those of RESP3 after them. A nil
 * of RESP2 is a string or an array that is not there. */
static bool is_resp2(const redisReadTask *task)
{
    return task->type >= REDIS_REPLY_STRING && task->type <= REDIS_REPLY_ERROR &&
           task->type != REDIS_REPLY_NIL;
}

static struct redis_reply *make(const redisReadTask *task, enum redis_kind kind, size_t text_size)
{
    struct redis_parser *parser = task->privdata;
    if (!is_resp2(task)) {
        give_up(parser, PERMTAB_E_PROTOCOL, "a reply of hiredis' kind %zu, which RESP2 has not",
                (size_t)task->type);
        return NULL;
    }
    struct redis_reply *reply = malloc(sizeof *reply + text_size + 1);
    if (!reply) {
        give_up(parser, PERMTAB_E_MEMORY, "out of memory for a reply of %zu bytes", text_size);
        return NULL;
    }
    memset(reply, 0, sizeof *reply);
    reply->kind = kind;
    if (task->parent) {
        struct redis_reply *parent = task->parent->obj;
        parent->elements[task->idx] = reply;
    }
    return reply;
}

static void *make_text(const redisReadTask *task, char *text, size_t size)
{
    struct redis_reply *reply =
        make(task, task->type == REDIS_REPLY_ERROR ? REDIS_REFUSAL : REDIS_TEXT, size);
    if (!reply)
        return NULL;
    memcpy(reply->text, text, size);
    reply->text[size] = 0;
    reply->size = size;
    return reply;
}

static size_t depth_of(const redisReadTask *task)
{
    size_t depth = 1;
    while (depth <= REDIS_DEPTH_MAX && (task = task->parent) != NULL)
        depth++;
    return depth;
}

static bool array_is_allowed(const redisReadTask *task, size_t count)
{
    struct redis_parser *parser = task->privdata;
    if (depth_of(task) > REDIS_DEPTH_MAX) {
        give_up(parser, PERMTAB_E_PROTOCOL, "arrays more than %zu deep", REDIS_DEPTH_MAX);
        return false;
    }
    if (count > REDIS_ELEMENTS_MAX - parser->elements) {
        give_up(parser, PERMTAB_E_LIMIT, "a reply of more than %zu elements", REDIS_ELEMENTS_MAX);
        return false;
    }
    return true;
}

static void *make_array(const redisReadTask *task, array_count announced)
{
    struct redis_parser *parser = task->privdata;
    size_t count = (size_t)announced; /* below zero it is above every limit */
    if (!array_is_allowed(task, count))
        return NULL;
    struct redis_reply **elements = calloc(count + 1, sizeof *elements);
    if (!elements) {
        give_up(parser, PERMTAB_E_MEMORY, "out of memory for an array of %zu", count);
        return NULL;
    }
    struct redis_reply *reply = make(task, REDIS_ARRAY, 0);
    if (!reply) {
        free(elements);
        return NULL;
    }
    parser->elements += count;
    reply->elements = elements;
    reply->size = count;
    return reply;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    struct redis_reply *reply = make(task, REDIS_INTEGER, 0);
    if (reply)
        reply->integer = value;
    return reply;
}

static void *make_nil(const redisReadTask *task)
{
    return make(task, REDIS_NIL, 0);
}

void redis_reply_free(struct redis_reply *reply)
{
    if (!reply)
        return;
    if (reply->kind == REDIS_ARRAY) { /* REDIS_DEPTH_MAX deep */
        for (size_t i = 0; i < reply->size; i++)
            redis_reply_free(reply->elements[i]);
        free(reply->elements);
    }
    free(reply);
}

struct redis_reply *redis_reply_copy(const struct redis_reply *reply)
{
    if (!redis_reply_text(reply, NULL))
        return NULL;
    size_t size = sizeof *reply + reply->size + 1;
    struct redis_reply *copy = malloc(size);
    if (copy)
        memcpy(copy, reply, size);
    return copy;
}

static void free_object(void *object)
{
    redis_reply_free(object);
}

#ifdef REDIS_REPLY_DOUBLE
static void *make_double(const redisReadTask *task, double value, char *text, size_t size)
{
    (void)value, (void)text, (void)size;
    return make(task, REDIS_TEXT, 0); /* never: it is not of RESP2 */
}

static void *make_bool(const redisReadTask *task, int value)
{
    (void)value;
    return make(task, REDIS_INTEGER, 0); /* never, as above */
}
#endif

/* hiredis only reads `makers`, but its type has no const. Without a function for a kind hiredis 1 makes a pointer
 * of the kind's number. */
static const redisReplyObjectFunctions makers = {
    .createString = make_text,
    .createArray = make_array,
    .createInteger = make_integer,
    .createNil = make_nil,
#ifdef REDIS_REPLY_DOUBLE
    .createDouble = make_double,
    .createBool = make_bool,
#endif
    .freeObject = free_object,
};

/* ---- the parser -------------------------------------------------------------------------------------------------- */

struct redis_parser *redis_parser_new(size_t reply_max)
{
    struct redis_parser *parser = calloc(1, sizeof *parser);
    if (!parser)
        return NULL;
    parser->reader = redisReaderCreateWithFunctions((redisReplyObjectFunctions *)(uintptr_t)&makers);
    if (!parser->reader) {
        free(parser);
        return NULL;
    }
    parser->reader->privdata = parser;
    parser->reply_max = reply_max;
    return parser;
}

void redis_parser_free(struct redis_parser *parser)
{
    if (!parser)
        return;
    redisReaderFree(parser->reader);
    free(parser);
}

int redis_parser_feed(struct redis_parser *parser, const void *bytes, size_t size)
{
    if (redisReaderFeed(parser->reader, bytes, size) != REDIS_OK)
        return give_up(parser, PERMTAB_E_MEMORY, "out of memory for %zu bytes", size);
    parser->unfinished += size;
    return 0;
}

/* Whether the line that each item begins with has an end: hiredis looks for it from the line's beginning each time. */
static bool line_ends(const redisReader *reader)
{
    size_t left = reader->len - reader->pos;
    return left <= REDIS_LINE_MAX || memchr(reader->buf + reader->pos, '\n', REDIS_LINE_MAX) != NULL;
}

int redis_parser_next(struct redis_parser *parser, struct redis_reply **out)
{
    void *reply = NULL;
    *out = NULL;
    if (redisReaderGetReply(parser->reader, &reply) != REDIS_OK) {
        if (parser->code == 0) {
            parser->code = PERMTAB_E_PROTOCOL;
            (void)snprintf(parser->trouble, sizeof parser->trouble, "%s", parser->reader->errstr);
        }
        return parser->code;
    }
    if (reply) {
        *out = reply;
        parser->unfinished = parser->reader->len - parser->reader->pos;
        parser->elements = 0;
        return 1;
    }
    if (parser->unfinished > parser->reply_max)
        return give_up(parser, PERMTAB_E_LIMIT, "a reply larger than %zu bytes", parser->reply_max);
    if (!line_ends(parser->reader))
        return give_up(parser, PERMTAB_E_PROTOCOL, "a line longer than %zu bytes", REDIS_LINE_MAX);
    return 0;
}

const char *redis_parser_trouble(const struct redis_parser *parser)
{
    return parser->trouble;
}
