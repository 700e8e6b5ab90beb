/* A request of a client on its way to a reply. The methods themselves are in serve/methods/, their table in
 * serve/methods/methods.c. */
#ifndef PERMTAB_SERVE_REQUEST_H
#define PERMTAB_SERVE_REQUEST_H

#include "client/wire/wire.h"
#include "proxy/serve/session.h"

struct request;

struct method {
    const char *name;
    bool before_hello; /* may be called without hello */
    bool writing;      /* asks for root or our own uid */
    /* serve: replies or fails now or later, exactly once. `params` is borrowed for the call. */
    void (*serve)(struct request *request, const struct wire_value *params);
};

struct request {
    struct session *session; /* NULL once it was closed: the reply then goes nowhere */
    struct server *server;
    const struct parts *parts; /* of the server */
    const struct method *method;
    uint64_t id;
    /* cancel: called when the session ends first. It must end the request now (request_drop), unless a thread still
     * works for it: then `cancel` is left NULL, and the reply ends the request. */
    void (*cancel)(struct request *request);
    void *state;       /* of the method, freed by it */
    const char *frame; /* the message's bytes, while it is being served */
    size_t frame_size;
    bool waited;                 /* has been parked: parked.h */
    struct request *prev, *next; /* of the session */
};

/* Takes a decoded message of a session, and its bytes: finds the method, checks the peer, serves. */
void request_begin(struct session *session, const struct wire_message *message, const char *frame);

/* Each of these functions ends the request. */
void request_reply(struct request *request, struct wire_buffer *reply);
void request_reply_descriptors(struct request *request, struct wire_buffer *reply, const int *descriptors,
                               unsigned count);
/* Puts the method's name in front of the sentence. Returns false, so that a reader of parameters may
 * `return request_fail(…)`. */
bool request_fail(struct request *request, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void request_drop(struct request *request); /* without a reply */

/* The catalogue by which names and bits are read now, on this host. */
static inline const struct catalogue *request_catalogue(const struct request *request)
{
    return publisher_catalogue(request->parts->publisher);
}

/* ---- parameters ------------------------------------------------------------------------------------------------ */

/* Each of these functions reads one key of params. On failure the request has been failed with a sentence that
 * names the key, and false is returned: the caller returns at once. */
bool param_id(struct request *request, const struct wire_value *params, const char *key, uint64_t *out);
bool param_text(struct request *request, const struct wire_value *params, const char *key, char *out,
                size_t size);
bool param_scope(struct request *request, const struct wire_value *params, const char *key,
                 struct scope_key *out);
/* Reads the bit of a permission that exists. */
bool param_permission(struct request *request, const struct wire_value *params, const char *key,
                      uint32_t *out);
/* The param_optional_ functions leave *out alone when the key is missing or nil. */
bool param_optional_bool(struct request *request, const struct wire_value *params, const char *key,
                         bool *out);
bool param_optional_id(struct request *request, const struct wire_value *params, const char *key,
                       bool *present, uint64_t *out);

/* Reads microseconds since 1970, as a number or as text, or RFC 3339 text; a time before 2000 or after 9999 is
 * refused. */
bool param_optional_time(struct request *request, const struct wire_value *params, const char *key,
                         bool *present, int64_t *out);
/* params.c: a token that `token` holds, as the text or the map that a reply had. */
bool param_optional_token(struct request *request, const struct wire_value *params,
                          struct question *question);
/* The head of a reply that succeeds; `fields` pairs must follow (client/wire/wire.h), and request_reply. */
struct wire_buffer reply_begin(const struct request *request, uint32_t fields);
/* The three pairs store_id, revision and token, which say up to where a reply holds. */
#define REPLY_TOKEN_FIELDS 3u
void reply_token(struct wire_buffer *reply, uint64_t store_id, uint64_t revision);

/* A list that may be too long for a message is given in pages to clients that name a place to go on `from`. A page
 * is small enough that no other client waits for it. Clients that name no place get the whole, when it fits. */
#define REPLY_PAGE_BYTES  (128u * 1024)
#define REPLY_WHOLE_BYTES (WIRE_FRAME_MAX - 1024u)
#define REPLY_TOO_LARGE                                                                                      \
    "the answer is larger than a message may be: ask for its pages, the first with from = 0"
/* Packs the pair `next`: where the next page begins, or nil. */
void reply_next(struct wire_buffer *reply, size_t end, size_t count);

struct target;
bool param_target(struct request *request, const struct wire_value *value, struct target *out);
/* `count` texts of an array as targets (a NULL or missing text is none). */
bool param_targets(struct request *request, const struct wire_value *array, struct target *out, size_t count);

#define PERMISSION_TEXT_SIZE 128

#endif
