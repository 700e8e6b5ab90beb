/* libFuzzer's entry for all that reads what Redis says: the daemon itself, and a peer that answers as the input
 * chooses. Every type, nested, in the wrong place, cut off, twice, never, and texts that are made of what the daemon
 * has sent, so that some of it is nearly right; messages that nobody published. A client asks meanwhile, and the
 * warm-up for many users of a place.
 *
 * Nothing may crash, and no request is answered twice, whatever Redis says (client_world.h). */
#include "client/wire/wire.h"
#include "proxy/l2/value.h"
#include "proxy/rights/facts_slice.h"
#include "proxy/table/publisher.h"
#include "tests/fuzz/client_world.h"
#include "tests/fuzz/daemon_world.h"
#include "tests/fuzz/fuzz.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define WORDS_MAX    24u
#define WORD_MAX     128u
#define ANSWERS_MAX  2000u /* of an input: a script that is refused may be sent again and again */

static struct choices input;
static unsigned answers;
static struct bufferevent *subscriber; /* of the peer's connections, the one that has subscribed */
static char channel[WORD_MAX];
static struct {
    char text[WORD_MAX];
    size_t size;
} words[WORDS_MAX]; /* of the last command */
static size_t word_count;

/* ---- what the peer says ------------------------------------------------------------------------------------------ */

static void put_bulk(struct evbuffer *out, const void *bytes, size_t size)
{
    must(evbuffer_add_printf(out, "$%zu\r\n", size) > 0);
    must(evbuffer_add(out, bytes, size) == 0 && evbuffer_add(out, "\r\n", 2) == 0);
}

static void put_text(struct evbuffer *out)
{
    static const char *const texts[] = {"hit",   "absent", "miss",   "large", "global", "server:1", "channel:10",
                                        "0",     "1",      "-1",     "OK",    "",       "user:7",   "message",
                                        "again", "18446744073709551615", "00000000000000000001", "ffffffffffffffff"};
    uint64_t kind = choose(&input, 1);
    if (kind < 96 && word_count > 0) {
        size_t word = kind % word_count;
        put_bulk(out, words[word].text, words[word].size);
    } else if (kind < 224) {
        const char *text = texts[kind % COUNT(texts)];
        put_bulk(out, text, strlen(text));
    } else {
        char bytes[32];
        size_t size = kind % sizeof bytes;
        for (size_t i = 0; i < size; i++)
            bytes[i] = (char)choose(&input, 1);
        put_bulk(out, bytes, size);
    }
}

static void put_reply(struct evbuffer *out, unsigned depth)
{
    static const char *const lines[] = {
        "+OK\r\n",       "+QUEUED\r\n",          "+PONG\r\n",  "$-1\r\n", "*-1\r\n", "*0\r\n", "-ERR no\r\n",
        "-NOSCRIPT\r\n", "-WRONGTYPE so it is\r\n", "-LOADING\r\n", "-OOM\r\n",  "-MOVED 1 a:1\r\n", "-\r\n", "+\r\n"};
    static const long long numbers[] = {0, 1, 2, -1, 7, 1000, INT64_MAX, INT64_MIN};
    uint64_t kind = choose(&input, 1);
    switch (depth < 5 ? kind % 8 : kind % 5) {
    case 0:
    case 1:
        must(evbuffer_add_printf(out, "%s", lines[kind / 8 % COUNT(lines)]) > 0);
        return;
    case 2:
        must(evbuffer_add_printf(out, ":%lld\r\n", numbers[kind / 8 % COUNT(numbers)]) > 0);
        return;
    case 3:
    case 4:
        put_text(out);
        return;
    default:
        must(evbuffer_add_printf(out, "*%llu\r\n", (unsigned long long)(kind / 8 % 12)) > 0);
        for (uint64_t left = kind / 8 % 12; left > 0; left--)
            put_reply(out, depth + 1);
        return;
    }
}

static void put_print(struct evbuffer *out, const char *format, unsigned long long number)
{
    char text[32];
    put_bulk(out, text, (size_t)snprintf(text, sizeof text, format, number));
}

static void put_value(struct evbuffer *out, const struct facts *facts, bool rows)
{
    struct wire_buffer value;
    wire_buffer_init(&value);
    if (rows)
        l2_value_pack_rows(&value, facts, 0, 1);
    else
        l2_value_pack_scope(&value, facts, 0);
    must(!value.failed);
    put_bulk(out, value.data, value.size);
    wire_buffer_fini(&value);
}

