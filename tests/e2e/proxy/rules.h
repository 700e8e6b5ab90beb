/* The rules of a link: what it does to what passes through it. They are set by words such as "mode=stall" or
 * "delay_down=50"; parts in 1 are probabilities. Pure, but for the dice. */
#ifndef PERMTAB_E2E_RULES_H
#define PERMTAB_E2E_RULES_H

#include <stdbool.h>
#include <stdint.h>

enum mode {
    MODE_PASS,
    MODE_REFUSE, /* connections are reset, new ones too */
    MODE_STALL,  /* connections are accepted, and nothing is forwarded */
};

enum direction { UP, DOWN }; /* to the server, to the client */

struct rules {
    enum mode mode;
    double delay_ms[2], jitter_ms[2]; /* by direction; jitter adds or takes away at most so much */
    double rate[2];                   /* bytes a second; 0: no limit */
    /* Chances for each message of a subscription. */
    double drop, duplicate, reorder, hold, garble, corrupt;
    double hold_ms; /* held messages come so much later, and others overtake them */
};

/* false: there is no such word. "reset" is pass and nothing else. */
bool rules_set(struct rules *rules, const char *word);

struct dice {
    uint64_t state;
};

void dice_seed(struct dice *dice, uint64_t seed);
uint64_t dice_next(struct dice *dice);
double dice_roll(struct dice *dice); /* in [0, 1) */

#endif
