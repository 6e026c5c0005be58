-- One token bucket, by the time of Redis, with the arithmetic of `domain::bucket`: what is kept is when it is full
-- again, and how much earlier in n-ths of a millisecond. KEYS: its name. ARGV: what to do (take, peek, back), tokens of
-- a full bucket, milliseconds from empty to full, tokens. Answers whether it was allowed and the debt after it.
local n, window, tokens = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local capacity, units = n * window, tokens * window
local debt = 0
local kept = redis.call('GET', KEYS[1])
if kept then
    local full_at, early = string.match(kept, '^(%d+) (%d+)$')
    local millis = full_at - now
    if millis > window then
        -- What another quota or another clock left.
        debt = capacity
    elseif millis > 0 then
        debt = math.min(math.max(millis * n - early, 0), capacity)
    end
end
local allowed = 1
local after = debt
if ARGV[1] == 'back' then
    after = math.max(debt - units, 0)
elseif units > capacity - debt then
    allowed = 0
else
    after = debt + units
end
-- To peek is to take without keeping what was taken.
if after ~= debt and ARGV[1] ~= 'peek' then
    local millis = math.ceil(after / n)
    if millis == 0 then
        redis.call('DEL', KEYS[1])
    else
        local value = string.format('%.0f %.0f', now + millis, millis * n - after)
        redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', millis))
    end
end
return { allowed, string.format('%.0f', after) }
