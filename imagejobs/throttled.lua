-- A 429 came: close for as long as the provider says, and learn what it allows.
-- KEYS[1] as in limiter.lua. ARGV: seconds to close, the account's rate, the rate to assume where that is unlimited, the
--   rate that the 429 itself names ('' = none).
-- Returns the rate that is learnt by now, as a string.
-- Many 429s of one burst are one lesson: places that were given out before it are still being used for a while.
local LESSON, LONG = 3, 30
local LEAST = 0.05 -- half of what the most starved account known is allowed
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local after, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local assumed, told = tonumber(ARGV[3]), tonumber(ARGV[4])
local names = { 'free_at', 'closed_until', 'override', 'learnt', 'cut_at', 'hold', 'lifted_at', 'taken' }
local is = {}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do is[names[i]] = tonumber(value) end
rate = is.override or rate
local ceiling = rate > 0 and rate or assumed

redis.call('HSET', KEYS[1], 'closed_until', tostring(math.max(is.closed_until or 0, now + after)))
redis.call('HINCRBYFLOAT', KEYS[1], 'taken', -1)
redis.call('EXPIRE', KEYS[1], 3600)
local since = now - (is.cut_at or 0)
if since < LESSON then return tostring(is.learnt or ceiling) end

-- The provider's bucket is empty now, as it was at the last lesson: what it took in between is what it allows.
local pace = is.learnt or ceiling
local not_yet = math.max(0, (is.free_at or 0) - now) * pace
local accepted = math.max(0.5, (is.taken or 0) - 1 - not_yet)
local cut = pace * 0.7
if told and told < pace then
  cut = told
elseif since < LONG then
  cut = math.min(pace * 0.95, accepted / since)
end
-- A header that promised more than this has misled us: it is believed again after a while, longer each time.
local hold = LESSON
if is.lifted_at and now - is.lifted_at < 8 then hold = math.min(5, 2 * (is.hold or LESSON)) end
-- The refused call has used up no place of the provider's: a slow account need not wait for one more behind it.
redis.call('HINCRBYFLOAT', KEYS[1], 'free_at', -1 / pace)
local learnt = tostring(math.max(cut, math.min(LEAST, ceiling)))
redis.call('HSET', KEYS[1], 'base', learnt, 'learnt', learnt, 'cut_at', tostring(now), 'from_at', tostring(now + after),
  'hold', tostring(hold), 'taken', tostring(not_yet))
return learnt
