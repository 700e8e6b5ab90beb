-- Makes tasks due now, so many a step: the caller goes on with the cursor while there is more.
-- KEYS[1] the queue: id -> due   KEYS[2] not used
-- ARGV[1] base of the other keys   [2] what: '' the id that follows, '*' all, else the name of an index
-- ARGV[3] cursor, '0' to begin   [4] an id
-- Returns {how many are due earlier now, the next cursor, 1 when there may be more}.
local what = ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids, cursor, more = {ARGV[4]}, '0', 0
if what == '*' then
    ids = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf', 'LIMIT', 0, 100)
    more = #ids == 100 and 1 or 0
elseif what ~= '' then
    local page = redis.call('SSCAN', ARGV[1] .. 'by:' .. what, ARGV[3], 'COUNT', 100)
    cursor, ids = page[1], page[2]
    more = cursor ~= '0' and 1 or 0
end
local moved = 0
for _, id in ipairs(ids) do
    local due = redis.call('ZSCORE', KEYS[1], id) -- none: it is being carried out
    if due and tonumber(due) > now then
        redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', now), id)
        moved = moved + 1
    end
end
return {moved, cursor, more}
