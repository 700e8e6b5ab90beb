/* libFuzzer's entry for the configuration: variables, a zero, then the file. A variable is a line NAME=VALUE and
 * becomes PERMTAB_NAME. What is taken can be printed, and the print is a file that gives the same configuration and the
 * same print. A refusal has one sentence. */
#include "proxy/config/config.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define VARIABLES_MAX 16

/* A file that holds the text. */
static int file_with(const char *text, size_t size, char path[64])
{
    int descriptor = memfd_create("permtab.conf", MFD_CLOEXEC);
    must(descriptor >= 0 && write(descriptor, text, size) == (ssize_t)size);
    (void)snprintf(path, 64, "/proc/self/fd/%d", descriptor);
    return descriptor;
}

/* Sets variables; their names go to `names`, for unset. */
static size_t set_variables(struct choices *variables, char *names[VARIABLES_MAX])
{
    size_t count = 0;
    while (choices_left(variables) && count < VARIABLES_MAX) {
        char *line = choose_text(variables, '\n');
        char *value = strchr(line, '='), name[80];
        size_t length = value != NULL ? (size_t)(value - line) : 0;
        if (length > 0 && length < 64 && strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == length) {
            (void)snprintf(name, sizeof name, "PERMTAB_%.*s", (int)length, line);
            must(setenv(name, value + 1, 1) == 0 && (names[count++] = strdup(name)) != NULL);
        }
        free(line);
    }
    return count;
}

static char *print(const struct config *config, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    must(out != NULL);
    config_print(config, out);
    must(fclose(out) == 0);
    return text;
}

/* The print of a configuration, read without variables, is the same configuration. */
static void again(const char *text, size_t size)
{
    struct config config;
    struct failure failure = {0};
    char path[64];
    int descriptor = file_with(text, size, path);
    must(config_load(&config, path, &failure) == 0);
    size_t size_again;
    char *text_again = print(&config, &size_again);
    must(size == size_again && memcmp(text, text_again, size) == 0);
    free(text_again);
    config_fini(&config);
    (void)close(descriptor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Four times what was measured; the defaults and the buffers of libconfuse are most of it. */
    static const struct cost_limit limit = {
        .steps_fixed = 20000, .steps_each = 10, .bytes_fixed = 100000, .bytes_each = 40};
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    const uint8_t *file = zero != NULL ? zero + 1 : data;
    size_t file_size = size - (size_t)(file - data);
    struct choices variables = choices_of(data, zero != NULL ? (size_t)(zero - data) : 0);
    char *names[VARIABLES_MAX], path[64];
    size_t count = set_variables(&variables, names);
    int descriptor = file_with((const char *)file, file_size, path);
    struct config config;
    struct failure failure = {0};
    cost_begin();
    int code = config_load(&config, path, &failure);
    cost_check(size, &limit);
    for (size_t i = 0; i < count; i++) {
        (void)unsetenv(names[i]);
        free(names[i]);
    }
    (void)close(descriptor);
    if (code < 0) {
        must(failure.code == code && failure.text[0] != '\0');
        return 0;
    }
    size_t printed_size;
    char *printed = print(&config, &printed_size);
    config_fini(&config);
    again(printed, printed_size);
    free(printed);
    return 0;
}
