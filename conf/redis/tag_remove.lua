-- Takes members from a tag; without any named, the whole tag goes.
--   KEYS  the tag, the set of names
--   ARGV  its name, members…
-- Returns {members that went, members that it has now}.
local removed
if #ARGV == 1 then
    removed = redis.call('SCARD', KEYS[1])
    redis.call('UNLINK', KEYS[1])
else
    removed = redis.call('SREM', KEYS[1], unpack(ARGV, 2))
end
local have = redis.call('SCARD', KEYS[1])
if have == 0 then
    redis.call('SREM', KEYS[2], ARGV[1])
end
return {removed, have}
