/* The other side of a ratio: bytes over Unix sockets, without any library. Whatever fails ends the program. */
#ifndef PERMTAB_TESTS_BENCH_RAW_H
#define PERMTAB_TESTS_BENCH_RAW_H

#include <stddef.h>
#include <sys/types.h>

#define RAW_REQUEST_SIZE 60u /* of a check and of its reply, as msgpack packs them */
#define RAW_REPLY_SIZE   43u

int raw_connect(const char *path);
void raw_read(int descriptor, char *to, size_t size);
void raw_write(int descriptor, const char *from, size_t size);

/* Another process that answers requests of RAW_REQUEST_SIZE bytes with RAW_REPLY_SIZE; it dies with us, or when its
 * socket is closed. */
pid_t raw_echo_start(int *descriptor);
void raw_round_trip(int descriptor);

#endif
