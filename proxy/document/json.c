/* JSON text → tree. Jansson checks the syntax and UTF-8, and refuses repeated keys and text behind the end.
 *
 * Jansson (2.14; its issue 362) takes no notice when the buffer of the token that it reads cannot grow: a byte is
 * lost, and an id is another one, or it reads and writes behind the end of its memory. Two things prevent that here.
 * Every failed allocation is seen, and then the document is refused. And that buffer can always grow once more: a
 * reserve is kept for the first allocation that fails, and then the text ends. The buffer grows by a factor of two, at
 * most once a byte, before anything else is allocated for that byte: so a reserve of twice the largest allocation is
 * enough, and the text is given byte by byte. */
#include "proxy/base/printable.h"
#include "proxy/document/document.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A document that is being read. */
struct loading {
    const char *text;
    size_t left;
    void *reserve; /* NULL: it has been given out */
    size_t reserve_size;
    bool short_of_memory;
};

/* Of this thread, or NULL: Jansson hands its allocations no context. */
static __thread struct loading *loading;

/* Makes a sentence of Jansson's, which quotes the document. Two need more words: its integers are signed, and NUL
 * takes a flag. */
static int syntax_error(json_error_t *error, struct failure *failure)
{
    enum json_error_code code = json_error_code(error);
    if (code == json_error_out_of_memory)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    if (code == json_error_null_character)
        return failure_set(failure, PERMTAB_E_SYNTAX, "line %d column %d: a NUL character in a string",
                           error->line, error->column);
    printable_line(error->text);
    return failure_set(
        failure, PERMTAB_E_SYNTAX, "line %d column %d: %s%s", error->line, error->column, error->text,
        code == json_error_numeric_overflow ? " (numbers above 9223372036854775807 must be given as strings)"
                                            : "");
}

/* Twice as large as what is asked for now. */
static bool reserve_grows(struct loading *now, size_t size)
{
    void *reserve = size <= SIZE_MAX / 2 ? malloc(2 * size) : NULL;
    if (!reserve)
        return false;
    free(now->reserve);
    now->reserve = reserve;
    now->reserve_size = 2 * size;
    return true;
}

static void *allocate(size_t size)
{
    struct loading *now = loading;
    if (!now || now->short_of_memory)
        return malloc(size);
    void *memory = now->reserve_size / 2 >= size || reserve_grows(now, size) ? malloc(size) : NULL;
    if (memory)
        return memory;
    now->short_of_memory = true;
    if (now->reserve_size >= size) {
        memory = now->reserve;
        now->reserve = NULL;
    }
    return memory;
}

static void take_allocations(void)
{
    json_set_alloc_funcs(allocate, free);
}

static size_t next_byte(void *to, size_t size, void *context)
{
    struct loading *now = context;
    if (size == 0 || now->left == 0 || now->short_of_memory)
        return 0;
    memcpy(to, now->text, 1);
    now->text++;
    now->left--;
    return 1;
}

int policy_json_load(const char *text, size_t size, json_t **out, struct failure *failure)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct loading now = {.text = text, .left = size};
    json_error_t error;
    pthread_once(&once, take_allocations);
    loading = &now;
    *out = json_load_callback(next_byte, &now, JSON_REJECT_DUPLICATES, &error);
    loading = NULL;
    free(now.reserve);
    if (!now.short_of_memory)
        return *out != NULL ? 0 : syntax_error(&error, failure);
    json_decref(*out);
    *out = NULL;
    return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
}
