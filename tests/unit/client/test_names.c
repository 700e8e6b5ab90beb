/* client/names.c: a catalogue out of pages, whatever their size; and pages that no catalogue has. */
#include "client/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *name;
    uint64_t bit, flags;
};

/* A page says this; next 0: nil, NO_NEXT: the key is missing. */
#define NO_NEXT UINT64_MAX
struct page {
    uint64_t catalogue, next;
    const struct row *rows;
    size_t count;
};

static void pack(struct wire_buffer *out, const struct page *page, uint32_t types)
{
    wire_reply(out, 1, page->next == NO_NEXT ? 3 : 4);
    wire_str(out, "catalogue");
    wire_u64(out, page->catalogue);
    wire_str(out, "permissions");
    wire_array(out, (uint32_t)page->count);
    for (size_t i = 0; i < page->count; i++) {
        wire_array(out, 3);
        wire_str(out, page->rows[i].name);
        wire_u64(out, page->rows[i].bit);
        wire_u64(out, page->rows[i].flags);
    }
    wire_str(out, "scope_types");
    wire_array(out, types);
    for (uint32_t i = 0; i < types; i++)
        wire_str(out, i == 0 ? "global" : "channel");
    if (page->next != NO_NEXT) {
        wire_str(out, "next");
        if (page->next > 0)
            wire_u64(out, page->next);
        else
            wire_nil(out);
    }
}

static int take_with_types(struct names **names, const struct page *page, uint64_t *next, uint32_t types)
{
    struct wire_buffer buffer;
    struct wire_message message;
    wire_buffer_init(&buffer);
    pack(&buffer, page, types);
    assert_int_equal(wire_take(buffer.data, buffer.size, &message), 1);
    int result = names_take(names, message.result, next);
    wire_message_fini(&message);
    wire_buffer_fini(&buffer);
    return result;
}

static int take(struct names **names, const struct page *page, uint64_t *next)
{
    return take_with_types(names, page, next, 2);
}

/* 16,000 names in pages of each size lead to the same. */
static void test_pages_of_any_size(void **state)
{
    static struct row rows[PERMTAB_SHM_PERMISSIONS_MAX];
    static char texts[PERMTAB_SHM_PERMISSIONS_MAX][NAMES_PERMISSION_MAX + 1];
    const size_t count = PERMTAB_SHM_PERMISSIONS_MAX;
    static const size_t sizes[] = {1, 7, 1000, 8192, 8193, PERMTAB_SHM_PERMISSIONS_MAX};
    (void)state;
    for (size_t i = 0; i < count; i++) { /* not in the order of their names; each ninth is a tombstone */
        (void)snprintf(texts[i], sizeof texts[i], "p.n%05zu%045d", (i * 7919) % count, 0);
        rows[i] = (struct row){texts[i], i, i % 9 == 0 ? 2 : 0};
    }
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct names *names = NULL;
        uint64_t next = 0;
        int result = 1;
        while (result > 0) {
            size_t size = next + sizes[k] < count ? sizes[k] : count - next;
            struct page page = {7, next + size < count ? next + size : 0, rows + next, size};
            result = take(&names, &page, &next);
        }
        assert_int_equal(result, 0);
        assert_int_equal(names->catalogue, 7);
        assert_int_equal(names->count, count - (count + 8) / 9);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(names_permission(names, texts[i]), i % 9 == 0 ? UINT32_MAX : i);
        assert_int_equal(names_type(names, "channel"), 1);
        size_t found;
        (void)names_with_prefix(names, "p.n", 3, &found);
        assert_int_equal(found, names->count);
        names_free(names);
    }
}

static const struct row abc[] = {{"a", 0, 0}, {"b", 1, 0}, {"c", 2, 0}};
static const struct row xyz[] = {{"x", 0, 0}, {"y", 1, 0}, {"z", 2, 0}};

/* Rows of the catalogue that were read before are in none of what comes after. */
static void test_it_begins_again_when_the_catalogue_changes(void **state)
{
    struct names *names = NULL;
    uint64_t next = 0;
    (void)state;
    assert_int_equal(take(&names, &(struct page){7, 2, abc, 2}, &next), 1);
    assert_int_equal(next, 2);
    assert_int_equal(take(&names, &(struct page){8, 0, xyz + 2, 1}, &next), 1);
    assert_int_equal(next, 0);
    assert_null(names);
    assert_int_equal(take(&names, &(struct page){8, 2, xyz, 2}, &next), 1);
    assert_int_equal(take(&names, &(struct page){8, 0, xyz + 2, 1}, &next), 0);
    assert_int_equal(names->count, 3);
    assert_int_equal(names_permission(names, "a"), UINT32_MAX);
    assert_int_equal(names_permission(names, "z"), 2);
    names_free(names);
}

static void test_an_older_sidecar_sends_all_at_once(void **state)
{
    struct names *names = NULL;
    uint64_t next = 0;
    (void)state;
    assert_int_equal(take(&names, &(struct page){7, NO_NEXT, abc, 3}, &next), 0);
    assert_int_equal(names->count, 3);
    names_free(names);
}

static void refuse(const struct page *first, const struct page *second)
{
    struct names *names = NULL;
    uint64_t next = 0;
    int result = take(&names, first, &next);
    if (second != NULL) {
        assert_int_equal(result, 1);
        result = take(&names, second, &next);
    }
    assert_int_equal(result, PERMTAB_E_PROTOCOL);
    names_free(names);
}

static void test_no_such_pages(void **state)
{
    static const struct row bit[] = {{"a", PERMTAB_SHM_PERMISSIONS_MAX, 0}}, nameless[] = {{"", 0, 0}};
    static struct row many[PERMTAB_SHM_PERMISSIONS_MAX];
    char text[NAMES_PERMISSION_MAX + 2];
    struct row longer[] = {{text, 0, 0}};
    struct names *names = NULL;
    uint64_t next = 0;
    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    refuse(&(struct page){7, 0, bit, 1}, NULL);
    refuse(&(struct page){7, 0, nameless, 1}, NULL);
    refuse(&(struct page){7, 0, longer, 1}, NULL);
    refuse(&(struct page){7, PERMTAB_SHM_PERMISSIONS_MAX + 1, abc, 3}, NULL);
    refuse(&(struct page){7, 2, abc, 2}, &(struct page){7, 2, abc + 2, 1}); /* that would never end */
    refuse(&(struct page){7, 2, abc, 2}, &(struct page){7, 1, abc + 2, 1});
    for (size_t i = 0; i < PERMTAB_SHM_PERMISSIONS_MAX; i++)
        many[i] = (struct row){"a", 0, 0};
    refuse(&(struct page){7, 2, abc, 2}, &(struct page){7, 0, many, PERMTAB_SHM_PERMISSIONS_MAX - 1});
    assert_int_equal(take_with_types(&names, &(struct page){7, 0, abc, 3}, &next, 0), PERMTAB_E_PROTOCOL);
    names_free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_of_any_size),
        cmocka_unit_test(test_it_begins_again_when_the_catalogue_changes),
        cmocka_unit_test(test_an_older_sidecar_sends_all_at_once),
        cmocka_unit_test(test_no_such_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
