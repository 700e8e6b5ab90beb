/* Whose descriptor is it? Random histories of a process that does with descriptors what processes do: closes all of
 * them, forks, opens others that get the same numbers, copies them over one another, opens and closes handles, checks
 * from several threads. Every answer is compared with the truth, and everything that the process opened for itself must
 * be as it was: open, and with not a byte written to it or read from it.
 *
 * The fake sidecar lives in the parent, out of reach of the player. */
#include "client/channel.h"
#include "client/permtab.h"
#include "tests/support/fake_sidecar.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The sanitizers' allocators do not expect a fork beside threads that allocate: its child may hang. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FORK_BESIDE_THREADS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FORK_BESIDE_THREADS 0
#endif
#endif
#ifndef FORK_BESIDE_THREADS
#define FORK_BESIDE_THREADS 1
#endif

#define PATIENCE_MS 60000u /* so that on no machine a lease or a caller's patience ends: nothing here is about time */

#define HANDLES   3u
#define CANARIES  12u
#define THREADS   3u
#define DEPTH_MAX 2u
#define KNOWN     20u /* users 0 … KNOWN - 1 are in the table at channel:1 */

/* Something of the process's own. A socket pair's far end has sent one byte that nobody has read. */
struct canary {
    bool open, pair;
    int near, far;
    ino_t inode, far_inode;
};

struct opened {
    struct permtab *table;
    permtab_perm permissions[5];
    permtab_type channel;
};

struct player {
    const char *path;
    uint64_t state;
    unsigned depth, answered;
    struct opened handles[HANDLES];
    struct canary canaries[CANARIES];
};

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "player: line %d: %s\n", __LINE__, #condition);                            \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static uint64_t draw(struct player *player, uint64_t below)
{
    player->state = player->state * 6364136223846793005ull + 1442695040888963407ull;
    return (player->state >> 33) % below;
}

/* ---- what is the process's own ---- */

static ino_t inode_of(int descriptor)
{
    struct stat status;
    return fstat(descriptor, &status) == 0 ? status.st_ino : 0;
}

static void canary_open(struct player *player)
{
    struct canary *canary = &player->canaries[draw(player, CANARIES)];
    int pair[2];
    if (canary->open)
        return;
    *canary = (struct canary){.open = true, .pair = draw(player, 3) > 0, .far = -1};
    if (canary->pair) {
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0); /* they block */
        REQUIRE(write(pair[1], "u", 1) == 1);
        canary->near = pair[0];
        canary->far = pair[1];
        canary->far_inode = inode_of(canary->far);
    } else {
        canary->near = memfd_create("own", 0);
        REQUIRE(canary->near >= 0 && ftruncate(canary->near, 4096) == 0);
    }
    canary->inode = inode_of(canary->near);
}

static void canaries_look(const struct player *player)
{
    char bytes[4];
    for (unsigned i = 0; i < CANARIES; i++) {
        const struct canary *canary = &player->canaries[i];
        if (!canary->open)
            continue;
        REQUIRE(inode_of(canary->near) == canary->inode);
        if (!canary->pair) {
            REQUIRE(lseek(canary->near, 0, SEEK_CUR) == 0);
            continue;
        }
        REQUIRE(inode_of(canary->far) == canary->far_inode);
        REQUIRE(recv(canary->far, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK) < 0);
        REQUIRE(recv(canary->near, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK) == 1 && bytes[0] == 'u');
    }
}

static bool is_canary(const struct player *player, int number)
{
    for (unsigned i = 0; i < CANARIES; i++)
        if (player->canaries[i].open &&
            (player->canaries[i].near == number || player->canaries[i].far == number))
            return true;
    return false;
}

static void close_everything(struct player *player)
{
    canaries_look(player);
    for (int number = 3; number < 128; number++)
        close(number);
    memset(player->canaries, 0, sizeof(player->canaries));
}

static void close_one(struct player *player)
{
    int number = 3 + (int)draw(player, 20);
    if (!is_canary(player, number))
        close(number);
}

/* Something of the process's own, put over whatever has that number. */
static void copy_over(struct player *player)
{
    int number = 3 + (int)draw(player, 20);
    struct canary *canary = &player->canaries[draw(player, CANARIES)];
    if (!canary->open || !canary->pair || is_canary(player, number))
        return;
    REQUIRE(dup2(canary->near, number) == number);
    close(canary->near);
    canary->near = number;
}

/* ---- asking ---- */

static void compare(uint64_t user, uint32_t bit, enum permtab_decision decision)
{
    if (decision != PERMTAB_UNKNOWN)
        REQUIRE(decision == (int)fake_allows(user, 1, bit, false));
}

