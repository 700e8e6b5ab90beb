/* Blocking and simple: a child process, and a client that speaks just enough to look into the server from outside.
 * It uses nothing of what is tested. */
#include "tests/support/redis_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

bool redis_server_installed(void)
{
    return system("command -v redis-server >/dev/null 2>&1") == 0;
}

static void die(const struct redis_server *server, const char *what)
{
    (void)fprintf(stderr, "redis_server: %s (%s)\n", what, server->folder);
    exit(1);
}

/* Free a moment ago, which is the best that can be had. */
static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&address, size) < 0 ||
        getsockname(descriptor, (struct sockaddr *)&address, &size) < 0)
        abort();
    (void)close(descriptor);
    return ntohs(address.sin_port);
}

static void run_server(const struct redis_server *server, pid_t parent)
{
    char port[8], log[96];
    (void)snprintf(port, sizeof port, "%u", server->port);
    (void)snprintf(log, sizeof log, "%s/redis.log", server->folder);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket",
           server->path, "--save", "", "--appendonly", "no", "--dir", server->folder, "--logfile", log,
           "--enable-debug-command", "yes", "--requirepass", server->password, (char *)NULL);
    _exit(127);
}

static void launch(struct redis_server *server)
{
    char reply[64];
    pid_t parent = getpid();
    (void)unlink(server->path);
    server->pid = fork();
    if (server->pid < 0)
        die(server, "fork");
    if (server->pid == 0)
        run_server(server, parent);
    for (int i = 0; i < 12000; i++) {
        if (redis_server_ask(server, "PING", reply, sizeof reply) && strcmp(reply, "PONG") == 0)
            return;
        if (waitpid(server->pid, NULL, WNOHANG) != 0)
            die(server, "the server ended; see redis.log");
        (void)usleep(10000);
    }
    die(server, "the server does not answer");
}

void redis_server_start(struct redis_server *server, bool tcp, const char *password)
{
    memset(server, 0, sizeof *server);
    (void)snprintf(server->folder, sizeof server->folder, "/tmp/permtab-redis-XXXXXX");
    if (!mkdtemp(server->folder))
        die(server, "mkdtemp");
    (void)snprintf(server->path, sizeof server->path, "%s/redis.sock", server->folder);
    (void)snprintf(server->url, sizeof server->url, "unix:%s", server->path);
    (void)snprintf(server->password, sizeof server->password, "%s", password ? password : "");
    server->port = tcp ? free_port() : 0;
    launch(server);
}

void redis_server_kill(struct redis_server *server)
{
    if (server->pid <= 0)
        return;
    (void)kill(server->pid, SIGKILL);
    (void)waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void redis_server_restart(struct redis_server *server)
{
    redis_server_kill(server);
    launch(server);
}

void redis_server_pause(struct redis_server *server)
{
    int status;
    (void)kill(server->pid, SIGSTOP);
    (void)waitpid(server->pid, &status, WUNTRACED);
}

void redis_server_resume(struct redis_server *server)
{
    (void)kill(server->pid, SIGCONT);
}

void redis_server_stop(struct redis_server *server)
{
    char log[96];
    redis_server_kill(server);
    (void)snprintf(log, sizeof log, "%s/redis.log", server->folder);
    (void)unlink(log);
    (void)unlink(server->path);
    (void)rmdir(server->folder);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static FILE *connect_to(const struct redis_server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval most = {.tv_sec = 5};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", server->path);
    if (descriptor < 0)
        return NULL;
    (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address) < 0) {
        (void)close(descriptor);
        return NULL;
    }
    return fdopen(descriptor, "r");
}

/* One reply, its text appended to `out`. */
static bool read_reply(FILE *stream, char *out, size_t size)
{
    char line[512];
    if (!fgets(line, sizeof line, stream))
        return false;
    line[strcspn(line, "\r\n")] = 0;
    size_t used = strlen(out);
    long count = strtol(line + 1, NULL, 10);
    if ((line[0] == '$' || line[0] == '*') && count < 0) {
        (void)snprintf(out + used, size - used, "(nil)");
    } else if (line[0] == '$') {
        for (long i = 0; i < count + 2; i++) {
            int byte = fgetc(stream);
            if (byte == EOF)
                return false;
            if (i < count && used + 1 < size)
                out[used++] = (char)byte;
        }
        out[used] = 0;
    } else if (line[0] == '*') {
        for (long i = 0; i < count; i++) {
            size_t at = strlen(out);
            if (i > 0 && at + 1 < size)
                out[at] = ' ', out[at + 1] = 0;
            if (!read_reply(stream, out, size))
                return false;
        }
    } else {
        (void)snprintf(out + used, size - used, "%s", line[0] == '-' ? line : line + 1);
    }
    return true;
}

static bool ask_one(FILE *stream, const char *command, char *out, size_t size)
{
    out[0] = 0;
    char line[65536]; /* an inline command; past the stream, which reads */
    int length = snprintf(line, sizeof line, "%s\r\n", command);
    return length > 0 && (size_t)length < sizeof line &&
           send(fileno(stream), line, (size_t)length, MSG_NOSIGNAL) == length &&
           read_reply(stream, out, size);
}

bool redis_server_ask(const struct redis_server *server, const char *command, char *out, size_t size)
{
    char auth[80];
    FILE *stream = connect_to(server);
    if (!stream)
        return false;
    (void)snprintf(auth, sizeof auth, "AUTH \"%s\"", server->password);
    bool done =
        (!server->password[0] || ask_one(stream, auth, out, size)) && ask_one(stream, command, out, size);
    (void)fclose(stream);
    return done;
}

void redis_server_says(const struct redis_server *server, const char *command, const char *part)
{
    char reply[4096];
    assert_true(redis_server_ask(server, command, reply, sizeof reply));
    if (!strstr(reply, part))
        fail_msg("%s: \"%s\" does not say \"%s\"", command, reply, part);
}
