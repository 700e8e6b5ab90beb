/* libFuzzer's entry for the ops socket: any bytes as lines, in pieces that the first byte says, to the daemon itself.
 * Every line that says something gets one answer up to the end, a line that is too long or `quit` ends the connection;
 * all of an answer may be shown, and it ends with an empty line. */
#include "client/wire/text.h"
#include "tests/fuzz/daemon_world.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS_MAX 60000u /* of a millisecond: only a hang takes so long */

struct client {
    int socket;
    bool ended; /* the daemon has closed its side */
    FILE *out;  /* what it said */
};

static void read_answers(struct client *client)
{
    char bytes[65536];
    ssize_t got = 1;
    while (!client->ended && (got = recv(client->socket, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        must(fwrite(bytes, 1, (size_t)got, client->out) == (size_t)got);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        client->ended = true;
}

static void send_lines(struct client *client, const char *bytes, size_t size, size_t piece)
{
    unsigned turns = 0;
    for (size_t at = 0; at < size && !client->ended;) {
        size_t part = size - at < piece ? size - at : piece;
        ssize_t sent = send(client->socket, bytes + at, part, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
            at += (size_t)sent;
        else if (errno != EAGAIN)
            break;
        must(turns++ < TURNS_MAX);
        daemon_world_turn();
        read_answers(client);
    }
}

static size_t count_ends(const char *text, size_t size)
{
    size_t count = 0;
    for (size_t i = 1; i < size; i++)
        count += text[i - 1] == '\n' && text[i] == '\n';
    return count;
}

/* How many lines say something, at most: each gets one answer, and one error may come at the end. */
static size_t count_lines(const char *bytes, size_t size)
{
    size_t count = 1;
    for (size_t i = 0; i < size; i++)
        count += bytes[i] == '\n';
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {1, 3, 16, 100, 300, 1000, 5000, 1 << 20};
    struct daemon *daemon = daemon_world();
    char *text = NULL, trouble[TEXT_TROUBLE_SIZE];
    size_t text_size = 0;
    int ends[2];
    if (size == 0)
        return 0;
    daemon_world_connect(ends);
    struct client client = {.socket = ends[0], .out = open_memstream(&text, &text_size)};
    must(client.out != NULL);
    ops_accept(daemon->ops, ends[1]);
    send_lines(&client, (const char *)data + 1, size - 1, pieces[data[0] % 8]);
    (void)shutdown(client.socket, SHUT_WR);
    for (unsigned turns = 0; !client.ended; turns++) {
        must(turns < TURNS_MAX);
        daemon_world_turn();
        read_answers(&client);
    }
    (void)close(client.socket);
    must(fclose(client.out) == 0);
    /* An empty answer is an empty line. */
    must(text_size == 0 || (text[text_size - 1] == '\n' && (text_size == 1 || text[text_size - 2] == '\n')));
    must(text_is_clean(text, text_size, true, trouble));
    must(count_ends(text, text_size) <= count_lines((const char *)data + 1, size - 1) + 1);
    free(text);
    return 0;
}
