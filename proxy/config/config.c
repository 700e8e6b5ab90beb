/* Loading the configuration: defaults, then the file, then the environment, then the check of the whole.
 * libconfuse reads the file's syntax alone: every value is text to it, and the table of options gives the
 * text its meaning, so that a value gets the same message wherever it comes from. */
#include "proxy/config/config.h"

#include "proxy/base/container_of.h"
#include "proxy/config/options.h"
#include "proxy/config/text.h"

#include <confuse.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD_SIZE_MAX 4096
#define VALUE_SIZE        1024
#define OPTIONS_MAX       64

/* The source of an option's value, for messages. */
enum { FROM_DEFAULT = 0, FROM_ENVIRONMENT = -1 }; /* else a line of the file */

struct loading {
    long guard; /* what libconfuse's hidden option points at, see find_loading */
    struct config *config;
    const char *path;
    struct failure *failure;
    bool failed;
    int origin[OPTIONS_MAX];
    unsigned list_size, list_told; /* of the only list: its values up to now, and how often it was told of with these */
};

/* ---- messages -------------------------------------------------------------------------------------------- */

static void environment_name(const struct config_option *option, char out[64])
{
    int used = snprintf(out, 64, "PERMTAB_%s", option->name);
    for (int i = 0; i < used; i++)
        out[i] = (char)toupper((unsigned char)out[i]);
}

/* Puts the option's place in front of the failure's text. */
static int blame(struct loading *loading, size_t index)
{
    const struct config_option *option = &config_options[index];
    char variable[64];
    int origin = loading->origin[index];
    loading->failed = true;
    if (origin > 0)
        return failure_wrap(loading->failure, "%s:%d: %s", loading->path, origin, option->name);
    if (origin == FROM_ENVIRONMENT) {
        environment_name(option, variable);
        return failure_wrap(loading->failure, "environment variable %s: %s", variable, option->name);
    }
    return failure_wrap(loading->failure, "%s", option->name);
}

static int set_option(struct loading *loading, size_t index, const char *text)
{
    int code = config_option_set(loading->config, &config_options[index], text, loading->failure);
    return code < 0 ? blame(loading, index) : 0;
}

/* ---- the file -------------------------------------------------------------------------------------------- */

/* libconfuse hands its callbacks no pointer of ours. One option whose name nobody can want carries the address: its
 * "simple value" points at the guard of struct loading. */
static struct loading *find_loading(cfg_t *cfg)
{
    for (cfg_opt_t *option = cfg->opts; option->name; option++) {
        if (option->simple_value.ptr)
            return container_of(option->simple_value.number, struct loading, guard);
    }
    abort();
}

/* Only the first error counts: those after it are mostly its echoes. */
static void file_error(cfg_t *cfg, const char *format, va_list arguments)
{
    struct loading *loading = find_loading(cfg);
    char text[256];
    if (loading->failed)
        return;
    loading->failed = true;
    (void)vsnprintf(text, sizeof text, format, arguments);
    (void)failure_set(loading->failure, PERMTAB_E_SYNTAX, "%s:%d: %s", loading->path, cfg->line, text);
}

static void join_list(cfg_opt_t *option, char out[VALUE_SIZE])
{
    size_t used = 0;
    out[0] = 0;
    for (unsigned i = 0; i < cfg_opt_size(option) && used < VALUE_SIZE; i++) {
        const char *item = cfg_opt_getnstr(option, i);
        used += (size_t)snprintf(out + used, VALUE_SIZE - used, "%s%s", i ? "," : "", item);
    }
}

/* A list is set again with each of its values; the last time it is whole. */
static int file_list(struct loading *loading, size_t index, cfg_opt_t *option)
{
    char list[VALUE_SIZE];
    const char *last = cfg_opt_getnstr(option, cfg_opt_size(option) - 1);
    if (strchr(last, ',')) {
        (void)failure_set(loading->failure, PERMTAB_E_INVALID, "\"%.60s\" has a comma in it", last);
        return blame(loading, index);
    }
    join_list(option, list);
    return set_option(loading, index, list);
}

/* Whether an option that was given before is given once more. A list is told of with each of its values and, once more,
 * at its end: so a list that begins again has one value, and had more, or was told of twice with one. */
static bool is_second(struct loading *loading, const cfg_opt_t *option, int first)
{
    unsigned size = cfg_opt_size((cfg_opt_t *)(uintptr_t)option);
    if (!(option->flags & CFGF_LIST))
        return first > 0;
    bool again = first > 0 && size == 1 && (loading->list_size > 1 || loading->list_told > 1);
    loading->list_told = size == loading->list_size ? loading->list_told + 1 : 1;
    loading->list_size = size;
    return again;
}

