/* The reader of the little policy language. It is strict: a misspelt word in a case must not silently make another
 * case of it. */
#include "tests/support/policy_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool wrong(struct policy_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool wrong(struct policy_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text->error, sizeof text->error, format, arguments);
    va_end(arguments);
    return false;
}

void policy_text_init(struct policy_text *text)
{
    memset(text, 0, sizeof *text);
    memory_policy_init(&text->policy);
}

void policy_text_fini(struct policy_text *text)
{
    memory_policy_fini(&text->policy);
}

void policy_text_copy(struct policy_text *out, const struct policy_text *from)
{
    *out = *from;
    memory_policy_copy(&out->policy, &from->policy);
}

bool policy_words_split(struct policy_words *words, const char *line)
{
    size_t length = strcspn(line, "#\r\n");
    words->count = 0;
    if (length >= sizeof words->text)
        return false;
    memcpy(words->text, line, length);
    words->text[length] = '\0';
    char *rest = NULL;
    for (char *word = strtok_r(words->text, " \t", &rest); word != NULL;
         word = strtok_r(NULL, " \t", &rest)) {
        size_t size = strlen(word);
        if (words->count == POLICY_WORDS_MAX)
            return false;
        if (size > 1 && (word[size - 1] == ':' || word[size - 1] == ','))
            word[size - 1] = '\0';
        words->items[words->count++] = word;
    }
    return true;
}

/* ---- words ----------------------------------------------------------------------------------------------------- */

bool policy_text_permission(struct policy_text *text, const char *word, uint32_t *bit)
{
    *bit = 0;
    for (uint32_t i = 0; i < text->policy.permissions.count; i++) {
        if (strcmp(text->policy.permissions.items[i].name, word) == 0) {
            *bit = i;
            return true;
        }
    }
    return wrong(text, "no permission is called '%s'", word);
}

bool policy_text_scope(struct policy_text *text, const char *word, struct scope_key *key)
{
    return scope_parse(&text->policy.types, word, key) == 0 || wrong(text, "'%s' is no scope", word);
}

bool policy_text_id(struct policy_text *text, const char *word, uint64_t *id)
{
    return id_parse(word, id) || wrong(text, "'%s' is no id", word);
}

bool policy_text_time(struct policy_text *text, const char *word, int64_t *time)
{
    char *end = NULL;
    if (strcmp(word, "never") == 0) {
        *time = FACTS_NEVER;
        return true;
    }
    errno = 0;
    *time = strtoll(word, &end, 10);
    return (errno == 0 && end != word && *end == '\0') || wrong(text, "'%s' is no time", word);
}

/* The word at `at` must be `expected`. */
static bool expect(struct policy_text *text, const struct policy_words *words, size_t at,
                   const char *expected)
{
    if (at < words->count && strcmp(words->items[at], expected) == 0)
        return true;
    return wrong(text, "word %zu should be '%s'", at + 1, expected);
}

static bool enough(struct policy_text *text, const struct policy_words *words, size_t least)
{
    return words->count >= least || wrong(text, "'%s' needs %zu words", words->items[0], least);
}

/* ---- statements ------------------------------------------------------------------------------------------------ */

/* permission NAME [grants_all] [deprecated] [deleted] [requires NAME …] */
static bool read_permission(struct policy_text *text, const struct policy_words *words)
{
    if (!enough(text, words, 2))
        return false;
    uint32_t bit = memory_permission(&text->policy, words->items[1]);
    struct memory_permission *permission = &text->policy.permissions.items[bit];
    size_t at = 2;
    for (; at < words->count && strcmp(words->items[at], "requires") != 0; at++) {
        if (strcmp(words->items[at], "grants_all") == 0)
            permission->grants_all = true;
        else if (strcmp(words->items[at], "deprecated") == 0)
            permission->deprecated = true;
        else if (strcmp(words->items[at], "deleted") == 0)
            permission->deleted = true;
        else
            return wrong(text, "a permission cannot be '%s'", words->items[at]);
    }
    for (at++; at < words->count; at++) {
        uint32_t requires;
        if (!policy_text_permission(text, words->items[at], &requires))
            return false;
        memory_requires(&text->policy, bit, requires);
    }
    return true;
}

/* permissions NAME … */
static bool read_permissions(struct policy_text *text, const struct policy_words *words)
{
    for (size_t i = 1; i < words->count; i++)
        memory_permission(&text->policy, words->items[i]);
    return enough(text, words, 2);
}

/* scope SCOPE [under SCOPE] [owner USER] */
static bool read_scope(struct policy_text *text, const struct policy_words *words)
{
    struct scope_key key, parent = {0};
    uint64_t owner;
    const uint64_t *has_owner = NULL;
    if (!enough(text, words, 2) || !policy_text_scope(text, words->items[1], &key))
        return false;
    for (size_t at = 2; at < words->count; at += 2) {
        if (at + 1 < words->count && strcmp(words->items[at], "under") == 0) {
            if (!policy_text_scope(text, words->items[at + 1], &parent))
                return false;
        } else if (at + 1 < words->count && strcmp(words->items[at], "owner") == 0) {
            if (!policy_text_id(text, words->items[at + 1], &owner))
                return false;
            has_owner = &owner;
        } else {
            return wrong(text, "'%s' is not understood", words->items[at]);
        }
    }
    memory_scope(&text->policy, key, parent, has_owner);
    return true;
}

