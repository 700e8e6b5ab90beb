/* Replies out of a stream of bytes: hiredis' reader, making replies of our own, with limits on the memory that a
 * server may make us use. Private to redis/. */
#ifndef PERMTAB_REDIS_PARSER_H
#define PERMTAB_REDIS_PARSER_H

#include "proxy/redis/reply.h"
#include "shm/error.h"

#define REDIS_ELEMENTS_MAX 1000000 /* of all arrays of one reply together */
#define REDIS_DEPTH_MAX    7       /* arrays in arrays */
#define REDIS_LINE_MAX     65536   /* of a status, an error, a number or a length */

struct redis_reply {
    enum redis_kind kind;
    int64_t integer;
    size_t size;                   /* bytes of the text, or elements of the array */
    struct redis_reply **elements; /* REDIS_ARRAY */
    char text[];                   /* REDIS_TEXT, REDIS_REFUSAL; zero-terminated */
};

struct redis_parser;

/* `reply_max`: bytes on the wire of one reply. NULL when memory is short. */
struct redis_parser *redis_parser_new(size_t reply_max);
void redis_parser_free(struct redis_parser *parser);
/* PERMTAB_E_MEMORY. Feed little at a time (16 KiB) and call redis_parser_next in between: it checks the limits. */
int redis_parser_feed(struct redis_parser *parser, const void *bytes, size_t size) PERMTAB_MUST_CHECK;
/* 1: a reply, to be freed by the caller. 0: more bytes are needed. PERMTAB_E_PROTOCOL, _LIMIT, _MEMORY: this stream
 * gives no more replies. */
int redis_parser_next(struct redis_parser *parser, struct redis_reply **out) PERMTAB_MUST_CHECK;
/* A sentence for the last negative code. */
const char *redis_parser_trouble(const struct redis_parser *parser);

void redis_reply_free(struct redis_reply *reply);
/* A copy of a text or a refusal, to be freed by the caller. NULL when memory is short, or for another kind. */
struct redis_reply *redis_reply_copy(const struct redis_reply *reply);

#endif