/* libconfuse calls this when it has read a value; cfg->line is where. */
static int file_value(cfg_t *cfg, cfg_opt_t *option)
{
    struct loading *loading = find_loading(cfg);
    size_t index = 0;
    while (index < config_option_count && strcmp(config_options[index].name, option->name) != 0)
        index++;
    if (index == config_option_count || loading->failed)
        return -1;
    int first = loading->origin[index];
    loading->origin[index] = cfg->line;
    if (is_second(loading, option, first)) {
        (void)failure_set(loading->failure, PERMTAB_E_SYNTAX, "is given a second time, after line %d", first);
        (void)blame(loading, index);
        return -1;
    }
    int code = option->flags & CFGF_LIST ? file_list(loading, index, option)
                                         : set_option(loading, index, cfg_opt_getnstr(option, 0));
    return code < 0 ? -1 : 0;
}

/* libconfuse does not report a list without values as a value, so refuse_empty_lists looks for those afterwards. */
static int refuse_empty_lists(struct loading *loading, cfg_t *cfg)
{
    for (size_t i = 0; i < config_option_count; i++) {
        cfg_opt_t *option = cfg_getopt(cfg, config_options[i].name);
        if ((option->flags & CFGF_LIST) && (option->flags & CFGF_MODIFIED) && cfg_opt_size(option) == 0) {
            (void)failure_set(loading->failure, PERMTAB_E_INVALID, "%s: %s: the list is empty", loading->path,
                              option->name);
            loading->failed = true;
            return PERMTAB_E_INVALID;
        }
    }
    return 0;
}

static int parse_file(struct loading *loading, char *text, size_t size)
{
    cfg_opt_t options[OPTIONS_MAX + 2];
    cfg_opt_t end = CFG_END();
    cfg_opt_t hidden = CFG_SIMPLE_INT("\001", &loading->guard);
    for (size_t i = 0; i < config_option_count; i++) {
        bool list = config_options[i].kind == CONFIG_TYPES;
        cfg_opt_t value = CFG_STR(config_options[i].name, NULL, CFGF_NONE);
        cfg_opt_t names = CFG_STR_LIST(config_options[i].name, NULL, CFGF_NONE);
        options[i] = list ? names : value;
    }
    options[config_option_count] = hidden;
    options[config_option_count + 1] = end;
    cfg_t *cfg = cfg_init(options, CFGF_NONE);
    FILE *file = fmemopen(text, size, "r");
    if (!cfg || !file) {
        cfg_free(cfg);
        if (file)
            (void)fclose(file);
        return failure_set(loading->failure, PERMTAB_E_MEMORY, "%s: out of memory", loading->path);
    }
    (void)cfg_set_error_function(cfg, file_error);
    for (size_t i = 0; i < config_option_count; i++)
        (void)cfg_set_validate_func(cfg, config_options[i].name, file_value);
    int result = cfg_parse_fp(cfg, file);
    if (result == CFG_SUCCESS && refuse_empty_lists(loading, cfg) < 0)
        result = CFG_PARSE_ERROR;
    cfg_free(cfg);
    (void)fclose(file);
    if (result == CFG_SUCCESS && loading->guard == 0)
        return 0;
    if (loading->failed)
        return loading->failure->code;
    return failure_set(loading->failure, PERMTAB_E_SYNTAX, "%s: cannot be read", loading->path);
}

static int load_file(struct loading *loading)
{
    char *text;
    size_t size;
    int code = config_text_read(loading->path, &text, &size, loading->failure);
    if (code < 0)
        return code;
    code = parse_file(loading, text, size);
    free(text);
    return code;
}

/* ---- defaults, environment, secrets ---------------------------------------------------------------------- */

static int load_defaults(struct loading *loading)
{
    for (size_t i = 0; i < config_option_count; i++) {
        int code = set_option(loading, i, config_options[i].fallback);
        if (code < 0)
            return code;
    }
    return 0;
}

static int load_environment(struct loading *loading)
{
    for (size_t i = 0; i < config_option_count; i++) {
        char variable[64];
        environment_name(&config_options[i], variable);
        const char *text = getenv(variable);
        if (!text)
            continue;
        loading->origin[i] = FROM_ENVIRONMENT;
        int code = set_option(loading, i, text);
        if (code < 0)
            return code;
    }
    return 0;
}

/* The first line of the file at `path`. */
static int load_password(const char *path, char **out, struct failure *failure)
{
    int code = 0;
    char text[PASSWORD_SIZE_MAX + 2];
    FILE *file = fopen(path, "re");
    if (!file)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", path, strerror(errno));
    if (!fgets(text, sizeof text, file))
        text[0] = 0;
    size_t length = strcspn(text, "\r\n");
    if (ferror(file))
        code = failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", path, strerror(errno));
    else if (length == 0)
        code = failure_set(failure, PERMTAB_E_INVALID, "%s: the first line is empty", path);
    else if (length > PASSWORD_SIZE_MAX)
        code = failure_set(failure, PERMTAB_E_INVALID, "%s: longer than %d bytes", path, PASSWORD_SIZE_MAX);
    text[length] = 0;
    if (code == 0 && !(*out = strdup(text)))
        code = failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    explicit_bzero(text, sizeof text);
    (void)fclose(file);
    return code;
}

