/* permtabctl as a command: bad command lines, each with its one line and its exit code; and check against a fake
 * sidecar. */
#include "tests/support/fake_sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct outcome {
    int code;
    char out[4096], err[4096];
};

static void slurp(FILE *file, char *text, size_t size)
{
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    (void)fclose(file);
}

/* Runs it with `input` on stdin; words are separated by single blanks, and "''" is an empty word. */
static struct outcome run(const char *line, const char *input)
{
    struct outcome outcome = {0};
    char copy[1024], *words[32] = {PERMTABCTL}, *save;
    int count = 1, status = 0;
    FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
    assert_true(in != NULL && out != NULL && err != NULL);
    (void)fputs(input, in);
    rewind(in);
    (void)snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word != NULL && count < 31;
         word = strtok_r(NULL, " ", &save))
        words[count++] = strcmp(word, "''") == 0 ? "" : word;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fileno(in), STDIN_FILENO);
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        execv(words[0], words);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    outcome.code = WEXITSTATUS(status);
    (void)fclose(in);
    slurp(out, outcome.out, sizeof(outcome.out));
    slurp(err, outcome.err, sizeof(outcome.err));
    return outcome;
}

/* Nothing is reached in any of these: the socket does not exist. */
static const struct {
    const char *line;
    int code;
    const char *says; /* in the one line on stderr */
} bad[] = {
    {"", 64, "no command"},
    {"frobnicate", 64, "no such command: frobnicate"},
    {"top", 64, "top --once [N]"},
    {"--frobnicate", 64, "unknown option --frobnicate"},
    {"--socket", 64, "--socket needs a path"},
    {"--socket '' stats", 64, "--socket needs a path"},
    {"--socket /nonexistent", 64, "no command"},
    {"check", 64, "usage: permtabctl check"},
    {"check 1", 64, "usage: permtabctl check"},
    {"check 1 global", 64, "usage: permtabctl check"},
    {"check 1 global a.read more", 64, "usage: permtabctl check"},
    {"check --json 1 global a.read", 64, "usage: permtabctl check"},
    {"check --batch 1", 64, "usage: permtabctl check"},
    {"check --batch --owner 1", 64, "usage: permtabctl check"},
    {"check 1 global a.read --owner", 64, "usage: permtabctl check"},
    {"check one global a.read", 64, "\"one\" is no id"},
    {"check -- -1 global a.read", 64, "\"-1\" is no id"},
    {"check -1 global a.read", 64, "usage: permtabctl check"},
    {"check 0x10 global a.read", 64, "\"0x10\" is no id"},
    {"check 18446744073709551616 global a.read", 64, "is no id"},
    {"check '' global a.read", 64, "\"\" is no id"},
    {"check 1 globe a.read", 64, "\"globe\" is neither"},
    {"check 1 channel: a.read", 64, "\"channel:\" is neither"},
    {"check 1 :1 a.read", 64, "\":1\" is neither"},
    {"check 1 channel:x a.read", 64, "\"channel:x\" is neither"},
    {"check 1 channel:1:2 a.read", 64, "\"channel:1:2\" is neither"},
    {"check 1 global a.read --owner me", 64, "\"me\" is no id"},
    {"permissions 1", 64, "usage: permtabctl permissions"},
    {"permissions 1 channel", 64, "\"channel\" is neither"},
    {"explain 1 global", 64, "usage: permtabctl explain"},
    {"apply", 64, "usage: permtabctl apply"},
    {"apply a b", 64, "usage: permtabctl apply"},
    {"apply --force a", 64, "usage: permtabctl apply"},
    {"apply /nonexistent/policy.json", 1, "/nonexistent/policy.json: No such file"},
    {"apply /", 1, "/: Is a directory"},
    {"export a b", 64, "usage: permtabctl export"},
    {"grant 1", 64, "usage: permtabctl grant"},
    {"grant one a.read", 64, "\"one\" is no id"},
    {"grant 1 a.read --own --deny", 64, "usage: permtabctl grant"},
    {"grant 1 a.read --prune", 64, "usage: permtabctl grant"},
    {"revoke 1 a.read --deny", 64, "usage: permtabctl revoke"},
    {"assign 1", 64, "usage: permtabctl assign"},
    {"assign 1 2 globe", 64, "\"globe\" is neither"},
    {"assign 1 2 --expires tomorrow", 64, "\"tomorrow\" is no time"},
    {"assign 1 2 --expires 2027-02-30T00:00:00Z", 64, "is no time"},
    {"assign 1 2 --expires 2027-01-01", 64, "is no time"},
    {"assign 1 2 --expires 2027-01-01T00:00:00", 64, "is no time"},
    {"assign 1 2 --expires 2027-01-01T25:00:00Z", 64, "is no time"},
    {"assign 1 2 --expires 2027-01-01T00:00:00Zulu", 64, "is no time"},
    {"unassign 1 2 --expires 2027-01-01T00:00:00Z", 64, "usage: permtabctl unassign"},
    {"invalidate", 64, "usage: permtabctl invalidate"},
    {"invalidate everything", 64, "\"everything\" is not"},
    {"invalidate user:", 64, "\"user:\" is not"},
    {"invalidate scope:9", 64, "\"scope:9\" is not"},
    {"invalidate user:1 user:2@", 64, "\"user:2@\" is not"},
    {"invalidate tag:", 64, "\"tag:\" is not"},
    {"invalidate user:1 --batch", 64, "usage: permtabctl invalidate"},
    {"invalidate user:1 --batch many", 64, "\"many\" is no id"},
    {"invalidate user:1 --last 3", 64, "usage: permtabctl invalidate"},
    {"invalidate -", 64, "no targets"},
    {"invalidations user:1", 64, "usage: permtabctl invalidations"},
    {"invalidations --last few", 64, "\"few\" is no id"},
    {"check --batch 5", 64, "usage: permtabctl check"},
    {"tag", 64, "usage: permtabctl tag"},
    {"tag paint red", 64, "expected add NAME TARGET"},
    {"tag add raid", 64, "expected add NAME TARGET"},
    {"tag add raid -", 64, "no targets"},
    {"tag remove raid -", 64, "no targets"},
    {"tag add raid red", 64, "\"red\" is not"},
    {"stats all", 64, "usage: permtabctl stats"},
    {"health --json", 64, "usage: permtabctl health"},
    {"watch 5", 64, "usage: permtabctl watch"},
    /* Right ones, and nobody there. */
    {"check 1 global a.read", 2, "cannot reach the sidecar at /nonexistent/permtab.sock"},
    {"stats", 1, "cannot reach the sidecar"},
    {"health", 1, "cannot reach the sidecar"},
    {"watch --json", 1, "cannot reach the sidecar"},
    {"assign 1 2 --expires 2027-01-01T00:00:00.5+02:00", 1, "cannot reach the sidecar"},
};

