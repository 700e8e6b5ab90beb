/* Descriptors 0 to 2, for programs: called before anything else is opened. */
#ifndef PERMTAB_CLIENT_WIRE_STANDARD_H
#define PERMTAB_CLIENT_WIRE_STANDARD_H

#include <stdbool.h>

/* Whichever of 0, 1 and 2 is closed is opened on something that cannot be read (0) or written (1, 2): EBADF, as if
 * it were still closed. So no socket and no file of ours becomes somebody's standard output, and writing to it is
 * seen to fail. False when that is impossible: the program must not go on. */
bool standard_hold(void);

#endif
