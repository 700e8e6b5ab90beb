/* A descriptor that is closed when a program begins is the next one that open, socket or accept returns: the connection
 * to the sidecar would be standard output, and a document printed into it. */
#include "client/wire/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

/* Opens /dev/null in the direction that nobody uses. Without a /dev/null, opens "/" as a path alone, which can be
 * neither read nor written. */
static int open_useless(int number)
{
    int descriptor = open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    return descriptor >= 0 ? descriptor : open("/", O_PATH);
}

bool standard_hold(void)
{
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++) {
        if (fcntl(number, F_GETFD) >= 0 || errno != EBADF)
            continue;
        if (open_useless(number) != number) /* the lowest that is free: those before it are open */
            return false;
    }
    return true;
}
