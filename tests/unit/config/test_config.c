/* The configuration: every bad one gets its exact message, and the sample file and the manual say what the table
 * says. */
#include "proxy/config/config.h"

#include "proxy/config/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char folder[64];
    char path[96];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/permtab-config-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/permtab.conf", fixture->folder);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    (void)unlink(fixture->path);
    (void)rmdir(fixture->folder);
    free(fixture);
    return 0;
}

static void write_file(const struct fixture *fixture, const char *text)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* ---- bad ones -------------------------------------------------------------------------------------------------- */

#define LONG_PATH                                                                                            \
    "/run/"                                                                                                  \
    "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901" \
    "2"

struct bad {
    const char *text;
    const char *message; /* FILE stands for the path */
};

static const struct bad bad_files[] = {
    {"colour = \"red\"\n", "FILE:1: no such option 'colour'"},
    {"\n\nstore \"x\"\n", "FILE:3: missing equal sign after option 'store'"},
    {"store = \"sqlite:/a\n", "FILE:2: premature end of file"},
    {"permissions_max = 512\npermissions_max = 512\n",
     "FILE:2: permissions_max: is given a second time, after line 1"},
    {"permissions_max = many\n", "FILE:1: permissions_max: \"many\" is not a whole number"},
    {"permissions_max = -64\n", "FILE:1: permissions_max: \"-64\" is not a whole number"},
    {"permissions_max = 100\n", "FILE:1: permissions_max: 100 is not a multiple of 64"},
    {"permissions_max = 32768\n", "FILE:1: permissions_max: 32768 is not within 64 to 16384"},
    {"table_entries = 99999999999999999999\n",
     "FILE:1: table_entries: \"99999999999999999999\" is not a whole number"},
    {"table_entries = 0\n", "FILE:1: table_entries: 0 is not within 1 to 1000000000"},
    {"table_memory_max = \"1 GB\"\n",
     "FILE:1: table_memory_max: \"1 GB\" is not a size such as 512MB or 64KiB"},
    {"table_memory_max = \"99999999999TB\"\n",
     "FILE:1: table_memory_max: \"99999999999TB\" is not a size such as 512MB or 64KiB"},
    {"poll_interval = 100\n",
     "FILE:1: poll_interval: \"100\" is not a duration such as 100ms, 2s, 5m, 1h or 7d"},
    {"hit_rate_target = 1.1\n", "FILE:1: hit_rate_target: 1.1 is not within 0 to 1"},
    {"hit_rate_target = -0.5\n", "FILE:1: hit_rate_target: \"-0.5\" is not a number such as 0.5"},
    {"hit_rate_target = 0.\n", "FILE:1: hit_rate_target: \"0.\" is not a number such as 0.5"},
    {"hit_rate_target = .5\n", "FILE:1: hit_rate_target: \".5\" is not a number such as 0.5"},
    {"hit_rate_target = 5e-1\n", "FILE:1: hit_rate_target: \"5e-1\" is not a number such as 0.5"},
    {"hit_rate_target = nan\n", "FILE:1: hit_rate_target: \"nan\" is not a number such as 0.5"},
    {"hit_rate_target = \"\"\n", "FILE:1: hit_rate_target: \"\" is not a number such as 0.5"},
    {"hit_rate_target = 50%\n", "FILE:1: hit_rate_target: \"50%\" is not a number such as 0.5"},
    {"poll_interval = \"1ms\"\n", "FILE:1: poll_interval: 1ms is not within 5ms to 1m"},
    {"max_staleness = \"99ms\"\n", "FILE:1: max_staleness: 99ms is not within 100ms to 1h"},
    {"# a comment\nmax_staleness = \"200ms\"\n", "FILE:2: max_staleness: 200ms is not more than twice "
                                                 "poll_interval (100ms): the lease would lapse between "
                                                 "polls"},
    {"store = sqlite:///a # b\n/* c\n d */ // \"e\nredis = \"#1\" /**/\n",
     "FILE:4: redis: \"#1\" is neither redis://[user@]host:port/database nor unix:/path"},
    {"poll_interval = \"1s\"\n", "max_staleness: 2000ms is not more than twice poll_interval (1000ms): the "
                                 "lease would lapse between polls"},
    {"redis = \"redis://:secret@localhost:6379/0\"\n",
     "FILE:1: redis: a password does not belong in the URL: use redis_password_file"},
    {"redis = \"redis://localhost:66666/0\"\n", "FILE:1: redis: \"redis://localhost:66666/0\" is neither "
                                                "redis://[user@]host:port/database nor unix:/path"},
    {"redis_prefix = \"a b\"\n", "FILE:1: redis_prefix: at most 64 bytes, without blanks or braces"},
    {"store_replica = \"mysql://a@b/c\"\n",
     "FILE:1: store_replica: only a MySQL store has replicas, mysql://user@host:port/database"},
    {"store = \"postgres://localhost\"\n",
     "FILE:1: store: \"postgres://localhost\" is neither sqlite:/path nor mysql://user@host:port/database"},
    {"store = \"sqlite:\"\n", "FILE:1: store: sqlite: without a path"},
    {"store = \"mysql://user:secret@localhost/permtab\"\n",
     "FILE:1: store: a password does not belong in the URL: use store_password_file"},
    {"store_migrate = yes\n", "FILE:1: store_migrate: \"yes\" is not true or false"},
    {"store_timeout = \"1500ms\"\n", "FILE:1: store_timeout: must be whole seconds"},
    {"store_password_file = \"/nonexistent/secret\"\n",
     "FILE:1: store_password_file: /nonexistent/secret: No such file or directory"},
    {"socket = \"\"\n", "FILE:1: socket: must not be empty"},
    {"socket = \"" LONG_PATH "\"\n", "FILE:1: socket: a path of 108 bytes; a Unix socket's is at most 107"},
    {"socket = \"/run/a\"\nops_socket = \"/run/a\"\n", "FILE:2: ops_socket: must not be the same as socket"},
    {"socket_mode = \"0999\"\n", "FILE:1: socket_mode: \"0999\" is not an octal mode such as 0666"},
    {"socket_mode = \"07777\"\n", "FILE:1: socket_mode: 07777 is not within 0000 to 0777"},
    {"scope_types = {\"server\"}\n",
     "FILE:1: scope_types: the first scope type must be \"global\", not \"server\""},
    {"scope_types = {}\n", "FILE: scope_types: the list is empty"},
    {"scope_types = {\"global\"}\nscope_types = {\"global\"}\n",
     "FILE:2: scope_types: is given a second time, after line 1"},
    {"scope_types = {\"global\", \"server\"}\nscope_types = {\"global\"}\n",
     "FILE:2: scope_types: is given a second time, after line 1"},
    {"scope_types = {\"global\", \"server\", \"server\"}\n",
     "FILE:1: scope_types: \"server\" is named twice"},
    {"scope_types = {\"global\", \"Server\"}\n",
     "FILE:1: scope_types: \"Server\" is not a name of a scope type (a letter, then a-z, 0-9 or _)"},
    {"scope_types = {\"global\", \"a,b\"}\n", "FILE:1: scope_types: \"a,b\" has a comma in it"},
    {"scope_types = {\"global\", \"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\", "
     "\"k\", \"l\", "
     "\"m\", \"n\", \"o\"}\n",
     "FILE:1: scope_types: more than 15 scope types"},
    {"scope_types = {\"global\", \"a12345678901234567890123456789012\"}\n",
     "FILE:1: scope_types: \"a12345678901234567890123456789012\" is longer than 31 bytes"},
    {"table_entries = 100000000\ntable_memory_max = \"1MB\"\n",
     "FILE:2: table_memory_max: 1000000 bytes are fewer "},
    {"log_level = \"loud\"\n", "FILE:1: log_level: \"loud\" is not error, warning, info or debug"},
    {"\"\\x01\" = 5\n", "FILE: cannot be read"},
};

