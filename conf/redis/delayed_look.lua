-- Says how the queue stands, and which indexes have most of it, from a sample: an index with a fiftieth of the queue
-- is as good as certain to be in it. Nothing is kept for this, so there is nothing to leak.
-- KEYS[1] the queue: id -> due   KEYS[2] taken: id -> end of the lease
-- ARGV[1] base of the other keys   [2] from how many ms a task counts as overdue   [3] tasks in the sample, 0 for none
-- ARGV[4] how many indexes to name
-- Returns {now, queued, taken, overdue, due of the first or -1, failing, waiting, {index, tasks, …}} with the largest
-- first.
local base = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local overdue = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. string.format('%.0f', now - ARGV[2]))

local hits, names = {}, {}
local sample = tonumber(ARGV[3]) > 0 and redis.call('ZRANDMEMBER', KEYS[1], ARGV[3]) or {}
for _, id in ipairs(sample) do
    local indexes = redis.pcall('HGET', base .. 'task:' .. id, 'indexes')
    local count = 0
    for index in string.gmatch(type(indexes) == 'string' and indexes or '', '[^\n]+') do
        count = count + 1
        if count > 20 then break end
        if not hits[index] then names[#names + 1] = index end
        hits[index] = (hits[index] or 0) + 1
    end
end
table.sort(names, function(a, b) return hits[a] > hits[b] or (hits[a] == hits[b] and a < b) end)
local largest = {}
for i = 1, math.min(#names, tonumber(ARGV[4])) do
    largest[#largest + 1] = {redis.call('SCARD', base .. 'by:' .. names[i]), names[i]}
end
table.sort(largest, function(a, b) return a[1] > b[1] or (a[1] == b[1] and a[2] < b[2]) end)
local flat = {}
for _, one in ipairs(largest) do
    flat[#flat + 1] = one[2]
    flat[#flat + 1] = one[1]
end
return {string.format('%.0f', now), redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2]), overdue,
        first[2] or '-1', redis.call('SCARD', base .. 'by:failing'), redis.call('SCARD', base .. 'by:waiting'), flat}