static unsigned ask(const struct opened *opened, uint64_t random)
{
    static const int fine[] = {PERMTAB_E_TIMEOUT, PERMTAB_E_UNREACHABLE, PERMTAB_E_BUSY, PERMTAB_E_STALE};
    uint64_t user = random % 3 == 0 ? random % KNOWN : 1000 + random;
    uint32_t bit = (uint32_t)(random >> 20) % 5;
    enum permtab_decision decision =
        permtab_check(opened->table, user, permtab_at(opened->channel, 1), opened->permissions[bit]);
    compare(user, bit, decision);
    if (decision != PERMTAB_UNKNOWN)
        return 1;
    for (unsigned i = 0; i < 4; i++)
        if (permtab_why(opened->table) == fine[i])
            return 0;
    REQUIRE(permtab_why(opened->table) == 0);
    return 0;
}

static void ask_many(struct player *player, const struct opened *opened)
{
    struct permtab_query queries[20];
    enum permtab_decision decisions[20];
    uint32_t bits[20];
    for (unsigned i = 0; i < 20; i++) {
        bits[i] = (uint32_t)draw(player, 5);
        queries[i] = (struct permtab_query){.user = draw(player, 3) == 0 ? draw(player, KNOWN)
                                                                         : 1000 + draw(player, 1u << 30),
                                            .scope = permtab_at(opened->channel, 1),
                                            .perm = opened->permissions[bits[i]]};
    }
    REQUIRE(permtab_check_many(opened->table, queries, 20, decisions) >= 0);
    for (unsigned i = 0; i < 20; i++)
        compare(queries[i].user, bits[i], decisions[i]);
}

static void handle_toggle(struct player *player)
{
    static const char *const names[] = {"a.read", "a.write", "b.read", "b.write", "c"};
    struct opened *opened = &player->handles[draw(player, HANDLES)];
    struct permtab_options options = {
        .size = sizeof(options), .open_ms = PATIENCE_MS, .check_ms = PATIENCE_MS, .server_uid = -1};
    if (opened->table != NULL) {
        permtab_close(opened->table);
        opened->table = NULL;
        return;
    }
    REQUIRE(permtab_open(&opened->table, player->path, &options) == 0);
    for (unsigned i = 0; i < 5; i++)
        REQUIRE(permtab_permission(opened->table, names[i], &opened->permissions[i]) == 0);
    REQUIRE(permtab_scope_type(opened->table, "channel", &opened->channel) == 0);
}

struct asker {
    const struct player *player;
    uint64_t random;
};

static void *ask_in_thread(void *context)
{
    struct asker *asker = context;
    for (unsigned i = 0; i < 20; i++) {
        asker->random = asker->random * 6364136223846793005ull + 1;
        const struct opened *opened = &asker->player->handles[(asker->random >> 40) % HANDLES];
        if (opened->table != NULL)
            (void)ask(opened, asker->random >> 33);
    }
    return NULL;
}

/* ---- histories ---- */

static void play(struct player *player, unsigned steps);

/* `bare`: past libc, which then tells nobody that there is a child. */
static pid_t fork_player(struct player *player, unsigned steps, bool bare)
{
    pid_t child = bare ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        /* The copy of a canary in the parent has what the canary has been sent, too; the player goes on
         * with canaries of its own. */
        if (draw(player, 2) == 0)
            close_everything(player);
        player->depth++;
        player->state ^= (uint64_t)player->depth << 60 | (uint64_t)steps << 40;
        play(player, steps);
        _exit(0);
    }
    return child;
}

static void wait_for(pid_t child)
{
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
}

static void play_fork(struct player *player, unsigned steps)
{
    if (player->depth >= DEPTH_MAX)
        return;
    pid_t child = fork_player(player, steps / 2, draw(player, 3) == 0);
    for (unsigned i = 0; i < 10; i++) /* beside it */
        for (unsigned n = 0; n < HANDLES; n++)
            if (player->handles[n].table != NULL)
                player->answered += ask(&player->handles[n], draw(player, 1u << 30));
    wait_for(child);
}

static void play_threads(struct player *player)
{
    pthread_t threads[THREADS];
    struct asker askers[THREADS];
    pid_t child = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        askers[i] = (struct asker){.player = player, .random = draw(player, 1u << 30)};
        REQUIRE(pthread_create(&threads[i], NULL, ask_in_thread, &askers[i]) == 0);
    }
    if (FORK_BESIDE_THREADS && player->depth < DEPTH_MAX)
        child = fork_player(player, 8, false);
    for (unsigned i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    if (child > 0)
        wait_for(child);
}

static void play_ask(struct player *player)
{
    const struct opened *opened = &player->handles[draw(player, HANDLES)];
    if (opened->table == NULL)
        return;
    if (draw(player, 6) == 0)
        ask_many(player, opened);
    else
        player->answered += ask(opened, draw(player, 1u << 30));
}

