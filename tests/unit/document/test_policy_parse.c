/* Policy documents: what is refused, with the exact sentence; JSON and YAML mean the same; printing is stable. */
#include "proxy/document/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};

struct bad {
    enum policy_format format;
    const char *text;
    int code;
    const char *error;
};

#define WANTED "; wanted are microseconds since 1970, or text like 2027-01-01T00:00:00Z"

#define BAD_JSON(text, code, error)                                                                          \
    {                                                                                                        \
        POLICY_JSON, text, PERMTAB_E_##code, error                                                           \
    }
#define BAD_YAML(text, code, error)                                                                          \
    {                                                                                                        \
        POLICY_YAML, text, PERMTAB_E_##code, error                                                           \
    }

static const struct bad bads[] = {
    /* the text */
    BAD_JSON("", SYNTAX, "line 1 column 0: '[' or '{' expected near end of file"),
    BAD_JSON("{\"roles\": [}", SYNTAX, "line 1 column 12: unexpected token near '}'"),
    BAD_JSON("{\n \"roles\": [],\n \"roles\": []\n}", SYNTAX,
             "line 3 column 8: duplicate object key near '\"roles\"'"),
    BAD_JSON("{} {}", SYNTAX, "line 1 column 4: end of file expected near '{'"),
    BAD_JSON(
        "{\"roles\": [{\"id\": 9223372036854775808}]}", SYNTAX,
        "line 1 column 37: too big integer near '9223372036854775808' (numbers above 9223372036854775807 "
        "must be given as strings)"),
    BAD_JSON("{\"roles\": [{\"id\": 1, \"name\": \"\xff\"}]}", SYNTAX,
             "line 1 column 30: unable to decode byte 0xff near '\"'"),
    BAD_JSON("{\"roles\": [{\"id\": 1, \"name\": \"a\\u0000b\"}]}", SYNTAX,
             "line 1 column 39: a NUL character in a string"),
    BAD_JSON("[]", INVALID, "the document must be an object"),
    {POLICY_AUTO, "", PERMTAB_E_SYNTAX, "line 1 column 0: '[' or '{' expected near end of file"},
    {POLICY_AUTO, "[1]", PERMTAB_E_INVALID, "the document must be an object"},
    {POLICY_AUTO, "{\"roles\": [{id: 5}]}", PERMTAB_E_SYNTAX,
     "line 1 column 14: string or '}' expected near 'id'"},

    /* shapes */
    BAD_JSON("{\"role\": []}", INVALID, "unknown key \"role\""),
    BAD_JSON("{\"roles\": {}}", INVALID, "roles: must be a list"),
    BAD_JSON("{\"roles\": [7]}", INVALID, "roles[0]: must be an object"),
    BAD_JSON("{\"roles\": [{\"id\": 1, \"alow\": []}]}", INVALID, "roles[0]: unknown key \"alow\""),
    BAD_JSON("{\"roles\": [{\"name\": \"x\"}]}", INVALID, "roles[0]: \"id\" is missing"),
    BAD_JSON("{\"roles\": [{\"id\": 1, \"default\": 1}]}", INVALID,
             "roles[0].default: must be true or false"),
    BAD_JSON("{\"roles\": [{\"id\": 1, \"name\": null}]}", INVALID, "roles[0].name: must be a string"),
    BAD_JSON("{\"roles\": [{\"id\": 1, \"allow\": \"a.b\"}]}", INVALID, "roles[0].allow: must be a list"),
    BAD_JSON("{\"roles\": [{\"id\": 1}, {\"id\": 2, \"allow\": [\"a.b\", \"x..y\"]}]}", INVALID,
             "roles[1].allow[1]: \"x..y\" is not a permission name: " POLICY_NAME_RULE),
    BAD_JSON("{\"roles\": [{\"id\": 1, \"deny\": [3]}]}", INVALID, "roles[0].deny[0]: must be a string"),

    /* ids */
    BAD_JSON(
        "{\"roles\": [{\"id\": -1}]}", INVALID,
        "roles[0].id: must be an id: a number from 0 to 18446744073709551615, as a string when it is above "
        "9223372036854775807"),
    BAD_JSON(
        "{\"roles\": [{\"id\": 1.0}]}", INVALID,
        "roles[0].id: must be an id: a number from 0 to 18446744073709551615, as a string when it is above "
        "9223372036854775807"),
    BAD_JSON(
        "{\"assignments\": [{\"user\": \"18446744073709551616\", \"role\": 1}]}", INVALID,
        "assignments[0].user: must be an id: a number from 0 to 18446744073709551615, as a string when it "
        "is above 9223372036854775807"),
    BAD_JSON(
        "{\"roles\": [{\"id\": 1, \"inherits\": [\"010\"]}]}", INVALID,
        "roles[0].inherits[0]: must be an id: a number from 0 to 18446744073709551615, as a string when it "
        "is above 9223372036854775807"),

    /* permissions */
    BAD_JSON("{\"permissions\": [{\"name\": \"Message.Send\"}]}", INVALID,
             "permissions[0].name: \"Message.Send\" is not a permission name: " POLICY_NAME_RULE),
    BAD_JSON("{\"permissions\": [{\"name\": \"\"}]}", INVALID,
             "permissions[0].name: \"\" is not a permission name: " POLICY_NAME_RULE),
    BAD_JSON("{\"permissions\": [{\"name\": \"a.\\n\"}]}", INVALID,
             "permissions[0].name: \"a.?\" is not a permission name: " POLICY_NAME_RULE),
    BAD_JSON("{\"permissions\": [{\"name\": \"a\"}, {\"name\": \"b\"}, {\"name\": \"a\"}]}", INVALID,
             "permissions[2]: \"a\" was already declared by permissions[0]"),
    BAD_JSON("{\"permissions\": [{\"name\": \"a\", \"requires\": [\"b\", \"a\"]}]}", INVALID,
             "permissions[0].requires[1]: \"a\" cannot require itself"),
    BAD_JSON("{\"permissions\": [{\"name\": \"a\", \"requires\": [\"b\", \"b\"]}]}", INVALID,
             "permissions[0].requires[1]: \"b\" is in the list already"),

    /* scopes */
    BAD_JSON("{\"scopes\": [{\"scope\": \"server\", \"parent\": \"global\"}]}", INVALID,
             "scopes[0].scope: \"server\" is not a scope: \"global\" or \"type:id\""),
    BAD_JSON("{\"scopes\": [{\"scope\": \"guild:1\", \"parent\": \"global\"}]}", NO_SCOPE_TYPE,
             "scopes[0].scope: \"guild:1\" has a scope type that is not configured: there are global, "
             "server, channel"),
    BAD_JSON("{\"scopes\": [{\"scope\": \"server:1\"}]}", INVALID, "scopes[0]: \"parent\" is missing"),
    BAD_JSON(
        "{\"scopes\": [{\"scope\": \"server:1\", \"parent\": \"channel:2\"}]}", INVALID,
        "scopes[0].parent: channel:2 cannot be above server:1: a parent's type comes before its child's"),
    BAD_JSON("{\"scopes\": [{\"scope\": \"global\", \"parent\": \"server:1\"}]}", INVALID,
             "scopes[0].parent: global has no parent"),
    BAD_JSON("{\"scopes\": [{\"scope\": \"server:1\", \"parent\": \"global\"}, {\"scope\": \"server:1\", "
             "\"parent\": \"global\"}]}",
             INVALID, "scopes[1]: server:1 was already declared by scopes[0]"),
    BAD_JSON("{\"scopes\": [{\"scope\": \"global\", \"overwrites\": [{\"allow\": []}]}]}", INVALID,
             "scopes[0].overwrites[0]: must have one of \"role\" and \"user\""),
    BAD_JSON("{\"scopes\": [{\"scope\": \"global\", \"overwrites\": [{\"role\": 1, \"user\": 1}]}]}", INVALID,
             "scopes[0].overwrites[0]: must have one of \"role\" and \"user\""),
    BAD_JSON(
        "{\"scopes\": [{\"scope\": \"global\", \"overwrites\": [{\"role\": 1}, {\"user\": 1}, {\"role\": "
        "1}]}]}",
        INVALID, "scopes[0].overwrites[2]: role 1 was already overwritten by overwrites[0]"),

    /* roles */
    BAD_JSON("{\"roles\": [{\"id\": 5}, {\"id\": \"5\"}]}", INVALID,
             "roles[1]: role 5 was already declared by roles[0]"),
    BAD_JSON("{\"roles\": [{\"id\": 5, \"inherits\": [6, 7, 6]}]}", INVALID,
             "roles[0].inherits[2]: role 6 is in the list already"),
    BAD_JSON("{\"roles\": [{\"id\": 5, \"inherits\": [5]}]}", CONFLICT,
             "roles[0].inherits: role 5 inherits from itself"),
    BAD_JSON("{\"roles\": [{\"id\": 1, \"inherits\": [2]}, {\"id\": 2, \"inherits\": [3]}, {\"id\": 3, "
             "\"inherits\": [4, 2]}, {\"id\": 4}]}",
             CONFLICT, "roles[1].inherits: role 2 inherits from role 3, which inherits from it: a cycle"),

    /* assignments */
    BAD_JSON("{\"assignments\": [{\"user\": 1}]}", INVALID, "assignments[0]: \"role\" is missing"),
    BAD_JSON(
        "{\"assignments\": [{\"user\": 1, \"role\": 2, \"expires_at\": \"2027-02-29T00:00:00Z\"}]}", INVALID,
        "assignments[0].expires_at: \"2027-02-29T00:00:00Z\" is not a time like \"2027-01-01T00:00:00Z\""),
    BAD_JSON("{\"assignments\": [{\"user\": 1, \"role\": 2, \"expires_at\": 1800000000}]}", INVALID,
             "assignments[0].expires_at: 1800000000 looks like seconds" WANTED),
    BAD_JSON("{\"assignments\": [{\"user\": 1, \"role\": 2, \"expires_at\": 1800000000000}]}", INVALID,
             "assignments[0].expires_at: 1800000000000 looks like milliseconds" WANTED),
    BAD_JSON("{\"assignments\": [{\"user\": 1, \"role\": 2, \"expires_at\": \"1999-12-31T23:59:59Z\"}]}",
             INVALID,
             "assignments[0].expires_at: 1999-12-31T23:59:59Z is before 2000; a number counts microseconds "
             "since 1970"),
    BAD_JSON("{\"assignments\": [{\"user\": 1, \"role\": 2, \"expires_at\": 9223372036854775807}]}", INVALID,
             "assignments[0].expires_at: 9223372036854775807 looks like nanoseconds" WANTED),
    BAD_JSON("{\"assignments\": [{\"user\": 1, \"role\": 2, \"expires_at\": 1.8e15}]}", INVALID,
             "assignments[0].expires_at: must be a time like \"2027-01-01T00:00:00Z\""),
    BAD_JSON(
        "{\"roles\": [{\"id\": 2, \"scope\": \"server:1\"}], \"assignments\": [{\"user\": 1, \"role\": 2}, "
        "{\"user\": 1, \"role\": 2, \"scope\": \"server:1\"}]}",
        INVALID, "assignments[1]: the same user, role and scope as assignments[0]"),
    BAD_JSON(
        "{\"roles\": [{\"id\": 2, \"scope\": \"server:1\"}], \"assignments\": [{\"user\": 1, \"role\": 2, "
        "\"scope\": \"server:2\"}]}",
        CONFLICT,
        "assignments[0]: role 2 is of server:1 and cannot be held at server:2, which is not below it"),
    BAD_JSON(
        "{\"scopes\": [{\"scope\": \"channel:3\", \"parent\": \"server:2\"}], \"roles\": [{\"id\": 2, "
        "\"scope\": \"server:1\"}], \"assignments\": [{\"user\": 1, \"role\": 2, \"scope\": \"channel:3\"}]}",
        CONFLICT,
        "assignments[0]: role 2 is of server:1 and cannot be held at channel:3, which is not below it"),

    /* YAML of its own */
    BAD_YAML("", SYNTAX, "the document is empty"),
    BAD_YAML("roles: [", SYNTAX, "line 2 column 1: did not find expected node content"),
    BAD_YAML("roles:\n  - id: 1\n    id: 2\n", SYNTAX, "line 3 column 5: duplicate key \"id\""),
    BAD_YAML("roles: &x []\nscopes: *x\n", SYNTAX, "line 1 column 8: anchors and aliases are not taken"),
    BAD_YAML("scopes: *x\n", SYNTAX, "line 1 column 9: anchors and aliases are not taken"),
    BAD_YAML("roles:\n  - id: !!int 1\n", SYNTAX, "line 2 column 9: tags are not taken"),
    BAD_YAML("roles:\n  - id: 9223372036854775808\n", SYNTAX,
             "line 2 column 9: too big integer (numbers above 9223372036854775807 must be given as strings)"),
    BAD_YAML("roles: []\n---\nroles: []\n", SYNTAX, "line 2 column 1: a second document"),
    BAD_YAML("? [a]\n: b\n", SYNTAX, "line 1 column 3: a key must be a scalar"),
    BAD_YAML("roles: [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]\n", SYNTAX, "line 1 column 23: nested too deeply"),
    BAD_YAML("roles:\n  - id: \"a\\0b\"\n", SYNTAX, "line 2 column 9: a NUL character in a string"),
    BAD_YAML(
        "roles:\n  - id: 010\n", INVALID,
        "roles[0].id: must be an id: a number from 0 to 18446744073709551615, as a string when it is above "
        "9223372036854775807"),
    BAD_YAML("roles:\n  - id: 1\n    default: yes\n", INVALID, "roles[0].default: must be true or false"),
    BAD_YAML("roles:\n  - id: 1\n    name: 7\n", INVALID, "roles[0].name: must be a string"),
    BAD_YAML("roles:\n\t- id: 1\n", SYNTAX, "line 2 column 1: found character that cannot start any token"),
    BAD_YAML("roles: \xff\n", SYNTAX, "byte 7: invalid leading UTF-8 octet"),
};

