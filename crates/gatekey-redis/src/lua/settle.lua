-- Writes what core decided of a row, if the row is still the one that it was decided of.
--
-- KEYS: the row, the subject's index, revocations, purge
-- ARGV: the row as it was, as it is to be, its field in the index, its member in the purge, channel
-- Returns 1, or the row that stands there now, or nothing where there is none any more.
local row, new = read(KEYS[1]), ARGV[2]
if not row then return false end
if row ~= ARGV[1] then return row end
local ended = row:byte(2) == OPEN and new:byte(2) ~= OPEN
if ended then
  enlist(KEYS[3], new, new:sub(3, 10))
  redis.call('HDEL', KEYS[2], ARGV[3])
end
if row:sub(19, 26) ~= new:sub(19, 26) then redis.call('ZADD', KEYS[4], score(new, 19), ARGV[4]) end
redis.call('SET', KEYS[1], new, 'KEEPTTL')
if ended then tell(ARGV[5], new, new:sub(3, 10)) end
return 1