static size_t option_index(const char *name)
{
    size_t index = 0;
    while (strcmp(config_options[index].name, name) != 0)
        index++;
    return index;
}

int config_set(struct config *config, const char *name, const char *text, struct failure *failure)
{
    return config_option_set(config, &config_options[option_index(name)], text, failure);
}

static int load_passwords(struct loading *loading)
{
    struct config *config = loading->config;
    const struct {
        const char *option, *path;
        char **out;
    } passwords[] = {
        {"store_password_file", config->store_password_file, &config->store_password},
        {"redis_password_file", config->redis_password_file, &config->redis_password},
    };
    for (size_t i = 0; i < sizeof passwords / sizeof passwords[0]; i++) {
        if (passwords[i].path[0] && load_password(passwords[i].path, passwords[i].out, loading->failure) < 0)
            return blame(loading, option_index(passwords[i].option));
    }
    return 0;
}

int config_load(struct config *out, const char *path, struct failure *failure)
{
    struct failure unseen;
    struct loading loading = {.config = out, .path = path, .failure = failure ? failure : &unseen};
    const char *name = NULL;
    memset(out, 0, sizeof *out);
    int code = load_defaults(&loading);
    if (code == 0 && path)
        code = load_file(&loading);
    if (code == 0)
        code = load_environment(&loading);
    if (code == 0) {
        code = config_check(out, &name, loading.failure);
        if (code < 0)
            code = blame(&loading, option_index(name));
    }
    if (code == 0)
        code = load_passwords(&loading);
    if (code < 0)
        config_fini(out);
    return code;
}

static void forget_secret(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void config_fini(struct config *config)
{
    for (size_t i = 0; i < config_option_count; i++) {
        if (config_options[i].kind == CONFIG_TEXT)
            free(*(char **)(void *)((char *)config + config_options[i].offset));
    }
    forget_secret(config->store_password);
    forget_secret(config->redis_password);
    memset(config, 0, sizeof *config);
}

/* ---- comparing and printing --------------------------------------------------------------------------------- */

static bool same_text(const char *one, const char *other)
{
    return strcmp(one ? one : "", other ? other : "") == 0;
}

/* A password may change in its file. */
static bool same_secret(const struct config *one, const struct config *other, const char *name)
{
    if (strcmp(name, "store_password_file") == 0)
        return same_text(one->store_password, other->store_password);
    if (strcmp(name, "redis_password_file") == 0)
        return same_text(one->redis_password, other->redis_password);
    return true;
}

void config_compare(const struct config *before, const struct config *after, config_change_fn changed,
                    void *context)
{
    char old[VALUE_SIZE], new[VALUE_SIZE];
    for (size_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        config_option_format(before, option, old, sizeof old);
        config_option_format(after, option, new, sizeof new);
        bool same = strcmp(old, new) == 0;
        if (option->kind == CONFIG_TEXT) /* it may be longer than what is shown of it */
            same = same_text(*(char *const *)(const void *)((const char *)before + option->offset),
                             *(char *const *)(const void *)((const char *)after + option->offset));
        struct config_change change = {option->name, option->reload, old, new};
        if (!same || !same_secret(before, after, option->name))
            changed(context, &change);
    }
}

/* Escapes what libconfuse takes for something else in double quotes, a variable among it, and what a terminal would
 * obey. */
static void print_quoted(FILE *file, const char *text)
{
    (void)fputc('"', file);
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            (void)fprintf(file, "\\x%02x", (unsigned char)*text);
            continue;
        }
        if (*text == '"' || *text == '\\' || *text == '$')
            (void)fputc('\\', file);
        (void)fputc(*text, file);
    }
    (void)fputc('"', file);
}

static void print_types(FILE *file, const struct scope_types *types)
{
    for (uint32_t i = 0; i < types->count; i++)
        (void)fprintf(file, "%s\"%s\"", i ? ", " : "{", types->names[i]);
    (void)fputs("}", file);
}

void config_print(const struct config *config, void *stdio_file)
{
    FILE *file = stdio_file;
    char value[VALUE_SIZE];
    for (size_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        config_option_format(config, option, value, sizeof value);
        (void)fprintf(file, "%s = ", option->name);
        if (option->kind == CONFIG_TEXT) /* may be longer than `value` */
            print_quoted(file, *(char *const *)(const void *)((const char *)config + option->offset));
        else if (option->kind == CONFIG_TYPES)
            print_types(file, &config->scope_types);
        else if (config_option_quoted(option))
            print_quoted(file, value);
        else
            (void)fputs(value, file);
        (void)fputc('\n', file);
    }
}
