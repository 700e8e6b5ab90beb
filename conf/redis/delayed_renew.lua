-- Renews the leases of tasks that a host is still busy with.
-- KEYS[1] the queue, not used   KEYS[2] taken: id -> end of the lease
-- ARGV[1] base of the other keys   [2] the lease in ms   [3] id   [4] the owner's token   [5] id …
-- Returns how many are still this host's.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local renewed = 0
for i = 3, #ARGV, 2 do
    if redis.pcall('HGET', ARGV[1] .. 'task:' .. ARGV[i], 'owner') == ARGV[i + 1] then
        redis.call('ZADD', KEYS[2], 'XX', string.format('%.0f', now + ARGV[2]), ARGV[i])
        renewed = renewed + 1
    end
end
return renewed