static void test_bad_documents(void **state)
{
    size_t wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct policy policy;
        struct failure failure = {0};
        int code =
            policy_parse(&policy, bads[i].format, bads[i].text, strlen(bads[i].text), &types, &failure);
        if (code == bads[i].code && failure.code == code && strcmp(failure.text, bads[i].error) == 0)
            continue;
        wrong++;
        print_error("%s\n  wanted %d %s\n  got    %d %s\n", bads[i].text, bads[i].code, bads[i].error, code,
                    failure.text);
        if (code >= 0)
            policy_fini(&policy);
    }
    assert_int_equal(wrong, 0);
}

static void test_limits(void **state)
{
    struct policy policy;
    struct failure failure = {0};
    char text[2048], long_name[1200];
    (void)state;
    memset(long_name, 'a', sizeof long_name);
    snprintf(text, sizeof text, "{\"permissions\": [{\"name\": \"%.101s\"}]}", long_name);
    assert_int_equal(policy_parse(&policy, POLICY_JSON, text, strlen(text), &types, &failure),
                     PERMTAB_E_INVALID);
    snprintf(text, sizeof text, "{\"permissions\": [{\"name\": \"%.100s\"}]}", long_name);
    assert_int_equal(policy_parse(&policy, POLICY_JSON, text, strlen(text), &types, &failure), 0);
    policy_fini(&policy);
    snprintf(text, sizeof text, "{\"roles\": [{\"id\": 1, \"name\": \"%.201s\"}]}", long_name);
    assert_int_equal(policy_parse(&policy, POLICY_JSON, text, strlen(text), &types, &failure),
                     PERMTAB_E_LIMIT);
    assert_string_equal(failure.text, "roles[0].name: is longer than 200 bytes");
    snprintf(text, sizeof text, "{\"permissions\": [{\"name\": \"a\", \"description\": \"%.1001s\"}]}",
             long_name);
    assert_int_equal(policy_parse(&policy, POLICY_JSON, text, strlen(text), &types, &failure),
                     PERMTAB_E_LIMIT);
    assert_string_equal(failure.text, "permissions[0].description: is longer than 1000 bytes");
    assert_int_equal(policy_parse(&policy, POLICY_JSON, text, POLICY_SIZE_MAX + (size_t)1, &types, &failure),
                     PERMTAB_E_LIMIT);
}