/* role ID NAME at SCOPE [default] [inactive] [inherits ROLE …] */
static bool read_role(struct policy_text *text, const struct policy_words *words)
{
    struct scope_key scope;
    bool is_default = false, active = true;
    size_t at = 5;
    if (!enough(text, words, 5) || !policy_text_id(text, words->items[1], &text->role) ||
        !expect(text, words, 3, "at") || !policy_text_scope(text, words->items[4], &scope))
        return false;
    for (; at < words->count && strcmp(words->items[at], "inherits") != 0; at++) {
        if (strcmp(words->items[at], "default") == 0)
            is_default = true;
        else if (strcmp(words->items[at], "inactive") == 0)
            active = false;
        else
            return wrong(text, "a role cannot be '%s'", words->items[at]);
    }
    for (at++; at < words->count; at++) {
        uint64_t parent;
        if (!policy_text_id(text, words->items[at], &parent))
            return false;
        memory_inherit(&text->policy, text->role, parent);
    }
    if (memory_role_find(&text->policy, text->role) != NULL)
        return wrong(text, "there is a role %s already", words->items[1]);
    memory_role(&text->policy, text->role, words->items[2], scope, is_default, active);
    text->has_role = true;
    return true;
}

static bool read_effect(struct policy_text *text, const struct policy_words *words, enum grant_effect effect)
{
    if (!text->has_role)
        return wrong(text, "no role has been named to %s something", words->items[0]);
    for (size_t i = 1; i < words->count; i++) {
        uint32_t bit;
        if (!policy_text_permission(text, words->items[i], &bit))
            return false;
        memory_grant(&text->policy, text->role, effect, bit);
    }
    return enough(text, words, 2);
}

static bool read_allow(struct policy_text *text, const struct policy_words *words)
{
    return read_effect(text, words, GRANT_ALLOW);
}

static bool read_allow_own(struct policy_text *text, const struct policy_words *words)
{
    return read_effect(text, words, GRANT_ALLOW_OWN);
}

static bool read_deny(struct policy_text *text, const struct policy_words *words)
{
    return read_effect(text, words, GRANT_DENY);
}

/* assign USER ROLE at SCOPE [until TIME] */
static bool read_assign(struct policy_text *text, const struct policy_words *words)
{
    uint64_t user, role;
    struct scope_key scope;
    int64_t until = FACTS_NEVER;
    if (!enough(text, words, 5) || !policy_text_id(text, words->items[1], &user) ||
        !policy_text_id(text, words->items[2], &role) || !expect(text, words, 3, "at") ||
        !policy_text_scope(text, words->items[4], &scope))
        return false;
    if (words->count > 5 && (words->count != 7 || !expect(text, words, 5, "until") ||
                             !policy_text_time(text, words->items[6], &until)))
        return wrong(text, "after the scope comes nothing, or 'until TIME'");
    memory_assign(&text->policy, user, role, scope, until);
    return true;
}

/* overwrite SCOPE role|user ID allow|deny NAME … */
static bool read_overwrite(struct policy_text *text, const struct policy_words *words)
{
    struct scope_key scope;
    uint64_t subject;
    if (!enough(text, words, 6) || !policy_text_scope(text, words->items[1], &scope) ||
        !policy_text_id(text, words->items[3], &subject))
        return false;
    bool of_user = strcmp(words->items[2], "user") == 0, allow = strcmp(words->items[4], "allow") == 0;
    if ((!of_user && !expect(text, words, 2, "role")) || (!allow && !expect(text, words, 4, "deny")))
        return false;
    for (size_t i = 5; i < words->count; i++) {
        uint32_t bit;
        if (!policy_text_permission(text, words->items[i], &bit))
            return false;
        memory_overwrite(&text->policy, scope, of_user ? OVERWRITE_USER : OVERWRITE_ROLE, subject, bit,
                         allow);
    }
    return true;
}

/* now TIME */
static bool read_now(struct policy_text *text, const struct policy_words *words)
{
    return enough(text, words, 2) && policy_text_time(text, words->items[1], &text->now);
}

int policy_text_line(struct policy_text *text, const struct policy_words *words)
{
    static const struct {
        const char *word;
        bool (*read)(struct policy_text *, const struct policy_words *);
    } statements[] = {
        {"permission", read_permission},
        {"permissions", read_permissions},
        {"scope", read_scope},
        {"role", read_role},
        {"allow", read_allow},
        {"allow_own", read_allow_own},
        {"deny", read_deny},
        {"assign", read_assign},
        {"overwrite", read_overwrite},
        {"now", read_now},
    };
    text->error[0] = '\0';
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        if (words->count > 0 && strcmp(words->items[0], statements[i].word) == 0)
            return statements[i].read(text, words) ? 1 : -1;
    return 0;
}
