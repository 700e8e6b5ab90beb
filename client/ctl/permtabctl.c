/* permtabctl: asks a sidecar, and changes policy through it. This file is the command line: one table of commands
 * and one of options drive parsing, usage and help. The commands themselves are in the other files of this folder,
 * by their noun. */
#include "client/ctl/permtabctl.h"

#include "client/wire/standard.h"

#include <jansson.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/permtab/permtab.sock"

enum option_bit {
    OPTION_BATCH = 1,
    OPTION_JSON = 2,
    OPTION_DRY_RUN = 4,
    OPTION_PRUNE = 8,
    OPTION_OWN = 16,
    OPTION_DENY = 32,
    OPTION_OWNER = 64,
    OPTION_EXPIRES = 128,
    OPTION_BATCH_SIZE = 256,
    OPTION_LAST = 512,
    OPTION_FORMAT = 1024,
    OPTION_IN = 1 << 16, /* of delay and delayed */
    OPTION_AT = 1 << 17,
    OPTION_REASON = 1 << 18,
    OPTION_IF = 1 << 19,
    OPTION_IF_REVISION = 1 << 20,
    OPTION_EXPIRES_IN = 1 << 21,
    OPTION_ID = 1 << 22,
    OPTION_MAX = 1 << 23,
    OPTION_TIMEOUT = 1 << 24,
    OPTION_PRIORITY = 1 << 25,
    OPTION_ONCE = 1 << 26,
};

#define AT(member) offsetof(struct control, member)

static const struct option {
    const char *name;
    unsigned bit;
    bool value;    /* it is followed by a text; else it is a flag */
    size_t offset; /* of that in struct control */
} options[] = {
    {"--batch", OPTION_BATCH, false, AT(batch)},
    {"--json", OPTION_JSON, false, AT(json)},
    {"--dry-run", OPTION_DRY_RUN, false, AT(dry_run)},
    {"--prune", OPTION_PRUNE, false, AT(prune)},
    {"--own", OPTION_OWN, false, AT(own)},
    {"--deny", OPTION_DENY, false, AT(deny)},
    {"--owner", OPTION_OWNER, true, AT(owner)},
    {"--expires", OPTION_EXPIRES, true, AT(expires)},
    {"--in", OPTION_IN, true, AT(delay.in)},
    {"--at", OPTION_AT, true, AT(delay.at)},
    {"--reason", OPTION_REASON, true, AT(reason)},
    {"--if", OPTION_IF, true, AT(delay.condition)},
    {"--id", OPTION_ID, true, AT(delay.id)},
    {"--if-revision", OPTION_IF_REVISION, true, AT(delay.revision)},
    {"--max", OPTION_MAX, true, AT(delay.most)},
    {"--expires-in", OPTION_EXPIRES_IN, true, AT(delay.alive)},
    {"--batch", OPTION_BATCH_SIZE, true, AT(batch_size)},
    {"--last", OPTION_LAST, true, AT(last)},
    {"--format", OPTION_FORMAT, true, AT(format)},
    {"--timeout", OPTION_TIMEOUT, true, AT(timeout)},
    {"--priority", OPTION_PRIORITY, true, AT(priority)},
    {"--once", OPTION_ONCE, false, AT(once)},
};