/* The marker, where the table stands, and nearly always of the same epoch. */
static void put_marker(struct evbuffer *out)
{
    struct log_position at = publisher_position(daemon_world()->parts.publisher);
    put_print(out, "%016llx", at.store_id);
    put_print(out, "%020llu", at.revision + choose(&input, 1) / 240);
    put_print(out, "%llu", at.nonce);
    put_print(out, "%016llx", 1 + choose(&input, 1) / 250);
}

/* Whether the command is to bring the marker forward: it names a store and a revision. */
static bool is_of_the_marker(void)
{
    return word_count > 7 && strcmp(words[0].text, "EVALSHA") == 0 && words[5].size == 16 &&
           words[6].size == 20;
}

/* What l2_place.lua says of the place that was asked for, with a word of it wrong now and then. */
static void put_place(struct evbuffer *out)
{
    struct facts_assignment roles[2] = {{.expires_at = FACTS_NEVER}, {.expires_at = FACTS_NEVER}};
    struct facts facts = {.chain_count = 1, .assignments = roles};
    bool global = strcmp(words[6].text, "global") == 0;
    must(evbuffer_add_printf(out, "*3\r\n*4\r\n") > 0);
    put_marker(out);
    must(evbuffer_add_printf(out, "*%d\r\n", global ? 2 : 4) > 0);
    for (int level = global; level < 2; level++) {
        put_bulk(out, level == 1 ? "global" : words[6].text, level == 1 ? 6 : words[6].size);
        if (choose(&input, 1) < 250)
            put_value(out, &facts, false);
        else
            put_text(out);
    }
    size_t count = (word_count - 7) * (global ? 1 : 2) + (choose(&input, 1) > 250);
    must(evbuffer_add_printf(out, "*%zu\r\n", count) > 0);
    for (size_t i = 0; i < count; i++) {
        uint64_t kind = choose(&input, 1);
        facts.assignment_count = kind % 3;
        roles[0].role = 1 + kind % 7;
        roles[1].role = kind;
        roles[1].expires_at = kind % 11 == 0 ? 1000 : FACTS_NEVER;
        if (kind > 240)
            put_reply(out, 2);
        else
            put_value(out, &facts, true);
    }
}

/* Whether the command runs it: the fourth of its arguments is a place. */
static bool is_of_a_place(void)
{
    return word_count > 7 && strcmp(words[0].text, "EVALSHA") == 0 && strcmp(words[5].text, "65536") == 0 &&
           (strchr(words[6].text, ':') != NULL || strcmp(words[6].text, "global") == 0);
}

/* Says something in answer to the command whose words are known; may end the connection. */
static void say(struct bufferevent *stream)
{
    struct evbuffer *out = evbuffer_new();
    uint64_t manner = choose(&input, 1);
    must(out != NULL);
    if (manner < 192 && is_of_a_place())
        put_place(out);
    else if (manner < 192 && is_of_the_marker() && evbuffer_add_printf(out, "*5\r\n:1\r\n") > 0)
        put_marker(out);
    else if (manner != 255) /* else nothing */
        put_reply(out, 0);
    if (manner == 254)
        put_reply(out, 0);
    if (manner == 253)
        put_text(out);
    if (manner == 252)
        must(evbuffer_add(out, "?\x80\r\n", 4) == 0);
    size_t size = evbuffer_get_length(out);
    if (manner == 251) { /* cut off, and the end */
        must(evbuffer_drain(out, size / 2) == 0);
        must(bufferevent_write_buffer(stream, out) == 0);
        (void)bufferevent_flush(stream, EV_WRITE, BEV_FINISHED);
        if (stream == subscriber)
            subscriber = NULL;
        bufferevent_free(stream);
    } else {
        must(bufferevent_write_buffer(stream, out) == 0);
    }
    evbuffer_free(out);
}

