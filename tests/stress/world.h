/* A small world for stress: a policy whose truth is a formula of the revision, a writer that keeps a segment true
 * to it at full speed, and the equation that every answer of a reader must satisfy.
 *
 * Each revision edits one class (a role combination), moves one group of users to another class and turns some
 * scopes from folded to unfolded or to another fold, all in one batch. So nearly any pair of old and new state
 * makes an answer that no revision gives. Between batches entries move within their windows, as when the sidecar
 * makes room; whoever is in the table all the time must be found all the same. The bits of a set spell out its
 * class, the class's version, its own index and its life, so that a mixture shows in them. */
#ifndef PERMTAB_TESTS_STRESS_WORLD_H
#define PERMTAB_TESTS_STRESS_WORLD_H

#include "shm/map.h"
#include "shm/pool.h"
#include "shm/segment.h"
#include "shm/set.h"

#include <stdbool.h>
#include <stdint.h>

#define WORLD_CLASSES       7u
#define WORLD_GROUPS        5u
#define WORLD_FOLD_PERIOD   3u
#define WORLD_SCOPES        4u /* of type WORLD_PLAIN */
#define WORLD_FOLDABLE      6u /* of type WORLD_FOLDED */
#define WORLD_PLAIN         1u
#define WORLD_FOLDED        2u
#define WORLD_PERMISSIONS   256u
#define WORLD_WORDS         (WORLD_PERMISSIONS / 64u * 2u)
#define WORLD_DEADLINE_NONE UINT64_MAX

struct world_key {
    uint64_t user;
    uint64_t scope_id;
    uint32_t scope_type;
};

/* The first word of a set says this. */
struct world_truth {
    uint32_t class_number;
    uint64_t version;
};

struct world {
    struct segment segment;
    struct map map;
    struct map folds;
    struct set_pool sets;
    struct index_pool targets;
    uint32_t users;
    uint64_t revision;
    uint64_t random;
    uint64_t life; /* of sets, counted over all */
    uint32_t class_set[WORLD_CLASSES];
    uint32_t fold_target[WORLD_FOLDABLE]; /* 0: not folded */
    uint32_t *residence;                  /* shared with reader processes: see world_view */
    uint64_t inserted, evicted, revoked, replaced, rewritten, moved, folded, unfolded, displaced;
};

/* The part of the world that a reader needs. `residence` is a number for each key of type WORLD_PLAIN (the others may
 * be folded): odd while the key is in the table for certain, another one each time it comes back. A key that had the
 * same odd number before and after a look was there. */
struct world_view {
    const struct permtab_shm_table *table;
    const uint32_t *residence;
};

/* A published segment at revision 0. `entries` is the size of the map: less than there are keys, so that slots are
 * used again and again. */
int world_init(struct world *world, uint32_t users, uint64_t entries, uint64_t seed) PERMTAB_MUST_CHECK;
void world_fini(struct world *world);

/* One batch: revision + 1, then `fills` attempts to fill a missing entry. */
void world_step_writer(struct world *world, uint32_t fills);

/* Does what a successor does to a dead writer's table when the user loses everything: clears each entry, also one that
 * the dead one was moving and left in two slots. */
void world_revoke_user_writer(struct world *world, uint64_t user);
/* Counts the keys that are in two slots. UINT32_MAX when one is in more, or with two sets. */
uint32_t world_doubled(const struct world *world);

struct world_truth world_truth(struct world_key key, uint64_t revision);
struct world_key world_key_random(uint32_t users, uint64_t *random);
uint64_t world_random(uint64_t *state);

/* The outcome of one look at the table. */
enum world_answer {
    WORLD_RIGHT,
    WORLD_MISS,
    WORLD_BUSY,
    WORLD_WRONG_SET,    /* the words of the set do not belong together, or to that set */
    WORLD_WRONG_ANSWER, /* they do, but no revision of the window gives that answer */
    WORLD_LOST,         /* a miss, and the key was in the table all the time */
};

/* Looks at `key` as a client would and holds the answer against every revision it can come from: not older than the
 * applied revision that was read before it, not newer than the batch that was under way after it. */
enum world_answer world_look_any(const struct world_view *view, struct world_key key);
/* The same with a check of one permission, `straight` by the straight line where there is one. */
enum world_answer world_check_any(const struct world_view *view, struct world_key key, uint32_t bit,
                                  bool straight);

#endif
