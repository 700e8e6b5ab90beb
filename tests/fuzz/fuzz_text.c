/* libFuzzer's entry for single texts: the first byte says of what kind. What parses can be written, and what was
 * written parses to the same; the glob is compared with a slow one. */
#include "client/wire/text.h"
#include "client/wire/time_text.h"
#include "proxy/delayed/task.h"
#include "proxy/names/token.h"
#include "proxy/redis/url.h"
#include "proxy/rights/condition.h"
#include "proxy/store/sql_driver.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/target_equal.h"

static const struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};

static void try_scope(const char *text)
{
    struct scope_key key, again;
    char out[SCOPE_TEXT_SIZE];
    if (scope_parse(&types, text, &key) == 0)
        must(key.type < types.count && scope_parse(&types, scope_format(&types, key, out), &again) == 0 &&
             scope_equal(key, again));
}

static void try_target(const char *text)
{
    struct target target, again;
    char out[TARGET_TEXT_SIZE];
    if (target_parse(&types, text, strlen(text), &target) < 0)
        return;
    (void)target_format(&types, &target, out);
    must(target_parse(&types, out, strlen(out), &again) == 0 && target_equal(&target, &again));
}

static void try_time(const char *text)
{
    int64_t time, again;
    char out[TIME_TEXT_SIZE], trouble[TIME_TROUBLE_SIZE];
    if (!time_parse(text, &time))
        return;
    bool plausible = time_plausible(time, trouble);
    must(time_parse(time_format(time, out), &again));
    must(!plausible || time == again);
}

static void try_token(const char *text)
{
    uint64_t store, revision;
    char out[TOKEN_TEXT_SIZE];
    if (token_parse(text, &store, &revision))
        must(strcmp(token_format(store, revision, out), text) == 0);
}

static void must_be_a_sentence(const struct failure *failure, int code)
{
    must(failure->code == code && failure->text[0] != '\0');
}

static void try_redis_url(const char *text)
{
    struct redis_url url;
    struct failure failure = {0};
    int code = redis_url_parse(text, &url, &failure);
    if (code < 0)
        must_be_a_sentence(&failure, code);
    else
        must((url.host[0] != '\0') != (url.path[0] != '\0') && (url.path[0] != '\0' || url.port != 0));
}

static void try_store_url(const char *text)
{
    struct sql_address address;
    struct failure failure = {0};
    int code = sql_address_parse(&address, text, &failure);
    if (code < 0)
        must_be_a_sentence(&failure, code);
    else
        must(address.dialect == SQL_SQLITE
                 ? address.path[0] != '\0'
                 : address.user[0] != '\0' && address.database[0] != '\0' && address.port <= 65535 &&
                       (address.host[0] != '\0') != (address.socket[0] != '\0'));
}

/* A text that was made fit to be shown is fit, and stays as it is. */
static void try_shown(const char *text)
{
    char line[64], again[64], trouble[TEXT_TROUBLE_SIZE];
    for (unsigned lines = 0; lines < 2; lines++) {
        size_t (*clean)(char *, size_t, const char *, size_t) = lines ? text_clean_lines : text_clean_line;
        size_t size = 1 + strlen(text) % sizeof line, length = clean(line, size, text, strlen(text));
        must(length < size && strlen(line) == length && text_is_clean(line, length, lines, trouble) &&
             text_is_utf8(line, length));
        must(clean(again, sizeof again, line, length) == length && strcmp(line, again) == 0);
    }
}

/* The glob of Redis as its documentation says it, by trying everything: `can[i]` says whether the pattern matches up to
 * byte i of the text. */
static void step(const bool *can, bool *next, const char *text, size_t size, const bool *takes)
{
    memset(next, 0, size + 1);
    for (size_t i = 0; i < size; i++)
        next[i + 1] = can[i] && takes[(unsigned char)text[i]];
}

