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
local gone, asked, at = {}, {}, #base + 1
for _, key in ipairs(found[2]) do
    if string.sub(key, 1, #base) == base then
        local format, of = string.match(key, '^(%d+):(%x*)', at)
        -- A value of the present format; the marker and the locks are named otherwise and stay.
        local value = format == present and #of == 16 and string.sub(key, at + #format + 17, at + #format + 18) == ':{'
        if kind == 'pattern' then
            if value then gone[#gone + 1] = key end
        elseif kind == 'epochs' then
            if value and of ~= epoch then gone[#gone + 1] = key end
        elseif value then
            asked[#asked + 1] = key
        elseif format and tonumber(format) < tonumber(present) then
            gone[#gone + 1] = key
        end
    end
end
local removed = #gone > 0 and redis.call('UNLINK', unpack(gone)) or 0
local ended = redis.call('TIME')
local took = (ended[1] - began[1]) * 1000000 + ended[2] - began[2]
return {found[1], size, removed, took, unpack(asked)}
