-- One slice of a clean-up: looks at a few keys and removes those that nobody will read any more.
-- KEYS[1] the lock   KEYS[2] the marker
-- ARGV[1] our token, '' for going on without the lock   ARGV[2] milliseconds to renew the lock for, '0' for not now
-- ARGV[3] cursor   ARGV[4] COUNT   ARGV[5] the glob   ARGV[6] pattern, epochs or orphans
-- ARGV[7] how our keys begin, 'PREFIXl2:'   ARGV[8] the present format of values
-- Returns 'lock' when the lock is not ours, 'marker' when there is none to compare with; or
-- {cursor, keys in all, removed, microseconds, key…}: the keys whose owners the store has to be asked about (orphans).
-- The microseconds are 0 where TIME stands still inside a script.
local began = redis.call('TIME')
if ARGV[1] ~= '' then
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then
        return 'lock'
    end
    if ARGV[2] ~= '0' then
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
    end
end
local kind, base, present = ARGV[6], ARGV[7], ARGV[8]
local epoch
if kind == 'epochs' then
    -- Read in each slice: an epoch that has become the present one is never swept.
    epoch = redis.call('HGET', KEYS[2], 'epoch')
    if not epoch then
        return 'marker'
    end
end
local size = redis.call('DBSIZE')
local found = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[5], 'COUNT', ARGV[4])
local gone, asked = {}, {}
if kind == 'epochs' then
    -- The glob leaves nothing but values of the present format: their epochs stand at one place.
    local from = #base + #present + 2
    for _, key in ipairs(found[2]) do
        if string.sub(key, from, from + 15) ~= epoch then gone[#gone + 1] = key end
    end
else
    -- The glob may be anybody's. A value is PREFIXl2:FORMAT:EPOCH:{…}; the marker and the locks are
    -- named otherwise and stay.
    local at = #base + 1
    for _, key in ipairs(found[2]) do
        local format, of, next = string.match(key, '^(%d+):(%x*)()', at)
        if format and string.sub(key, 1, #base) == base then
            local value = format == present and #of == 16 and string.sub(key, next, next + 1) == ':{'
            if value and kind == 'pattern' then
                gone[#gone + 1] = key
            elseif value then
                asked[#asked + 1] = key
            elseif kind == 'orphans' and tonumber(format) < tonumber(present) then
                gone[#gone + 1] = key
            end
        end
    end
end
local removed = #gone > 0 and redis.call('UNLINK', unpack(gone)) or 0
local ended = redis.call('TIME')
local took = (ended[1] - began[1]) * 1000000 + ended[2] - began[2]
return {found[1], size, removed, took, unpack(asked)}
