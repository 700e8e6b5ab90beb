-- Adds members to a tag: all of them, or none when a limit would be passed.
--   KEYS  the tag, the set of names
--   ARGV  its name, how many members it may have, how many tags there may be, members…
-- Returns {members that are new, members that it has now}; -1 in place of the first: too many
-- tags; -2: too many members.
local have = redis.call('SCARD', KEYS[1])
if have == 0 and redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 0
   and redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[3]) then
    return {-1, have}
end
if have + #ARGV - 3 > tonumber(ARGV[2]) then
    local new = 0
    for i = 4, #ARGV do
        new = new + 1 - redis.call('SISMEMBER', KEYS[1], ARGV[i])
    end
    if have + new > tonumber(ARGV[2]) then
        return {-2, have}
    end
end
local added = redis.call('SADD', KEYS[1], unpack(ARGV, 4))
redis.call('SADD', KEYS[2], ARGV[1])
return {added, have + added}
