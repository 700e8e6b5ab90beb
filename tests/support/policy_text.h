/* A memory policy from lines of text, as in tests/cases/ and in the examples of docs/SEMANTICS.md. The language is
 * documented in tests/cases/README.md; its checks are read by unit/test_cases.c. */
#ifndef PERMTAB_TESTS_SUPPORT_POLICY_TEXT_H
#define PERMTAB_TESTS_SUPPORT_POLICY_TEXT_H

#include "tests/support/memory_policy.h"

#define POLICY_WORDS_MAX 128

/* A line's words: separated by blanks, a colon or comma at a word's end dropped, a # begins a comment. */
struct policy_words {
    char text[4096];
    char *items[POLICY_WORDS_MAX];
    size_t count;
};

struct policy_text {
    struct memory_policy policy;
    uint64_t role; /* what allow, allow_own and deny lines speak of */
    bool has_role;
    int64_t now;
    char error[256];
};

void policy_text_init(struct policy_text *text);
void policy_text_fini(struct policy_text *text);
/* A deep copy. */
void policy_text_copy(struct policy_text *out, const struct policy_text *from);

/* False when the line is too long. */
bool policy_words_split(struct policy_words *words, const char *line);

/* 1: a statement of the policy, and it is carried out; 0: it is none; -1: it is wrong, and `error` says how. */
int policy_text_line(struct policy_text *text, const struct policy_words *words);

/* Checks use these; each fills `error` and returns false when the word is not one. */
bool policy_text_permission(struct policy_text *text, const char *word, uint32_t *bit);
bool policy_text_scope(struct policy_text *text, const char *word, struct scope_key *key);
bool policy_text_id(struct policy_text *text, const char *word, uint64_t *id);
bool policy_text_time(struct policy_text *text, const char *word, int64_t *time);

#endif
