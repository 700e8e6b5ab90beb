/* Mutating JSON by its tree: most changes of bytes make a text that ends at its syntax error, so the checks behind the
 * parser would hardly be reached. A node is dropped, doubled, multiplied, swapped for a copy of another one, or a
 * scalar is given another value. What is no JSON is mutated by its bytes. */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define NODES_MAX 4096

/* A value, and where it hangs. */
struct node {
    json_t *value, *parent;
    const char *key; /* in an object */
    size_t index;    /* in an array */
};

struct tree {
    struct node nodes[NODES_MAX];
    size_t count;
    uint64_t random;
};

static uint64_t next_random(struct tree *tree)
{
    tree->random = tree->random * 6364136223846793005u + 1442695040888963407u;
    return tree->random >> 33;
}

static void list(struct tree *tree, json_t *value, json_t *parent, const char *key, size_t index)
{
    if (tree->count == NODES_MAX)
        return;
    tree->nodes[tree->count++] = (struct node){.value = value, .parent = parent, .key = key, .index = index};
    const char *name;
    json_t *child;
    size_t i;
    if (json_is_object(value))
        json_object_foreach(value, name, child) list(tree, child, value, name, 0);
    if (json_is_array(value))
        json_array_foreach(value, i, child) list(tree, child, value, NULL, i);
}

/* A scalar that says something else: often one that is nearly right. */
static json_t *another_scalar(struct tree *tree, const json_t *value)
{
    static const char *const texts[] = {"",
                                        "global",
                                        "server:1",
                                        "channel:10",
                                        "a.b",
                                        "message.send",
                                        "0",
                                        "1",
                                        "100",
                                        "-1",
                                        "null",
                                        "server:18446744073709551615",
                                        "2027-01-01T00:00:00Z",
                                        "18446744073709551615",
                                        "18446744073709551616",
                                        "\\u0000"};
    static const json_int_t numbers[] = {0, 1, 7, 100, 101, -1, INT64_MAX, INT64_MIN, 9007199254740993};
    uint8_t bytes[64];
    size_t size = 0;
    switch (next_random(tree) % 6) {
    case 0:
        return json_integer(numbers[next_random(tree) % (sizeof numbers / sizeof *numbers)]);
    case 1:
        return next_random(tree) % 2 ? json_true() : json_null();
    case 2:
    case 3:
        return json_string(texts[next_random(tree) % (sizeof texts / sizeof *texts)]);
    default:
        if (json_is_string(value) && json_string_length(value) < sizeof bytes / 2)
            size = json_string_length(value);
        if (size > 0)
            memcpy(bytes, json_string_value(value), size);
        size = LLVMFuzzerMutate(bytes, size, sizeof bytes);
        return json_stringn((const char *)bytes, size); /* NULL when it is not UTF-8 */
    }
}

static void put(const struct node *at, json_t *value)
{
    if (value == NULL)
        return;
    if (at->key != NULL)
        (void)json_object_set_new(at->parent, at->key, value);
    else
        (void)json_array_set_new(at->parent, at->index, value);
}

/* Adds to the numbers of a copy, so that what is numbered is there many times and not twice. */
static void renumber(json_t *value, json_int_t by)
{
    const char *name;
    json_t *child;
    if (json_is_object(value))
        json_object_foreach(value, name, child) if (json_is_integer(child))(void)
            json_integer_set(child, (json_int_t)((uint64_t)json_integer_value(child) + (uint64_t)by));
}

/* Many of an element of a list: what costs the square of its length is seen in long ones alone. */
static void multiply(struct tree *tree, const struct node *at)
{
    for (uint64_t i = 0, count = 1 + next_random(tree) % 100; at->key == NULL && i < count; i++) {
        json_t *copy = json_deep_copy(at->value);
        renumber(copy, (json_int_t)(i + 1) * 1000);
        (void)json_array_insert_new(at->parent, at->index, copy);
    }
}

static void change(struct tree *tree, const struct node *at)
{
    const struct node *other = &tree->nodes[next_random(tree) % tree->count];
    switch (next_random(tree) % 6) {
    case 0:
        if (at->key != NULL)
            (void)json_object_del(at->parent, at->key);
        else
            (void)json_array_remove(at->parent, at->index);
        return;
    case 1:
        if (at->key == NULL)
            (void)json_array_insert_new(at->parent, at->index, json_deep_copy(at->value));
        return;
    case 2:
        put(at, json_deep_copy(other->value));
        return;
    case 3:
        multiply(tree, at);
        return;
    default:
        if (!json_is_object(at->value) && !json_is_array(at->value))
            put(at, another_scalar(tree, at->value));
        return;
    }
}

size_t json_mutate(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    static struct tree tree;
    json_t *root = seed % 4 != 0 ? json_loadb((const char *)data, size, 0, NULL) : NULL;
    if (root == NULL)
        return LLVMFuzzerMutate(data, size, max_size);
    tree.count = 0;
    tree.random = seed;
    list(&tree, root, NULL, NULL, 0);
    if (tree.count > 1)
        change(&tree, &tree.nodes[1 + next_random(&tree) % (tree.count - 1)]);
    size_t made = json_dumpb(root, (char *)data, max_size, JSON_COMPACT);
    json_decref(root);
    return made <= max_size && made > 0 ? made : LLVMFuzzerMutate(data, size, max_size);
}