static void play(struct player *player, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        uint64_t choice = draw(player, 100);
        if (choice < 45)
            play_ask(player);
        else if (choice < 65)
            canary_open(player);
        else if (choice < 73)
            close_one(player);
        else if (choice < 81)
            copy_over(player);
        else if (choice < 86)
            close_everything(player);
        else if (choice < 93)
            handle_toggle(player);
        else if (choice < 97)
            play_fork(player, steps);
        else
            play_threads(player);
        canaries_look(player);
    }
}

static int setup(void **state)
{
    static struct fake fake;
    fake_start(&fake);
    fake_lock(&fake);
    fake.fill = false;
    fake.lease_ns = fake.reply_ns = PATIENCE_MS * 1000000ull;
    fake_unlock(&fake);
    for (uint64_t user = 0; user < KNOWN; user++)
        fake_put(&fake, user, 1);
    *state = &fake;
    return 0;
}

static int teardown(void **state)
{
    fake_stop(*state);
    return 0;
}

/* Runs `play_it` in a process that has nothing of the fake's. */
static void in_process(struct fake *fake, uint64_t seed, void (*play_it)(struct player *player))
{
    int status = 0;
    fake_lock(fake); /* its thread is in the middle of nothing */
    pid_t pid = fork();
    if (pid != 0)
        fake_unlock(fake);
    assert_true(pid >= 0);
    if (pid == 0) {
        struct player player = {.path = fake->path, .state = seed};
        close_everything(&player);
        play_it(&player);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        (void)fprintf(stderr, "history %llu ended with status %d\n", (unsigned long long)seed, status);
    assert_int_equal(status, 0);
}

static void play_history(struct player *player)
{
    handle_toggle(player);
    play(player, 60);
}

static void test_histories(void **state)
{
    const char *count = getenv("PERMTAB_TEST_HISTORIES");
    uint64_t histories = count != NULL ? strtoull(count, NULL, 10) : 25;
    for (uint64_t seed = 1; seed <= histories; seed++)
        in_process(*state, seed * 7919, play_history);
}

/* ---- the kinds by name ---- */

static uint64_t base_of(const struct player *player)
{
    return (uint64_t)getpid() * 100000 + player->depth;
}

struct half {
    const struct opened *opened;
    uint64_t base;
};

static void *ask_half(void *context)
{
    const struct half *half = context;
    for (uint64_t i = 0; i < 400; i++)
        (void)ask(half->opened, (half->base + i) * 3 + 1);
    return NULL;
}

/* Two handles after a fork and close_range, each with a connection of its own. */
static void play_two_handles(struct player *player)
{
    player->handles[0].table = NULL;
    handle_toggle(player);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        struct opened first = {0}, *second = NULL;
        for (unsigned i = 0; i < HANDLES; i++)
            if (player->handles[i].table != NULL)
                first = player->handles[i];
        memset(player->handles, 0, sizeof(player->handles));
        close_everything(player);
        handle_toggle(player);
        for (unsigned i = 0; i < HANDLES; i++)
            if (player->handles[i].table != NULL)
                second = &player->handles[i];
        struct half halves[2] = {{&first, base_of(player)}, {second, base_of(player) + 50000}};
        pthread_t threads[2];
        for (unsigned i = 0; i < 2; i++)
            REQUIRE(pthread_create(&threads[i], NULL, ask_half, &halves[i]) == 0);
        for (unsigned i = 0; i < 2; i++)
            REQUIRE(pthread_join(threads[i], NULL) == 0);
        _exit(0);
    }
    wait_for(child);
}

static void test_two_handles_in_a_child(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        in_process(*state, seed, play_two_handles);
}

/* A daemonizer: closes everything, and its own sockets get the numbers. The next check answers at once, over a
 * connection made anew, and nothing is heard on the sockets. */
static void play_daemonizer(struct player *player)
{
    struct opened *opened = NULL;
    handle_toggle(player);
    for (unsigned i = 0; i < HANDLES; i++)
        if (player->handles[i].table != NULL)
            opened = &player->handles[i];
    for (unsigned round = 0; round < 5; round++) {
        REQUIRE(ask(opened, 3 * round + 1) == 1);
        close_everything(player);
        for (unsigned i = 0; i < 40; i++)
            canary_open(player);
        REQUIRE(ask(opened, 300 + 3 * round + 1) == 1);
        canaries_look(player);
    }
    permtab_close(opened->table);
    canaries_look(player);
}

static void test_daemonizer(void **state)
{
    in_process(*state, 3, play_daemonizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_handles_in_a_child),
        cmocka_unit_test(test_daemonizer),
        cmocka_unit_test(test_histories),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