/* A message of the table may be the beginning of the real one only when it ends in a space. */
static void assert_message(const struct fixture *fixture, const char *expected, const char *real)
{
    char text[FAILURE_TEXT_SIZE];
    if (strncmp(expected, "FILE", 4) == 0)
        (void)snprintf(text, sizeof text, "%s%s", fixture->path, expected + 4);
    else
        (void)snprintf(text, sizeof text, "%s", expected);
    if (text[strlen(text) - 1] == ' ')
        assert_memory_equal(real, text, strlen(text));
    else
        assert_string_equal(real, text);
}

static void test_bad_files(void **state)
{
    const struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof bad_files / sizeof bad_files[0]; i++) {
        struct config config;
        struct failure failure = {0};
        write_file(fixture, bad_files[i].text);
        int code = config_load(&config, fixture->path, &failure);
        if (code >= 0)
            print_error("accepted: %s", bad_files[i].text);
        assert_true(code < 0);
        assert_int_equal(failure.code, code);
        assert_message(fixture, bad_files[i].message, failure.text);
    }
}

static void test_no_file(void **state)
{
    const struct fixture *fixture = *state;
    struct config config;
    struct failure failure;
    assert_int_equal(config_load(&config, "/nonexistent/permtab.conf", &failure), PERMTAB_E_SYSTEM);
    assert_string_equal(failure.text, "/nonexistent/permtab.conf: No such file or directory");
    /* libconfuse's scanner would end the process on a directory. */
    assert_int_equal(config_load(&config, fixture->folder, &failure), PERMTAB_E_SYSTEM);
    assert_non_null(strstr(failure.text, ": not a regular file"));
}

