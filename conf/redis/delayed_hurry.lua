-- Makes the tasks of one index due now, a page at a time.
-- KEYS[1] the queue: id -> due   KEYS[2] the index
-- ARGV[1] cursor, '0' to begin
-- Returns {how many are due earlier now, the next cursor, 1 when there is more}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local page = redis.call('SSCAN', KEYS[2], ARGV[1], 'COUNT', 100)
local moved = 0
for _, id in ipairs(page[2]) do
    local due = redis.call('ZSCORE', KEYS[1], id) -- none: it is being carried out
    if due and tonumber(due) > now then
        redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', now), id)
        moved = moved + 1
    end
end
return {moved, page[1], page[1] ~= '0' and 1 or 0}
