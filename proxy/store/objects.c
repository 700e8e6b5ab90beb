/* A list of what a schema consists of. Small: a few hundred objects, looked through from the front. */
#include "proxy/base/array.h"
#include "proxy/store/schema.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void object_fini(struct object *object)
{
    free(object->table);
    free(object->name);
    free(object->what);
    free(object->detail);
    free(object->sql);
}

void objects_fini(struct objects *objects)
{
    for (size_t i = 0; i < objects->count; i++)
        object_fini(&objects->items[i]);
    free(objects->items);
    memset(objects, 0, sizeof(*objects));
}

static char *copy(const char *text)
{
    return strdup(text ? text : "");
}

struct object *objects_add(struct objects *objects, enum object_kind kind, const char *table,
                           const char *name, const char *what, const char *detail)
{
    struct object *object = array_add(&objects->items, &objects->count, sizeof(*object));
    if (!object) {
        objects->failed = true;
        return NULL;
    }
    *object = (struct object){.kind = kind,
                              .table = copy(table),
                              .name = copy(name),
                              .what = copy(what),
                              .detail = copy(detail),
                              .sql = copy(NULL)};
    if (!object->table || !object->name || !object->what || !object->detail || !object->sql) {
        object_fini(object);
        objects->count--;
        objects->failed = true;
        return NULL;
    }
    return object;
}

void objects_take(struct objects *objects, enum object_kind kind, const char *table, const char *name,
                  char *what)
{
    if (what)
        (void)objects_add(objects, kind, table, name, what, NULL);
    else
        objects->failed = true;
    free(what);
}

struct object *objects_called(const struct objects *objects, enum object_kind kind, const char *table,
                              const char *name)
{
    for (size_t i = 0; i < objects->count; i++) {
        struct object *object = &objects->items[i];
        if (object->kind == kind && strcasecmp(object->table, table) == 0 &&
            strcasecmp(object->name, name) == 0)
            return object;
    }
    return NULL;
}

const struct object *objects_find(const struct objects *objects, enum object_kind kind, const char *table,
                                  const char *what)
{
    for (size_t i = 0; i < objects->count; i++) {
        const struct object *object = &objects->items[i];
        if (object->kind == kind && strcasecmp(object->table, table) == 0 && strcmp(object->what, what) == 0)
            return object;
    }
    return NULL;
}

const struct object *objects_named(const struct objects *objects, enum object_kind kind, const char *name)
{
    for (size_t i = 0; i < objects->count; i++)
        if (objects->items[i].kind == kind && strcasecmp(objects->items[i].name, name) == 0)
            return &objects->items[i];
    return NULL;
}

int objects_read(struct objects *out, struct sql *sql, const struct objects_query *queries, size_t count,
                 struct failure *failure)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < count; i++) {
        struct sql_statement *st = sql_prepare_once(sql, queries[i].text, failure);
        while ((code = sql_step(st, failure)) > 0)
            queries[i].add(out, st);
        sql_discard(st);
    }
    return code == 0 && out->failed ? failure_set(failure, PERMTAB_E_MEMORY, "out of memory") : code;
}
