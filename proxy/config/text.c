/* The file is read here, and not by libconfuse, for two reasons. libconfuse's scanner ends the process when it is
 * given a directory. And it counts the lines of comments twice or thrice (3.3), so its line numbers would be wrong
 * after the first comment: comments are therefore blanked out first, line ends kept. */
#include "proxy/config/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (1024 * 1024)

enum place { PLACE_PLAIN, PLACE_LINE, PLACE_BLOCK, PLACE_DOUBLE, PLACE_SINGLE };

/* Whether a comment may begin at `at`: inside a bare word, as in sqlite://path, none does. */
static bool word_ended(const char *text, size_t at)
{
    return at == 0 || strchr(" \t\r\n={}(),+;", text[at - 1]) != NULL;
}

static enum place place_begun(const char *text, size_t at)
{
    if (text[at] == '"')
        return PLACE_DOUBLE;
    if (text[at] == '\'')
        return PLACE_SINGLE;
    if (!word_ended(text, at))
        return PLACE_PLAIN;
    if (text[at] == '#' || (text[at] == '/' && text[at + 1] == '/'))
        return PLACE_LINE;
    return text[at] == '/' && text[at + 1] == '*' ? PLACE_BLOCK : PLACE_PLAIN;
}

/* `text` ends in a newline and a zero. */
static void blank_comments(char *text)
{
    enum place place = PLACE_PLAIN;
    for (size_t i = 0; text[i]; i++) {
        bool block_ends = place == PLACE_BLOCK && text[i] == '*' && text[i + 1] == '/';
        bool was_plain = place == PLACE_PLAIN;
        char here = text[i];
        if (place == PLACE_PLAIN)
            place = place_begun(text, i);
        else if ((place == PLACE_DOUBLE || place == PLACE_SINGLE) && here == '\\' && text[i + 1])
            i++;
        else if ((place == PLACE_DOUBLE && here == '"') || (place == PLACE_SINGLE && here == '\'') ||
                 (place == PLACE_LINE && here == '\n'))
            place = PLACE_PLAIN;
        if ((place == PLACE_LINE || place == PLACE_BLOCK) && text[i] != '\n')
            text[i] = ' ';
        if (was_plain && place == PLACE_BLOCK)
            text[++i] = ' '; /* its asterisk does not end it */
        if (block_ends) {
            text[++i] = ' ';
            place = PLACE_PLAIN;
        }
    }
}

static int read_whole(int descriptor, const char *path, char **out, size_t *size, struct failure *failure)
{
    struct stat status;
    ssize_t got;
    if (fstat(descriptor, &status) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: not a regular file", path);
    if (status.st_size > FILE_SIZE_MAX)
        return failure_set(failure, PERMTAB_E_LIMIT, "%s: larger than 1 MiB", path);
    char *text = malloc((size_t)status.st_size + 2);
    if (!text)
        return failure_set(failure, PERMTAB_E_MEMORY, "%s: out of memory", path);
    *out = text;
    for (*size = 0; *size < (size_t)status.st_size; *size += (size_t)got) {
        got = read(descriptor, text + *size, (size_t)status.st_size - *size);
        if (got < 0)
            return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", path, strerror(errno));
        if (got == 0)
            break;
    }
    if (*size == 0 || text[*size - 1] != '\n')
        text[(*size)++] = '\n';
    text[*size] = 0;
    return strlen(text) == *size ? 0 : failure_set(failure, PERMTAB_E_SYNTAX, "%s: not a text file", path);
}

int config_text_read(const char *path, char **out, size_t *size, struct failure *failure)
{
    *out = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", path, strerror(errno));
    int code = read_whole(descriptor, path, out, size, failure);
    (void)close(descriptor);
    if (code < 0) {
        free(*out);
        *out = NULL;
        return code;
    }
    blank_comments(*out);
    return 0;
}
