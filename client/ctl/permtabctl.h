/* permtabctl's inside: one command table (permtabctl.c), commands by their noun, and what they share.
 *
 * Exit codes: 0 fine (check: allow); 1 failed (check: deny); 2 check alone: unknown, or it could not be asked; 64
 * usage. */
#ifndef PERMTAB_CLIENT_CTL_PERMTABCTL_H
#define PERMTAB_CLIENT_CTL_PERMTABCTL_H

#include "client/channel.h"

#define CONTROL_FAILED  1
#define CONTROL_UNKNOWN 2 /* also: a change that may have been done or not */
#define CONTROL_USAGE   64

#define CONTROL_CALL_MS   30000u /* for what the sidecar answers from memory, or with one look at the store */
#define CONTROL_HEALTH_MS 2000u  /* short: an operator waits for it */
#define CONTROL_WRITE_MS  25000u /* for a change, unless --timeout says otherwise: the sidecar is told */
#define CONTROL_APPLY_MS  600000u /* for whole policies, likewise */
#define CONTROL_LONG_MS   600000u /* for reading them */
#define CONTROL_SLACK_MS  5000u   /* added to the sidecar's own time limit, for the way there and back */

/* Options of delay and delayed alone; NULL: not given. */
struct control_delay {
    const char *in, *at, *condition, *revision, *alive, *id, *most;
};

struct control {
    const char *socket;
    const char *command; /* its name, for messages */
    char **arguments;    /* after the command, options taken out */
    int count;
    bool batch, json, dry_run, prune, own, deny, once;
    const char *owner, *expires, *batch_size, *reason, *last, *format, *timeout; /* NULL: not given */
    const char *priority;                                                        /* likewise */
    uint32_t write_ms;                                                           /* of --timeout */
    struct control_delay delay;
    struct channel channel;
};

/* ---- print.c ------------------------------------------------------------------------------------------- */

/* malloc; without memory the program ends here, with CONTROL_UNKNOWN and a line. An answer that is cut short would be
 * worse: a line of check --batch less, and all that follow are taken for other questions'. Jansson allocates with it,
 * too, and leaves nothing out. */
void *control_allocate(size_t size);

/* Prints to stdout. Characters that a terminal would obey, and bytes that are not UTF-8, become U+FFFD.
 * control_finish sees whether all could be written. */
void control_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints a line of JSON; the characters that control_say replaces are escaped. `flags` are Jansson's. False when
 * there is no memory, or `value` is NULL. */
struct json_t;
bool control_say_json(const struct json_t *value, size_t flags) PERMTAB_MUST_CHECK;
/* control_say_json of a whole answer, which it frees. 0, or CONTROL_FAILED with one line printed. */
int control_print_json(const struct control *control, struct json_t *value, size_t flags) PERMTAB_MUST_CHECK;
/* A new object of the numbers, truths and short texts of a map. */
struct json_t *control_json(const struct wire_value *map);
/* One line on stderr: "permtabctl: COMMAND: …". Returns `code`, so that `return control_fail(…)` reads well. */
int control_fail(const struct control *control, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Whether nobody can read stdout any more. */
bool control_output_gone(void);
bool control_output_is_terminal(void);
/* Closes stdout, as the last call. Returns `code`; when the output could not be written, prints a line and returns
 * the code for that. */
int control_finish(const struct control *control, int code);

/* ---- save.c -------------------------------------------------------------------------------------------- */

/* Copies `from`, from its present offset to its end. False with errno. */
bool control_copy(int from, int to);
/* Saves the document into the file, device or FIFO of that name; the top of save.c says how. On failure false with
 * errno, and the old file is whole, unless it had to be written in place. */
bool control_save(int document, const char *name);

/* ---- call.c ------------------------------------------------------------------------------------------ */

/* Connects and greets. 0, or the exit code with one line printed. */
int control_connect(struct control *control, uint32_t timeout_ms) PERMTAB_MUST_CHECK;
/* Sends the request begun with channel_request; 0 with *reply, which is the caller's to fini, or CONTROL_FAILED
 * with one line printed and nothing to fini. */
int control_call(struct control *control, int descriptor, uint32_t timeout_ms,
                 struct wire_message *reply) PERMTAB_MUST_CHECK;
/* The two of them, for a method without parameters. */
int control_ask(struct control *control, const char *method, uint32_t timeout_ms,
                struct wire_message *reply) PERMTAB_MUST_CHECK;
/* The texts of the reply's "warnings", a line each on stderr. */
void control_warnings(const struct control *control, const struct wire_value *result);
/* The time that a change has to be answered in: --timeout, or `default_ms`. 0, or CONTROL_USAGE with a line. */
int control_write_time(struct control *control, uint32_t default_ms) PERMTAB_MUST_CHECK;
/* control_call for a change, whose request has `timeout_ms` with control->write_ms. CONTROL_UNKNOWN, with a line,
 * when the change may have been done or not. */
int control_write(struct control *control, int descriptor, struct wire_message *reply) PERMTAB_MUST_CHECK;

/* Parsers of arguments. False with a usage line printed. */
bool control_id(const struct control *control, const char *what, const char *text, uint64_t *out);
bool control_scope(const struct control *control, const char *text);
/* USER, SCOPE and --owner; check.c. */
bool control_question(const struct control *control, uint64_t *user, uint64_t *owner);
/* control_is_id: a whole decimal number; control_is_scope: "global" or "type:id". Both print nothing. */
bool control_is_id(const char *text, uint64_t *out);
bool control_is_scope(const char *text);

/* `what` is the option. 0, or CONTROL_USAGE with a line printed. */
int control_time(const struct control *control, const char *what, const char *text,
                 int64_t *out) PERMTAB_MUST_CHECK;
/* "250ms", "30s", "5m", "12h" or "7d" to milliseconds; delayed.c. */
bool control_duration(const char *text, uint64_t *out);

/* ---- invalidate.c: targets, as texts; the sidecar knows which are good ---------------------------------- */

struct control_targets {
    char **texts;
    size_t count;
};

/* The arguments from number `first` on; "-" stands for those on stdin. 0 with *targets to fini, or the exit code
 * with one line printed. */
int control_targets_take(const struct control *control, int first,
                         struct control_targets *targets) PERMTAB_MUST_CHECK;
void control_targets_fini(struct control_targets *targets);
/* The key "targets" and `count` of them. */
void control_targets_pack(struct wire_buffer *out, const struct control_targets *targets, size_t first,
                          size_t count);

/* The number under a key, 0 when there is none. */
uint64_t control_u64(const struct wire_value *map, const char *key);
/* The text under a key, "" when there is none or it does not fit. Returns `out`. */
const char *control_text(const struct wire_value *map, const char *key, char *out, size_t size);

/* ---- the commands: exit codes ----------------------------------------------------------------------------------- */

int control_check(struct control *control);
int control_batch(struct control *control);
int control_permissions(struct control *control);
int control_explain(struct control *control);
int control_apply(struct control *control);
int control_export(struct control *control);
int control_grant(struct control *control);
int control_revoke(struct control *control);
int control_assign(struct control *control);
int control_unassign(struct control *control);
int control_invalidate(struct control *control);
int control_invalidations(struct control *control);
int control_tag(struct control *control);
int control_cleanup(struct control *control);
int control_delay(struct control *control);
int control_delayed(struct control *control);
int control_warm(struct control *control);
int control_top(struct control *control);
int control_jobs(struct control *control);
int control_stats(struct control *control);
int control_health(struct control *control);
int control_watch(struct control *control);

#endif
