-- Reads what is needed to answer for some (user, scope) pairs, together with the marker: one step, so that all of it is
-- true at the marker's revision. What is not there may be read from the store by one host at a time: the lock says who.
-- KEYS[1] the marker
-- ARGV    prefix of L2, largest value, life of a lock in ms ("0": none wanted), our token, then user and scope of each
--         pair
-- Returns the marker {store, revision, nonce, epoch}, then for each pair
--   {"hit", ms left, scope, its value, the user's value there, its parent scope, …} from the scope up to global
--   {"absent"}         the scope is not in the store
--   {"miss", 1 or 0}   ask the store; 0: another host is doing so. Also what would make the reply too long
--   {"large"}          there, and larger than a value may be; it is gone now
--   {"spoilt"}         there, and not of our making; it is gone now
-- What is wrong with one pair must not keep the others from being answered, so nothing here may fail: not what somebody
-- else has put under our names, and not a Redis that is full.
local prefix, largest, lock_ms, token = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local marker = redis.call('HMGET', KEYS[1], 'store', 'revision', 'nonce', 'epoch')
local reply = {marker}
if not marker[4] then
    return reply
end
local base = prefix .. marker[4] .. ':{'
local room = 64 * largest -- in all: a reply that no host takes would end the connection

local function miss(user, scope)
    if lock_ms == '0' then
        return {'miss', 1}
    end
    local key = prefix .. 'lock:' .. user .. ':' .. scope
    local taken = redis.pcall('SET', key, token, 'NX', 'PX', lock_ms)
    if taken then
        return {'miss', 1}
    end
    local holder = redis.pcall('GET', key)
    if holder == token or type(holder) == 'table' then
        return {'miss', 1}
    end
    return {'miss', 0}
end

local function discard(word, key)
    redis.call('UNLINK', key)
    return {word}
end

local function read(user, scope)
    local user_key = base .. 'user:' .. user .. '}'
    local found = {'hit', redis.call('PTTL', user_key)}
    local at, key = scope
    for _ = 1, 16 do
        key = base .. 'scope:' .. at .. '}'
        local record = redis.pcall('HMGET', key, 'parent', 'value')
        if record.err then
            return discard('spoilt', key)
        end
        if record[1] == '-' and at == scope then
            return {'absent'}
        end
        local rows = redis.pcall('HGET', user_key, at)
        if type(rows) == 'table' then
            return discard('spoilt', user_key)
        end
        if not record[1] or record[1] == '-' or not record[2] or not rows then
            return miss(user, scope)
        end
        if #record[2] > largest then
            return discard('large', key)
        end
        if #rows > largest then
            return discard('large', user_key)
        end
        room = room - #record[2] - #rows
        if room < 0 then
            return {'miss', 1}
        end
        found[#found + 1] = at
        found[#found + 1] = record[2]
        found[#found + 1] = rows
        if record[1] == '' then
            return found
        end
        at = record[1]
    end
    return discard('spoilt', key) -- a chain that does not end
end

for i = 5, #ARGV, 2 do
    reply[#reply + 1] = read(ARGV[i], ARGV[i + 1])
end
return reply