/* ---- good ones ------------------------------------------------------------------------------------------------- */

static void load(struct config *config, const char *path)
{
    struct failure failure = {0};
    int code = config_load(config, path, &failure);
    if (code < 0)
        print_error("%s\n", failure.text);
    assert_int_equal(code, 0);
}

static void assert_defaults(const struct config *config)
{
    char value[1024];
    for (size_t i = 0; i < config_option_count; i++) {
        config_option_format(config, &config_options[i], value, sizeof value);
        assert_string_equal(value, config_options[i].fallback);
    }
}

static void test_defaults(void **state)
{
    struct config config;
    (void)state;
    load(&config, NULL);
    assert_defaults(&config);
    assert_int_equal(config.max_staleness_ms, 2000);
    assert_int_equal(config.table_memory_max, 1000000000);
    assert_int_equal(config.change_retention_ms, 7ull * 24 * 3600 * 1000);
    assert_int_equal(config.socket_mode, 0666);
    assert_int_equal(config.scope_types.count, 3);
    assert_string_equal(config.scope_types.names[2], "channel");
    config_fini(&config);
}

static void test_environment_wins(void **state)
{
    const struct fixture *fixture = *state;
    struct config config;
    struct failure failure;
    write_file(fixture, "max_staleness = \"5s\"\ntable_entries = 7\n");
    assert_int_equal(setenv("PERMTAB_MAX_STALENESS", "3s", 1), 0);
    assert_int_equal(setenv("PERMTAB_SCOPE_TYPES", "global,team", 1), 0);
    load(&config, fixture->path);
    assert_int_equal(config.max_staleness_ms, 3000);
    assert_int_equal(config.table_entries, 7);
    assert_string_equal(config.scope_types.names[1], "team");
    config_fini(&config);
    assert_int_equal(setenv("PERMTAB_MAX_STALENESS", "soon", 1), 0);
    assert_int_equal(config_load(&config, fixture->path, &failure), PERMTAB_E_INVALID);
    assert_string_equal(failure.text,
                        "environment variable PERMTAB_MAX_STALENESS: max_staleness: \"soon\" is not a "
                        "duration such as 100ms, 2s, 5m, 1h or 7d");
    (void)unsetenv("PERMTAB_MAX_STALENESS");
    (void)unsetenv("PERMTAB_SCOPE_TYPES");
}

/* libconfuse tells of it twice, as it would of an option that is given twice. */
static void test_a_list_of_one(void **state)
{
    const struct fixture *fixture = *state;
    struct config config;
    write_file(fixture, "scope_types = {\"global\"}\n");
    load(&config, fixture->path);
    assert_int_equal(config.scope_types.count, 1);
    config_fini(&config);
}

static void test_password_file(void **state)
{
    const struct fixture *fixture = *state;
    struct config config;
    char text[4096] = {0};
    write_file(fixture, "s3cret \"word\"\nnot this\n");
    assert_int_equal(setenv("PERMTAB_STORE_PASSWORD_FILE", fixture->path, 1), 0);
    load(&config, NULL);
    (void)unsetenv("PERMTAB_STORE_PASSWORD_FILE");
    assert_string_equal(config.store_password, "s3cret \"word\"");
    FILE *out = fmemopen(text, sizeof text - 1, "w");
    assert_non_null(out);
    config_print(&config, out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "store_password_file"));
    assert_null(strstr(text, "s3cret"));
    config_fini(&config);
}

/* -t prints a configuration, and the same one. */
static void test_print_and_read_again(void **state)
{
    const struct fixture *fixture = *state;
    struct config first, second;
    write_file(fixture,
               "store = \"sqlite:/tmp/a \\\"b\\\" \\\\c.db\"\nscope_types = {\"global\", \"org\", \"team\"}\n"
               "socket_mode = \"0600\"\ntable_memory_max = \"64MiB\"\nstore_migrate = false\n"
               "poll_interval = \"50ms\"\n");
    load(&first, fixture->path);
    FILE *out = fopen(fixture->path, "w");
    assert_non_null(out);
    config_print(&first, out);
    assert_int_equal(fclose(out), 0);
    load(&second, fixture->path);
    assert_string_equal(second.store, "sqlite:/tmp/a \"b\" \\c.db");
    for (size_t i = 0; i < config_option_count; i++) {
        char a[1024], b[1024];
        config_option_format(&first, &config_options[i], a, sizeof a);
        config_option_format(&second, &config_options[i], b, sizeof b);
        assert_string_equal(a, b);
    }
    config_fini(&first);
    config_fini(&second);
}