static void test_bad_command_lines(void **state)
{
    (void)state;
    assert_int_equal(setenv("PERMTAB_SOCKET", "/nonexistent/permtab.sock", 1), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct outcome outcome = run(bad[i].line, "");
        const char *end = strchr(outcome.err, '\n');
        bool one_line = end != NULL && end[1] == '\0';
        bool nothing_else = outcome.out[0] == '\0' || strcmp(outcome.out, "unknown\n") == 0;
        if (outcome.code != bad[i].code || strstr(outcome.err, bad[i].says) == NULL || !one_line ||
            !nothing_else)
            fail_msg("permtabctl %s: exit %d, stdout \"%s\", stderr \"%s\"", bad[i].line, outcome.code,
                     outcome.out, outcome.err);
    }
}

static void test_help(void **state)
{
    (void)state;
    struct outcome outcome = run("--version", "");
    assert_int_equal(outcome.code, 0);
    assert_string_equal(outcome.out, "permtabctl " PERMTAB_VERSION "\n");
    outcome = run("--help", "");
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.out, "invalidate TARGET"));
    outcome = run("grant --help", "");
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.out, "usage: permtabctl grant ROLE PERMISSION"));
}

static void test_check(void **state)
{
    (void)state;
    struct fake fake;
    fake_start(&fake);
    assert_int_equal(setenv("PERMTAB_SOCKET", fake.path, 1), 0);
    struct outcome outcome = run("check 2 channel:2 a.read", "");
    assert_int_equal(outcome.code, 0);
    assert_string_equal(outcome.out, "allow\n");
    outcome = run("check 2 channel:2 a.write", "");
    assert_int_equal(outcome.code, 1);
    assert_string_equal(outcome.out, "deny\n");
    outcome = run("check 2 channel:2 b.write", "");
    assert_int_equal(outcome.code, 1);
    outcome = run("check 2 channel:2 b.write --owner 2", "");
    assert_int_equal(outcome.code, 0);
    outcome = run("check 2 channel:2 a.reap", "");
    assert_int_equal(outcome.code, 2);
    assert_string_equal(outcome.out, "unknown\n");
    assert_string_equal(outcome.err, "permtabctl: check: the fake says no\n");
    fake_lock(&fake);
    fake.reply_ns = 0; /* a reply that vouches for nothing */
    fake_unlock(&fake);
    outcome = run("check 2 channel:2 a.read", "");
    assert_int_equal(outcome.code, 2);
    assert_string_equal(outcome.out, "unknown\n");
    fake_stop(&fake);
}

static void test_batch(void **state)
{
    (void)state;
    struct fake fake;
    fake_start(&fake);
    assert_int_equal(setenv("PERMTAB_SOCKET", fake.path, 1), 0);
    struct outcome outcome =
        run("check --batch", "2 channel:2 a.read\n2 channel:2\ta.write\n  3 channel:3 c");
    assert_int_equal(outcome.code, 0);
    assert_string_equal(outcome.out, "allow\ndeny\nallow\n");
    outcome = run("check --batch", "");
    assert_int_equal(outcome.code, 0);
    outcome = run("check --batch", "2 channel:2 a.read\n2 channel:2 a.reap\n2 channel:2 a.write\n");
    assert_int_equal(outcome.code, 2); /* one of them is unknown */
    assert_string_equal(outcome.out, "allow\nunknown\ndeny\n");
    outcome = run("check --batch", "2 channel:2 a.read\nrubbish\n2 channel:2 a.write\n");
    assert_int_equal(outcome.code, 64);
    assert_string_equal(outcome.out, "allow\n");
    assert_string_equal(outcome.err, "permtabctl: check: line 2: expected `user scope permission`\n");
    outcome = run("check --batch", "2 channel:2 a.read more\n");
    assert_int_equal(outcome.code, 64);
    static char input[400000];
    static char longest[2000];
    size_t used = 0;
    fake_lock(&fake);
    fake.fill = false;
    fake_unlock(&fake);
    for (unsigned i = 0; i < 15000; i++)
        used += (size_t)snprintf(input + used, sizeof(input) - used, "%u channel:2 a.read\n", i);
    unsigned before = fake_counts(&fake).many;
    outcome = run("check --batch", input);
    assert_int_equal(outcome.code, 0);
    assert_true(fake_counts(&fake).many - before <= 15);
    memset(longest, '7', sizeof(longest) - 1);
    outcome = run("check --batch", longest);
    assert_int_equal(outcome.code, 64);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_command_lines),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
