#!/bin/sh
# redis-py 7.4.1 with Redis 7.0.15: an account made of categories, `+@read +@write +@connection`, may not call MULTI
# (it is in @transaction); a transaction of such an account raises NoPermissionError, and all of it has been written.
#
# `pipeline(transaction=True)` sends MULTI, the commands and EXEC in one go. Redis refuses MULTI, carries out each
# command by itself, and refuses EXEC; execute() raises the first refusal. An engineer expects of a transaction that
# failed that nothing was written, and tries again: INCR counts twice. Any client that sends MULTI and what follows
# without waiting does the same, so give an account that uses transactions +multi and +exec.
#
# Installs redis-py from PyPI into a temporary folder; needs python3 with venv, redis-server 7.0.15 and redis-cli
# (Debian 12: python3-venv, redis-server, redis-tools). Exits with 0 while it is so, 1 when that has changed, 77 when
# it cannot be tried.
set -u
for program in redis-server redis-cli; do
    command -v "$program" >/dev/null || { echo "needs $program"; exit 77; }
done
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" -q install redis==7.4.1 || {
    echo "redis-py cannot be installed"
    exit 77
}
redis-server --port 0 --unixsocket "$folder/s" --save "" --dir "$folder" >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do [ "$(redis-cli -s "$folder/s" PING 2>/dev/null)" = PONG ] && break; sleep 0.1; done
"$folder/venv/bin/python" - "$folder/s" <<'END'
import sys
import redis

admin = redis.Redis(unix_socket_path=sys.argv[1])
print("redis", admin.info("server")["redis_version"], "redis-py", redis.__version__)
admin.execute_command("ACL", "SETUSER", "app", "on", ">x", "~*", "+@read", "+@write", "+@connection")
pipe = redis.Redis(unix_socket_path=sys.argv[1], username="app", password="x").pipeline(transaction=True)
pipe.incr("balance")
pipe.incr("balance")
try:
    print("execute() returned", pipe.execute())
    raised = False
except redis.RedisError as error:
    print("execute() raised", type(error).__name__, error)
    raised = True
print("balance is", admin.get("balance"))
sys.exit(0 if raised and admin.get("balance") == b"2" else 1)
END
