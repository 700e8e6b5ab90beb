#!/bin/sh
# Redis 7.0.15: an account that is switched off, gets another password or loses every command (`-@all`, SUBSCRIBE
# included) goes on hearing what is published over the connections that are subscribed. Taking its channel away closes
# them.
#
# Commands are judged when they are called, and a message is no command; only rules of channels are held against
# subscriptions that are there. An engineer who revokes an account expects that it hears nothing more, or finds that
# "off" and "-@all" do less than "resetchannels". To shut somebody out: ACL DELUSER, or CLIENT KILL USER after the
# change.
#
# Needs redis-server 7.0.15 and redis-cli (Debian 12: redis-server, redis-tools). Exits with 0 while it is so, 1 when
# that has changed, 77 when it cannot be tried.
set -u
for program in redis-server redis-cli; do
    command -v "$program" >/dev/null || { echo "needs $program"; exit 77; }
done
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
redis-server --port 0 --unixsocket "$folder/s" --save "" --dir "$folder" >"$folder/log" 2>&1 &
server=$!
ask() { redis-cli -s "$folder/s" "$@"; }
for _ in $(seq 100); do [ "$(ask PING 2>/dev/null)" = PONG ] && break; sleep 0.1; done
ask INFO server | grep redis_version

# Counts those who hear a message after the account was changed so.
after() {
    ask ACL SETUSER listener reset on '>first' '&news' +subscribe >/dev/null
    redis-cli -s "$folder/s" --user listener --pass first --no-auth-warning SUBSCRIBE news >/dev/null 2>&1 &
    listener=$!
    for _ in $(seq 100); do [ "$(ask PUBSUB NUMSUB news | tail -1)" = 1 ] && break; sleep 0.1; done
    ask ACL SETUSER listener "$@" >/dev/null
    heard=$(ask PUBLISH news hello)
    kill "$listener" 2>/dev/null
    wait "$listener" 2>/dev/null
    for _ in $(seq 100); do [ "$(ask PUBSUB NUMSUB news | tail -1)" = 0 ] && break; sleep 0.1; done
    echo "$heard"
}
off=$(after off)
password=$(after resetpass '>second')
commands=$(after -@all)
channel=$(after resetchannels)
echo "heard after off: $off, after another password: $password, after -@all: $commands, after resetchannels: $channel"
[ "$off$password$commands$channel" = 1110 ]
