-- A new epoch: L2 forgets everything and begins where a host's table stands. Only if the marker is still what that host
-- has found to be of no use, so that of many hosts that find so one does it.
-- KEYS[1] the marker
-- KEYS[2] how often markers of somebody else have been replaced of late
-- ARGV    the marker as it was seen: the first 160 bytes of its store, revision, nonce and epoch with "|" between,
--         "|||" when there was none; then as it shall be: store, revision, nonce, epoch; channel, message. Or nothing
--         more: then there is to be none, for whoever comes next begins an epoch. Or even more, when the marker is of
--         another store or another history: how often such a one may be replaced before whoever keeps it is left alone;
--         and for how many ms that is remembered
-- Returns {1 when done, 2 when it is to be left alone, else 0, store, revision, nonce, epoch}: the marker as it stands
local marker = {}
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
    marker = redis.call('HMGET', KEYS[1], 'store', 'revision', 'nonce', 'epoch')
end
local seen = {}
for i = 1, 4 do
    seen[i] = marker[i] or ''
end
if string.sub(table.concat(seen, '|'), 1, 160) ~= ARGV[1] then
    return {0, marker[1], marker[2], marker[3], marker[4]}
end
local contests = 0
if ARGV[8] then
    local found = redis.pcall('GET', KEYS[2])
    contests = tonumber(type(found) == 'string' and found) or 0
    if contests >= tonumber(ARGV[8]) then
        return {2, marker[1], marker[2], marker[3], marker[4]}
    end
end
redis.call('DEL', KEYS[1])
if #ARGV == 1 then
    return {1}
end
redis.call('HSET', KEYS[1], 'store', ARGV[2], 'revision', ARGV[3], 'nonce', ARGV[4], 'epoch', ARGV[5])
if ARGV[8] then
    redis.call('SET', KEYS[2], contests + 1, 'PX', ARGV[9])
end
redis.call('PUBLISH', ARGV[6], ARGV[7])
return {1, ARGV[2], ARGV[3], ARGV[4], ARGV[5]}
