-- Replaces counters if each is still as given: for numbers that only Rust calculates with exactly.
--
-- KEYS: counters. ARGV: for each, as it was and as it is to be, nothing for none
-- Returns whether it did.
for i, key in ipairs(KEYS) do
  if (redis.call('GET', key) or '') ~= ARGV[i * 2 - 1] then return 0 end
end
for i, key in ipairs(KEYS) do
  local value = ARGV[i * 2]
  if value == '' then redis.call('DEL', key) else redis.call('SET', key, value) end
end
return 1
