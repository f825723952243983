-- Ends all sessions of a subject but one, and marks the time so that logins under way are out of date.
--
-- KEYS: the subject's mark, its index, revocations, then rows of the index
-- ARGV: when, why, channel, the field of the one that stays, then the fields of those rows
-- Returns 1 and what it ended, or 3 and the index (its rows are needed).
local now = ARGV[1]
local known, fields = sessions(KEYS[2], 4, 1)
if not known then
  table.insert(fields, 1, 3)
  return fields
end
local rows = {}
for i, field in ipairs(fields) do rows[i] = read(known[field]) end

local mark = redis.call('GET', KEYS[1])
if not mark or before(mark, 1, now, 1) then redis.call('SET', KEYS[1], now) end
local ended = {1}
for i, field in ipairs(fields) do
  local row = rows[i]
  if not row or row:byte(2) ~= OPEN then
    redis.call('HDEL', KEYS[2], field)
  elseif field ~= ARGV[4] then
    finish(known[field], row, ARGV[2], now, KEYS[3], ARGV[3])
    redis.call('HDEL', KEYS[2], field)
    ended[#ended + 1] = text(row, 192)
  end
end
return ended
