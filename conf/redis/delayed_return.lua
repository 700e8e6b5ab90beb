-- Puts a task back that its owner could not carry out, or whose condition does not hold yet.
-- KEYS[1] the queue: id -> due   KEYS[2] taken: id -> end of the lease
-- ARGV[1] base of the other keys   [2] id   [3] the owner's token   [4] ms until it is due again
-- ARGV[5] 'failing' or 'waiting'   [6] why   [7] after so many times the task is put into the index of that name, too
-- ARGV[8] life of a key that nobody touches
-- Returns the new due time in ms, or -1 when the task is no longer this owner's.
local base, id, word = ARGV[1], ARGV[2], ARGV[5]
local key = base .. 'task:' .. id
local task = redis.call('HMGET', key, 'owner', 'expires', 'attempts', 'waits', 'indexes')
if task[1] ~= ARGV[3] then return '-1' end

local times = tonumber(task[3] or '0')
if word == 'waiting' then -- that it was looked at is no failed attempt
    redis.call('HINCRBY', key, 'attempts', -1)
    times = redis.call('HINCRBY', key, 'waits', 1)
end
if times >= tonumber(ARGV[7]) and not string.find('\n' .. task[5] .. '\n', '\n' .. word .. '\n', 1, true) then
    redis.call('HSET', key, 'indexes', task[5] == '' and word or task[5] .. '\n' .. word)
    redis.call('SADD', base .. 'by:' .. word, id)
    redis.call('PEXPIRE', base .. 'by:' .. word, ARGV[8])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- The task is due never later than its end: the host that takes it then sees that it is over, and
-- removes it from every index.
local due = string.format('%.0f', math.min(now + ARGV[4], math.max(tonumber(task[2] or '0'), now)))
redis.call('HSET', key, 'error', ARGV[6])
redis.call('HDEL', key, 'owner')
redis.call('ZREM', KEYS[2], id)
redis.call('ZADD', KEYS[1], due, id)
redis.call('PEXPIRE', KEYS[1], ARGV[8])
return due
