/* The life of a client, to be lived with faults in this process alone: it opens, asks in every way that there is,
 * attaches again, forks, and closes. A line an answer: what was asked, and "allow", "deny", "unknown" with its reason,
 * or the error. Nothing that fails ends it, but for permtab_open failing every time. tests/e2e/harness/injection.py
 * knows what is true.
 *
 *     fault_client SOCKET MS      MS: how long each of a few attempts to open may take
 *
 * The last line has the number of descriptors that were not closed. */
#include "client/permtab.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES           3u
#define DESCRIPTORS_MAX 256

struct client {
    struct permtab *table;
    permtab_perm send, remove;
    permtab_type server, channel;
};

static void say(const char *what, int code)
{
    printf("%s %d %s\n", what, code, code < 0 ? permtab_strerror(code) : "fine");
    (void)fflush(stdout);
}

static void say_decision(struct client *client, const char *what, enum permtab_decision decision)
{
    if (decision == PERMTAB_UNKNOWN)
        printf("%s unknown %s\n", what, permtab_why_text(client->table));
    else
        printf("%s %s\n", what, decision == PERMTAB_ALLOW ? "allow" : "deny");
    (void)fflush(stdout);
}

static int open_table(struct client *client, const char *path, const char *ms)
{
    struct permtab_options options = {
        .size = sizeof options, .open_ms = (uint32_t)atoi(ms), .check_ms = 1500, .server_uid = -1};
    int code = PERMTAB_E_UNREACHABLE;
    for (unsigned i = 0; code < 0 && i < TRIES; i++) {
        code = permtab_open(&client->table, path, &options);
        say("open", code);
    }
    return code;
}

static int look_names_up(struct client *client)
{
    int code = PERMTAB_E_UNREACHABLE;
    for (unsigned i = 0; code < 0 && i < TRIES; i++) {
        code = permtab_permission(client->table, "message.send", &client->send);
        if (code == 0)
            code = permtab_permission(client->table, "message.delete", &client->remove);
        if (code == 0)
            code = permtab_scope_type(client->table, "server", &client->server);
        if (code == 0)
            code = permtab_scope_type(client->table, "channel", &client->channel);
        say("names", code);
    }
    return code;
}

/* User 1 may delete in channel:10, and user 2 may not; nobody may send in channel:11. */
static void ask_singly(struct client *client)
{
    permtab_scope ten = permtab_at(client->channel, 10), eleven = permtab_at(client->channel, 11);
    say_decision(client, "peek-allow", permtab_peek(client->table, 1, ten, client->remove));
    say_decision(client, "check-allow", permtab_check(client->table, 1, ten, client->remove));
    say_decision(client, "check-deny", permtab_check(client->table, 2, ten, client->remove));
    say_decision(client, "peek-allow", permtab_peek(client->table, 1, ten, client->remove));
    say_decision(client, "check-deny", permtab_check(client->table, 1, eleven, client->send));
    say_decision(client, "owned-allow", permtab_check_owned(client->table, 2, ten, client->remove, 2));
    say_decision(client, "owned-deny", permtab_check_owned(client->table, 2, ten, client->remove, 1));
    printf("%s\n",
           permtab_allowed(client->table, 2, ten, client->remove) ? "allowed-deny allow" : "allowed deny");
}

static void ask_many(struct client *client)
{
    enum permtab_decision decisions[8];
    struct permtab_query queries[8];
    for (unsigned i = 0; i < 8; i++)
        queries[i] = (struct permtab_query){
            .user = i % 2 ? 1 : 100 + i, .scope = permtab_at(client->channel, 10), .perm = client->remove};
    int code = permtab_check_many(client->table, queries, 8, decisions);
    say("many", code);
    for (unsigned i = 0; code >= 0 && i < 8; i++)
        say_decision(client, i % 2 ? "many-allow" : "many-deny", decisions[i]);
}

static void ask_views(struct client *client)
{
    struct permtab_view view;
    struct permtab_rule *rule = NULL;
    size_t at = 0;
    int code = permtab_view_get(client->table, 1, permtab_at(client->channel, 10), &view);
    say("view", code);
    say_decision(client, "view-allow", permtab_view_has(&view, client->remove, false));
    code = permtab_rule_compile(client->table, "message.delete AND NOT member.kick", &rule, &at);
    say("rule", code);
    if (code == 0)
        say_decision(client, "rule-allow", permtab_rule_eval(&view, rule, false));
    permtab_rule_free(rule);
}

static void *ask_from_a_thread(void *context)
{
    struct client *client = context;
    say_decision(client, "thread-allow",
                 permtab_check(client->table, 1, permtab_at(client->channel, 10), client->remove));
    say_decision(client, "thread-deny",
                 permtab_check(client->table, 55, permtab_at(client->channel, 10), client->remove));
    return NULL;
}

static void ask_elsewhere(struct client *client)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, ask_from_a_thread, client) == 0)
        (void)pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0) {
        say_decision(client, "child-allow",
                     permtab_check(client->table, 1, permtab_at(client->channel, 10), client->remove));
        say_decision(client, "child-deny",
                     permtab_check(client->table, 77, permtab_at(client->channel, 10), client->remove));
        permtab_close(client->table);
        _exit(0);
    }
    int status = 0;
    /* as below: nobody else's line may come after our last one */
    if (child > 0 && syscall(SYS_wait4, child, &status, 0, NULL) == child)
        printf("child %d\n", status);
}

/* Asks the kernel itself, and no function that can be made to fail. */
static int count_descriptors(void)
{
    int count = 0;
    for (int i = 0; i < DESCRIPTORS_MAX; i++)
        count += syscall(SYS_fcntl, i, F_GETFD, 0) >= 0;
    return count;
}

int main(int argc, char **argv)
{
    struct client client = {0};
    int descriptors = count_descriptors();
    if (argc != 3)
        return 64;
    if (open_table(&client, argv[1], argv[2]) < 0)
        return 1;
    if (look_names_up(&client) == 0) {
        ask_singly(&client);
        ask_many(&client);
        ask_views(&client);
        say("refresh", permtab_refresh(client.table));
        ask_singly(&client);
        ask_elsewhere(&client);
    }
    permtab_close(client.table);
    printf("end %d\n", count_descriptors() - descriptors);
    return 0;
}
