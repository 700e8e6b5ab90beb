/* Delayed tasks as values: texts, times, the names of indexes. add.c and conf/redis know their form in Redis. */
#include "proxy/delayed/task.h"

#include "proxy/base/printable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAILED_FIRST_MS  1000u
#define FAILED_MOST_MS   600000u
#define WAITING_FIRST_MS 250u
#define WAITING_MOST_MS  30000u

/* ---- ids and times ----------------------------------------------------------------------------------------------- */

bool delayed_id_good(const char *text)
{
    return strspn(text, "0123456789abcdef") == DELAYED_ID_SIZE - 1 && text[DELAYED_ID_SIZE - 1] == '\0';
}

void delayed_id_format(const unsigned char random[16], char out[DELAYED_ID_SIZE])
{
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", random[i]);
}

int delayed_schedule(struct delayed_task *task, const struct delayed_when *when, uint64_t now_ms,
                     struct failure *failure)
{
    uint64_t alive = when->alive > 0 ? when->alive : DELAYED_LIFE_DEFAULT_MS;
    uint64_t last = now_ms + DELAYED_LIFE_MAX_MS;
    if (when->at ? when->due > last : when->due > DELAYED_LIFE_MAX_MS)
        return failure_set(failure, PERMTAB_E_LIMIT, "it may be due in 90 days at the latest");
    task->due_ms = when->at ? when->due : now_ms + when->due;
    if (task->due_ms < now_ms)
        task->due_ms = now_ms;
    if (alive > DELAYED_LIFE_MAX_MS || task->due_ms + alive > last)
        return failure_set(failure, PERMTAB_E_LIMIT,
                           "it must have ended in 90 days: due sooner, or with a shorter life after that");
    task->expires_ms = task->due_ms + alive;
    return 0;
}

void delayed_reason(char out[DELAYED_REASON_SIZE], const char *text)
{
    (void)snprintf(out, DELAYED_REASON_SIZE, "%s", text);
    printable_ascii(out);
}

static uint64_t doubled(uint64_t first, uint32_t times, uint64_t most)
{
    uint32_t steps = times > 0 ? times - 1 : 0;
    return steps >= 32 || first << steps > most ? most : first << steps;
}

uint64_t delayed_failed_ms(uint32_t times)
{
    return doubled(FAILED_FIRST_MS, times, FAILED_MOST_MS);
}

uint64_t delayed_waiting_ms(uint32_t times)
{
    return doubled(WAITING_FIRST_MS, times, WAITING_MOST_MS);
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

char *delayed_targets_format(const struct scope_types *types, const struct delayed_task *task, char *out)
{
    char text[TARGET_TEXT_SIZE];
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < task->count; i++)
        at += (size_t)snprintf(out + at, DELAYED_TARGETS_SIZE - at, "%s%s", i > 0 ? " " : "",
                               target_format(types, &task->targets[i], text));
    return out;
}

int delayed_targets_parse(const struct scope_types *types, const char *text, size_t size,
                          struct delayed_task *task)
{
    task->count = 0;
    for (size_t at = 0; at < size;) {
        const char *blank = memchr(text + at, ' ', size - at);
        size_t length = blank ? (size_t)(blank - text) - at : size - at;
        if (task->count == DELAYED_TARGETS_MAX)
            return PERMTAB_E_LIMIT;
        int code = target_parse(types, text + at, length, &task->targets[task->count]);
        if (code < 0)
            return code;
        task->count++;
        at += length + 1;
    }
    return task->count > 0 ? 0 : PERMTAB_E_INVALID;
}

/* ---- indexes ----------------------------------------------------------------------------------------------------- */

struct lines {
    char *text;
    size_t size;
    char **names; /* where each begins */
    size_t count;
};

static void add_line(struct lines *lines, const char *line)
{
    size_t length = strlen(line);
    for (size_t i = 0; i < lines->count; i++) {
        if (strncmp(lines->names[i], line, length) == 0 && lines->names[i][length] == '\n')
            return;
    }
    lines->names[lines->count++] = lines->text + lines->size;
    memcpy(lines->text + lines->size, line, length);
    lines->text[lines->size + length] = '\n';
    lines->size += length + 1;
}

/* The indexes of one target: a user at a place is found under both. */
static void add_target(struct lines *lines, const struct scope_types *types, const struct target *target)
{
    char text[TARGET_TEXT_SIZE];
    struct target part = *target;
    switch (target->kind) {
    case TARGET_USER_AT:
        part.kind = TARGET_USER;
        add_line(lines, target_format(types, &part, text));
        part.kind = TARGET_SCOPE;
        add_line(lines, target_format(types, &part, text));
        return;
    case TARGET_USER:
    case TARGET_ROLE:
    case TARGET_SCOPE:
    case TARGET_TAG:
    case TARGET_PREFIX:
    case TARGET_PATTERN:
        add_line(lines, target_format(types, target, text));
        return;
    case TARGET_ALL:
    case TARGET_POKE:
        return;
    }
}

char *delayed_indexes(const struct scope_types *types, const struct delayed_task *task)
{
    char line[DELAYED_INDEX_SIZE];
    char *begins[DELAYED_TARGETS_MAX * 2 + 1];
    struct lines lines = {.names = begins};
    lines.text = malloc((task->count * 2 + 1) * DELAYED_INDEX_SIZE + 1);
    if (!lines.text)
        return NULL;
    for (size_t i = 0; i < task->count; i++)
        add_target(&lines, types, &task->targets[i]);
    if (task->reason[0]) {
        (void)snprintf(line, sizeof line, "reason:%s", task->reason);
        add_line(&lines, line);
    }
    lines.text[lines.size > 0 ? lines.size - 1 : 0] = '\0';
    return lines.text;
}

/* ---- what a command names ---------------------------------------------------------------------------------------- */

static bool has_index(enum target_kind kind)
{
    return kind != TARGET_USER_AT && kind != TARGET_ALL && kind != TARGET_POKE;
}

int delayed_what_parse(const struct scope_types *types, const char *text, struct delayed_what *out)
{
    char reason[DELAYED_REASON_SIZE];
    struct target target;
    out->kind = DELAYED_INDEX;
    if (strcmp(text, "all") == 0)
        out->kind = DELAYED_ALL;
    else if (delayed_id_good(text))
        out->kind = DELAYED_ONE;
    if (out->kind != DELAYED_INDEX || strcmp(text, "failing") == 0 || strcmp(text, "waiting") == 0) {
        (void)snprintf(out->text, sizeof out->text, "%s", text);
        return 0;
    }
    if (strncmp(text, "reason:", 7) == 0 && text[7]) {
        delayed_reason(reason, text + 7);
        (void)snprintf(out->text, sizeof out->text, "reason:%s", reason);
        return 0;
    }
    int code = target_parse(types, text, strlen(text), &target);
    if (code == 0 && !has_index(target.kind))
        code = PERMTAB_E_INVALID;
    if (code == 0)
        (void)target_format(types, &target, out->text);
    return code;
}