/* Mostly as Redis would, because else nothing gets further than that. */
static bool greeted(struct bufferevent *stream)
{
    const char *word = words[0].text;
    const char *text = NULL;
    if (strcmp(word, "AUTH") == 0 || strcmp(word, "SELECT") == 0 || strcmp(word, "CLIENT") == 0)
        text = "+OK\r\n";
    else if (strcmp(word, "SCRIPT") == 0)
        text = "$40\r\n0123456789012345678901234567890123456789\r\n";
    else if (strcmp(word, "PING") == 0)
        text = stream == subscriber ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+PONG\r\n";
    bool subscribes = strcmp(word, "SUBSCRIBE") == 0 && word_count == 2;
    if ((!text && !subscribes) || choose(&input, 1) >= 250)
        return false;
    if (text)
        return bufferevent_write(stream, text, strlen(text)) == 0;
    subscriber = stream;
    (void)snprintf(channel, sizeof channel, "%s", words[1].text);
    struct evbuffer *out = bufferevent_get_output(stream);
    return evbuffer_add_printf(out, "*3\r\n$9\r\nsubscribe\r\n$%zu\r\n%s\r\n:1\r\n", strlen(channel), channel) > 0;
}

/* ---- what the peer hears ----------------------------------------------------------------------------------------- */

static size_t line_size(const char *bytes, size_t size, size_t at)
{
    const char *end = at < size ? memchr(bytes + at, '\n', size - at) : NULL;
    return end ? (size_t)(end - (bytes + at)) + 1 : 0;
}

/* Takes one whole command off the front, and its words; 0: not all there. The daemon is believed. */
static size_t take_command(const char *bytes, size_t size)
{
    size_t at = line_size(bytes, size, 0);
    if (at == 0)
        return 0;
    unsigned long count = strtoul(bytes + 1, NULL, 10);
    word_count = 0;
    for (unsigned long i = 0; i < count; i++) {
        size_t head = line_size(bytes, size, at);
        size_t length = head > 0 ? strtoul(bytes + at + 1, NULL, 10) : 0;
        if (head == 0 || size - at < head + length + 2)
            return 0;
        if (word_count < WORDS_MAX) {
            size_t kept = length < WORD_MAX - 1 ? length : WORD_MAX - 1;
            memcpy(words[word_count].text, bytes + at + head, kept);
            words[word_count].text[kept] = '\0';
            words[word_count++].size = kept;
        }
        at += head + length + 2;
    }
    return at;
}

static void on_readable(struct bufferevent *stream, void *context)
{
    struct evbuffer *in = bufferevent_get_input(stream);
    (void)context;
    for (;;) {
        size_t size = evbuffer_get_length(in), used;
        const char *bytes = (const char *)evbuffer_pullup(in, -1);
        if (size == 0 || (used = take_command(bytes, size)) == 0)
            return;
        must(evbuffer_drain(in, used) == 0);
        if (greeted(stream) || ++answers > ANSWERS_MAX)
            continue;
        bool ends = choices_left(&input) && *input.at == 251;
        say(stream);
        if (ends)
            return;
    }
}

static void on_end(struct bufferevent *stream, short what, void *context)
{
    (void)what, (void)context;
    if (stream == subscriber)
        subscriber = NULL;
    bufferevent_free(stream);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t descriptor, struct sockaddr *address, int size,
                      void *context)
{
    struct bufferevent *stream =
        bufferevent_socket_new(evconnlistener_get_base(listener), descriptor, BEV_OPT_CLOSE_ON_FREE);
    (void)address, (void)size, (void)context;
    must(stream != NULL);
    bufferevent_setcb(stream, on_readable, NULL, on_end, NULL);
    must(bufferevent_enable(stream, EV_READ | EV_WRITE) == 0);
}

static char path[64];

static void remove_path(void)
{
    (void)unlink(path);
}

