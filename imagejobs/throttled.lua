-- A 429 came: close for as long as the provider says, and go slower afterwards.
-- KEYS[1] as in limiter.lua. ARGV: seconds to close, the account's rate, the rate to assume where that is unlimited.
-- Many 429s of one burst are one lesson: the rate is cut at most once in two seconds.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local after, rate, assumed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('HMGET', KEYS[1], 'closed_until', 'learnt', 'cut_at', 'override')
rate = tonumber(state[4]) or rate
if rate <= 0 then rate = assumed end
redis.call('HSET', KEYS[1], 'closed_until', tostring(math.max(tonumber(state[1]) or 0, now + after)))
if now - (tonumber(state[3]) or 0) >= 2 then
  local cut = math.max((tonumber(state[2]) or rate) * 0.7, rate * 0.01)
  redis.call('HSET', KEYS[1], 'learnt', tostring(cut), 'learnt_at', tostring(now + after), 'cut_at', tostring(now))
end
redis.call('EXPIRE', KEYS[1], 3600)
return tostring(after)