static char *file_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = malloc(1 << 20);
    assert_non_null(text);
    *size = fread(text, 1, 1 << 20, file);
    fclose(file);
    return text;
}

/* Parses and prints. */
static char *reprint(enum policy_format format, const char *text, size_t size)
{
    struct policy policy;
    struct failure failure = {0};
    char *out = NULL;
    size_t out_size = 0;
    int code = policy_parse(&policy, format, text, size, &types, &failure);
    if (code < 0)
        print_error("%s\n", failure.text);
    assert_int_equal(code, 0);
    assert_int_equal(policy_print(&policy, &types, &out, &out_size), 0);
    assert_int_equal(strlen(out), out_size);
    policy_fini(&policy);
    return out;
}

/* The format of a text, when nobody says it, is seen from how it begins, behind a byte order mark and blanks. */
static void test_formats_are_seen(void **state)
{
    static const struct {
        const char *text;
        enum policy_format format;
    } texts[] = {
        {"{\"roles\": [{\"id\": 5}]}", POLICY_AUTO},
        {" \r\n\t{ \n\"roles\": [{\"id\": 5}]}", POLICY_AUTO},
        {"\xef\xbb\xbf{\"roles\": [{\"id\": 5}]}", POLICY_AUTO},
        {"\xef\xbb\xbf{\"roles\": [{\"id\": 5}]}", POLICY_JSON},
        {"roles:\n  - id: 5\n", POLICY_AUTO},
        {"# a remark\n---\nroles:\n  - id: 5\n", POLICY_AUTO},
        {"\"roles\": [{\"id\": 5}]\n", POLICY_AUTO},
        {"{roles: [{id: 5}]}\n", POLICY_AUTO},
        {"\xef\xbb\xbfroles:\n  - id: 5\n", POLICY_AUTO},
        {"\xef\xbb\xbfroles:\n  - id: 5\n", POLICY_YAML},
        {"{\"roles\": [{id: 5}]}", POLICY_YAML},
    };
    (void)state;
    char *wanted = reprint(POLICY_JSON, texts[0].text, strlen(texts[0].text));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *out = reprint(texts[i].format, texts[i].text, strlen(texts[i].text));
        assert_string_equal(out, wanted);
        free(out);
    }
    free(wanted);
}

