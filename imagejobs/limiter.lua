-- One allowance for the whole fleet: reserves places in time, evenly spaced, by Redis's own clock.
-- KEYS[1]: a hash, times in seconds, rates a second: free_at, ideal_at (where nothing was missed), closed_until,
--   override, taken (places since the last lesson), and what 429s have taught, written by throttled.lua:
--   base (the rate learnt), learnt (the rate by now), from_at (when the climb from base began), cut_at, hold, lifted_at,
--   shown_at (when the provider last showed what is left). For people: asked_at, waited and waited_at (the workers' time
--   in the ledger, which fades in ten seconds).
-- ARGV: places wanted, how far ahead they may lie (s), the account's rate (0 = unlimited), the rate to assume where that
--   is unlimited, how much of what was missed may be caught up (s), the rate that the provider shows at least ('' = none), seconds that this
--   worker has waited for the ledger since it last asked.
-- Returns { places granted, seconds until the first (or until asking again makes sense), seconds between two,
--   1 while the rate is a learnt one } as strings, since Redis truncates numbers.
local wanted, ahead, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local assumed, catch_up, shown = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local names = { 'free_at', 'ideal_at', 'closed_until', 'override', 'base', 'learnt', 'from_at', 'cut_at', 'hold',
  'lifted_at', 'shown_at', 'taken', 'waited', 'waited_at' }
local is = {}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do is[names[i]] = tonumber(value) end
local free_at, closed_until = is.free_at or 0, is.closed_until or 0
rate = is.override or rate
local waited = (is.waited or 0) * math.max(0, 1 - (now - (is.waited_at or now)) / 10) + tonumber(ARGV[7])
local asked = { 'asked_at', tostring(now), 'waited', tostring(waited), 'waited_at', tostring(now) }

-- What was learnt holds until the provider shows more. Where it shows nothing, the rate climbs until the next 429, the
-- only way to hear of a limit that was raised: slow at first, then steep, and so slow for slow accounts, for whom a 429
-- costs much of what they have, that they meet one in several creates at most.
local learnt = false
if is.base then
  local ceiling, base, from_at = rate > 0 and rate or assumed, is.base, is.from_at
  local before = is.learnt or base
  if shown then
    if shown > before and now - is.cut_at >= is.hold then
      base, from_at = shown, now
      redis.call('HSET', KEYS[1], 'base', tostring(base), 'from_at', tostring(now), 'lifted_at', tostring(now))
    end
    redis.call('HSET', KEYS[1], 'shown_at', tostring(now))
    is.shown_at = now
  end
  local is_shown = is.shown_at and now - is.shown_at < 60
  local climb = math.min(200, math.max(8, 20 / base))
  local share = is_shown and 0 or math.min(1, math.max(0, now - from_at) / climb)
  local by_now = base < ceiling and base * (ceiling / base) ^ (share ^ 5) or ceiling
  if by_now >= ceiling * 0.998 then
    redis.call('HDEL', KEYS[1], 'base', 'learnt', 'from_at', 'ideal_at')
    is.ideal_at, by_now = nil, rate > 0 and rate or ceiling
  else
    learnt, rate = true, by_now
    redis.call('HSET', KEYS[1], 'learnt', tostring(by_now))
  end
  -- Places that nobody has yet move with the rate, or a starved account would sleep on through its release.
  if free_at > now and by_now > before then
    free_at = now + (free_at - now) * before / by_now
    redis.call('HSET', KEYS[1], 'free_at', tostring(free_at))
  end
end

local flag = learnt and '1' or '0'
local start = math.max(now, free_at, closed_until)
if wanted == 0 or start - now > ahead then
  return { '0', tostring(math.max(0, start - now - ahead)), '0', flag }
end
if rate <= 0 then
  redis.call('HSET', KEYS[1], 'taken', tostring((is.taken or 0) + wanted), unpack(asked))
  return { tostring(wanted), tostring(start - now), '0', flag }
end
local spacing = 1 / (rate * 0.998) -- a hair slower than allowed: two clocks are never quite alike
local granted = math.min(wanted, math.floor((now + ahead - start) / spacing) + 1)
-- Places that went by between two messages have filled the provider's bucket: some of them are caught up. Those of a
-- time when there was nothing to send are not: that would be a burst.
local behind = math.max(0, start - (is.ideal_at or start))
behind = (learnt or behind > 3) and 0 or math.min(catch_up, behind)
local slot = spacing - math.min(spacing * 0.1, behind / granted)
redis.call('HSET', KEYS[1], 'free_at', tostring(start + granted * slot),
  'ideal_at', tostring(start - behind + granted * spacing), 'taken', tostring((is.taken or 0) + granted), unpack(asked))
redis.call('EXPIRE', KEYS[1], 3600)
return { tostring(granted), tostring(start - now), tostring(slot), flag }
