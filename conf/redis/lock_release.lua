-- Gives a lock back, if it is still ours: after its time it may be somebody else's.
-- KEYS[1] the lock   ARGV[1] our token
-- Returns 1 when it was ours.
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('UNLINK', KEYS[1])
end
return 0
