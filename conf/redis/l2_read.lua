-- Reads what is needed to answer for some (user, scope) pairs, together with the marker: one step, so that all of it is
-- true at the marker's revision. What is not there may be read from the store by one host at a time: the lock says who.
-- KEYS[1] the marker
-- ARGV    prefix of L2, largest value, life of a lock in ms ("0": none wanted), our token, then user and scope of each pair
-- Returns the marker {store, revision, nonce, epoch}, then for each pair
--   {"hit", ms left, scope, its value, the user's value there, its parent scope, …} from the scope up to global
--   {"absent"}         the scope is not in the store
--   {"miss", 1 or 0}   ask the store; 0: another host is doing so
--   {"large"}          there, and larger than a value may be
local prefix, largest, lock_ms, token = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local marker = redis.call('HMGET', KEYS[1], 'store', 'revision', 'nonce', 'epoch')
local reply = {marker}
if not marker[4] then
    return reply
end
local base = prefix .. marker[4] .. ':{'

local function miss(user, scope)
    if lock_ms == '0' then
        return {'miss', 1}
    end
    local key = prefix .. 'lock:' .. user .. ':' .. scope
    local taken = redis.call('SET', key, token, 'NX', 'PX', lock_ms)
    if taken or redis.call('GET', key) == token then
        return {'miss', 1}
    end
    return {'miss', 0}
end

local function read(user, scope)
    local user_key = base .. 'user:' .. user .. '}'
    local found = {'hit', redis.call('PTTL', user_key)}
    local at = scope
    for _ = 1, 16 do
        local record = redis.call('HMGET', base .. 'scope:' .. at .. '}', 'parent', 'value')
        if record[1] == '-' and at == scope then
            return {'absent'}
        end
        local rows = redis.call('HGET', user_key, at)
        if not record[1] or record[1] == '-' or not record[2] or not rows then
            return miss(user, scope)
        end
        if #record[2] > largest or #rows > largest then
            return {'large'}
        end
        found[#found + 1] = at
        found[#found + 1] = record[2]
        found[#found + 1] = rows
        if record[1] == '' then
            return found
        end
        at = record[1]
    end
    return {'large'}
end

for i = 5, #ARGV, 2 do
    reply[#reply + 1] = read(ARGV[i], ARGV[i + 1])
end
return reply
