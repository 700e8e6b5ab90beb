/* libFuzzer's entry for policy documents: any text as JSON, as YAML and as whatever it looks like. What parses can be
 * printed; the print is JSON and YAML, parses to the same both ways, and prints the same again. A refusal has one
 * sentence. */
#include "proxy/document/policy.h"
#include "tests/fuzz/fuzz.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

static const struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};

/* Four times what was measured: steps for a short document, and bytes for one of short names and lists. */
static const struct cost_limit limit = {
    .steps_fixed = 10000, .steps_each = 4, .bytes_fixed = 400000, .bytes_each = 120};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    return json_mutate(data, size, max_size, seed);
}

static char *print(const struct policy *policy, size_t *size)
{
    char *text;
    must(policy_print(policy, &types, &text, size) == 0 && strlen(text) == *size);
    return text;
}

/* Parses what was printed and compares the second print. */
static void again(enum policy_format format, const char *text, size_t size)
{
    struct policy policy;
    struct failure failure = {0};
    size_t size_again;
    must(policy_parse(&policy, format, text, size, &types, &failure) == 0);
    char *text_again = print(&policy, &size_again);
    must(size == size_again && memcmp(text, text_again, size) == 0);
    free(text_again);
    policy_fini(&policy);
}

static void must_be_a_sentence(const struct failure *failure, int code)
{
    must(failure->code == code && failure->text[0] != '\0');
    for (const char *at = failure->text; *at; at++)
        must((unsigned char)*at >= ' ' && *at != 0x7f);
}

static int try(enum policy_format format, const char *text, size_t size)
{
    struct policy policy;
    struct failure failure = {0};
    cost_begin();
    int code = policy_parse(&policy, format, text, size, &types, &failure);
    cost_check(size, &limit);
    if (code < 0) {
        must_be_a_sentence(&failure, code);
        return code;
    }
    size_t printed_size;
    char *printed = print(&policy, &printed_size);
    policy_fini(&policy);
    again(POLICY_AUTO, printed, printed_size);
    again(POLICY_JSON, printed, printed_size);
    again(POLICY_YAML, printed, printed_size);
    free(printed);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    int json = try(POLICY_JSON, text, size), yaml = try(POLICY_YAML, text, size);
    int either = try(POLICY_AUTO, text, size);
    must(either == json || either == yaml);
    return 0;
}
