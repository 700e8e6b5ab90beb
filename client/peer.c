/* Checks the uid of the listener. The kernel tells it (SO_PEERCRED); peer_check decides which uids are good.
 *
 * An application that names none gets the sidecar as it is installed: under a uid of its own, in a folder that systemd
 * made for it in /run. Such a folder vouches for its owner when only root can have put it there: each folder above it
 * belongs to root and can be written by root alone. A folder in /tmp vouches for nobody, and neither does one that the
 * application's user could have made, so somebody else who puts a socket where ours should be is refused.
 *
 * What the folder itself allows does not matter: a stranger who may write there can put a socket of theirs, and its
 * peer is then their uid, which is not the owner's. But each user has a folder that root made, their home; so a
 * link on the way counts only where root alone can have put it, as /var/run is one: anybody else's would lead to a
 * folder of theirs. The path is resolved after connecting; a change of the path in between can only make the two
 * differ. */
#include "client/peer.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40u

/* Whether nobody but root can have put something into the folder. */
static bool roots_alone(const char *folder)
{
    struct stat status;
    return lstat(folder, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == 0 &&
           (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* Whether roots_alone holds for `folder` and every folder above it. `folder` is absolute and free of links. */
static bool roots_from_top(const char *folder)
{
    char above[PATH_MAX];
    (void)snprintf(above, sizeof(above), "%s", folder);
    for (char *end = above + strlen(above); end != NULL && end != above; end = strrchr(above, '/')) {
        *end = '\0';
        if (!roots_alone(above))
            return false;
    }
    return roots_alone("/");
}

/* A path on its way: `done` is absolute and free of links, "" for the top; `left` is what follows. */
struct way {
    char done[PATH_MAX], left[PATH_MAX];
    unsigned links;
};

/* Puts what the link leads to before what is left. */
static bool follow(struct way *way, const char *link)
{
    char target[PATH_MAX], left[PATH_MAX];
    ssize_t size = readlink(link, target, sizeof(target) - 1);
    if (size <= 0 || ++way->links > LINKS_MAX || !roots_from_top(way->done))
        return false;
    target[size] = '\0';
    (void)memcpy(left, way->left, sizeof(left));
    int length = snprintf(way->left, sizeof(way->left), "%s/%s", target, left);
    if (target[0] == '/')
        way->done[0] = '\0';
    return length > 0 && (size_t)length < sizeof(way->left);
}

/* One name further. */
static bool go(struct way *way, const char *name)
{
    struct stat status;
    char next[PATH_MAX];
    if (name[0] == '\0' || strcmp(name, ".") == 0)
        return true;
    if (strcmp(name, "..") == 0) {
        char *end = strrchr(way->done, '/');
        way->done[end != NULL ? end - way->done : 0] = '\0';
        return true;
    }
    int length = snprintf(next, sizeof(next), "%s/%s", way->done, name);
    if (length < 0 || (size_t)length >= sizeof(next) || lstat(next, &status) < 0)
        return false;
    if (S_ISLNK(status.st_mode))
        return follow(way, next);
    (void)memcpy(way->done, next, sizeof(next));
    return true;
}

/* Resolves like realpath, into way->done; not through links that anybody but root can have made. */
static bool resolve(struct way *way, const char *path)
{
    if (strlen(path) >= sizeof(way->left) || (path[0] != '/' && getcwd(way->done, sizeof(way->done)) == NULL))
        return false;
    if (strcmp(way->done, "/") == 0)
        way->done[0] = '\0';
    (void)memcpy(way->left, path, strlen(path) + 1);
    while (way->left[0] != '\0') {
        char name[PATH_MAX];
        size_t length = strcspn(way->left, "/"), skipped = length + (way->left[length] == '/');
        (void)memcpy(name, way->left, length);
        name[length] = '\0';
        (void)memmove(way->left, way->left + skipped, strlen(way->left + skipped) + 1);
        if (!go(way, name))
            return false;
    }
    return true;
}

/* Linux has a uid for everybody whom a user namespace does not know: as the owner of a folder and at the other end of a
 * socket it need not be the same user. */
#define ANYBODY 65534u

/* Did root give the folder that the socket lies in to this uid? */
static bool vouched_for(const char *path, uid_t uid)
{
    struct stat status;
    struct way *way = calloc(1, sizeof(*way));
    bool vouched = false;
    if (way != NULL && uid != ANYBODY && resolve(way, path)) {
        char *end = strrchr(way->done, '/');
        if (end != NULL && end != way->done) {
            *end = '\0';
            vouched = lstat(way->done, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == uid;
            end = strrchr(way->done, '/');
            *end = '\0';
            vouched = vouched && roots_from_top(way->done);
        }
    }
    free(way);
    return vouched;
}

int peer_check(int descriptor, const char *path, int64_t server_uid)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return PERMTAB_E_SYSTEM;
    if (server_uid == PEER_ANY)
        return 0;
    bool good = server_uid >= 0 ? peer.uid == (uint64_t)server_uid
                                : peer.uid == 0 || peer.uid == geteuid() || vouched_for(path, peer.uid);
    return good ? 0 : PERMTAB_E_PEER;
}