static void test_samples_mean_the_same(void **state)
{
    size_t json_size, yaml_size;
    char *json = file_read(SOURCE_DIR "/conf/policies/community.json", &json_size);
    char *yaml = file_read(SOURCE_DIR "/conf/policies/community.yaml", &yaml_size);
    (void)state;
    char *of_json = reprint(POLICY_JSON, json, json_size);
    char *of_yaml = reprint(POLICY_YAML, yaml, yaml_size);
    assert_string_equal(of_json, of_yaml);
    /* JSON is YAML, and what is printed is printed the same again. */
    char *json_as_yaml = reprint(POLICY_YAML, json, json_size);
    char *again = reprint(POLICY_JSON, of_json, strlen(of_json));
    assert_string_equal(of_json, json_as_yaml);
    assert_string_equal(of_json, again);
    assert_non_null(strstr(of_json, "\"18446744073709551615\""));
    free(again);
    free(json_as_yaml);
    free(of_yaml);
    free(of_json);
    free(yaml);
    free(json);
}

static void test_every_key(void **state)
{
    static const char text[] =
        "{\"permissions\": [{\"name\": \"z.last\", \"deprecated\": true}, {\"name\": \"a.b\", "
        "\"description\": "
        "\"a \\\"quoted\\\" thing\", \"requires\": [\"z.last\"], \"grants_all\": true}],"
        "\"scopes\": [{\"scope\": \"global\", \"parent\": \"global\", \"owner\": 3}, {\"scope\": "
        "\"server:1\", "
        "\"parent\": \"global\", \"owner\": null, \"overwrites\": [{\"user\": 7, \"allow\": [\"a.b\"]}, "
        "{\"role\": "
        "\"9223372036854775808\", \"allow\": [], \"deny\": [\"z.last\", \"a.b\"]}]}],"
        "\"roles\": [{\"id\": \"9223372036854775808\"}, {\"id\": 9007199254740993, \"name\": \"r\", "
        "\"scope\": "
        "\"server:1\", \"default\": true, \"active\": false, \"inherits\": [\"9223372036854775808\", 5], "
        "\"allow\": [\"z.last\", \"a.b\"], \"allow_own\": [\"a.b\"], \"deny\": [\"z.last\"]}],"
        "\"assignments\": [{\"user\": 7, \"role\": 5, \"scope\": \"server:1\", \"expires_at\": "
        "\"2027-01-01T01:30:00.25+01:30\"}, {\"user\": 0, \"role\": 5, \"expires_at\": null}]}";
    static const char wanted[] =
        "{\"permissions\": [\n"
        "  {\"name\": \"a.b\", \"description\": \"a \\\"quoted\\\" thing\", \"requires\": [\"z.last\"], "
        "\"grants_all\": true},\n"
        "  {\"name\": \"z.last\", \"deprecated\": true}\n"
        " ],\n"
        " \"scopes\": [\n"
        "  {\"scope\": \"global\", \"owner\": 3},\n"
        "  {\"scope\": \"server:1\", \"parent\": \"global\", \"overwrites\": [{\"role\": "
        "\"9223372036854775808\", "
        "\"deny\": [\"a.b\", \"z.last\"]}, {\"user\": 7, \"allow\": [\"a.b\"]}]}\n"
        " ],\n"
        " \"roles\": [\n"
        "  {\"id\": \"9007199254740993\", \"name\": \"r\", \"scope\": \"server:1\", \"default\": true, "
        "\"active\": "
        "false, \"inherits\": [5, \"9223372036854775808\"], \"allow\": [\"a.b\", \"z.last\"], \"allow_own\": "
        "[\"a.b\"], \"deny\": [\"z.last\"]},\n"
        "  {\"id\": \"9223372036854775808\", \"name\": \"\", \"scope\": \"global\"}\n"
        " ],\n"
        " \"assignments\": [\n"
        "  {\"user\": 0, \"role\": 5},\n"
        "  {\"user\": 7, \"role\": 5, \"scope\": \"server:1\", \"expires_at\": "
        "\"2027-01-01T00:00:00.250000Z\"}\n"
        " ]}\n";
    (void)state;
    char *out = reprint(POLICY_JSON, text, strlen(text));
    assert_string_equal(out, wanted);
    free(out);
}

