-- Reads what is needed to answer for many users at one place, for the warm-up, together with the marker: one step, so
-- that all of it is true at the marker's revision. What is not there, or not as it should be, is left to l2_read.
-- KEYS[1] the marker
-- ARGV    prefix of L2, largest value, the scope, then the users
-- Returns the marker {store, revision, nonce, epoch}, {scope, its value, its parent scope, …} from the scope up to
-- global, and the users' values there, those of the first user at each of these scopes first; nil: there is none.
-- Without all of that chain the last two are empty.
-- Nothing here may fail, as in l2_read, and nothing is written.
local prefix, largest, scope = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local marker = redis.call('HMGET', KEYS[1], 'store', 'revision', 'nonce', 'epoch')
if not marker[4] then
    return {marker, {}, {}}
end
local base = prefix .. marker[4] .. ':{'
local room = 4 * largest -- in all: Redis is not to be kept busy for long

local function read_chain()
    local chain, scopes, at = {}, {}, scope
    for level = 1, 16 do
        local record = redis.pcall('HMGET', base .. 'scope:' .. at .. '}', 'parent', 'value')
        if record.err or not record[1] or record[1] == '-' or not record[2] or #record[2] > largest then
            return {}, {}
        end
        room = room - #record[2]
        chain[2 * level - 1], chain[2 * level], scopes[level] = at, record[2], at
        if record[1] == '' then
            return chain, scopes
        end
        at = record[1]
    end
    return {}, {} -- one that does not end
end

local chain, scopes = read_chain()
local levels, rows = #scopes, {}
if levels == 0 or room < 0 then
    return {marker, {}, {}}
end
local begin, at = base .. 'user:', 0
for i = 4, #ARGV do
    local values = room >= 0 and redis.pcall('HMGET', begin .. ARGV[i] .. '}', unpack(scopes)) or {}
    for level = 1, levels do
        local value = values[level] or false
        if value and #value > largest then
            value = false
        end
        room = value and room - #value or room
        rows[at + level] = value
    end
    at = at + levels
end
return {marker, chain, rows}
