/* One table of words. */
#include "tests/e2e/proxy/rules.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
    {"delay_up", offsetof(struct rules, delay_ms[UP])},
    {"delay_down", offsetof(struct rules, delay_ms[DOWN])},
    {"jitter_up", offsetof(struct rules, jitter_ms[UP])},
    {"jitter_down", offsetof(struct rules, jitter_ms[DOWN])},
    {"rate_up", offsetof(struct rules, rate[UP])},
    {"rate_down", offsetof(struct rules, rate[DOWN])},
    {"drop", offsetof(struct rules, drop)},
    {"duplicate", offsetof(struct rules, duplicate)},
    {"reorder", offsetof(struct rules, reorder)},
    {"hold", offsetof(struct rules, hold)},
    {"hold_ms", offsetof(struct rules, hold_ms)},
    {"garble", offsetof(struct rules, garble)},
    {"corrupt", offsetof(struct rules, corrupt)},
};

static const struct {
    const char *word;
    enum mode mode;
} modes[] = {{"mode=pass", MODE_PASS}, {"mode=refuse", MODE_REFUSE}, {"mode=stall", MODE_STALL}};

bool rules_set(struct rules *rules, const char *word)
{
    if (strcmp(word, "reset") == 0) {
        memset(rules, 0, sizeof *rules);
        return true;
    }
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(word, modes[i].word) == 0) {
            rules->mode = modes[i].mode;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        size_t length = strlen(numbers[i].name);
        if (strncmp(word, numbers[i].name, length) != 0 || word[length] != '=')
            continue;
        char *end;
        double value = strtod(word + length + 1, &end);
        if (end == word + length + 1 || *end || !(value >= 0 && value < 1e9))
            return false;
        *(double *)(void *)((char *)rules + numbers[i].offset) = value;
        return true;
    }
    return false;
}

void dice_seed(struct dice *dice, uint64_t seed)
{
    dice->state = seed;
}

/* splitmix64 (Steele, Lea and Flood, 2014). */
uint64_t dice_next(struct dice *dice)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

double dice_roll(struct dice *dice)
{
    return (double)(dice_next(dice) >> 11) / 9007199254740992.0;
}
