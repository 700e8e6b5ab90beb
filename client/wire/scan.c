/* Finds the end of one message without believing a word of it.
 *
 * msgpack-c's unpacker allocates by the length in an array's head, so five bytes can ask it for 96 GiB, and a
 * message that it cannot take apart in one go it must see again from the start. Hence this scan in front of it: it
 * takes no memory, and looks at every byte once however the bytes arrive (the state is kept between calls). A false
 * length is found at its head: the announced bytes must fit into WIRE_FRAME_MAX together with all announced before.
 *
 * Only the shape is judged here; wire.c reads the contents. */
#include "client/wire/wire.h"

/* A head: how many bytes it takes, how many bytes of text or binary follow it, how many elements. */
struct head {
    uint32_t size;
    uint64_t body;
    uint64_t elements;
    bool container;
};

static uint64_t big_endian(const unsigned char *bytes, uint32_t count)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* The head as far as its first byte alone tells. `length_size` is how many bytes of a length follow it. False for
 * 0xc1, which MessagePack never uses. Layout of the first byte: the MessagePack specification, "Formats". */
static bool head_of(unsigned char first, struct head *head, uint32_t *length_size)
{
    *head = (struct head){.size = 1};
    *length_size = 0;
    if (first <= 0x7f || first >= 0xe0) /* small integers */
        return true;
    if (first <= 0x9f) { /* fixmap, fixarray */
        head->container = true;
        head->elements = (uint64_t)(first & 0x0f) * (first <= 0x8f ? 2 : 1);
        return true;
    }
    if (first <= 0xbf) { /* fixstr */
        head->body = first & 0x1f;
        return true;
    }
    /* 0xc0 … 0xdf: bytes of a length, then bytes that follow whatever it says. */
    static const struct {
        unsigned char length;
        unsigned char fixed;
    } kinds[32] = {
        [0x00] = {0, 0},  [0x02] = {0, 0}, [0x03] = {0, 0},                  /* nil, false, true */
        [0x04] = {1, 0},  [0x05] = {2, 0}, [0x06] = {4, 0},                  /* bin */
        [0x07] = {1, 1},  [0x08] = {2, 1}, [0x09] = {4, 1},                  /* ext: a type byte too */
        [0x0a] = {0, 4},  [0x0b] = {0, 8},                                   /* float */
        [0x0c] = {0, 1},  [0x0d] = {0, 2}, [0x0e] = {0, 4}, [0x0f] = {0, 8}, /* uint */
        [0x10] = {0, 1},  [0x11] = {0, 2}, [0x12] = {0, 4}, [0x13] = {0, 8}, /* int */
        [0x14] = {0, 2},  [0x15] = {0, 3}, [0x16] = {0, 5}, [0x17] = {0, 9}, /* fixext */
        [0x18] = {0, 17}, [0x19] = {1, 0}, [0x1a] = {2, 0}, [0x1b] = {4, 0}, /* fixext 16, str */
        [0x1c] = {2, 0},  [0x1d] = {4, 0}, [0x1e] = {2, 0}, [0x1f] = {4, 0}, /* array, map */
    };
    head->container = first >= 0xdc;
    head->body = kinds[first - 0xc0].fixed;
    *length_size = kinds[first - 0xc0].length;
    return first != 0xc1;
}

/* 1: the head is whole; 0: more bytes are needed; or a code. */
static int head_read(const unsigned char *bytes, size_t size, struct head *head)
{
    uint32_t length_size;
    if (!head_of(bytes[0], head, &length_size))
        return PERMTAB_E_PROTOCOL;
    if (size < 1 + (size_t)length_size)
        return 0;
    if (length_size == 0)
        return 1;
    uint64_t length = big_endian(bytes + 1, length_size);
    head->size = 1 + length_size;
    if (!head->container)
        head->body += length;
    else
        head->elements = length * (bytes[0] >= 0xde ? 2 : 1); /* a map has keys and values */
    return 1;
}

void wire_scan_init(struct wire_scan *scan)
{
    *scan = (struct wire_scan){.pending = 1};
}

/* Ends one element, and every container that it was the last of. */
static void element_end(struct wire_scan *scan)
{
    while (scan->depth > 0 && --scan->left[scan->depth - 1] == 0)
        scan->depth--;
}

/* Counts a head that was read at scan->at. 0, or a code. */
static int head_enter(struct wire_scan *scan, const struct head *head)
{
    bool outermost = scan->elements == 0;
    if (outermost && !(head->container && (head->elements == 3 || head->elements == 4)))
        return PERMTAB_E_PROTOCOL; /* every message is an array of three or four: garbage ends at its first
                                      byte */
    if (head->container && scan->depth == WIRE_DEPTH_MAX)
        return PERMTAB_E_LIMIT;
    scan->elements++;
    scan->pending += head->elements - 1;
    /* Each pending element takes a byte at least. */
    if (scan->at + head->size + head->body + scan->pending > WIRE_FRAME_MAX)
        return PERMTAB_E_LIMIT;
    scan->at += head->size + (size_t)head->body;
    if (head->container && head->elements > 0)
        scan->left[scan->depth++] = (uint32_t)head->elements;
    else
        element_end(scan);
    return 0;
}

int wire_scan_more(struct wire_scan *scan, const char *data, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)data;
    while (scan->pending > 0) {
        struct head head;
        if (scan->at >= size)
            return 0;
        int code = head_read(bytes + scan->at, size - scan->at, &head);
        if (code <= 0)
            return code;
        code = head_enter(scan, &head);
        if (code < 0)
            return code;
    }
    return scan->at <= size ? 1 : 0;
}