/* One piece of the pattern: the bytes that it takes. Returns what is left. */
static const char *piece(const char *pattern, bool takes[256])
{
    memset(takes, 0, 256);
    if (*pattern == '?') {
        memset(takes, 1, 256);
        return pattern + 1;
    }
    if (*pattern != '[') {
        pattern += *pattern == '\\' && pattern[1] != '\0';
        takes[(unsigned char)*pattern] = true;
        return pattern + 1;
    }
    bool inverted = *++pattern == '^';
    for (pattern += inverted; *pattern != '\0' && *pattern != ']'; pattern++) {
        unsigned char low = (unsigned char)*pattern, high = low;
        if (*pattern == '\\' && pattern[1] != '\0')
            low = high = (unsigned char)*++pattern;
        else if (pattern[1] == '-' && pattern[2] != '\0') {
            high = (unsigned char)pattern[2];
            pattern += 2;
        }
        for (unsigned byte = low < high ? low : high; byte <= (low < high ? high : low); byte++)
            takes[byte] = true;
    }
    for (unsigned byte = 0; inverted && byte < 256; byte++)
        takes[byte] = !takes[byte];
    return pattern + (*pattern == ']');
}

static bool slow_glob(const char *pattern, const char *text)
{
    size_t size = strlen(text);
    bool can[256] = {true}, next[256], takes[256];
    while (*pattern != '\0') {
        if (*pattern == '*') {
            pattern++;
            for (size_t i = 0; i < size; i++)
                can[i + 1] |= can[i];
            continue;
        }
        pattern = piece(pattern, takes);
        step(can, next, text, size, takes);
        memcpy(can, next, size + 1);
    }
    return can[size];
}

static void try_glob(const char *text)
{
    const char *behind = strchr(text, ' ');
    char pattern[TARGET_WORD_SIZE];
    if (behind == NULL || behind - text >= (ptrdiff_t)sizeof pattern || strlen(behind + 1) > 200)
        return;
    (void)memcpy(pattern, text, (size_t)(behind - text));
    pattern[behind - text] = '\0';
    must(target_glob(pattern, behind + 1) == slow_glob(pattern, behind + 1));
}

/* What of a task is text: its targets, their indexes, its reason, what a command names. */
static void try_delayed(const char *text)
{
    static struct delayed_task task, again;
    static char out[DELAYED_TARGETS_SIZE];
    struct delayed_what what, what_again;
    memset(&task, 0, sizeof task);
    delayed_reason(task.reason, text);
    if (delayed_what_parse(&types, text, &what) == 0)
        must(delayed_what_parse(&types, what.text, &what_again) == 0 && what.kind == what_again.kind &&
             strcmp(what.text, what_again.text) == 0);
    if (delayed_targets_parse(&types, text, strlen(text), &task) < 0)
        return;
    (void)delayed_targets_format(&types, &task, out);
    must(delayed_targets_parse(&types, out, strlen(out), &again) == 0 && task.count == again.count);
    for (size_t i = 0; i < task.count; i++)
        must(target_equal(&task.targets[i], &again.targets[i]));
    char *indexes = delayed_indexes(&types, &task);
    must(indexes != NULL);
    free(indexes);
}

static void try_condition(const char *text)
{
    struct condition condition;
    struct failure failure = {0};
    int code = condition_parse(&types, text, &condition, &failure);
    if (code < 0)
        must_be_a_sentence(&failure, code);
    else
        condition_fini(&condition);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(const char *) = {try_scope,     try_target,    try_time,  try_token,
                                                  try_redis_url, try_store_url, try_shown, try_glob,
                                                  try_delayed,   try_condition};
    /* A pattern of 95 bytes against a text of 200 may be tried in 19,000 pieces, and by the slow glob in twice as many;
     * the indexes of a hundred targets are compared with each other. */
    static const struct cost_limit limit = {
        .steps_fixed = 100000, .steps_each = 8, .bytes_fixed = 50000, .bytes_each = 8};
    if (size == 0)
        return 0;
    struct choices choices = choices_of(data, size);
    size_t kind = choose_below(&choices, sizeof kinds / sizeof *kinds);
    char *text = choose_text(&choices, '\0');
    cost_begin();
    kinds[kind](text);
    cost_check(size, &limit);
    free(text);
    return 0;
}
