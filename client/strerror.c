/* Codes to sentences, from the one list. */
#include "client/permtab.h"

const char *permtab_strerror(int code)
{
    switch (code) {
    case 0:
        return "no error";
#define X(name, number, text)                                                                                \
    case number:                                                                                             \
        return text;
        PERMTAB_ERRORS(X)
#undef X
    }
    return "unknown error";
}
