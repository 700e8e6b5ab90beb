/* Who listens? The kernel tells the uid that listened (SO_PEERCRED); the question is which uids are good.
 *
 * An application that names none gets the sidecar as it is installed: under a uid of its own, in a folder that systemd made for it
 * in /run. Such a folder vouches for its owner when only root can have put it there: each folder above it belongs to root and can
 * be written by root alone. A folder in /tmp vouches for nobody, and neither does one that the application's user could
 * have made, so somebody else who puts a socket where ours should be is refused.
 *
 * What the folder itself allows does not matter: a stranger who may write there can put a socket of theirs, and its peer is
 * then their uid, which is not the owner's. The path is resolved after connecting; whoever can change what it leads
 * to in between can only make the two differ. */
#include "client/peer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder that nobody but root can have put something into. */
static bool roots_alone(const char *folder)
{
    struct stat status;
    return lstat(folder, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == 0 &&
           (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* Every folder above `folder`, which is absolute and free of links. */
static bool roots_all_above(char *folder)
{
    for (char *end = strrchr(folder, '/'); end != folder; end = strrchr(folder, '/')) {
        *end = '\0';
        if (!roots_alone(folder))
            return false;
    }
    return roots_alone("/");
}

/* Did root give the folder that the socket lies in to this uid? */
static bool vouched_for(const char *path, uid_t uid)
{
    struct stat status;
    bool vouched = false;
    char *folder = realpath(path, NULL);
    if (folder == NULL)
        return false;
    char *end = strrchr(folder, '/');
    if (end != NULL && end != folder) {
        *end = '\0';
        vouched = lstat(folder, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == uid &&
                  roots_all_above(folder);
    }
    free(folder);
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
