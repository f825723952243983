-- Gives back what one take took. A counter that is gone stays gone.
--
-- KEYS: counters. ARGV: when it was taken, then the rules
-- Returns 0, or -1 if a number is too large to calculate with here; then nothing was done.
local taken = tonumber(ARGV[1])
for _, key in ipairs(KEYS) do
  local _, exact = stored(key)
  if not exact then return -1 end
end
for i, key in ipairs(KEYS) do
  local kind, a, b, c = rule(i)
  local counter = stored(key)
  if counter then
    if kind == 'R' then
      -- Part of it has drained away since; giving it all back would grant that part twice.
      local elapsed = math.max(counter.at - taken, 0)
      if elapsed < b then counter.level = math.max(counter.level - math.max(b - elapsed * a, 0), 0) end
    else
      counter.level = math.max(counter.level - 1, 0)
      -- If nothing was counted after it, the wait before it was over: it must not begin anew.
      if counter.at == taken then counter.at = taken - wait_after(counter.level, a, b, c) end
    end
    if counter.level > 0 then write(key, counter) else redis.call('DEL', key) end
  end
end
return 0
