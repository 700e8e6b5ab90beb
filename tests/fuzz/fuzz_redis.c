/* libFuzzer's entry for replies of Redis: any bytes, in the pieces that the first byte says and whole. Both give the
 * same replies and end in the same way; a reply is within its limits. */
#include "proxy/redis/parser.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

#define REPLY_MAX 4096u

/* A reply as bytes, for comparing. */
static void print(const struct redis_reply *reply, FILE *out, unsigned depth, size_t *elements)
{
    size_t size = 0, count = redis_reply_count(reply);
    const char *text = redis_reply_text(reply, &size);
    int64_t number = 0;
    uint64_t whole = 0;
    bool is_number = redis_reply_i64(reply, &number), is_whole = redis_reply_u64(reply, &whole);
    must(depth <= REDIS_DEPTH_MAX + 1 && *elements + count <= REDIS_ELEMENTS_MAX);
    must(!is_number || number <= 0 || (is_whole && whole == (uint64_t)number));
    must(text == NULL || text[size] == '\0');
    *elements += count;
    (void)fprintf(out, "%d %zu %zu %lld ", (int)redis_reply_kind(reply), size, count, (long long)number);
    if (size > 0)
        (void)fwrite(text, 1, size, out);
    for (size_t i = 0; i < count; i++)
        print(redis_reply_at(reply, i), out, depth + 1, elements);
    must(redis_reply_at(reply, count) == NULL);
}

/* Feeds the bytes in pieces; the replies go to `out`. The code of the end. */
static int parse(const char *bytes, size_t size, size_t piece, FILE *out)
{
    struct redis_parser *parser = redis_parser_new(REPLY_MAX);
    int code = 0;
    must(parser != NULL);
    for (size_t at = 0; at < size && code >= 0; at += piece) {
        struct redis_reply *reply;
        code = redis_parser_feed(parser, bytes + at, size - at < piece ? size - at : piece);
        while (code >= 0 && (code = redis_parser_next(parser, &reply)) > 0) {
            size_t elements = 0;
            print(reply, out, 1, &elements);
            struct redis_reply *copy = redis_reply_copy(reply);
            must((copy != NULL) == (redis_reply_text(reply, NULL) != NULL));
            redis_reply_free(copy);
            redis_reply_free(reply);
        }
    }
    must(code >= 0 || redis_parser_trouble(parser)[0] != '\0');
    redis_parser_free(parser);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A million elements may be announced by the reply that ends the input: they are asked for at once, eight
     * megabytes, and gone through once when that reply is given up. */
    static const struct cost_limit limit = {.steps_fixed = 10 * REDIS_ELEMENTS_MAX,
                                            .steps_each = 20,
                                            .bytes_fixed = 16 * REDIS_ELEMENTS_MAX + 1000000,
                                            .bytes_each = 40};
    static const size_t pieces[] = {1, 2, 3, 7, 16, 64, 1000, 16384};
    char *texts[2] = {NULL};
    size_t sizes[2];
    int codes[2];
    if (size == 0)
        return 0;
    size_t piece = pieces[data[0] % 8];
    for (unsigned i = 0; i < 2; i++) {
        FILE *out = open_memstream(&texts[i], &sizes[i]);
        must(out != NULL);
        cost_begin();
        codes[i] = parse((const char *)data + 1, size - 1, i == 0 ? piece : 16384, out);
        cost_check(size, &limit);
        must(fclose(out) == 0);
    }
    /* Small pieces meet the limit on what is unfinished sooner, so one text may be the beginning of the other. */
    bool limited = codes[0] == PERMTAB_E_LIMIT || codes[1] == PERMTAB_E_LIMIT;
    size_t common = sizes[0] < sizes[1] ? sizes[0] : sizes[1];
    must(memcmp(texts[0], texts[1], common) == 0);
    must(limited || (codes[0] == codes[1] && sizes[0] == sizes[1]));
    free(texts[0]);
    free(texts[1]);
    return 0;
}
