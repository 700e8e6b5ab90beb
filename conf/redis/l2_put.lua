-- Keeps what a host has read from the store, if the marker stands exactly where that host has found it to be true, and
-- in the epoch in which it began to read: who began another since may know of a change that the log does not tell.
-- KEYS[1] the marker
-- ARGV    prefix of L2, store, revision, nonce, epoch, ms to live of the user's key and of a scope's, our token, "1" to
--         begin the user's key afresh, the user, then for each scope, from the one that was asked for up to global:
--         scope, parent ("" for global, "-" when the scope is not in the store), "1" when plain, its value, the user's
--         value there
-- Returns {1} or, when refused, {0, store, revision, nonce, epoch}
local prefix = ARGV[1]
local marker = redis.call('HMGET', KEYS[1], 'store', 'revision', 'nonce', 'epoch')
local lock = prefix .. 'lock:' .. ARGV[10] .. ':' .. ARGV[11]
if redis.call('GET', lock) == ARGV[8] then
    redis.call('UNLINK', lock)
end
if marker[1] ~= ARGV[2] or marker[2] ~= ARGV[3] or marker[3] ~= ARGV[4] or marker[4] ~= ARGV[5] then
    return {0, marker[1], marker[2], marker[3], marker[4]}
end
local base = prefix .. marker[4] .. ':{'
local user_key = base .. 'user:' .. ARGV[10] .. '}'
local rows = {}
for i = 11, #ARGV, 5 do
    local key = base .. 'scope:' .. ARGV[i] .. '}'
    -- A value that is there is true at the marker's revision as well.
    if redis.call('EXISTS', key) == 0 then
        redis.call('HSET', key, 'parent', ARGV[i + 1], 'plain', ARGV[i + 2], 'value', ARGV[i + 3])
        redis.call('PEXPIRE', key, ARGV[7])
    end
    if ARGV[i + 1] ~= '-' then
        rows[#rows + 1] = ARGV[i]
        rows[#rows + 1] = ARGV[i + 4]
    end
end
if #rows > 0 then
    if ARGV[9] == '1' then
        redis.call('UNLINK', user_key)
    end
    redis.call('HSET', user_key, unpack(rows))
    -- Fields written later must not lengthen the life of earlier ones.
    if redis.call('PTTL', user_key) < 0 then
        redis.call('PEXPIRE', user_key, ARGV[6])
    end
end
return {1}
