-- Opens a session, unless its login is out of date, and ends the least recently used where there are too many.
--
-- KEYS: the row, the subject's index, its mark, revocations, purge, then rows of the index
-- ARGV: the row to be, its field in the index, its member in the purge, when it logged in, when it was opened, how many
--       sessions may be live, for how long Redis keeps it (milliseconds, 0 for ever), the reason of evictions, channel;
--       then the fields of those rows
-- Returns 0 (out of date), 1 and the evicted, 2 (the id exists), 3 and the index (its rows are needed).
local row, index, feed, purge = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local new, now, most, kept = ARGV[1], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local mark = redis.call('GET', KEYS[3])
if mark and not before(mark, 1, ARGV[4], 1) then return {0} end
if redis.call('EXISTS', row) == 1 then return {2} end

local held, gone, live, evicted = redis.call('HLEN', index), {}, {}, {1}
if held >= most then
  local known, fields = sessions(index, 6, 4)
  if not known then
    table.insert(fields, 1, 3)
    return fields
  end
  for _, field in ipairs(fields) do
    local other = read(known[field])
    if not other or other:byte(2) ~= OPEN then
      gone[#gone + 1] = field
    elseif before(now, 1, other, 11) and before(now, 1, other, 27) then
      live[#live + 1] = {row = other, field = field}
    end
  end
  table.sort(live, function(a, b)
    -- Last used, then opened, the earlier first; then anything that is always the same.
    for _, at in ipairs({35, 180}) do
      if before(a.row, at, b.row, at) then return true end
      if before(b.row, at, a.row, at) then return false end
    end
    return a.field < b.field
  end)
  for i = 1, #live + 1 - most do
    local other = live[i]
    finish(known[other.field], other.row, ARGV[8], now, feed, ARGV[9])
    gone[#gone + 1] = other.field
    evicted[#evicted + 1] = text(other.row, 192)
  end
  for _, field in ipairs(gone) do redis.call('HDEL', index, field) end
end

if kept > 0 then
  redis.call('SET', row, new, 'PX', kept)
else
  redis.call('SET', row, new)
end
redis.call('ZADD', purge, score(new, 19), ARGV[3])
if new:byte(2) ~= OPEN then
  redis.call('ZADD', feed, score(new, 3), (text(new, 192)))
  return evicted
end
-- The index lives as long as the session in it that lives longest.
local left = redis.call('PTTL', index)
redis.call('HSET', index, ARGV[2], '')
if kept == 0 then
  redis.call('PERSIST', index)
elseif left == -2 or (left >= 0 and left < kept) then
  redis.call('PEXPIRE', index, ARGV[7])
end
return evicted
