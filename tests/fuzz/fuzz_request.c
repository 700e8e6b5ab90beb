/* libFuzzer's entry for the socket as a whole: the daemon itself, and a client whose requests the input chooses:
 * methods and parameters that exist, with values that mean something, that nearly do, or that mean nothing; whole, in
 * pieces, cut off, with descriptors, many before the first reply is read. Garbage ends the connection after one error.
 *
 * Each request is answered exactly once, under its id, as long as the connection stands; every text of a reply may be
 * shown; a decision is one of three. When the client has gone nothing of it is left, and the next one is served. */
#include "client/wire/wire.h"
#include "proxy/serve/methods/methods.h"
#include "tests/fuzz/client_world.h"
#include "tests/fuzz/daemon_world.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- what is sent ------------------------------------------------------------------------------------------------ */

static const char *const keys[] = {
    "user",    "scope",      "permission", "owner",    "token",  "from",     "queries",   "what",
    "targets", "batch",      "reason",     "last",     "before", "role",     "effect",    "kind",
    "kinds",   "expires_at", "format",     "dry_run",  "prune",  "tag",      "cursor",    "protocol",
    "layout",  "id",         "store_id",   "revision", "client", "prefix",   "in_ms",     "at",
    "if",      "action",     "pattern",    "most",     "number", "deadline", "timeout_ms",
    "priority"};
static const char *const texts[] = {"global",
                                    "hot",
                                    "server:1",
                                    "channel:10",
                                    "channel:11",
                                    "message.send",
                                    "message.delete",
                                    "channel.view",
                                    "7",
                                    "8",
                                    "100",
                                    "user:7",
                                    "scope:server:1",
                                    "role:100",
                                    "user:7@channel:10",
                                    "prefix:user:",
                                    "pattern:u*r:7",
                                    "all",
                                    "tag:x",
                                    "poke",
                                    "allow",
                                    "allow_own",
                                    "deny",
                                    "json",
                                    "yaml",
                                    "auto",
                                    "user",
                                    "catalogue",
                                    "none.such",
                                    "planet:1",
                                    "2099-01-01T00:00:00Z",
                                    "00000000000004d2-12",
                                    "18446744073709551615",
                                    "",
                                    "epochs",
                                    "\xe2\x80\xae\x1b[31m\xff"};
static const uint64_t numbers[] = {0, 1, 2, 7, 8, 10, 100, 1000, 4102444800000000u, INT64_MAX, UINT64_MAX};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void put_text(struct wire_buffer *out, struct choices *choices)
{
    char made[40];
    size_t length = 0;
    uint64_t kind = choose(choices, 1);
    if (kind < 224) {
        wire_str(out, texts[kind % COUNT(texts)]);
        return;
    }
    for (length = 0; length < kind % sizeof made && choices_left(choices); length++)
        made[length] = (char)choose(choices, 1);
    wire_strn(out, made, length);
}

/* Any value, not deep. */
static void put_value(struct wire_buffer *out, struct choices *choices, unsigned depth)
{
    uint64_t kind = choose(choices, 1), count;
    switch (depth < 4 ? kind % 12 : kind % 8) {
    case 0:
        wire_u64(out, choose(choices, 8));
        return;
    case 1:
        wire_i64(out, (int64_t)choose(choices, 8));
        return;
    case 2:
        wire_nil(out);
        return;
    case 3:
        wire_bool(out, kind & 16);
        return;
    case 4:
    case 5:
        wire_u64(out, numbers[kind / 12 % COUNT(numbers)]);
        return;
    case 6:
    case 7:
        put_text(out, choices);
        return;
    case 8:
        wire_map(out, (uint32_t)(count = kind / 12 % 4));
        for (; count > 0; count--) {
            wire_str(out, keys[choose_below(choices, COUNT(keys))]);
            put_value(out, choices, depth + 1);
        }
        return;
    default:
        wire_array(out, (uint32_t)(count = choose(choices, 1) % 6));
        for (; count > 0; count--)
            put_value(out, choices, depth + 1);
        return;
    }
}

/* Parameters that a method could mean, of which some may be spoilt afterwards. */
static void put_good(struct wire_buffer *out, struct choices *choices, const char *key)
{
    static const struct {
        const char *key;
        const char *values[4];
    } good[] = {
        {"user", {"7", "8", "9", "18446744073709551615"}},
        {"scope", {"global", "server:1", "channel:10", "channel:12"}},
        {"permission", {"message.send", "message.delete", "channel.view", "message.send"}},
        {"role", {"100", "101", "102", "1"}},
        {"effect", {"allow", "allow_own", "deny", "allow"}},
        {"what", {"user:7", "scope:channel:10", "prefix:user:", "all"}},
        {"owner", {"7", "8", "42", "0"}},
        {"expires_at", {"2099-01-01T00:00:00Z", "4102444800000000", "2001-01-01T00:00:00Z", "x"}},
        {"format", {"json", "yaml", "auto", "xml"}},
    };
    uint64_t choice = choose(choices, 1);
    for (size_t i = 0; i < COUNT(good) && choice < 208; i++)
        if (strcmp(good[i].key, key) == 0) {
            wire_put_str(out, key, good[i].values[choice % 4]);
            return;
        }
    wire_str(out, key);
    put_value(out, choices, 0);
}

