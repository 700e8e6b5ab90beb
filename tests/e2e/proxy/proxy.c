/* A proxy between sidecars and their servers that does what networks do. One process has many links; a Unix socket
 * takes a command a line and answers each with "ok …" or "error …". tests/e2e/harness/proxy.py is the other end.
 *
 *     add NAME PORT redis|mysql|raw        ok PORT: listens there, passes on to 127.0.0.1:PORT
 *     set NAME all|marked|unmarked WORD…   changes rules (rules.h), of those connections alone
 *     cut NAME all|marked|unmarked         resets connections
 *     stats NAME                           ok name=number…
 *     seed N                               of the dice
 *
 * Marked are connections to Redis that have subscribed, and connections to MariaDB that have read for a fill. */
#include "tests/e2e/proxy/link.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>

#define WORDS_MAX 24u

struct command {
    char *words[WORDS_MAX];
    size_t count;
};

static bool part_of(const char *word, enum link_part *out)
{
    static const char *const names[] = {
        [LINK_UNMARKED] = "unmarked", [LINK_MARKED] = "marked", [LINK_ALL] = "all"};
    for (unsigned i = 0; i < 3; i++) {
        *out = (enum link_part)i;
        if (strcmp(word, names[i]) == 0)
            return true;
    }
    return false;
}

static const char *do_add(struct links *links, const struct command *command, FILE *out)
{
    static const char *const kinds[] = {[LINK_RAW] = "raw", [LINK_REDIS] = "redis", [LINK_MYSQL] = "mysql"};
    unsigned kind = 0;
    if (command->count != 4)
        return "add NAME PORT redis|mysql|raw";
    while (kind < 3 && strcmp(kinds[kind], command->words[3]) != 0)
        kind++;
    if (kind == 3)
        return "no such kind";
    int port = link_add(links, command->words[1], (uint16_t)strtoul(command->words[2], NULL, 10),
                        (enum link_kind)kind);
    if (port < 0)
        return "the link cannot be made";
    (void)fprintf(out, "ok %d", port);
    return NULL;
}

static const char *do_set(struct links *links, const struct command *command, FILE *out)
{
    struct link *link = command->count >= 3 ? link_find(links, command->words[1]) : NULL;
    enum link_part part;
    if (!link || !part_of(command->words[2], &part))
        return "set NAME all|marked|unmarked WORD…";
    for (int marked = 0; marked < 2; marked++) {
        if (part != LINK_ALL && (part == LINK_MARKED) != marked)
            continue;
        for (size_t i = 3; i < command->count; i++)
            if (!rules_set(link_rules(link, marked), command->words[i]))
                return "no such rule";
    }
    link_apply(link);
    (void)fputs("ok", out);
    return NULL;
}

static const char *do_cut(struct links *links, const struct command *command, FILE *out)
{
    struct link *link = command->count == 3 ? link_find(links, command->words[1]) : NULL;
    enum link_part part;
    if (!link || !part_of(command->words[2], &part))
        return "cut NAME all|marked|unmarked";
    link_cut(link, part);
    (void)fputs("ok", out);
    return NULL;
}

static const char *do_stats(struct links *links, const struct command *command, FILE *out)
{
    struct link *link = command->count == 2 ? link_find(links, command->words[1]) : NULL;
    if (!link)
        return "stats NAME";
    (void)fputs("ok", out);
    link_print(link, out);
    return NULL;
}

static const char *do_seed(struct links *links, const struct command *command, FILE *out)
{
    if (command->count != 2)
        return "seed N";
    dice_seed(&links->dice, strtoull(command->words[1], NULL, 10));
    (void)fputs("ok", out);
    return NULL;
}

static const struct {
    const char *name;
    const char *(*run)(struct links *, const struct command *, FILE *);
} commands[] = {{"add", do_add}, {"set", do_set}, {"cut", do_cut}, {"stats", do_stats}, {"seed", do_seed}};

static void run_line(struct links *links, char *line, FILE *out)
{
    struct command command = {.count = 0};
    char *rest = NULL;
    const char *error = "no such command";
    for (char *word = strtok_r(line, " ", &rest); word && command.count < WORDS_MAX;
         word = strtok_r(NULL, " ", &rest))
        command.words[command.count++] = word;
    for (size_t i = 0; command.count > 0 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, command.words[0]) == 0)
            error = commands[i].run(links, &command, out);
    if (error)
        (void)fprintf(out, "error %s", error);
    (void)fputc('\n', out);
}

static void on_line(struct bufferevent *control, void *context)
{
    struct links *links = context;
    char *line;
    while ((line = evbuffer_readln(bufferevent_get_input(control), NULL, EVBUFFER_EOL_LF)) != NULL) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        if (out) {
            run_line(links, line, out);
            (void)fclose(out);
            (void)bufferevent_write(control, text, size);
        }
        free(text);
        free(line);
    }
}

static void on_end(struct bufferevent *control, short what, void *context)
{
    (void)what, (void)context;
    bufferevent_free(control);
}

static void on_control(struct evconnlistener *listener, evutil_socket_t descriptor, struct sockaddr *address,
                       int size, void *context)
{
    struct links *links = context;
    struct bufferevent *control = bufferevent_socket_new(links->base, descriptor, BEV_OPT_CLOSE_ON_FREE);
    (void)listener, (void)address, (void)size;
    if (!control)
        return;
    bufferevent_setcb(control, on_line, NULL, on_end, links);
    (void)bufferevent_enable(control, EV_READ | EV_WRITE);
}

static void on_stop(evutil_socket_t number, short what, void *context)
{
    (void)number, (void)what;
    (void)event_base_loopbreak(context);
}

int main(int argc, char **argv)
{
    struct links links = {.base = event_base_new(), .dice = {.state = 1}};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct rlimit limit;
    if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path || !links.base) {
        (void)fputs("usage: e2e_proxy CONTROL-SOCKET\n", stderr);
        return 64;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    strcpy(address.sun_path, argv[1]);
    struct evconnlistener *control =
        evconnlistener_new_bind(links.base, on_control, &links, LEV_OPT_CLOSE_ON_FREE, 8,
                                (struct sockaddr *)&address, sizeof address);
    struct event *stop = evsignal_new(links.base, SIGTERM, on_stop, links.base);
    if (!control || !stop || event_add(stop, NULL) < 0) {
        perror("e2e_proxy");
        return 1;
    }
    (void)event_base_dispatch(links.base);
    links_fini(&links);
    evconnlistener_free(control);
    event_free(stop);
    event_base_free(links.base);
    return 0;
}
