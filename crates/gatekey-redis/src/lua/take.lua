-- Counts an attempt on every counter, or on none if one of them refuses.
--
-- KEYS: counters, one charged twice stands there twice. ARGV: now, then the rules
-- Returns 0, or how long to wait, or -1 if a number is too large to calculate with here; then nothing was done.
local now = tonumber(ARGV[1])
local held, stale, keep, wait = {}, {}, {}, 0
for i, key in ipairs(KEYS) do
  local kind, a, b, c, quiet = rule(i)
  local counter = held[key]
  if counter == nil then
    local exact
    counter, exact = stored(key)
    if not exact then return -1 end
    -- What was counted in the future was counted now.
    if counter and counter.at > now then
      counter.at = now
      stale[key] = true
    end
    held[key] = counter or false
  end

  local level, pause = 0, 0
  if counter then
    local elapsed = now - counter.at
    if kind == 'R' then
      -- c is a full bucket: a drains each millisecond, and in b milliseconds all of it.
      if elapsed < b then level = math.max(math.min(counter.level, c) - elapsed * a, 0) end
      local room = c - b
      if level > room then pause = ceil_div(level - room, a) end
    elseif elapsed < quiet then
      level = counter.level
      pause = math.max(wait_after(level, a, b, c) - elapsed, 0)
    end
  end
  if pause > 0 then
    wait = math.max(wait, pause)
  elseif kind == 'R' then
    held[key] = {level = level + b, at = now}
    keep[key] = ceil_div(level + b, a) * 2 + 60000
  else
    held[key] = {level = level + 1, at = now}
    keep[key] = quiet * 2 + 60000
  end
end

if wait > 0 then
  for key in pairs(stale) do
    local counter = stored(key)
    counter.at = now
    write(key, counter)
  end
  return wait
end
for key, counter in pairs(held) do write(key, counter, keep[key]) end
return 0
