-- Removes tasks and every trace of them, in steps of a bounded size: the caller goes on with the cursor while there is
-- more.
-- KEYS[1] the queue: id -> due   KEYS[2] taken: id -> end of the lease
-- ARGV[1] base of the other keys   [2] what: '' the ids that follow, '*' all, else the name of an index
-- ARGV[3] cursor, '0' to begin   [4] only tasks with this owner, or ''   [5] only unconditional ones with exactly these
-- targets, or ''   [6] an id to leave alone, or ''   [7] work of this step: a task costs 1 and each of its indexes 1
-- ARGV[8…] ids
-- Returns {how many were removed, the next cursor, 1 when there may be more}.
local base, what, cursor, owner, only, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local work = tonumber(ARGV[7])
local removed = 0

local function forget(id)
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
end

-- Every index that has the task is named in its hash: so whoever removes the one removes the others.
local function remove(id)
    local key = base .. 'task:' .. id
    local task = redis.pcall('HMGET', key, 'indexes', 'owner', 'targets', 'condition', 'revision')
    work = work - 1
    if task.err or not task[1] then -- somebody removed its hash by hand, or put something there; only the id is left
        if owner == '' then forget(id) end
        if what ~= '' and what ~= '*' then redis.call('SREM', base .. 'by:' .. what, id) end
        return
    end
    local wanted = (owner == '' or task[2] == owner) and id ~= keep
    if only ~= '' then wanted = wanted and task[3] == only and not task[4] and not task[5] end
    if not wanted then return end
    for index in string.gmatch(task[1], '[^\n]+') do
        redis.pcall('SREM', base .. 'by:' .. index, id) -- somebody may have made something else of it by hand
        work = work - 1
    end
    redis.call('DEL', key)
    forget(id)
    removed = removed + 1
end

if what == '' then
    for i = 8, #ARGV do remove(ARGV[i]) end
    return {removed, '0', 0}
end
if what == '*' then
    for i = 1, 2 do
        if work <= 0 then break end
        for _, id in ipairs(redis.call('ZRANGE', KEYS[i], 0, work)) do
            if work <= 0 then break end
            remove(id)
        end
    end
    return {removed, '0', redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 and 1 or 0}
end
local page = redis.call('SSCAN', base .. 'by:' .. what, cursor, 'COUNT', 50)
for _, id in ipairs(page[2]) do
    -- The rest of this page is for the next step, unless that would find it as it is now.
    if work <= 0 and removed > 0 then return {removed, cursor, 1} end
    remove(id)
end
return {removed, page[1], page[1] ~= '0' and 1 or 0}
