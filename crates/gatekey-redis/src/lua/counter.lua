-- Counters of attempts: the arithmetic of `gatekey_core::limit`, in numbers of Lua. Those are exact up to 53 bits, so
-- whoever calls sees to it that a full bucket is not more; what is stored is looked at here.
--
-- ARGV holds, for each of KEYS, five: 'R', count, per, count * per, nothing; or 'B', free, first, max, quiet.
local EXACT = 9007199254740991

local function rule(i)
  local at = i * 5 - 3
  return ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
end

-- A stored counter; `nil` where there is none, and whether its numbers can be calculated with.
local function stored(key)
  local value = redis.call('GET', key)
  if not value then return nil, true end
  local level, at = value:match('^(%d+) (-?%d+)$')
  if not level then error('not a counter') end
  level, at = tonumber(level), tonumber(at)
  return {level = level, at = at}, level <= EXACT and math.abs(at) <= EXACT / 2
end

local function ceil_div(a, b)
  local rest = math.fmod(a, b)
  return (a - rest) / b + (rest > 0 and 1 or 0)
end

-- How long a backoff waits after so many attempts.
local function wait_after(attempts, free, first, max)
  if attempts == 0 or attempts < free then return 0 end
  return math.min(first * 2 ^ math.min(attempts - free, 32), max)
end

-- `keep` is how long Redis keeps the value; without one, as long as it does anyway.
local function write(key, counter, keep)
  local value = string.format('%.0f %.0f', counter.level, counter.at)
  if not keep then
    redis.call('SET', key, value, 'KEEPTTL')
  elseif keep > 100000000000000 then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', string.format('%.0f', keep))
  end
end
