/* Runs the tables of tests/cases/ and the examples of docs/SEMANTICS.md through inputs_build and resolve, and through
 * explain. The language is documented in tests/cases/README.md. Every check that fails is printed with its place; the
 * test fails at the end, so one run shows all of them. */
#include "proxy/rights/explain.h"
#include "tests/support/policy_text.h"

#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CASES_LEAST 60

struct run {
    const char *file;
    unsigned line;
    char title[256];
    struct policy_text shared; /* what stands before the first case of a file */
    struct policy_text text;
    bool in_case;
    unsigned cases, checks, failures;
};

static void failed(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void failed(struct run *run, const char *format, ...)
{
    char reason[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    print_error("%s:%u: %s: %s\n", run->file, run->line, run->title, reason);
    run->failures++;
}

/* ---- one user at one place ------------------------------------------------------------------------------------- */

struct asked {
    uint64_t user;
    struct scope_key scope;
    struct catalogue catalogue;
    struct facts facts;
    struct inputs inputs;
    size_t misplaced;
    uint64_t *bits; /* any, then own */
};

/* Reads "USER at SCOPE" from word `at` on. */
static bool asked_init(struct run *run, struct asked *out, const struct policy_words *words, size_t at)
{
    struct policy_text *text = &run->text;
    memset(out, 0, sizeof *out);
    if (words->count < at + 3 || strcmp(words->items[at + 1], "at") != 0) {
        failed(run, "a check needs USER at SCOPE");
        return false;
    }
    if (!policy_text_id(text, words->items[at], &out->user) ||
        !policy_text_scope(text, words->items[at + 2], &out->scope)) {
        failed(run, "%s", text->error);
        return false;
    }
    memory_catalogue(&text->policy, 1, &out->catalogue);
    memory_facts(&text->policy, out->user, out->scope, text->now, &out->facts);
    out->bits = calloc(2 * out->catalogue.words, sizeof *out->bits);
    assert_non_null(out->bits);
    assert_return_code(inputs_build(&out->inputs, &out->facts, text->now, role_list_find, &out->facts.roles,
                                    &out->misplaced),
                       0);
    assert_return_code(resolve(&out->catalogue, &out->inputs, role_list_find, &out->facts.roles, out->bits,
                               out->bits + out->catalogue.words),
                       0);
    return true;
}

static void asked_fini(struct asked *asked)
{
    free(asked->bits);
    inputs_fini(&asked->inputs);
    facts_fini(&asked->facts);
    catalogue_fini(&asked->catalogue);
}

static void check_explained(struct run *run, struct asked *asked, uint32_t bit, bool own, bool allowed)
{
    struct explanation explanation;
    assert_return_code(explain(&explanation, &asked->catalogue, &asked->facts, run->text.now, bit, own), 0);
    if (explanation.allowed != allowed)
        failed(run, "explain %s %s, against resolve: %s", explanation.allowed ? "allows" : "denies",
               asked->catalogue.permissions[bit].name, explanation.lines[explanation.decisive]);
    if (explanation.deprecated != asked->catalogue.permissions[bit].deprecated)
        failed(run, "explain is wrong about %s being deprecated", asked->catalogue.permissions[bit].name);
    if (explanation.line_count == 0 || explanation.decisive >= explanation.line_count)
        failed(run, "explain has no line that decides");
    explanation_fini(&explanation);
}

/* ---- checks ---------------------------------------------------------------------------------------------------- */

static void check_bitmap(struct run *run, struct asked *asked, const struct policy_words *words, bool own)
{
    const uint64_t *bits = own ? asked->bits + asked->catalogue.words : asked->bits;
    bool everything = words->count == 5 && strcmp(words->items[4], "everything") == 0;
    bool nothing = words->count == 5 && strcmp(words->items[4], "nothing") == 0;
    for (uint32_t bit = 0; bit < asked->catalogue.count; bit++) {
        const struct permission *permission = &asked->catalogue.permissions[bit];
        bool wanted = everything && !permission->deleted;
        for (size_t i = 4; i < words->count; i++)
            wanted = wanted || strcmp(words->items[i], permission->name) == 0;
        if (bitmap_test(bits, bit) != wanted)
            failed(run, "%s: %s is %s", own ? "own" : "any", permission->name, wanted ? "missing" : "there");
        check_explained(run, asked, bit, own, bitmap_test(bits, bit));
    }
    for (size_t i = 4; i < words->count && !everything && !nothing; i++) {
        uint32_t bit;
        if (!policy_text_permission(&run->text, words->items[i], &bit))
            failed(run, "%s", run->text.error);
    }
    if (words->count < 5)
        failed(run, "name permissions, or 'everything', or 'nothing'");
}

/* any|own|both USER at SCOPE: NAME … | everything | nothing */
static void check_set(struct run *run, const struct policy_words *words)
{
    struct asked asked;
    if (!asked_init(run, &asked, words, 1))
        return;
    if (strcmp(words->items[0], "own") != 0)
        check_bitmap(run, &asked, words, false);
    if (strcmp(words->items[0], "any") != 0)
        check_bitmap(run, &asked, words, true);
    asked_fini(&asked);
}

/* The text after the first `from` words, as it stands in the line. */
static const char *line_rest(const char *line, size_t from)
{
    for (; from > 0; from--) {
        line += strspn(line, " \t");
        line += strcspn(line, " \t");
    }
    return line + strspn(line, " \t");
}

/* decided|tells USER at SCOPE NAME any|own: a part of the line that decides, or of any line */
static void check_tells(struct run *run, const struct policy_words *words, const char *line)
{
    struct asked asked;
    struct explanation explanation;
    uint32_t bit;
    if (words->count < 7 || !policy_text_permission(&run->text, words->items[4], &bit)) {
        failed(run, "'%s' needs USER at SCOPE NAME any|own: TEXT", words->items[0]);
        return;
    }
    if (!asked_init(run, &asked, words, 1))
        return;
    const char *wanted = line_rest(line, 6);
    bool deciding = strcmp(words->items[0], "decided") == 0, found = false;
    assert_return_code(explain(&explanation, &asked.catalogue, &asked.facts, run->text.now, bit,
                               strcmp(words->items[5], "own") == 0),
                       0);
    for (size_t i = 0; i < explanation.line_count; i++)
        found = found ||
                ((!deciding || i == explanation.decisive) && strstr(explanation.lines[i], wanted) != NULL);
    if (!found) {
        failed(run, "no %sline says '%s'", deciding ? "deciding " : "", wanted);
        for (size_t i = 0; i < explanation.line_count; i++)
            print_error("    %s%s\n", explanation.lines[i], i == explanation.decisive ? "   <- decides" : "");
    }
    explanation_fini(&explanation);
    asked_fini(&asked);
}

/* misplaced USER at SCOPE: N */
static void check_misplaced(struct run *run, const struct policy_words *words)
{
    struct asked asked;
    uint64_t wanted = 0;
    if (!asked_init(run, &asked, words, 1))
        return;
    if (words->count != 5 || !policy_text_id(&run->text, words->items[4], &wanted) ||
        asked.misplaced != wanted)
        failed(run, "%zu assignments are misplaced", asked.misplaced);
    asked_fini(&asked);
}

/* expires USER at SCOPE: TIME|never */
static void check_expires(struct run *run, const struct policy_words *words)
{
    struct asked asked;
    int64_t wanted = 0;
    if (!asked_init(run, &asked, words, 1))
        return;
    if (words->count != 5 || !policy_text_time(&run->text, words->items[4], &wanted) ||
        asked.inputs.first_expiry != wanted)
        failed(run, "the first expiry is %" PRId64, asked.inputs.first_expiry);
    asked_fini(&asked);
}

/* same|different USER at SCOPE, USER at SCOPE: whether they share one permission set */
static void check_shared(struct run *run, const struct policy_words *words)
{
    struct asked first, second;
    bool wanted = strcmp(words->items[0], "same") == 0;
    if (!asked_init(run, &first, words, 1))
        return;
    if (asked_init(run, &second, words, 4)) {
        if (inputs_equal(&first.inputs, &second.inputs) != wanted)
            failed(run, "their inputs are %s", wanted ? "different" : "the same");
        if (wanted && inputs_hash(&first.inputs) != inputs_hash(&second.inputs))
            failed(run, "equal inputs have different hashes");
        asked_fini(&second);
    }
    asked_fini(&first);
}

/* plain|busy USER at SCOPE: whether the scope folds into its parent; a plain one must resolve as its parent does */
static void check_plain(struct run *run, const struct policy_words *words)
{
    struct asked asked;
    bool wanted = strcmp(words->items[0], "plain") == 0;
    if (!asked_init(run, &asked, words, 1))
        return;
    uint32_t last = asked.facts.chain_count - 1;
    if (asked.facts.chain_count < 2 || asked.facts.chain[last].plain != wanted) {
        failed(run, "it is %splain", wanted ? "not " : "");
    } else if (wanted) {
        struct facts above;
        struct inputs inputs;
        memory_facts(&run->text.policy, asked.user, asked.facts.chain[last - 1].key, run->text.now, &above);
        assert_return_code(inputs_build(&inputs, &above, run->text.now, role_list_find, &above.roles, NULL),
                           0);
        if (!inputs_equal(&inputs, &asked.inputs))
            failed(run, "it differs from its parent");
        inputs_fini(&inputs);
        facts_fini(&above);
    }
    asked_fini(&asked);
}

static bool check_line(struct run *run, const struct policy_words *words, const char *line)
{
    const char *word = words->items[0];
    if (strcmp(word, "any") == 0 || strcmp(word, "own") == 0 || strcmp(word, "both") == 0)
        check_set(run, words);
    else if (strcmp(word, "decided") == 0 || strcmp(word, "tells") == 0)
        check_tells(run, words, line);
    else if (strcmp(word, "misplaced") == 0)
        check_misplaced(run, words);
    else if (strcmp(word, "expires") == 0)
        check_expires(run, words);
    else if (strcmp(word, "same") == 0 || strcmp(word, "different") == 0)
        check_shared(run, words);
    else if (strcmp(word, "plain") == 0 || strcmp(word, "busy") == 0)
        check_plain(run, words);
    else
        return false;
    run->checks++;
    return true;
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static void run_begin(struct run *run, const char *file)
{
    run->file = file;
    run->line = 0;
    run->in_case = false;
    snprintf(run->title, sizeof run->title, "before the first case");
    policy_text_init(&run->shared);
    policy_text_copy(&run->text, &run->shared);
}

static void run_end(struct run *run)
{
    policy_text_fini(&run->text);
    policy_text_fini(&run->shared);
}

static void run_case(struct run *run, const char *line)
{
    if (!run->in_case) {
        policy_text_fini(&run->shared);
        policy_text_copy(&run->shared, &run->text);
    }
    policy_text_fini(&run->text);
    policy_text_copy(&run->text, &run->shared);
    snprintf(run->title, sizeof run->title, "%s", line_rest(line, 1));
    run->in_case = true;
    run->cases++;
}

static void run_line(struct run *run, const char *line)
{
    struct policy_words words;
    if (!policy_words_split(&words, line)) {
        failed(run, "the line is too long");
        return;
    }
    if (words.count == 0)
        return;
    if (strcmp(words.items[0], "case") == 0) {
        run_case(run, line);
        return;
    }
    int code = policy_text_line(&run->text, &words);
    if (code < 0)
        failed(run, "%s", run->text.error);
    else if (code == 0 && (!run->in_case || !check_line(run, &words, line)))
        failed(run, "'%s' is not understood here", words.items[0]);
}

/* A .txt file is read whole; of a .md file, the blocks fenced by ```case, each a file of its own. */
static void run_file(struct run *run, const char *path, bool fenced)
{
    FILE *file = fopen(path, "r");
    char line[4096];
    unsigned number = 0;
    bool inside = !fenced;
    assert_non_null(file);
    run_begin(run, path);
    while (fgets(line, sizeof line, file) != NULL) {
        run->line = ++number;
        line[strcspn(line, "\n")] = '\0';
        if (fenced && strncmp(line, "```", 3) == 0) {
            inside = strcmp(line, "```case") == 0;
            if (inside) {
                run_end(run);
                run_begin(run, path);
            }
            continue;
        }
        run->line = number;
        if (inside)
            run_line(run, line);
    }
    run_end(run);
    fclose(file);
}

static int is_case_file(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 4 && strcmp(entry->d_name + length - 4, ".txt") == 0;
}

static void test_case_files(void **state)
{
    struct run run = {0};
    struct dirent **entries = NULL;
    (void)state;
    int count = scandir(SOURCE_DIR "/tests/cases", &entries, is_case_file, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, SOURCE_DIR "/tests/cases/%s", entries[i]->d_name);
        run_file(&run, path, false);
        free(entries[i]);
    }
    free(entries);
    print_message("%u cases, %u checks\n", run.cases, run.checks);
    assert_int_equal(run.failures, 0);
    assert_true(run.cases >= CASES_LEAST);
}

static void test_documented_examples(void **state)
{
    struct run run = {0};
    (void)state;
    run_file(&run, SOURCE_DIR "/docs/SEMANTICS.md", true);
    print_message("%u examples, %u checks\n", run.cases, run.checks);
    assert_int_equal(run.failures, 0);
    assert_true(run.cases >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_case_files),
        cmocka_unit_test(test_documented_examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
