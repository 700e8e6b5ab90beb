/* The order in which entries make room: SIEVE (Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is Simpler than LRU: an
 * Efficient Turn-Key Eviction Algorithm for Web Caches", NSDI 2024). Entries stand in a queue, the newest in front, and
 * never change places. A hand goes from the old end to the new one and begins again; it passes over entries that were
 * used, and takes the first one that was not.
 *
 * Three things are different here, because the sidecar sees a sample of the uses (docs/PERFORMANCE.md has the figures):
 *
 *   - A lap of the hand ends after as many entries have made room as there are. New ones come in front of the hand, so
 *     one that passes over few never gets there: it takes each new entry soon after it came, before a use of it can
 *     have been seen, and what once was used stays for ever.
 *   - One use is good for several laps.
 *   - SIEVE_STEPS entries are passed over for one that makes room, and no more than `used_max` count as used at a time,
 *     so there are always some that do not.
 *
 * Private to the sidecar: a byte a slot, beside the links of entries.h. No clock, no map, nothing that is shared. */
#ifndef PERMTAB_TABLE_SIEVE_H
#define PERMTAB_TABLE_SIEVE_H

#include <stdbool.h>
#include <stdint.h>

#define SIEVE_LAPS  3u  /* of the hand, for which one use that is known of is good */
#define SIEVE_STEPS 64u /* of the hand, for one entry that makes room */

struct entry_links;

struct sieve {
    struct entry_links *links; /* by slot; `newer` and `older` are the queues' */
    uint8_t *laps;             /* by slot: how often the hand still passes over the entry; 0: it is not in use */
    uint64_t used;             /* entries that are */
    uint64_t used_max;
    uint8_t laps_of_a_use;
};

struct sieve_queue {
    uint32_t oldest, newest;
    uint32_t hand; /* looks at this one next; NO_ENTRY: at the oldest */
    uint64_t lap;  /* entries that made room in this one */
    uint64_t count;
};

void sieve_queue_init(struct sieve_queue *queue);
/* Puts the slot in front, as an entry that was not used. */
void sieve_append(struct sieve *sieve, struct sieve_queue *queue, uint32_t slot);
void sieve_remove(struct sieve *sieve, struct sieve_queue *queue, uint32_t slot);
/* `to` takes the place of `from`, whose links have been copied to it. */
void sieve_move(struct sieve *sieve, struct sieve_queue *queue, uint32_t from, uint32_t to);

/* The entry in the slot was used. False when that changes nothing: it counts as just used already, or too many do. */
bool sieve_use(struct sieve *sieve, uint32_t slot);
/* It counts as just used already. */
bool sieve_known(const struct sieve *sieve, uint32_t slot);
/* Whether sieve_use would change anything. */
bool sieve_usable(const struct sieve *sieve, uint32_t slot);
/* The entry counts as used for so many laps more at least, unless too many do: a copy of one that does. */
void sieve_lend(struct sieve *sieve, uint32_t slot, uint8_t laps);
/* The entry that makes room next, or NO_ENTRY in an empty queue. Moves the hand there; sieve_remove moves it on. */
uint32_t sieve_victim(struct sieve *sieve, struct sieve_queue *queue);

#endif
