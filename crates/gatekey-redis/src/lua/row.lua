-- What scripts know of a session's row; row.rs says what its bytes are.
--
--   1 version    2 why it ended, 0 while it is open    3 when    11 absolute end    19 bound of its purge    27 idle end
--   35 last used    43 rotated    51 flags    52 replayed    60 generation    68 live    100 parent's generation
--   108 parent    140 windows    172 login    188 length of what never changes    192 that: the id, the subject, …
--
-- Instants are 8 bytes, big-endian. They are compared in halves: a number of Lua holds 53 bits and no more.
local OPEN = 0

-- Whether the instant at i of a is before the one at j of b.
local function before(a, i, b, j)
  local ah, al = struct.unpack('>i4I4', a, i)
  local bh, bl = struct.unpack('>i4I4', b, j)
  return ah < bh or (ah == bh and al < bl)
end

-- A row that this version has written. Asked of every row before anything is changed.
local function read(key)
  local row = redis.call('GET', key)
  if row and row:byte(1) ~= 1 then error('a row of another version') end
  return row
end