/* Whatever a value has in it: a variable's name that was meant as it stands, lines, controls, a great length. */
static void test_print_and_read_odd_texts_again(void **state)
{
    const struct fixture *fixture = *state;
    static const char *const texts[] = {"sqlite:/a/${HOME}/b", "sqlite:/$HOME ${",
                                        "sqlite:/a\nb\tc\x1b[31m\x7f", "sqlite:/\\x41\\${HOME}\"$"};
    char longest[3000] = "sqlite:/";
    memset(longest + 8, 'x', sizeof longest - 9);
    for (size_t i = 0; i <= sizeof texts / sizeof *texts; i++) {
        const char *text = i < sizeof texts / sizeof *texts ? texts[i] : longest;
        struct config config;
        assert_int_equal(setenv("PERMTAB_STORE", text, 1), 0);
        load(&config, NULL);
        assert_int_equal(unsetenv("PERMTAB_STORE"), 0);
        FILE *out = fopen(fixture->path, "w");
        assert_non_null(out);
        config_print(&config, out);
        assert_int_equal(fclose(out), 0);
        config_fini(&config);
        load(&config, fixture->path);
        assert_string_equal(config.store, text);
        config_fini(&config);
    }
}

/* ---- the sample file and the manual ------------------------------------------------------------------------------ */

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        print_error("cannot open %s\n", path);
    assert_non_null(file);
    char *text = calloc(1, 65536);
    assert_non_null(text);
    assert_true(fread(text, 1, 65535, file) > 0);
    assert_int_equal(fclose(file), 0);
    return text;
}

/* The option's line of the sample, with its default. */
static void sample_line(const struct config *defaults, const struct config_option *option, char *out,
                        size_t size)
{
    char value[512];
    config_option_format(defaults, option, value, sizeof value);
    if (option->kind == CONFIG_TYPES)
        (void)snprintf(out, size, "\n%s = {\"global\", \"server\", \"channel\"}\n", option->name);
    else if (config_option_quoted(option))
        (void)snprintf(out, size, "\n%s = \"%s\"\n", option->name, value);
    else
        (void)snprintf(out, size, "\n%s = %s\n", option->name, value);
}

static void test_sample_file(void **state)
{
    struct config config;
    char *text = read_whole(SOURCE_DIR "/conf/permtab.conf");
    (void)state;
    load(&config, SOURCE_DIR "/conf/permtab.conf");
    assert_defaults(&config);
    for (size_t i = 0; i < config_option_count; i++) {
        char line[1024];
        sample_line(&config, &config_options[i], line, sizeof line);
        if (!strstr(text, line))
            print_error("conf/permtab.conf lacks: %s", line + 1);
        assert_non_null(strstr(text, line));
    }
    /* And the other way round: the file was accepted, so it names no option that the table does not have. */
    config_fini(&config);
    free(text);
}

static size_t count_rows(const char *text)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, "\n| `")) != NULL; at++)
        count++;
    return count;
}

/* One row an option, made of the table: | `name` | `default` | help |, and no other rows. */
static void test_manual(void **state)
{
    char *text = read_whole(SOURCE_DIR "/docs/CONFIGURATION.md");
    (void)state;
    for (size_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        char row[1024];
        (void)snprintf(row, sizeof row, "\n| `%s` | %s%s%s | %s |\n", option->name,
                       option->fallback[0] ? "`" : "", option->fallback[0] ? option->fallback : "empty",
                       option->fallback[0] ? "`" : "", option->help);
        if (!strstr(text, row))
            print_error("docs/CONFIGURATION.md lacks: %s", row + 1);
        assert_non_null(strstr(text, row));
    }
    assert_int_equal(count_rows(text), config_option_count);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_environment_wins),
        cmocka_unit_test(test_a_list_of_one),
        cmocka_unit_test(test_password_file),
        cmocka_unit_test(test_print_and_read_again),
        cmocka_unit_test(test_print_and_read_odd_texts_again),
        cmocka_unit_test(test_sample_file),
        cmocka_unit_test(test_manual),
    };
    return cmocka_run_group_tests_name("config", tests, set_up, tear_down);
}