static const struct command {
    const char *name;
    const char *usage;
    int least, most; /* arguments */
    unsigned options;
    int (*run)(struct control *control);
    const char *help;
} commands[] = {
    {"check", "USER SCOPE PERMISSION [--owner USER] | --batch", 0, 3, OPTION_BATCH | OPTION_OWNER,
     control_check,
     "prints allow, deny or unknown; exits 0, 1, 2. --batch: lines of `user scope permission` on stdin"},
    {"permissions", "USER SCOPE [--json]", 2, 2, OPTION_JSON, control_permissions,
     "what a user may do at a place; `own`: on their own resources alone"},
    {"explain", "USER SCOPE PERMISSION [--owner USER]", 3, 3, OPTION_OWNER, control_explain,
     "which role, inheritance path, overwrite or requirement decided"},
    {"apply", "FILE|- [--format json|yaml] [--dry-run] [--prune] [--timeout 30s]", 1, 1,
     OPTION_FORMAT | OPTION_DRY_RUN | OPTION_PRUNE | OPTION_TIMEOUT, control_apply,
     "makes the store say what the document says, all of it or nothing; without --format the name's ending "
     "or the "
     "text says which it is"},
    {"export", "[FILE]", 0, 1, 0, control_export,
     "the whole policy as a JSON document; an existing FILE keeps its mode and owner"},
    {"grant", "ROLE PERMISSION [--own|--deny] [--timeout 30s]", 2, 2,
     OPTION_OWN | OPTION_DENY | OPTION_TIMEOUT, control_grant,
     "lets a role do something; --own: on own resources; --deny: forbids it"},
    {"revoke", "ROLE PERMISSION [--timeout 30s]", 2, 2, OPTION_TIMEOUT, control_revoke,
     "takes every grant of a permission from a role"},
    {"assign", "USER ROLE [SCOPE] [--expires TIME] [--timeout 30s]", 2, 3, OPTION_EXPIRES | OPTION_TIMEOUT,
     control_assign,
     "gives a user a role, at the role's own scope unless another is named; TIME as 2027-01-01T00:00:00Z"},
    {"unassign", "USER ROLE [SCOPE] [--timeout 30s]", 2, 3, OPTION_TIMEOUT, control_unassign,
     "takes a role from a user"},
    {"invalidate", "TARGET…|- [--batch N] [--reason TEXT]", 1, 10000, OPTION_BATCH_SIZE | OPTION_REASON,
     control_invalidate,
     "has what they name read again, here, in Redis and on every host; never needed for truth; -: targets on "
     "stdin"},
    {"invalidations", "[--last N] [--json]", 0, 0, OPTION_LAST | OPTION_JSON, control_invalidations,
     "what was invalidated of late on this host, newest first, and how much"},
    {"tag", "add NAME TARGET…|- | remove NAME [TARGET…|-] | list NAME | names", 1, 10000, 0, control_tag,
     "named sets of targets: users, users at a scope, roles and scopes"},
    {"delay",
     "TARGET… --in 30s|--at TIME [--reason TEXT] [--if \"USER SCOPE EXPRESSION\"] [--if-revision N] "
     "[--expires-in 7d] [--id ID]",
     1, 100,
     OPTION_IN | OPTION_AT | OPTION_REASON | OPTION_IF | OPTION_IF_REVISION | OPTION_EXPIRES_IN | OPTION_ID,
     control_delay, "invalidates later, on whichever host comes first; prints the task's id"},
    {"delayed", "[list [N]] | cancel WHAT | run [WHAT | --max N] | replace TARGET | do N | stats | advice", 0,
     2, OPTION_MAX, control_delayed,
     "what is due next; WHAT is an id, a target, reason:TEXT, failing, waiting or all; do N: what advice N "
     "says"},
    {"cleanup", "start orphans|epochs|pattern [GLOB] | status [--json] | cancel [ID]", 1, 3, OPTION_JSON,
     control_cleanup, "removes from Redis what nobody will read any more; never needed for truth"},
    {"warm", "hot|user:ID|user:ID@SCOPE|role:ID|scope:SCOPE… [--priority 0…9]", 1, 100, OPTION_PRIORITY, control_warm,
     "fills the table in the background: hot: with what is asked for most, else with whoever has a role there; "
     "priority 5 unless given, 9 comes first, and 7 to 9 before what a start fills"},
    {"jobs", "[--json] | cancel [ID]", 0, 2, OPTION_JSON, control_jobs,
     "what the sidecar does in the background, how far it is, and how fast; cancel: without ID all of it"},
    {"top", "--once [N] [--json]", 0, 1, OPTION_ONCE | OPTION_JSON, control_top,
     "how the sidecar does, and the N keys that are asked for most, with their frequencies"},
    {"stats", "[--json]", 0, 0, OPTION_JSON, control_stats, "the sidecar's counters"},
    {"watch", "[--json]", 0, 0, OPTION_JSON, control_watch,
     "prints what is invalidated, a line each, until it is interrupted"},
    {"health", "", 0, 0, 0, control_health, "exits 0 when the sidecar serves and its store can be believed"},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int usage_line(const char *format, const char *detail)
{
    char text[512];
    (void)snprintf(text, sizeof(text), format, detail);
    return control_fail(NULL, CONTROL_USAGE, "%s (permtabctl --help)", text);
}

static int command_usage(const struct command *command)
{
    (void)fprintf(stderr, "usage: permtabctl %s%s%s\n", command->name, command->usage[0] != '\0' ? " " : "",
                  command->usage);
    return CONTROL_USAGE;
}

static void print_help(void)
{
    control_say("usage: permtabctl [--socket PATH] COMMAND …\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        control_say("  %s %s\n      %s\n", commands[i].name, commands[i].usage, commands[i].help);
    control_say(
        "\n  --socket PATH   the sidecar's socket (else PERMTAB_SOCKET, else " DEFAULT_SOCKET ")\n"
        "  --help, --version\n\n"
        "USER and ROLE are decimal ids, SCOPE is `global` or `type:id`. TARGET is user:ID, user:ID@SCOPE, "
        "role:ID,\n"
        "scope:SCOPE, tag:NAME, prefix:TEXT, pattern:GLOB (prefix:user:4, pattern:scope:channel:*) or all.\n"
        "--timeout: a change that is not done within so long (25s; apply: 10m) is given up, and never done\n"
        "later.\n"
        "Exit codes: 0 fine, 1 failed, 64 usage; check: 0 allow, 1 deny, 2 unknown or failed; a change: 2 "
        "when\n"
        "nobody could say whether it was done. An answer that could not be written is a failure.\n");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* The option of that name that the command takes: one word may be a flag of one command and have a value with
 * another. */
static const struct option *find_option(const struct command *command, const char *name)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (strcmp(options[i].name, name) == 0 && (command->options & options[i].bit) != 0)
            return &options[i];
    return NULL;
}

static void set_option(struct control *control, const struct option *option, const char *value)
{
    void *at = (char *)control + option->offset;
    if (option->value)
        *(const char **)at = value;
    else
        *(bool *)at = true;
}

/* Sorts the words behind the command into options and arguments, in place. 0 or CONTROL_USAGE. */
static int take_arguments(struct control *control, const struct command *command, char **words, int count)
{
    bool plain = false; /* after -- */
    control->arguments = words;
    for (int i = 0; i < count; i++) {
        if (plain || words[i][0] != '-' || strcmp(words[i], "-") == 0) {
            control->arguments[control->count++] = words[i];
            continue;
        }
        plain = strcmp(words[i], "--") == 0;
        if (plain)
            continue;
        const struct option *option = find_option(command, words[i]);
        if (option == NULL || (option->value && i + 1 == count))
            return command_usage(command);
        set_option(control, option, option->value ? words[i + 1] : NULL);
        i += option->value;
    }
    return control->count >= command->least && control->count <= command->most ? 0 : command_usage(command);
}

/* Options in front of the command. Returns the index of the command, or -1 with *code set. */
static int take_globals(struct control *control, int count, char **words, int *code)
{
    int i = 1;
    for (; i < count && words[i][0] == '-'; i++) {
        *code = 0;
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) {
            print_help();
            return -1;
        }
        if (strcmp(words[i], "--version") == 0) {
            control_say("permtabctl " PERMTAB_VERSION "\n");
            return -1;
        }
        *code = CONTROL_USAGE;
        if (strcmp(words[i], "--socket") != 0) {
            (void)usage_line("unknown option %s", words[i]);
            return -1;
        }
        if (++i == count || words[i][0] == '\0') {
            (void)usage_line("%s needs a path", "--socket");
            return -1;
        }
        control->socket = words[i];
    }
    if (i == count) {
        *code = usage_line("%s", "no command");
        return -1;
    }
    return i;
}

static int run(struct control *control, int count, char **words)
{
    int code = 0;
    int at = take_globals(control, count, words, &code);
    if (at < 0)
        return code;
    const struct command *command = find_command(words[at]);
    if (command == NULL)
        return usage_line("no such command: %s", words[at]);
    if (at + 1 < count && strcmp(words[at + 1], "--help") == 0) {
        control_say("usage: permtabctl %s %s\n%s\n", command->name, command->usage, command->help);
        return 0;
    }
    control->command = command->name;
    code = take_arguments(control, command, words + at + 1, count - at - 1);
    if (code != 0)
        return code;
    if (command->run == control_check && control->count != (control->batch ? 0 : 3))
        return command_usage(command);
    if ((control->batch && control->owner != NULL) || (control->own && control->deny))
        return command_usage(command);
    code = command->run(control);
    channel_close(&control->channel);
    return code;
}

int main(int count, char **words)
{
    /* 1. Before the socket can become somebody's standard output. 2 is `unknown`, should this be a check. */
    if (!standard_hold())
        return CONTROL_UNKNOWN;
    /* 2. SIGPIPE off: a reader of our output that goes away is a failed write, which is noticed, and not our end. */
    (void)signal(SIGPIPE, SIG_IGN);
    /* 3. Before the first value of JSON. */
    json_set_alloc_funcs(control_allocate, free);
    const char *from_environment = getenv("PERMTAB_SOCKET");
    struct control control = {.socket = from_environment != NULL && from_environment[0] != '\0'
                                            ? from_environment
                                            : DEFAULT_SOCKET};
    int code = run(&control, count, words);
    return control_finish(&control, code);
}
