-- Brings L2 from one revision of the store's log to a later one, and tells the fleet. The one place where the marker
-- moves forward: it must stand exactly where the list of changes begins, else a change would be left out.
-- KEYS[1] the marker
-- ARGV    prefix of L2, store, revision and nonce where the list begins, revision and nonce where it ends, channel,
--         message, then changes, three words each:
--           "rows" user scope     what the user has at that scope is another thing now
--           "scope" scope ""      what the scope has of its own is
--           "plain" scope ""      the scope is not plain any more, if it was
-- Returns {1 when done, else 0, store, revision, nonce, epoch}: the marker as it stands now
local marker = redis.call('HMGET', KEYS[1], 'store', 'revision', 'nonce', 'epoch')
if marker[1] ~= ARGV[2] or marker[2] ~= ARGV[3] or marker[3] ~= ARGV[4] then
    return {0, marker[1], marker[2], marker[3], marker[4]}
end
if marker[2] == ARGV[5] then
    return {1, marker[1], marker[2], marker[3], marker[4]}
end
-- A key that somebody else has put under our names goes as a whole: it must not keep the marker where it is for ever.
local base = ARGV[1] .. marker[4] .. ':{'
for i = 9, #ARGV, 3 do
    if ARGV[i] == 'rows' then
        local key = base .. 'user:' .. ARGV[i + 1] .. '}'
        if type(redis.pcall('HDEL', key, ARGV[i + 2])) == 'table' then
            redis.call('UNLINK', key)
        end
    else
        local key = base .. 'scope:' .. ARGV[i + 1] .. '}'
        local plain = ARGV[i] == 'scope' or redis.pcall('HGET', key, 'plain')
        if plain == true or plain == '1' or type(plain) == 'table' then
            redis.call('UNLINK', key)
        end
    end
end
-- The message goes before the marker: when Redis is full, HSET is refused, and the others shall hear of
-- the change all the same.
redis.call('PUBLISH', ARGV[7], ARGV[8])
redis.call('HSET', KEYS[1], 'revision', ARGV[5], 'nonce', ARGV[6])
return {1, marker[1], ARGV[5], ARGV[6], marker[4]}
