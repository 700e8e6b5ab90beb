-- Removes keys, and says how many there were and how long it took.
-- KEYS the keys, a few
-- Returns {removed, microseconds}.
local began = redis.call('TIME')
local removed = redis.call('UNLINK', unpack(KEYS))
local ended = redis.call('TIME')
return {removed, (ended[1] - began[1]) * 1000000 + ended[2] - began[2]}