/* The parameters that each method knows: as bits of the list of keys would be unreadable, by their first letters. */
static const struct {
    const char *method, *keys[6];
} known[] = {
    {"check", {"user", "scope", "permission", "owner", "token"}},
    {"permissions", {"user", "scope", "from", "token"}},
    {"check_many", {"queries"}},
    {"explain", {"user", "scope", "permission", "owner"}},
    {"apply", {"format", "dry_run", "prune", "timeout_ms", "deadline"}},
    {"grant", {"role", "permission", "effect", "timeout_ms"}},
    {"revoke", {"role", "permission", "deadline"}},
    {"assign", {"user", "role", "scope", "expires_at"}},
    {"unassign", {"user", "role", "scope"}},
    {"invalidate", {"what", "targets", "batch", "reason"}},
    {"invalidations", {"last", "before"}},
    {"subscribe", {"kinds", "prefix"}},
    {"catalogue", {"from"}},
    {"cleanup", {"action", "what", "number", "pattern"}},
    {"tag_add", {"tag", "targets"}},
    {"tag_list", {"tag", "cursor"}},
    {"delay", {"targets", "id", "reason", "if", "in_ms", "at"}},
};

static void put_queries(struct wire_buffer *out, struct choices *choices)
{
    uint64_t count = choose(choices, 1);
    wire_put_array(out, "queries", (uint32_t)count);
    for (; count > 0; count--) {
        bool owned = count % 3 == 0;
        wire_array(out, owned ? 4 : 3);
        wire_u64(out, choose(choices, 1) % 16);
        wire_str(out, texts[choose(choices, 1) % 4]);
        wire_str(out, texts[4 + choose(choices, 1) % 3]);
        if (owned)
            wire_u64(out, 7);
    }
}

static void put_known(struct wire_buffer *out, struct choices *choices, size_t row, uint64_t id)
{
    uint32_t count = 0;
    uint64_t left_out = choose(choices, 1), extra = left_out >> 7;
    if ((left_out & 64) == 0)
        left_out = 0;
    while (count < 6 && known[row].keys[count] != NULL)
        count++;
    uint32_t given = 0;
    for (uint32_t i = 0; i < count; i++)
        given += (left_out >> i & 1) == 0;
    wire_request(out, id, known[row].method, given + (uint32_t)extra);
    for (uint32_t i = 0; i < count; i++) {
        if ((left_out >> i & 1) != 0)
            continue;
        if (strcmp(known[row].keys[i], "queries") == 0 && choose(choices, 1) < 224)
            put_queries(out, choices);
        else
            put_good(out, choices, known[row].keys[i]);
    }
    if (extra > 0)
        put_good(out, choices, keys[choose_below(choices, COUNT(keys))]);
}

static void put_any(struct wire_buffer *out, struct choices *choices, uint64_t id)
{
    uint64_t method = choose(choices, 1), count = choose(choices, 1) % 5;
    wire_request(out, id, method < 250 ? methods[method % method_count].name : "no\x01method",
                 (uint32_t)count);
    for (; count > 0; count--)
        put_good(out, choices, keys[choose_below(choices, COUNT(keys))]);
}

/* ---- what the client does --------------------------------------------------------------------------------------- */

/* A document or something else that is a file, perhaps none that may be read. */
static int choose_file(struct choices *choices)
{
    static const char *const documents[] = {
        "{}", "roles: [{id: 300, name: x, scope: 'server:1', allow: [message.send]}]",
        "{\"assignments\": [{\"user\": 7, \"role\": 100, \"scope\": \"channel:10\"}]}", "{\"roles\": 1}"};
    uint64_t kind = choose(choices, 1);
    int pipe_ends[2];
    if (kind % 8 == 7) {
        must(pipe2(pipe_ends, O_CLOEXEC) == 0);
        (void)close(pipe_ends[1]);
        return pipe_ends[0];
    }
    int descriptor = memfd_create("document", MFD_CLOEXEC);
    const char *text = documents[kind % COUNT(documents)];
    must(descriptor >= 0 && write(descriptor, text, strlen(text)) == (ssize_t)strlen(text));
    return descriptor;
}

static void act(struct client *client, struct choices *choices)
{
    static const size_t pieces[] = {1, 7, 64, 1 << 20};
    uint64_t kind = choose(choices, 1);
    size_t piece = kind < 16 ? pieces[kind % 4] : 1 << 20;
    int descriptor = kind >= 240 ? choose_file(choices) : -1;
    struct wire_buffer out;
    wire_buffer_init(&out);
    uint64_t id = ++client->asked_count;
    bool garbage = kind >= 16 && kind < 20;
    if (garbage) {
        size_t left = (size_t)(choices->end - choices->at), size = left < 40 ? left : 40;
        must((out.data = malloc(size + 1)) != NULL);
        memcpy(out.data, choices->at, size);
        out.size = size;
        choices->at += size;
        client->garbage = true;
    } else if (kind < 200 || kind >= 240) {
        put_known(&out, choices, kind >= 240 ? 4 : choose_below(choices, COUNT(known)), id);
    } else {
        put_any(&out, choices, id);
    }
    must(!out.failed);
    if (!garbage)
        client->asked |= (uint64_t)1 << (id - 1);
    client_send(client, out.data, out.size, piece, descriptor);
    wire_buffer_fini(&out);
    if (descriptor >= 0)
        (void)close(descriptor);
    for (unsigned turns = (unsigned)choose(choices, 1) % 4; turns > 0; turns--) {
        daemon_world_turn();
        client_read(client);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choices choices = choices_of(data, size);
    struct client client;
    uint64_t manner = choose(&choices, 1);
    client_open(&client, manner < 240);
    while (choices_left(&choices) && client.asked_count < CLIENT_REQUESTS_MAX && client.socket >= 0)
        act(&client, &choices);
    /* A client that leaves early leaves nothing behind; another one waits for all its replies. */
    if (manner % 8 != 0)
        client_wait(&client);
    client_close(&client);
    return 0;
}
