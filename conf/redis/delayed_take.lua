-- Takes tasks that are due, for one host. Tasks whose host let its lease end are put back first, so a dead host's are
-- taken by the next one that asks. Whoever takes a task owns it until it puts it back, removes it or the lease is over.
-- KEYS[1] the queue: id -> due   KEYS[2] taken: id -> end of the lease
-- ARGV[1] base of the other keys   [2] at most so many   [3] the lease   [4] the owner's token   [5] bytes of one
-- reply   [6] life of a key that nobody touches.   Times are ms, of Redis' own clock: hosts' clocks do not matter.
-- Returns {now, due of the first that is left or -1, how many were put back,
--          {{id, due, targets, reason, condition, revision, store, expires, attempts, waits}, …}}
local base, most, lease, owner, room, life = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function whole(number) return string.format('%.0f', number) end

local returned = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now), 'LIMIT', 0, most)) do
    redis.call('ZREM', KEYS[2], id)
    if redis.call('TYPE', base .. 'task:' .. id).ok == 'hash' then
        redis.call('ZADD', KEYS[1], whole(now), id)
        redis.call('HDEL', base .. 'task:' .. id, 'owner')
        returned = returned + 1
    end
end

local taken = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #due, 2 do
    local id, key = due[i], base .. 'task:' .. due[i]
    local task = redis.pcall('HMGET', key, 'targets', 'reason', 'condition', 'revision', 'store', 'expires', 'waits')
    if task.err or not task[1] then
        -- Its hash was removed by hand, or something else lies there: nothing is left to do, and others wait behind it.
        redis.call('ZREM', KEYS[1], id)
    else
        room = room - #task[1]
        if room < 0 and #taken > 0 then break end
        redis.call('ZREM', KEYS[1], id)
        redis.call('ZADD', KEYS[2], whole(now + lease), id)
        redis.call('HSET', key, 'owner', owner)
        local attempts = redis.call('HINCRBY', key, 'attempts', 1)
        taken[#taken + 1] = {id, due[i + 1], task[1], task[2] or '', task[3] or '', task[4] or '', task[5] or '',
                             task[6] or '0', attempts, task[7] or '0'}
    end
end
-- Both must end by themselves should no host be left to empty them.
redis.call('PEXPIRE', KEYS[1], life)
redis.call('PEXPIRE', KEYS[2], life)
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {whole(now), first[2] or '-1', returned, taken}
