/* The one list of run-time failures. Everything that can fail returns 0 or more on success and one of these
 * negative codes on failure; permtab_strerror() turns a code into a sentence. The numbers are part of the
 * interface: append, never renumber. */
#ifndef PERMTAB_SHM_ERROR_H
#define PERMTAB_SHM_ERROR_H

/* X(name, number, text) */
#define PERMTAB_ERRORS(X)                                                                                    \
    X(MEMORY, -1, "out of memory")                                                                           \
    X(SYSTEM, -2, "a system call failed")                                                                    \
    X(INVALID, -3, "invalid argument")                                                                       \
    X(LIMIT, -4, "a limit was exceeded")                                                                     \
    X(UNREACHABLE, -5, "the sidecar cannot be reached")                                                      \
    X(TIMEOUT, -6, "no answer in time")                                                                      \
    X(PROTOCOL, -7, "the peer broke the protocol")                                                           \
    X(LAYOUT, -8, "the sidecar's table has another layout")                                                  \
    X(CLOCK, -9, "the sidecar lives in another time namespace")                                              \
    X(PEER, -10, "the socket belongs to an unexpected user")                                                 \
    X(NO_PERMISSION, -11, "no such permission")                                                              \
    X(NO_SCOPE_TYPE, -12, "no such scope type")                                                              \
    X(SYNTAX, -13, "syntax error")                                                                           \
    X(STALE, -14, "the lease has ended")                                                                     \
    X(RETIRED, -15, "the table was retired")                                                                 \
    X(MISS, -16, "not in the table")                                                                         \
    X(BUSY, -17, "the entry kept changing")                                                                  \
    X(BEHIND, -18, "the table is behind the token")                                                          \
    X(CATALOGUE, -19, "the catalogue changed")                                                               \
    X(STORE, -20, "the store failed")                                                                        \
    X(STORE_AGAIN, -21, "the store asks to repeat the transaction")                                          \
    X(STORE_UNSURE, -22, "the connection broke while committing: the outcome is unknown")                    \
    X(SCHEMA, -23, "the schema of the store is not the one expected")                                        \
    X(CONFLICT, -24, "the change contradicts what the store holds")                                          \
    X(REFUSED, -25, "not allowed for this peer")                                                             \
    X(NOT_FOUND, -26, "not found")                                                                           \
    X(FULL, -27, "no room left")                                                                             \
    X(FORKED, -28, "the process has forked")                                                                 \
    X(HEADER, -29, "the program was compiled with another permtab.h than the library")

enum permtab_error {
#define X(name, number, text) PERMTAB_E_##name = number,
    PERMTAB_ERRORS(X)
#undef X
};

#if defined(__GNUC__)
#define PERMTAB_MUST_CHECK __attribute__((warn_unused_result))
#else
#define PERMTAB_MUST_CHECK
#endif

#endif
