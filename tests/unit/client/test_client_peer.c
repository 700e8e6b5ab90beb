/* Rules of who may listen where: an application that names no uid takes the sidecar of an installation, under a uid
 * of its own in a folder that root made for it, and nobody who has put a socket elsewhere. Needs root, for there
 * are three uids in it. */
#include "client/channel.h"
#include "client/peer.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIDECAR  61001u
#define IMPOSTOR 61002u
#define WORKER   61003u

/* Listens at the path under the uid, and runs `permtab_open`'s connecting under WORKER. Returns its code. */
static int connect_as_worker(const char *listen_path, uid_t listener_uid, const char *path,
                             int64_t server_uid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", listen_path);
    int ready[2], status = 0;
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t listener = fork();
    assert_true(listener >= 0);
    if (listener == 0) {
        int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
        (void)umask(0);
        if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0 || setuid(listener_uid) < 0 ||
            listen(descriptor, 4) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        (void)pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    pid_t worker = fork();
    assert_true(worker >= 0);
    if (worker == 0) {
        struct channel channel = {0};
        if (setuid(WORKER) < 0)
            _exit(100);
        _exit(-channel_open(&channel, path, server_uid, channel_clock_ns() + 5000000000u));
    }
    assert_int_equal(waitpid(worker, &status, 0), worker);
    assert_true(WIFEXITED(status));
    (void)kill(listener, SIGKILL);
    assert_int_equal(waitpid(listener, NULL, 0), listener);
    (void)unlink(listen_path);
    return -WEXITSTATUS(status);
}

struct places {
    char given[64];    /* in /run, by root to SIDECAR */
    char anybodys[64]; /* in /tmp, SIDECAR's */
    char nested[96];   /* SIDECAR's, in what was given to IMPOSTOR */
    char theirs[64];   /* in /run, by root to IMPOSTOR */
};

static void folder(char *path, size_t size, const char *under, const char *name, uid_t uid)
{
    (void)snprintf(path, size, "%s/permtab-%s-%d", under, name, (int)getpid());
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chown(path, uid, uid), 0);
}

static int setup(void **state)
{
    struct places *places = calloc(1, sizeof(*places));
    if (geteuid() != 0 || access("/run", W_OK) < 0) {
        (void)fprintf(stderr, "needs root and /run\n");
        exit(77);
    }
    (void)umask(022);
    folder(places->given, sizeof(places->given), "/run", "given", SIDECAR);
    folder(places->theirs, sizeof(places->theirs), "/run", "theirs", IMPOSTOR);
    folder(places->anybodys, sizeof(places->anybodys), "/tmp", "anybodys", SIDECAR);
    folder(places->nested, sizeof(places->nested), places->theirs, "nested", SIDECAR);
    *state = places;
    return 0;
}

static int teardown(void **state)
{
    struct places *places = *state;
    (void)rmdir(places->given);
    (void)rmdir(places->nested);
    (void)rmdir(places->theirs);
    (void)rmdir(places->anybodys);
    free(places);
    return 0;
}

static int at(const char *place, uid_t uid, int64_t server_uid)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/s", place);
    return connect_as_worker(path, uid, path, server_uid);
}

static void test_as_installed(void **state)
{
    const struct places *places = *state;
    assert_int_equal(at(places->given, SIDECAR, PEER_VOUCHED), 0);
    assert_int_equal(at(places->given, 0, PEER_VOUCHED), 0);         /* root may always */
    assert_int_equal(at(places->anybodys, WORKER, PEER_VOUCHED), 0); /* and so may we ourselves */
    assert_int_equal(at(places->given, SIDECAR, SIDECAR), 0);
}

static void test_impostors(void **state)
{
    const struct places *places = *state;
    /* Somebody who may write to the folder is not its owner. */
    assert_int_equal(at(places->given, IMPOSTOR, PEER_VOUCHED), PERMTAB_E_PEER);
    /* Anybody may have made a folder in /tmp before the sidecar did. */
    assert_int_equal(at(places->anybodys, SIDECAR, PEER_VOUCHED), PERMTAB_E_PEER);
    /* The owner of a folder above can put any folder there. */
    assert_int_equal(at(places->nested, SIDECAR, PEER_VOUCHED), PERMTAB_E_PEER);
    /* A uid that is named is the only good one, root included. */
    assert_int_equal(at(places->given, SIDECAR, IMPOSTOR), PERMTAB_E_PEER);
    assert_int_equal(at(places->given, 0, SIDECAR), PERMTAB_E_PEER);
    assert_int_equal(at(places->anybodys, IMPOSTOR, PEER_ANY), 0);
}