static void begin(void)
{
    static char url[80];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(path, sizeof path, "/tmp/permtab-fuzz-redis-%ld.sock", (long)getpid());
    (void)snprintf(url, sizeof url, "unix:%s", path);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    (void)unlink(path);
    must(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* as the daemon does */
    must(evconnlistener_new_bind(daemon_world_base(), on_accept, NULL, LEV_OPT_CLOSE_ON_EXEC, -1,
                                 (struct sockaddr *)&address, sizeof address) != NULL);
    must(atexit(remove_path) == 0);
    daemon_world_redis(url);
    struct daemon *daemon = daemon_world();
    for (unsigned turns = 0; subscriber == NULL || !redis_connected(daemon->parts.redis); turns++) {
        must(turns < 60000);
        daemon_world_turn();
    }
}

/* ---- what happens meanwhile -------------------------------------------------------------------------------------- */

static void publish(void)
{
    static const char *const heads[] = {"\x95", "\x96", "{", "", "\x93\x01"};
    if (subscriber == NULL)
        return;
    struct evbuffer *out = bufferevent_get_output(subscriber);
    char text[64];
    uint64_t kind = choose(&input, 1);
    size_t size = (size_t)snprintf(text, sizeof text, "%s", heads[kind % COUNT(heads)]);
    while (size < sizeof text && size < kind / 4 && choices_left(&input))
        text[size++] = (char)choose(&input, 1);
    must(evbuffer_add_printf(out, "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n", strlen(channel), channel) > 0);
    if (kind > 240)
        put_reply(out, 1);
    else
        put_bulk(out, text, size);
}

static void ask(struct client *client)
{
    static const char *const scopes[] = {"global", "server:1", "channel:10", "channel:12"};
    static const char *const targets[] = {"user:7", "prefix:user:", "all", "tag:x"};
    uint64_t kind = choose(&input, 1), id = ++client->asked_count;
    struct wire_buffer out;
    wire_buffer_init(&out);
    switch (kind % 6) {
    case 0:
    case 1:
        wire_request(&out, id, "check", 3);
        wire_put_u64(&out, "user", 1 + kind / 6);
        wire_put_str(&out, "scope", scopes[kind / 6 % 4]);
        wire_put_str(&out, "permission", "message.send");
        break;
    case 2:
        wire_request(&out, id, "invalidate", 1);
        wire_put_str(&out, "what", targets[kind / 6 % 4]);
        break;
    case 3:
        wire_request(&out, id, "tag_list", 1);
        wire_put_str(&out, "tag", "x");
        break;
    case 4:
        wire_request(&out, id, "tag_add", 2);
        wire_put_str(&out, "tag", "x");
        wire_put_array(&out, "targets", 1);
        wire_str(&out, "user:7");
        break;
    default:
        wire_request(&out, id, "delay", 2);
        wire_put_array(&out, "targets", 1);
        wire_str(&out, targets[kind / 6 % 4]);
        wire_put_u64(&out, "in_ms", kind / 6);
        break;
    }
    must(!out.failed);
    client->asked |= (uint64_t)1 << (id - 1);
    client_send(client, out.data, out.size, out.size, -1);
    wire_buffer_fini(&out);
}

static struct slice *slice; /* under way, or NULL */

static void on_slice(void *context, int code, const char *text, const struct facts_slice *facts,
                     const uint8_t *results)
{
    (void)context, (void)text;
    must(code == 0 && slice != NULL);
    for (size_t i = 0; i < facts->count; i++)
        must(results[i] > SLICE_OPEN && results[i] <= SLICE_LATER);
    slice = NULL;
}

static void leave_slice(void)
{
    if (slice != NULL)
        answering_slice_cancel(slice);
    slice = NULL;
}

/* As the warm-up asks; now and then it leaves what is under way. */
static void ask_place(void)
{
    static const struct scope_key scopes[] = {{0, 0}, {1, 1}, {10, 3}, {12, 3}};
    struct answering *answering = daemon_world()->parts.answering;
    uint64_t users[16], kind = choose(&input, 1);
    struct scope_key scope = scopes[kind % 4];
    size_t count = 1 + kind / 4 % 16;
    for (size_t i = 0; i < count; i++)
        users[i] = 1 + i;
    if (kind > 224)
        leave_slice();
    if (slice == NULL && answering_slice_max(answering, SLICE_OF_L2, scope) >= count &&
        answering_slice(&slice, answering, SLICE_OF_L2, scope, users, count, on_slice, NULL) < 0)
        slice = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client client;
    if (path[0] == '\0')
        begin();
    input = choices_of(data, size);
    answers = 0;
    client_open(&client, true);
    while (choices_left(&input) && client.asked_count < CLIENT_REQUESTS_MAX && client.socket >= 0) {
        uint64_t kind = choose(&input, 1);
        if (kind % 4 == 0)
            publish();
        else if (kind % 8 == 1)
            ask_place();
        else
            ask(&client);
        daemon_world_turn();
        client_read(&client);
    }
    /* Some replies wait for as long as Redis is tried again, so nobody waits for all of them. */
    for (unsigned turns = 0; turns < 40 && client.socket >= 0 && client.answered != client.asked; turns++) {
        daemon_world_turn();
        client_read(&client);
    }
    leave_slice();
    client_close(&client);
    return 0;
}
