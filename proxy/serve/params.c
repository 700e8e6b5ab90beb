/* Parameters and replies of more than one form that many methods share: targets, tokens, and lists that may be too
 * long for a message. */
#include "proxy/serve/request.h"

#include "proxy/names/target.h"
#include "proxy/names/token.h"
#include "proxy/serve/parked.h"

#include <string.h>

bool param_target(struct request *request, const struct wire_value *value, struct target *out)
{
    const char *text = "";
    size_t size = 0;
    int code = PERMTAB_E_INVALID;
    if (wire_as_str(value, &text, &size))
        code = target_parse(&request_catalogue(request)->types, text, size, out);
    if (code == 0)
        return true;
    if (code == PERMTAB_E_NO_SCOPE_TYPE && parked_wait(request))
        return false;
    return request_fail(request, code,
                        "\"%.*s\" is no target, such as user:42, user:42@channel:9, role:7, scope:channel:9, "
                        "tag:raid, prefix:user:4, pattern:user:4? or all",
                        size < TARGET_TEXT_SIZE ? (int)size : (int)TARGET_TEXT_SIZE, text);
}

bool param_targets(struct request *request, const struct wire_value *array, struct target *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!param_target(request, wire_item(array, i), &out[i]))
            return false;
    return true;
}

bool param_optional_token(struct request *request, const struct wire_value *params, struct question *question)
{
    const struct wire_value *token = wire_get(params, "token");
    char text[TOKEN_TEXT_SIZE];
    const char *bytes;
    size_t size;
    if (wire_is_nil(token))
        return true;
    question->has_token = true;
    if (!wire_as_str(token, &bytes, &size))
        return param_id(request, token, "store_id", &question->token_store) &&
               param_id(request, token, "revision", &question->token_revision);
    if (wire_as_text(token, text, sizeof text) &&
        token_parse(text, &question->token_store, &question->token_revision))
        return true;
    return request_fail(request, PERMTAB_E_INVALID, "token: this text is none that a reply had");
}

struct wire_buffer reply_begin(const struct request *request, uint32_t fields)
{
    struct wire_buffer reply;
    wire_buffer_init(&reply);
    wire_reply(&reply, request->id, fields);
    return reply;
}

void reply_token(struct wire_buffer *reply, uint64_t store_id, uint64_t revision)
{
    char text[TOKEN_TEXT_SIZE];
    wire_put_u64(reply, "store_id", store_id);
    wire_put_u64(reply, "revision", revision);
    wire_put_str(reply, "token", token_format(store_id, revision, text));
}

void reply_next(struct wire_buffer *reply, size_t end, size_t count)
{
    wire_str(reply, "next");
    if (end < count)
        wire_u64(reply, end);
    else
        wire_nil(reply);
}