/* A link, as /var/run is one to /run: what counts is where it leads. */
static void test_links(void **state)
{
    const struct places *places = *state;
    char link[160], through[200], path[160];
    (void)snprintf(path, sizeof(path), "%s/s", places->given);
    (void)snprintf(link, sizeof(link), "/run/permtab-link-%d", (int)getpid());
    (void)snprintf(through, sizeof(through), "%s/s", link);
    assert_int_equal(symlink(places->given, link), 0);
    assert_int_equal(connect_as_worker(path, SIDECAR, through, PEER_VOUCHED), 0);
    assert_int_equal(connect_as_worker(path, IMPOSTOR, through, PEER_VOUCHED), PERMTAB_E_PEER);
    (void)unlink(link);
}

/* Users who may put a link on the way may not lead to a folder of theirs: each user has one that root made, their home.
 * The link may stand for the socket, for its folder, or be met behind another link. */
static void test_links_of_others(void **state)
{
    const struct places *places = *state;
    char socket[160], open[96], link[160], through[260], second[160];
    (void)snprintf(socket, sizeof(socket), "%s/s", places->theirs);
    folder(open, sizeof(open), "/run", "open", 0);
    assert_int_equal(chmod(open, 0777), 0);
    (void)snprintf(link, sizeof(link), "%s/s", open);
    assert_int_equal(symlink(socket, link), 0);
    assert_int_equal(lchown(link, IMPOSTOR, IMPOSTOR), 0);
    assert_int_equal(connect_as_worker(socket, IMPOSTOR, link, PEER_VOUCHED), PERMTAB_E_PEER);
    (void)unlink(link);
    (void)snprintf(link, sizeof(link), "%s/permtab", open);
    (void)snprintf(through, sizeof(through), "%s/s", link);
    assert_int_equal(symlink(places->theirs, link), 0);
    assert_int_equal(connect_as_worker(socket, IMPOSTOR, through, PEER_VOUCHED), PERMTAB_E_PEER);
    (void)snprintf(second, sizeof(second), "/run/permtab-second-%d", (int)getpid());
    assert_int_equal(symlink(link, second), 0);
    (void)snprintf(through, sizeof(through), "%s/s", second);
    assert_int_equal(connect_as_worker(socket, IMPOSTOR, through, PEER_VOUCHED), PERMTAB_E_PEER);
    (void)unlink(second);
    (void)unlink(link);
    (void)rmdir(open);
}

/* Every user of the host has one uid in a container with a user namespace, and that uid owns
 * every folder of the host. */
static void test_unknown_users(void **state)
{
    (void)state;
    char path[96];
    folder(path, sizeof(path), "/run", "unknown", 65534);
    assert_int_equal(at(path, 65534, PEER_VOUCHED), PERMTAB_E_PEER);
    assert_int_equal(at(path, 65534, 65534), 0);
    (void)rmdir(path);
}

/* However the path is written. */
static void test_spellings(void **state)
{
    const struct places *places = *state;
    char path[160], spelt[300];
    const char *name = strrchr(places->given, '/') + 1;
    (void)snprintf(path, sizeof(path), "%s/s", places->given);
    (void)snprintf(spelt, sizeof(spelt), "//run/./%s/../%s//s", name, name);
    assert_int_equal(connect_as_worker(path, SIDECAR, spelt, PEER_VOUCHED), 0);
    assert_int_equal(chdir("/run"), 0);
    (void)snprintf(spelt, sizeof(spelt), "%s/s", name);
    assert_int_equal(connect_as_worker(path, SIDECAR, spelt, PEER_VOUCHED), 0);
    (void)snprintf(spelt, sizeof(spelt), "../run/%s/s", name);
    assert_int_equal(connect_as_worker(path, SIDECAR, spelt, PEER_VOUCHED), 0);
    assert_int_equal(chdir("/"), 0);
}

/* A folder above that others may write to vouches for nothing, whoever owns it. */
static void test_open_folder_above(void **state)
{
    (void)state;
    char above[96], inside[160];
    folder(above, sizeof(above), "/run", "above", 0);
    assert_int_equal(chmod(above, 01777), 0);
    folder(inside, sizeof(inside), above, "inside", SIDECAR);
    assert_int_equal(at(inside, SIDECAR, PEER_VOUCHED), PERMTAB_E_PEER);
    assert_int_equal(chmod(above, 0775), 0);
    assert_int_equal(at(inside, SIDECAR, PEER_VOUCHED), PERMTAB_E_PEER);
    assert_int_equal(chmod(above, 0755), 0);
    assert_int_equal(at(inside, SIDECAR, PEER_VOUCHED), 0);
    (void)rmdir(inside);
    (void)rmdir(above);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_installed),
        cmocka_unit_test(test_impostors),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_links_of_others),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_unknown_users),
        cmocka_unit_test(test_open_folder_above),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
