-- What scripts that open or end sessions know beside.

-- An instant as the score of a sorted set. Beyond 53 bits (the year 287,000) a little early, never late.
local function score(a, i)
  local high, low = struct.unpack('>i4I4', a, i)
  local at = high * 4294967296 + low
  if math.abs(at) > 9007199254740992 then at = at - 1024 end
  return string.format('%.0f', at)
end

-- The text whose length stands at i, and where it ends.
local function text(row, i)
  local size = struct.unpack('>I4', row, i)
  return row:sub(i + 4, i + 3 + size), i + 4 + size
end

-- Puts a session that ends at an instant on the list of revocations.
local function enlist(feed, row, at)
  redis.call('ZADD', feed, score(at, 1), (text(row, 192)))
end

-- Tells whoever listens. Where a server's rules forbid it, the list stays the truth.
local function tell(channel, row, at)
  redis.pcall('PUBLISH', channel, at .. text(row, 192))
end

-- Ends an open session.
local function finish(key, row, reason, at, feed, channel)
  enlist(feed, row, at)
  redis.call('SET', key, row:sub(1, 1) .. reason .. at .. row:sub(11), 'KEEPTTL')
  tell(channel, row, at)
end

-- The fields of a subject's index if each is among those given, and the rows' keys by field; else `nil` and the fields.
-- Scripts touch only keys that they are given, so a caller who does not know them all is told and asks again.
local function sessions(index, first, offset)
  local known = {}
  for i = first, #KEYS do known[ARGV[i + offset]] = KEYS[i] end
  local fields = redis.call('HKEYS', index)
  for _, field in ipairs(fields) do
    if not known[field] then return nil, fields end
  end
  return known, fields
end
