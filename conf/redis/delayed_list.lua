-- The tasks that are being carried out, then those that are due next.
-- KEYS[1] the queue: id -> due   KEYS[2] taken: id -> end of the lease
-- ARGV[1] base of the other keys   [2] at most so many   [3] bytes of the reply
-- Returns {now, {{id, time, 'queued' or 'taken', targets, reason, condition, revision, expires, attempts,
--         waits, error}, …}}
local base, room = ARGV[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local list = {}
local function add(key, state)
    local left = ARGV[2] - #list
    if left <= 0 then return end
    local found = redis.call('ZRANGE', key, 0, left - 1, 'WITHSCORES')
    for i = 1, #found, 2 do
        local task = redis.pcall('HMGET', base .. 'task:' .. found[i], 'targets', 'reason', 'condition', 'revision',
                                'expires', 'attempts', 'waits', 'error')
        if not task.err and task[1] and room > 0 then
            room = room - #task[1]
            list[#list + 1] = {found[i], found[i + 1], state, task[1], task[2] or '', task[3] or '', task[4] or '',
                               task[5] or '0', task[6] or '0', task[7] or '0', task[8] or ''}
        end
    end
end
add(KEYS[2], 'taken')
add(KEYS[1], 'queued')
return {string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), list}
