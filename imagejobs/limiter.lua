-- One allowance for the whole fleet: reserves places in time, evenly spaced, by Redis's own clock.
-- KEYS[1]: hash { free_at, closed_until, learnt, learnt_at, override }, times in seconds.
-- ARGV: places wanted, how far ahead they may lie (s), the account's rate (per second, 0 = unlimited).
-- Returns { places granted, seconds until the first, seconds between two } as strings, since Redis truncates numbers.
local wanted, ahead, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local state = redis.call('HMGET', KEYS[1], 'free_at', 'closed_until', 'learnt', 'learnt_at', 'override')
local free_at, closed_until = tonumber(state[1]) or 0, tonumber(state[2]) or 0
rate = tonumber(state[5]) or rate

-- What 429s have taught fades: a fiftieth of the full rate comes back every second.
local learnt = tonumber(state[3])
if learnt then
  local ceiling = rate > 0 and rate or tonumber(ARGV[4])
  learnt = learnt + ceiling * 0.02 * math.max(0, now - (tonumber(state[4]) or now))
  if learnt >= ceiling then
    redis.call('HDEL', KEYS[1], 'learnt', 'learnt_at')
  else
    redis.call('HSET', KEYS[1], 'learnt', tostring(learnt), 'learnt_at', tostring(now))
    rate = learnt
  end
end

local start = math.max(now, free_at, closed_until)
if start - now > ahead then return { '0', tostring(start - now), '0' } end
if rate <= 0 then return { tostring(wanted), tostring(start - now), '0' } end
local spacing = 1 / (rate * 0.995) -- a hair slower than allowed, so that jitter never adds up to a 429
local granted = math.min(wanted, math.floor((now + ahead - start) / spacing) + 1)
redis.call('HSET', KEYS[1], 'free_at', tostring(start + granted * spacing))
redis.call('EXPIRE', KEYS[1], 3600)
return { tostring(granted), tostring(start - now), tostring(spacing) }
