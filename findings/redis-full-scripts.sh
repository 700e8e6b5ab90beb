#!/bin/sh
# Redis 7.0.15, maxmemory reached, noeviction: a script is refused at its first command that may need memory, but not
# when it has called any writing command before, even one that removes nothing.
#
# So the same HSET or SET passes or fails by what stands above it. `DEL` of a key that is not there is enough, and
# from then on the script may write as much as it likes: here a megabyte, with a maxmemory of one byte. Redis decides
# once, when the script has not written yet, because a script that has cannot be undone.
#
# An engineer would expect that a full Redis refuses what grows, or the script as a whole. Whoever tests "what if
# Redis is full" with a script that begins with a removal sees everything pass, and in production the path without
# that removal fails.
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
ask CONFIG SET maxmemory-policy noeviction >/dev/null
ask CONFIG SET maxmemory 1 >/dev/null
set="redis.call('SET', KEYS[1], string.rep('x', 1000000)) return 'written'"
plain=$(ask EVAL "$set" 1 key 2>&1 | head -1)
after=$(ask EVAL "redis.call('DEL', KEYS[2]) $set" 2 key missing 2>&1 | head -1)
echo "SET alone:                    $plain"
echo "SET after DEL of nothing:     $after, $(ask STRLEN key) bytes"
case $plain in OOM*) ;; *) exit 1 ;; esac
[ "$after" = written ] && [ "$(ask STRLEN key)" = 1000000 ]
