/* The thread lives for one look: there is one every few seconds at most, and mostly none. It owns the struct look
 * between look_begin and the eventfd. */
#include "proxy/growth/look.h"

#include "proxy/base/thread.h"
#include "proxy/growth/held.h"
#include "proxy/table/grow.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct look {
    look_done_fn done;
    void *context;
    int wake; /* eventfd */
    struct event *event;
    pthread_t thread;
    bool running;

    struct memory_left left;
    struct table **tables;
    bool *held;
    struct held_mapping *mappings;
    size_t count;
};

/* What cannot be looked at is not held: its memory is given back as well as can be. */
static void look_at_tables(struct look *look)
{
    FILE *smaps = look->count > 0 ? fopen("/proc/self/smaps", "re") : NULL;
    for (size_t i = 0; i < look->count; i++) {
        const struct segment *segment = table_segment(look->tables[i]);
        uintptr_t begin = (uintptr_t)segment->header;
        look->mappings[i] = (struct held_mapping){.begin = begin, .end = begin + segment->size};
        table_close_books(look->tables[i]);
    }
    if (smaps == NULL)
        return;
    held_look(smaps, look->mappings, look->count);
    (void)fclose(smaps);
    for (size_t i = 0; i < look->count; i++)
        look->held[i] = look->mappings[i].looked && look->mappings[i].held;
}

static void *thread_main(void *context)
{
    struct look *look = context;
    uint64_t one = 1;
    memory_left("", &look->left);
    look_at_tables(look);
    ssize_t written = write(look->wake, &one, sizeof one);
    (void)written;
    return NULL;
}

static void forget_tables(struct look *look)
{
    free(look->tables);
    free(look->held);
    free(look->mappings);
    look->tables = NULL;
    look->held = NULL;
    look->mappings = NULL;
    look->count = 0;
}

static void finish(struct look *look)
{
    (void)pthread_join(look->thread, NULL);
    look->running = false;
}

static void on_wake(evutil_socket_t descriptor, short what, void *context)
{
    struct look *look = context;
    uint64_t count;
    (void)what;
    if (read(descriptor, &count, sizeof count) < 0 || !look->running)
        return;
    finish(look);
    struct look_result result = {look->left, look->tables, look->held, look->count};
    look->done(look->context, &result);
    forget_tables(look);
}

/* Copies the list, because it may grow meanwhile. */
static bool take_tables(struct look *look, struct table *const *tables, size_t count)
{
    look->tables = calloc(count + 1, sizeof(struct table *));
    look->held = calloc(count + 1, sizeof *look->held);
    look->mappings = calloc(count + 1, sizeof *look->mappings);
    if (look->tables == NULL || look->held == NULL || look->mappings == NULL) {
        forget_tables(look);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        look->tables[i] = tables[i];
    look->count = count;
    return true;
}

bool look_begin(struct look *look, struct table *const *tables, size_t count)
{
    if (look->running || !take_tables(look, tables, count))
        return false;
    look->running = thread_start(&look->thread, thread_main, look) == 0;
    if (!look->running)
        forget_tables(look);
    return look->running;
}

int look_new(struct look **out, struct event_base *base, look_done_fn done, void *context)
{
    struct look *look = calloc(1, sizeof *look);
    if (look == NULL)
        return PERMTAB_E_MEMORY;
    look->done = done;
    look->context = context;
    look->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    look->event = look->wake >= 0 ? event_new(base, look->wake, EV_READ | EV_PERSIST, on_wake, look) : NULL;
    if (look->event == NULL || event_add(look->event, NULL) < 0) {
        look_free(look);
        return PERMTAB_E_SYSTEM;
    }
    *out = look;
    return 0;
}

void look_free(struct look *look)
{
    if (look == NULL)
        return;
    if (look->running)
        finish(look);
    if (look->event != NULL)
        event_free(look->event);
    if (look->wake >= 0)
        (void)close(look->wake);
    forget_tables(look);
    free(look);
}
