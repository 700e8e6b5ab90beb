/* permtabctl check --batch: lines of `user scope permission` in, a decision a line out, in order.
 *
 * All lines that are there to read are asked for in one round trip and answered at once, so that a program at the
 * other end of a pipe may wait for each answer, and a large file still costs few round trips. When the sidecar
 * refuses a batch because of one line in it, the lines are asked one by one: only that line gets `unknown`, and a
 * message on stderr. */
#include "client/ctl/permtabctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_LINES 2000u
#define BATCH_LINE  512u
#define BATCH_READ  65536u /* with its lines' overhead well below a frame */

struct question {
    uint64_t user;
    const char *scope, *permission;
    unsigned long line;
};

struct batch {
    struct control *control;
    char text[BATCH_READ + BATCH_LINE];
    size_t size;
    unsigned long line; /* the last one taken */
    struct question questions[BATCH_LINES];
    size_t count;
    int code;
};

static void print(int64_t decision, int *code)
{
    control_say("%s\n", decision == 1 ? "allow" : decision == 0 ? "deny" : "unknown");
    if (decision < 0)
        *code = CONTROL_UNKNOWN;
}

static void pack_one(struct wire_buffer *out, const struct question *question)
{
    wire_array(out, 4);
    wire_u64(out, question->user);
    wire_str(out, question->scope);
    wire_str(out, question->permission);
    wire_nil(out);
}

/* One round trip for `count` questions. False when nothing was printed; then *refused says whether the sidecar
 * refused, and *text why. */
static bool ask(struct batch *batch, const struct question *questions, size_t count, bool *refused,
                char *text, size_t text_size)
{
    struct channel *channel = &batch->control->channel;
    struct wire_message reply;
    size_t replied;
    struct wire_buffer *out = channel_request(channel, "check_many", 1);
    wire_put_array(out, "queries", (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        pack_one(out, &questions[i]);
    int result = channel_call(channel, -1, channel_clock_ns() + CONTROL_CALL_MS * 1000000ull, &reply);
    const struct wire_value *decisions = wire_get(reply.result, "decisions");
    if (result == 0 && (!wire_as_array(decisions, &replied) || replied != count))
        result = PERMTAB_E_PROTOCOL;
    if (result < 0) {
        *refused = reply.error_code != 0;
        (void)snprintf(text, text_size, "%s", *refused ? reply.error_text : "the sidecar went away");
        wire_message_fini(&reply);
        return false;
    }
    bool vouched = channel_clock_ns() < control_u64(reply.result, "deadline");
    for (size_t i = 0; i < count; i++) {
        int64_t decision = -1;
        (void)wire_as_i64(wire_item(decisions, i), &decision);
        print(vouched ? decision : -1, &batch->code);
    }
    wire_message_fini(&reply);
    return true;
}

/* 0, or the exit code when there is no use in going on. */
static int ask_all(struct batch *batch)
{
    char text[512];
    bool refused = false;
    size_t count = batch->count;
    batch->count = 0;
    if (count == 0 || ask(batch, batch->questions, count, &refused, text, sizeof(text)))
        return 0;
    for (size_t i = 0; refused && i < count; i++) {
        if (ask(batch, &batch->questions[i], 1, &refused, text, sizeof(text)))
            continue;
        if (refused)
            (void)control_fail(batch->control, 0, "line %lu: %s", batch->questions[i].line, text);
        print(-1, &batch->code);
    }
    return refused ? 0 : control_fail(batch->control, CONTROL_UNKNOWN, "%s", text);
}

/* Cuts a zero-terminated line into its three words, in place. */
static bool take_line(struct batch *batch, char *line)
{
    char *save, *words[4];
    size_t count = 0;
    struct question *question = &batch->questions[batch->count];
    for (char *word = strtok_r(line, " \t\r", &save); word != NULL && count < 4;
         word = strtok_r(NULL, " \t\r", &save))
        words[count++] = word;
    if (count != 3 || !control_is_id(words[0], &question->user) || !control_is_scope(words[1]))
        return false;
    question->scope = words[1];
    question->permission = words[2];
    question->line = batch->line;
    batch->count++;
    return true;
}

/* Takes the whole lines at the front of the text, asks, and keeps the rest. 0 or an exit code. */
static int take_text(struct batch *batch)
{
    size_t taken = 0;
    int code = 0;
    while (code == 0) {
        char *line = batch->text + taken;
        char *end = memchr(line, '\n', batch->size - taken);
        if (end == NULL)
            break;
        *end = '\0';
        taken += (size_t)(end - line) + 1;
        batch->line++;
        if (strlen(line) != (size_t)(end - line) || !take_line(batch, line)) {
            code = ask_all(batch);
            (void)control_fail(batch->control, 0, "line %lu: expected `user scope permission`", batch->line);
            return code != 0 ? code : CONTROL_USAGE;
        }
        if (batch->count == BATCH_LINES)
            code = ask_all(batch);
    }
    if (code == 0)
        code = ask_all(batch);
    batch->size -= taken;
    memmove(batch->text, batch->text + taken, batch->size);
    if (code == 0 && batch->size >= BATCH_LINE)
        return control_fail(batch->control, CONTROL_USAGE, "line %lu: longer than %u bytes", batch->line + 1,
                            BATCH_LINE);
    return code;
}

static int read_all(struct batch *batch)
{
    for (;;) {
        ssize_t count = read(STDIN_FILENO, batch->text + batch->size, BATCH_READ);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return control_fail(batch->control, CONTROL_UNKNOWN, "stdin: %s", strerror(errno));
        bool last = count == 0;
        if (last && batch->size == 0)
            return batch->code;
        if (last) /* a last line without its end */
            batch->text[batch->size] = '\n';
        batch->size += last ? 1 : (size_t)count;
        int code = take_text(batch);
        if (fflush(stdout) != 0 && code == 0)
            code = control_fail(batch->control, CONTROL_UNKNOWN, "cannot write the output");
        if (code != 0 || last)
            return code != 0 ? code : batch->code;
    }
}

int control_batch(struct control *control)
{
    struct batch *batch = calloc(1, sizeof(*batch)); /* too large for the stack */
    if (batch == NULL)
        return control_fail(control, CONTROL_UNKNOWN, "out of memory");
    batch->control = control;
    int code = control_connect(control, CONTROL_CALL_MS) == 0 ? read_all(batch) : CONTROL_UNKNOWN;
    free(batch);
    return code;
}
