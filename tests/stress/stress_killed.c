/* The writer dies: killed right after its n-th shared store, for many n, by the hook of shm/order.h. What it leaves
 * behind is then only read. Every answer must be that of the applied revision or of the batch it died in; a bucket
 * or a set that it left odd must give no answer; nothing may loop; who was in the table is found, or busy. An entry
 * that it was moving may be in two slots, with one set; then its user is revoked, as a successor would, and nothing
 * of it may be left.
 *
 *     stress_killed [--first N] [--last N] [--step N] [--seed N]
 *
 * Compiled together with shm/ under PERMTAB_STORE_HOOK. The hook has no argument, so its counter is the one static
 * of this file; only the writer process uses it. */
#include "tests/stress/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { USERS = 6, ENTRIES = 12, WARM_UP = 20, BATCHES = 400 };

void permtab_store_hook(void);

static uint64_t stores_left; /* 0: the hook is off */

void permtab_store_hook(void)
{
    if (stores_left != 0 && --stores_left == 0)
        (void)raise(SIGKILL);
}

struct settings {
    uint64_t first, last, step, seed;
};

struct tally {
    uint64_t right, miss, busy, died_inside, died_moving;
};

static int settings_read(struct settings *out, int argc, char **argv)
{
    *out = (struct settings){.first = 1, .last = 400, .step = 1, .seed = 1};
    for (int at = 1; at + 1 < argc; at += 2) {
        uint64_t value = strtoull(argv[at + 1], NULL, 10);
        if (strcmp(argv[at], "--first") == 0)
            out->first = value;
        else if (strcmp(argv[at], "--last") == 0)
            out->last = value;
        else if (strcmp(argv[at], "--step") == 0)
            out->step = value;
        else if (strcmp(argv[at], "--seed") == 0)
            out->seed = value;
        else
            return -1;
    }
    return argc % 2 == 1 && out->first > 0 && out->step > 0 ? 0 : -1;
}

/* The child: works until the hook kills it. */
static void write_until_killed(struct world *world, uint64_t stores)
{
    stores_left = stores;
    for (uint32_t n = 0; n < BATCHES; n++)
        world_step_writer(world, 4);
    _exit(3); /* cannot be: the batches store more often than that */
}

static struct world_key key_number(uint32_t n)
{
    uint32_t scope = n / USERS;
    bool plain = scope < WORLD_SCOPES;
    return (struct world_key){n % USERS, plain ? scope : scope - WORLD_SCOPES,
                              plain ? WORLD_PLAIN : WORLD_FOLDED};
}

/* All keys there are, by whole looks and by single permissions. Returns the number of wrong answers. */
static uint64_t read_all(const struct world_view *view, struct tally *tally)
{
    uint64_t wrong = 0;
    for (uint32_t n = 0; n < USERS * (WORLD_SCOPES + WORLD_FOLDABLE); n++) {
        struct world_key key = key_number(n);
        enum world_answer answers[] = {world_look_any(view, key), world_check_any(view, key, n % 12u, false),
                                       world_check_any(view, key, n % 12u, true)};
        for (uint32_t at = 0; at < sizeof(answers) / sizeof(answers[0]); at++) {
            switch (answers[at]) {
            case WORLD_RIGHT:
                tally->right++;
                break;
            case WORLD_MISS:
                tally->miss++;
                break;
            case WORLD_BUSY:
                tally->busy++;
                break;
            case WORLD_WRONG_SET:
            case WORLD_WRONG_ANSWER:
            case WORLD_LOST:
                wrong++;
                break;
            }
        }
    }
    return wrong;
}

/* Revokes user after user. Returns how many answers there still were for somebody who was revoked. */
static uint64_t revoke_all(struct world *world, const struct permtab_shm_table *table)
{
    uint64_t left = 0;
    for (uint64_t user = 0; user < USERS; user++) {
        world_revoke_user_writer(world, user);
        for (uint32_t n = 0; n < USERS * (WORLD_SCOPES + WORLD_FOLDABLE); n++) {
            struct world_key key = key_number(n);
            struct permtab_shm_look look;
            left += key.user == user &&
                    permtab_shm_look(table, user, key.scope_id, key.scope_type, &look) == PERMTAB_SHM_FOUND;
        }
    }
    return left;
}

/* The table that the dead writer left. Returns 0, or 1 after saying what is wrong. */
static int judge(struct world *world, uint64_t stores, struct tally *tally)
{
    const struct world_view view = {&world->segment.table, world->residence};
    uint64_t busy = tally->busy;
    uint64_t wrong = read_all(&view, tally);
    tally->died_inside += tally->busy != busy ? 1u : 0u;
    uint32_t doubled = world_doubled(world);
    tally->died_moving += doubled != 0 ? 1u : 0u;
    uint64_t left = revoke_all(world, view.table);
    if (wrong == 0 && doubled <= 1 && left == 0)
        return 0;
    (void)fprintf(stderr,
                  "killed after %llu stores: %llu wrong answers, %u keys in two slots, %llu answers for "
                  "revoked users\n",
                  (unsigned long long)stores, (unsigned long long)wrong, doubled, (unsigned long long)left);
    return 1;
}

/* Returns 0, or 1 after saying what is wrong. */
static int kill_after(uint64_t stores, uint64_t seed, struct tally *tally)
{
    struct world world;
    int status = 0;
    int outcome = 1;
    if (world_init(&world, USERS, ENTRIES, seed + stores) < 0) {
        perror("world_init");
        return 1;
    }
    for (uint32_t n = 0; n < WARM_UP + stores % 5u; n++)
        world_step_writer(&world, 8);
    /* The writer is a child here, and must have the writable mapping. */
    (void)madvise(world.segment.header, world.segment.size, MADV_DOFORK);
    pid_t child = fork();
    if (child == 0)
        write_until_killed(&world, stores);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status) ||
        WTERMSIG(status) != SIGKILL) {
        (void)fprintf(stderr, "the writer was to be killed after %llu stores, its status is %x\n",
                      (unsigned long long)stores, (unsigned)status);
        goto out;
    }
    outcome = judge(&world, stores, tally);
out:
    world_fini(&world);
    return outcome;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct tally tally = {0};
    int broken = 0;
    uint64_t deaths = 0;
    if (settings_read(&settings, argc, argv) < 0) {
        (void)fprintf(stderr, "usage: stress_killed [--first N] [--last N] [--step N] [--seed N]\n");
        return 64;
    }
    for (uint64_t stores = settings.first; stores <= settings.last; stores += settings.step) {
        (void)alarm(120); /* a read that never ends ends the test by a signal */
        broken += kill_after(stores, settings.seed, &tally);
        deaths++;
    }
    (void)printf("%llu deaths, %llu of them leaving something closed, %llu an entry in two slots; %llu "
                 "answers right, %llu misses, %llu without "
                 "an answer; %d broken\n",
                 (unsigned long long)deaths, (unsigned long long)tally.died_inside,
                 (unsigned long long)tally.died_moving, (unsigned long long)tally.right,
                 (unsigned long long)tally.miss, (unsigned long long)tally.busy, broken);
    if (tally.right == 0 || (deaths >= 50 && (tally.died_inside == 0 || tally.died_moving == 0))) {
        (void)fprintf(stderr, "something that this test is for has not happened\n");
        return 1;
    }
    return broken != 0;
}
