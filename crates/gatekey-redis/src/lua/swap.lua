-- Replaces a value if it is still the one given.
--
-- KEYS: the value. ARGV: as it was, as it is to be
-- Returns 1, or the value that stands there now, or nothing where there is none.
local value = redis.call('GET', KEYS[1])
if not value or value ~= ARGV[1] then return value end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
