/* Addresses of Redis: what is understood, and that everything else is refused. */
#include "proxy/redis/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct redis_url parsed(const char *text)
{
    struct redis_url url;
    struct failure failure = {0};
    if (redis_url_parse(text, &url, &failure) != 0)
        fail_msg("%s: %s", text, failure.text);
    return url;
}

static void test_tcp(void **state)
{
    static const struct {
        const char *text, *user, *host;
        unsigned port, database;
    } cases[] = {
        {"redis://cache", "", "cache", 6379, 0},
        {"redis://cache/", "", "cache", 6379, 0},
        {"redis://cache:7000", "", "cache", 7000, 0},
        {"redis://cache:1/0", "", "cache", 1, 0},
        {"redis://cache:65535/65535", "", "cache", 65535, 65535},
        {"redis://bob@cache.example:7000/3", "bob", "cache.example", 7000, 3},
        {"redis://127.0.0.1:7000/3", "", "127.0.0.1", 7000, 3},
        {"redis://[::1]", "", "::1", 6379, 0},
        {"redis://bob@[fe80::1]:7000/2", "bob", "fe80::1", 7000, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct redis_url url = parsed(cases[i].text);
        assert_string_equal(url.user, cases[i].user);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.path, "");
        assert_int_equal(url.port, cases[i].port);
        assert_int_equal(url.database, cases[i].database);
    }
}

static void test_unix(void **state)
{
    (void)state;
    struct redis_url url = parsed("unix:/run/redis/redis.sock");
    assert_string_equal(url.path, "/run/redis/redis.sock");
    assert_string_equal(url.host, "");
    assert_int_equal(url.database, 0);
    assert_int_equal(parsed("unix:/r?db=15").database, 15);
    assert_string_equal(parsed("unix:/r?db=15").path, "/r");
}

static void test_a_path_fits_or_is_refused(void **state)
{
    (void)state;
    char text[5 + REDIS_PATH_MAX + 2] = "unix:/";
    memset(text + 6, 'p', REDIS_PATH_MAX - 1);
    assert_int_equal(strlen(parsed(text).path), REDIS_PATH_MAX);
    text[strlen(text)] = 'p';
    struct redis_url url;
    assert_int_equal(redis_url_parse(text, &url, NULL), PERMTAB_E_INVALID);
}

static void test_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "redis",
        "redis:",
        "redis:/",
        "redis://",
        "redis:///0",
        "rediss://cache",
        "http://cache",
        "cache:6379",
        "REDIS://cache",
        " redis://cache",
        "redis://:6379",
        "redis://cache:",
        "redis://cache:0",
        "redis://cache:65536",
        "redis://cache:6379x",
        "redis://cache:-1",
        "redis://cache:+1",
        "redis://cache:1000000",
        "redis://cache/x",
        "redis://cache/65536",
        "redis://cache/0/",
        "redis://cache/-1",
        "redis://cache?db=1",
        "redis://cache#1",
        "redis://@cache",
        "redis://bob@",
        "redis://[::1",
        "redis://[]",
        "redis://[::1]x",
        "redis://[::1]:",
        "unix:",
        "unix:run/redis.sock",
        "unix:/r?db=",
        "unix:/r?db=x",
        "unix:/r?db=1&x",
        "unix:/r?database=1",
        "unix:/r?",
        "unix:?db=1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct redis_url url;
        struct failure failure = {0};
        int code = redis_url_parse(cases[i], &url, &failure);
        if (code != PERMTAB_E_INVALID || !strstr(failure.text, "neither"))
            fail_msg("\"%s\" is accepted", cases[i]);
    }
}

static void test_a_password_is_refused_and_not_repeated(void **state)
{
    static const char *const cases[] = {"redis://:hunter2@cache", "redis://bob:hunter2@cache:6379/0"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct redis_url url;
        struct failure failure = {0};
        assert_int_equal(redis_url_parse(cases[i], &url, &failure), PERMTAB_E_INVALID);
        assert_non_null(strstr(failure.text, "redis_password_file"));
        assert_null(strstr(failure.text, "hunter2"));
    }
}

static void test_a_long_user_and_host_are_refused(void **state)
{
    char text[1024] = "redis://";
    struct redis_url url;
    (void)state;
    memset(text + 8, 'h', 255);
    assert_int_equal(strlen(parsed(text).host), 255);
    text[8 + 255] = 'h';
    assert_int_equal(redis_url_parse(text, &url, NULL), PERMTAB_E_INVALID);
    memcpy(text + 8 + 128, "@h", 3);
    assert_int_equal(redis_url_parse(text, &url, NULL), PERMTAB_E_INVALID);
    memcpy(text + 8 + 127, "@h", 3);
    assert_int_equal(strlen(parsed(text).user), 127);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_a_path_fits_or_is_refused),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_a_password_is_refused_and_not_repeated),
        cmocka_unit_test(test_a_long_user_and_host_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