static void test_empty(void **state)
{
    (void)state;
    char *out = reprint(POLICY_JSON, "{}", 2);
    assert_string_equal(out,
                        "{\"permissions\": [],\n \"scopes\": [],\n \"roles\": [],\n \"assignments\": []}\n");
    free(out);
}

/* A long chain must neither overflow the stack nor count as a cycle; its last link closes one. */
static void test_deep_inheritance(void **state)
{
    const size_t count = 50000;
    char *text = malloc(count * 64);
    size_t used = 0;
    struct policy policy;
    struct failure failure = {0};
    (void)state;
    assert_non_null(text);
    used += (size_t)sprintf(text + used, "{\"roles\": [");
    for (size_t i = 0; i + 1 < count; i++)
        used += (size_t)sprintf(text + used, "{\"id\": %zu, \"inherits\": [%zu]},", i, i + 1);
    size_t last = used;
    used += (size_t)sprintf(text + used, "{\"id\": %zu}]}", count - 1);
    assert_int_equal(policy_parse(&policy, POLICY_JSON, text, used, &types, &failure), 0);
    policy_fini(&policy);
    used = last + (size_t)sprintf(text + last, "{\"id\": %zu, \"inherits\": [1]}]}", count - 1);
    assert_int_equal(policy_parse(&policy, POLICY_JSON, text, used, &types, &failure), PERMTAB_E_CONFLICT);
    assert_string_equal(failure.text,
                        "roles[1].inherits: role 1 inherits from role 2, which inherits from it: a cycle");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_documents),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_formats_are_seen), cmocka_unit_test(test_samples_mean_the_same),
        cmocka_unit_test(test_every_key),        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_deep_inheritance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
