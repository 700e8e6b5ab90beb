/* hiredis' reader knows one limit, of nesting (7), and takes what a peer announces for granted: an array is allocated as
 * long as its header says. So the replies are made here, where they are counted. A bulk that is announced is allocated
 * only once it is there; until then it is bytes of an unfinished reply, which are counted too. */
#include "proxy/redis_parser.h"

#include <hiredis/read.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- making replies: what hiredis calls --------------------------------------------------------------------------- */

static struct redis_reply *make(const redisReadTask *task, enum redis_kind kind, size_t text_size)
{
    struct redis_parser *parser = task->privdata;
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

static void *make_array(const redisReadTask *task, int count)
{
    struct redis_parser *parser = task->privdata;
    if (count < 0 || (size_t)count > REDIS_ELEMENTS_MAX - parser->elements) {
        give_up(parser, PERMTAB_E_LIMIT, "a reply of more than %zu elements", REDIS_ELEMENTS_MAX);
        return NULL;
    }
    struct redis_reply **elements = calloc((size_t)count + 1, sizeof *elements);
    struct redis_reply *reply = elements ? make(task, REDIS_ARRAY, 0) : NULL;
    if (!reply) {
        give_up(parser, PERMTAB_E_MEMORY, "out of memory for an array of %zu", (size_t)count);
        free(elements);
        return NULL;
    }
    parser->elements += (size_t)count;
    reply->elements = elements;
    reply->size = (size_t)count;
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
    if (reply->kind == REDIS_ARRAY) { /* as deep as hiredis nests */
        for (size_t i = 0; i < reply->size; i++)
            redis_reply_free(reply->elements[i]);
        free(reply->elements);
    }
    free(reply);
}

static void free_object(void *object)
{
    redis_reply_free(object);
}

/* hiredis only reads it, and has no const. */
static const redisReplyObjectFunctions makers = {make_text, make_array, make_integer, make_nil, free_object};

/* ---- the parser ----------------------------------------------------------------------------------------------------- */

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

/* Every item begins with a line. hiredis looks for its end from the beginning each time. */
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
