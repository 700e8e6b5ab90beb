-- Takes the lock of a kind of clean-up, or keeps it when it is ours already (a connection was lost in between).
-- KEYS[1] the lock   ARGV[1] our token   ARGV[2] milliseconds
-- Returns 1 when it is ours.
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    return 1
end
return 0
